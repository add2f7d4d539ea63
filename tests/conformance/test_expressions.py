"""Updates by query: values and expressions over every kind of number, their rules, versions and times."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from holdall import Backend, F, Field, Model, QueryError, ValidationError, utc_now


class Account(Model):
    id: int = Field(primary_key=True)
    number: int = 0
    maybe: int | None = None
    bounded: int = Field(default=0, ge=-10, le=10)
    real: float = 0.0
    limited: float | None = Field(default=None, gt=-1.5, lt=1.5)
    cents: Decimal = Field(default=Decimal(0), max_digits=18, decimal_places=2)
    exact: Decimal = Decimal(0)
    wide: Decimal = Field(default=Decimal(0), max_digits=34, decimal_places=0)
    short: str = Field(default="", max_length=5)
    version: int = Field(default=1, version=True)
    touched: datetime = Field(default_factory=utc_now, auto_now=True)


MODELS = (Account,)


async def test_expressions_of_every_kind_of_number(backend: Backend) -> None:
    await backend.create(Account(id=1, number=5, real=1.5, cents=Decimal("1.10"), exact=Decimal("0.000000000001"), maybe=None))
    query = backend.query(Account)

    assert (
        await query.update(
            number=F("number") * 3 - 1,
            real=2.0 - F("real"),
            cents=F("cents") + Decimal("0.05"),
            exact=F("exact") * 3,
            maybe=F("maybe") + 1,
            wide=10 - F("wide"),
        )
        == 1
    )
    found = await backend.get(Account, 1)
    assert (found.number, found.real, found.cents, found.exact, found.maybe, found.wide) == (
        14, 0.5, Decimal("1.15"), Decimal("0.000000000003"), None, Decimal(10),
    )  # fmt: skip
    await query.update(number=F("bounded"), maybe=F("number"), bounded=F("bounded") + F("bounded") + 1)
    found = await backend.get(Account, 1)
    assert (found.number, found.maybe, found.bounded) == (0, 14, 1)
    assert found.version == 3


async def test_expressions_of_decimals_keep_every_digit(backend: Backend) -> None:
    await backend.create(
        Account(id=1, exact=Decimal("1234567890123456789012.123456789012"), wide=Decimal("9" * 33), cents=Decimal("9999999999999999.98"))
    )

    await backend.query(Account).update(exact=F("exact") + 1, wide=F("wide") * 10 + 9, cents=F("cents") + Decimal("0.01"))

    found = await backend.get(Account, 1)
    assert (found.exact, found.wide, found.cents) == (
        Decimal("1234567890123456789013.123456789012"), Decimal("9" * 34), Decimal("9999999999999999.99"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [
        {"number": F("number") + 1},
        {"number": F("number") * 2},
        {"number": 0 - F("maybe") - 1},
        {"maybe": F("maybe") - 1},
        {"bounded": F("bounded") + 1},
        {"bounded": F("bounded") * -2},
        {"real": F("real") * 10},
        {"real": F("real") + F("real")},
        {"limited": F("limited") + 1.0},
        {"cents": F("cents") + 1},
        {"cents": F("cents") * 10},
        {"exact": F("exact") + F("exact")},
        {"wide": F("wide") + 1},
    ],
    ids=lambda values: next(iter(values)),
)
async def test_results_that_do_not_fit_are_refused_and_change_nothing(backend: Backend, values: dict[str, Any]) -> None:
    record = Account(
        id=2, number=2**63 - 1, maybe=-(2**63), bounded=10, real=1.7e308, limited=1.0, cents=Decimal("9999999999999999.99"),
        exact=Decimal("9999999999999999999999.999999999999"), wide=Decimal("9" * 34),
    )  # fmt: skip
    await backend.create_many([Account(id=1), record, Account(id=3)])

    with pytest.raises(ValidationError):
        await backend.query(Account).update(**values)

    assert await backend.get(Account, 2) == record
    assert {found.version for found in await backend.query(Account)} == {1}


@pytest.mark.parametrize(
    ("values", "expected"),
    [({"number": F("number") + (2**63 - 1) - (2**63 - 1)}, 2**62), ({"number": (F("number") * 4) - (F("number") * 3)}, 2**62)],
    ids=["sum", "product"],
)
async def test_only_the_result_has_to_fit_not_what_is_between(backend: Backend, values: dict[str, Any], expected: int) -> None:
    await backend.create(Account(id=1, number=2**62))

    await backend.query(Account).update(**values)

    assert (await backend.get(Account, 1)).number == expected


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"nothing": 1},
        {"id": 5},
        {"version": 3},
        {"number": F("nothing")},
        {"number": F("real") + 1},
        {"number": F("number") + 1.5},
        {"number": F("number") + "1"},
        {"number": F("number") + True},
        {"number": F("number") + None},
        {"short": F("short") + "x"},
        {"cents": F("cents") * F("cents")},
        {"cents": F("cents") * Decimal("0.5")},
        {"cents": F("exact")},
        {"touched": F("touched") + 1},
    ],
    ids=lambda values: next(iter(values), "nothing"),
)
async def test_updates_that_mean_nothing_are_refused(backend: Backend, values: dict[str, Any]) -> None:
    await backend.create(Account(id=1))
    with pytest.raises(QueryError):
        await backend.query(Account).update(**values)
    assert (await backend.get(Account, 1)).version == 1


@pytest.mark.parametrize(
    "values",
    [
        {"bounded": 11},
        {"short": "123456"},
        {"number": 2**63},
        {"number": None},
        {"number": "1"},
        {"cents": Decimal("0.001")},
        {"real": float("nan")},
        {"limited": 1.5},
    ],
    ids=lambda values: next(iter(values), "nothing"),
)
async def test_updates_with_values_that_break_a_rule_are_refused(backend: Backend, values: dict[str, Any]) -> None:
    await backend.create(Account(id=1))
    with pytest.raises(ValidationError):
        await backend.query(Account).update(**values)
    assert (await backend.get(Account, 1)).version == 1


async def test_updates_count_versions_and_set_times(backend: Backend) -> None:
    await backend.create_many([Account(id=number) for number in range(5)])
    before = utc_now()

    assert await backend.query(Account).filter(id__lt=3).update(short="x") == 3
    assert await backend.query(Account).filter(id__in=[]).update(short="x") == 0
    assert await backend.query(Account).filter(id=77).update(short="x") == 0

    found = await backend.query(Account).order_by("id")
    assert [record.version for record in found] == [2, 2, 2, 1, 1]
    assert all((record.touched >= before) == (record.id < 3) for record in found)


async def test_a_none_computed_for_a_field_that_cannot_be_none_is_refused(backend: Backend) -> None:
    await backend.create(Account(id=1, number=3))
    with pytest.raises(ValidationError):
        await backend.query(Account).update(number=F("maybe"))
    with pytest.raises(ValidationError):
        await backend.query(Account).update(number=F("maybe") + 1)
    assert (await backend.get(Account, 1)).number == 3
