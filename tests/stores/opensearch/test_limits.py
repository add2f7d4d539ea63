"""What the server bounds is refused before any I/O, or works."""

from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import Any

import pytest

import holdall
from holdall import Backend, Field, LimitExceeded, Model, Q


class Wide(Model):
    id: int = Field(primary_key=True)
    number: int | None = None
    real: float | None = None
    amount: Decimal = Field(default=Decimal(0), max_digits=12, decimal_places=2)
    text: str | None = None
    flag: bool | None = None
    at: datetime | None = None
    tags: list[str] = []
    data: dict[str, Any] | None = None


MODELS = (Wide,)
MANY = 500
LEAVES: dict[str, Any] = {
    "number__gt": range(MANY),
    "number": range(MANY),
    "number__between": [(number, number + 1) for number in range(MANY)],
    "real__lt": [float(number) for number in range(MANY)],
    "amount__gte": [Decimal(number) for number in range(MANY)],
    "text__contains": list(map(str, range(MANY))),
    "text__startswith": list(map(str, range(MANY))),
    "text__icontains": list(map(str, range(MANY))),
    "at__year": range(1000, 1000 + MANY),
    "at__month": [number % 12 + 1 for number in range(MANY)],
    "tags__has": list(map(str, range(MANY))),
    "data__a__gt": range(MANY),
    "data__a": range(MANY),
}


def either_of(one: Any, other: Any) -> Any:
    """Return the condition that one of two holds."""
    return one | other


@pytest.mark.parametrize("name", LEAVES)
async def test_as_many_conditions_as_are_allowed_work(backend: Backend, name: str) -> None:
    for many in (MANY, MANY // 5):
        conditions = [Q(**{name: value}) for value in LEAVES[name][:many]]
        either: Any = reduce(either_of, conditions)
        for query in (either, ~either):
            try:
                await backend.query(Wide).filter(query).count()
            except LimitExceeded as error:
                assert many == MANY
                assert error.__cause__ is None  # noqa: PT017 - the server was not asked


@pytest.mark.parametrize("filters", [{"tags__has_all": list(map(str, range(600)))}, {"data__a__in": list(range(70_000))}])
async def test_more_conditions_than_that_are_refused_before_any_io(filters: dict[str, Any]) -> None:
    with pytest.raises(LimitExceeded):
        await holdall.open("opensearch://127.0.0.1:1").query(Wide).filter(**filters)


@pytest.mark.parametrize("filters", [{"tags__has_any": list(map(str, range(60_000)))}, {"data__a__in": list(range(60_000))}])
async def test_long_lists_work(backend: Backend, filters: dict[str, Any]) -> None:
    assert await backend.query(Wide).filter(**filters).count() == 0
