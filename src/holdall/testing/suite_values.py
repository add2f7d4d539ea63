"""Values of every type come back as they went, are found and stand in order; what no store may keep is refused (rules R2 to R9)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import JsonValue

import holdall
from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import ValidationError
from holdall.query.expressions import col
from holdall.testing.suite_checks import Checks, expect, identify
from holdall.testing.suite_models import Address, Color, Level, Part, Sample
from holdall.testing.suite_refusals import sealed

C = Capability
CHECKS = Checks()

TEXTS = [
    *("", " ", "a", "A", "a ", " a", "ab", "aB", "b", "é", "e", "e\u0301", "E", "ß", "ss", "ﬁ", "fi", "İ", "i", "ı", "ſ", "s"),
    *("%", "_", "*", "\\", "'", '"', "a%b", "null", "1", "０", "{}", "\n", "\t", "\x01", "\x7f", "$1", ":x", "?", "--"),
    *("\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff", "😀", "x" * 300),
]
FAR = timezone(timedelta(hours=14))
SCALARS: Mapping[str, tuple[str, Sequence[Any]]] = {
    "booleans": ("flag", [None, False, True]),
    "integers": ("number", [None, 0, 1, -1, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]),
    "floats": ("real", [None, 0.0, 0.1, 0.30000000000000004, -1.5, 1.0, 5e-324, 1.7976931348623157e308, -1e308, 2.0**53, 1e22]),
    "texts": ("text", [None, *TEXTS]),
    "bytes": ("blob", [None, b"", b"\x00", b"\x00\x00", b"\xff", b"a", b"A", b"a\x00", b"'", b"\\x00", bytes(range(256))]),
    "decimals": ("amount", [None, *map(Decimal, ("0", "0.01", "-0.01", "1.10", "9", "10", "9999999999999999.99", "-9999999999999999.99"))]),
    "long_decimals": (
        "exact",
        [None, *map(Decimal, ("0", "1.000000000001", "-0.000000000001", "9", "10", "-10", "9999999999999999999999.999999999999"))],
    ),
    "uuids": ("token", [None, UUID(int=0), UUID(int=1), UUID(int=2**127 - 1), UUID(int=2**127), UUID(int=2**128 - 1)]),
    "dates": ("day", [None, date.min, date(1969, 12, 31), date(1970, 1, 1), date(2024, 2, 29), date.max]),
    "datetimes": (
        "moment",
        [
            None,
            datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC),
            datetime(2024, 2, 29, 12, 0, 0, 123457, tzinfo=UTC),
            datetime(2024, 3, 1, 1, tzinfo=FAR),
            datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        ],
    ),
    "times": ("clock", [None, time.min, time(0, 0, 0, 1), time(12), time(12, 0, 0, 500000), time.max]),
    "timedeltas": (
        "span",
        [
            None,
            timedelta(0),
            timedelta(microseconds=1),
            timedelta(microseconds=-1),
            timedelta(days=-1, microseconds=5),
            timedelta(days=10**6),
        ],
    ),
    "enums": ("color", [None, *Color]),
    "integer_enums": ("level", list(Level)),
    "literals": ("choice", [None, "on", "off"]),
}
DOCUMENTS: Mapping[str, tuple[str, Sequence[Any]]] = {
    "lists": ("tags", [None, [], [""], ["a", "a"], ["b", "a"], ["a", "b"], [*TEXTS]]),
    "lists_with_none": ("numbers", [[], [None], [0, None, 1], [2**63 - 1, -(2**63), 2**53 + 1]]),
    "dicts_of_decimals": ("prices", [{}, {"a": Decimal("0.000000000001"), "": Decimal("9999999999999999999999.999999999999")}]),
    "json_values": (
        "data",
        [
            None,
            True,
            False,
            0,
            1,
            -1,
            1.5,
            2**53 + 1,
            "",
            "1",
            "true",
            "null",
            [],
            {},
            [[]],
            {"": {}},
            [1, "1", True, None],
            {"b": [{"c": []}]},
        ],
    ),
    "nested_models": (
        "part",
        [
            None,
            Part(title=""),
            Part(title="x", score=0.1, price=Decimal("1.10"), made=datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC), marks=[1, 2]),
        ],
    ),
    "typed_dicts": (
        "address",
        [None, Address(street="", moved=None), Address(street="a", moved=datetime(2020, 1, 1, 0, 0, 0, 7, tzinfo=UTC))],
    ),
}


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are one to a store; ``True`` is not ``1``, and decimals are equal by value."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def plain(value: Any) -> Any:
    """Return what members of enums are stored as, and other values themselves."""
    return value.value if isinstance(value, Enum) else value


async def store_all(backend: Backend, field: str, values: Sequence[Any]) -> list[Sample]:
    """Store a record for each value; the numbers of their keys are the places of the values."""
    return await backend.create_many([Sample.model_validate({"id": number, field: value}) for number, value in enumerate(values)])


async def come_back(field: str, values: Sequence[Any], backend: Backend) -> None:
    """Check that values come back with their type, by single and by bulk writes."""
    records = await store_all(backend, field, values)
    for record in records:
        found = getattr(await backend.get(Sample, record.id), field)
        given = getattr(record, field)
        assert same(found, given), f"{field}: stored {given!r}, read {found!r}"
        assert type(found) is type(given) or field == "data", f"{field}: stored {type(given)}, read {type(found)}"
    for value in values:
        loaded = await backend.get(Sample, 0)
        setattr(loaded, field, value)
        await backend.save(loaded)
        again = await backend.get(Sample, 0, strict=True)
        assert same(getattr(again, field), getattr(loaded, field)), f"{field}: saved {value!r}, read {getattr(again, field)!r}"
        assert holdall.changes(again) == {}


async def are_found(field: str, values: Sequence[Any], backend: Backend) -> None:
    """Check that a filter by a value gives the records with just this value, and ``in`` those with some of them."""
    records = await store_all(backend, field, values)
    for value in values:
        wanted = [record.id for record in records if same(getattr(record, field), value)]
        found = sorted(record.id for record in await backend.query(Sample).filter(**{field: value}))
        assert found == wanted, f"{field} == {value!r} gave {[values[number] for number in found]!r}"
    some = values[::2]
    found = sorted(record.id for record in await backend.query(Sample).filter(**{f"{field}__in": some}))
    assert found == [record.id for record in records if any(same(getattr(record, field), value) for value in some)]


async def are_ordered(field: str, values: Sequence[Any], backend: Backend) -> None:
    """Check that values compare by order, and that None comes last."""
    records = await store_all(backend, field, list(reversed(values)))
    present = sorted((record for record in records if getattr(record, field) is not None), key=lambda record: plain(getattr(record, field)))
    absent = [record for record in records if getattr(record, field) is None]
    assert await identify(backend.query(Sample).order_by(field)) == [record.id for record in [*present, *absent]]
    assert await identify(backend.query(Sample).order_by(f"-{field}")) == [record.id for record in [*reversed(present), *absent]]
    middle = getattr(present[len(present) // 2], field)
    below = {record.id for record in present if plain(getattr(record, field)) < plain(middle)}
    assert {record.id for record in await backend.query(Sample).filter(**{f"{field}__lt": middle})} == below


def one_of(kind: str) -> str:
    """Return the singular."""
    return kind if kind == "bytes" else kind.removesuffix("s")


def _declare() -> None:
    """Declare the checks of each type."""
    cases: list[tuple[str, Callable[..., Any], Mapping[str, Any], tuple[Capability, ...]]] = [
        ("test_{}_come_back_unchanged", come_back, {**SCALARS, **DOCUMENTS}, ()),
        ("test_{}_are_found_by_equality", are_found, SCALARS, (C.FILTER,)),
        ("test_{}_are_found_by_equality", are_found, DOCUMENTS, (C.FILTER, C.DOCUMENT_EQUALITY)),
        ("test_orders_by_{}", are_ordered, SCALARS, (C.FILTER, C.ORDER)),
    ]
    for name, body, table, needs in cases:
        for kind, (field, values) in table.items():
            CHECKS.of(Sample, needs=needs, name=name.format(one_of(kind) if body is are_ordered else kind))(
                functools.partial(body, field, values)
            )


_declare()


# -- what comes back is what was meant -------------------------------------------------------------------------------------------------


@CHECKS.of(Sample)
async def test_datetimes_come_back_in_utc(backend: Backend) -> None:
    """R7."""
    created = await backend.create(Sample(id=1, moment=datetime(2024, 3, 1, 1, 2, 3, 456789, tzinfo=FAR)))

    loaded = await backend.get(Sample, 1)

    assert loaded == created
    assert loaded.moment == datetime(2024, 2, 29, 11, 2, 3, 456789, tzinfo=UTC)
    assert getattr(loaded.moment, "tzinfo", None) is UTC


@CHECKS.of(Sample)
async def test_negative_zero_is_zero(backend: Backend) -> None:
    """R6."""
    await backend.create(Sample(id=1, real=-0.0, amount=Decimal("-0.00")))

    loaded = await backend.get(Sample, 1)

    assert str(loaded.real) == "0.0"
    assert loaded.amount == 0


@CHECKS.of(Sample, needs=(C.FILTER,))
async def test_decimals_are_equal_by_value(backend: Backend) -> None:
    """R6: zeros at the end count neither when stored nor when asked for."""
    await backend.create_many(
        [Sample(id=1, amount=Decimal("1.1"), exact=Decimal(100)), Sample(id=2, amount=Decimal("1.10"), exact=Decimal("1E+2"))]
    )

    assert {found.id for found in await backend.query(Sample).filter(amount=Decimal("1.10"))} == {1, 2}
    assert {found.id for found in await backend.query(Sample).filter(exact=Decimal("100.000"))} == {1, 2}


@CHECKS.of(Sample)
async def test_two_reads_share_no_objects(backend: Backend) -> None:
    """A list that one reader changes is no other reader's."""
    await backend.create(Sample(id=1, tags=["a"], data={"a": [1]}))
    first = await backend.get(Sample, 1)
    second = await backend.get(Sample, 1)

    assert first is not second
    assert first.tags is not None
    first.tags.append("b")

    assert second.tags == ["a"]
    assert (await backend.get(Sample, 1)).tags == ["a"]


@CHECKS.of(Sample)
async def test_the_object_written_is_not_what_is_stored(backend: Backend) -> None:
    """Changes after a write stay with the object until they are saved."""
    record = await backend.create(Sample(id=1, tags=["a"]))
    assert record.tags is not None
    record.tags.append("b")

    assert (await backend.get(Sample, 1)).tags == ["a"]
    assert holdall.changes(record) == {"tags": (["a"], ["a", "b"])}
    await backend.save(record)
    assert (await backend.get(Sample, 1)).tags == ["a", "b"]


@CHECKS.of(Sample, needs=(C.FILTER, C.DOCUMENT_PATHS))
async def test_types_inside_documents_are_kept_and_compared(backend: Backend) -> None:
    """R17: typed members compare as their type."""
    early, late = datetime(2024, 1, 1, tzinfo=FAR), datetime(2024, 1, 1, tzinfo=UTC)
    await backend.create_many(
        [
            Sample(id=1, part=Part(title="a", score=9.0, price=Decimal("1.10"), made=early, marks=[3])),
            Sample(id=2, part=Part(title="b", score=10.0, price=Decimal("1.1"), made=late)),
            Sample(id=3),
        ]
    )
    part = col(Sample.part)

    async def ids(*conditions: Any) -> list[int]:
        return sorted(found.id for found in await backend.query(Sample).filter(*conditions))

    assert await ids(part["score"] > 9.5) == [2]
    assert await ids(part["made"] < late) == [1]
    assert await ids(part["price"] == Decimal("1.100")) == [1, 2]
    assert await ids(part["marks"][0] == 3) == [1]
    assert await ids(part["title"] != "a") == [2, 3]


@CHECKS.of(Sample, needs=(C.FILTER,))
async def test_empty_values_are_themselves_and_not_none(backend: Backend) -> None:
    """R9."""
    await backend.create_many([Sample(id=1, text="", blob=b""), Sample(id=2)])

    assert [found.id for found in await backend.query(Sample).filter(text="")] == [1]
    assert [found.id for found in await backend.query(Sample).filter(blob=b"")] == [1]
    assert [found.id for found in await backend.query(Sample).filter(text=None)] == [2]


# -- what no store may keep ------------------------------------------------------------------------------------------------------------

CYCLE: list[JsonValue] = []
CYCLE.append(CYCLE)
REFUSED: Sequence[tuple[str, Any]] = [
    *(("number", value) for value in (2**63, -(2**63) - 1, True, 1.0, "1")),
    *(("real", value) for value in (float("nan"), float("inf"), -float("inf"))),
    *(("text", value) for value in ("a\0b", "\ud800", b"x")),
    *(("amount", value) for value in (Decimal("0.001"), Decimal(10**16), Decimal("NaN"), Decimal("Infinity"))),
    *(("exact", value) for value in (Decimal("0.0000000000001"), Decimal(10**22), 1.5)),
    *(("moment", value) for value in (datetime(2024, 1, 1), datetime(1, 1, 1, tzinfo=FAR), date(2024, 1, 1))),  # noqa: DTZ001
    *(("day", value) for value in (datetime(2024, 1, 1, tzinfo=UTC),)),
    *(("clock", value) for value in (time(1, tzinfo=UTC),)),
    *(("span", value) for value in (timedelta.max,)),
    *(("sure", value) for value in (None, 1)),
    *(("tags", value) for value in (["a\0"], [1], "abc")),
    *(("data", value) for value in (float("nan"), {"a": [float("inf")]}, {"a\0": 1}, 2**63, {1: 2}, CYCLE)),
]


@CHECKS.of(Sample)
async def test_values_that_no_store_may_keep_are_refused_before_any_write(backend: Backend) -> None:
    """R6, R7, R8."""
    guarded = sealed(backend)
    for field, value in REFUSED:
        bad = Sample.model_construct(**{**Sample(id=1).__dict__, field: value})
        for write in (guarded.create, guarded.save, guarded.upsert, guarded.update):
            error = await expect(ValidationError, write(bad))
            assert (error.model, error.field) == ("Sample", field), f"{field}={value!r}: the error names {error.model}.{error.field}"


@CHECKS.of(Sample, needs=(C.UPDATE_WHERE,))
async def test_updates_by_query_refuse_the_same_values_before_any_write(backend: Backend) -> None:
    """R6, R7, R8."""
    guarded = sealed(backend)
    for field, value in REFUSED:
        await expect(ValidationError, guarded.query(Sample).update(**{field: value}))
