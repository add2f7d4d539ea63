"""When two queries of a session are the same, and how many answers it keeps; without a store."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from holdall import Field, Model
from holdall.query.operations import Count, Operation, Select
from holdall.query.predicates import And, Leaf, Not, Or, Predicate
from holdall.query.stream import RowStream
from holdall.record.metadata import model_info
from holdall.wrappers.query_cache import MAX_ANSWERS, QueryCache


class Cached(Model):
    id: int = Field(primary_key=True)
    other: int = 0


INFO = model_info(Cached)


class Source:
    """A transaction that answers with the number of the operation."""

    is_open = True

    def __init__(self) -> None:
        self.asked = 0

    async def execute(self, operation: Operation) -> Any:
        self.asked += 1
        return [self.asked] if isinstance(operation, Select) else self.asked

    async def stream(self, operation: Select, batch: int) -> RowStream:
        raise NotImplementedError

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...

    def abandon(self) -> None: ...

    async def savepoint(self, name: str) -> None: ...

    async def release(self, name: str) -> None: ...

    async def rollback_to(self, name: str) -> None: ...


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(source: Source) -> QueryCache:
    return QueryCache(lambda: source, every=True)


def leaf(value: object, operator: str = "eq", field: str = "id", path: tuple[str | int, ...] = ()) -> Leaf:
    return Leaf(INFO.field(field), path, None, operator, value)


@pytest.mark.parametrize(
    "values",
    [
        (1, True, 1.0, Decimal(1), "1", b"1"),
        (0, False, 0.0, None, ""),
        ((1,), (True,), (1.0,), (1, 1), ((1,),), 1),
        (date(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)),
    ],
    ids=str,
)
async def test_equal_values_of_other_types_are_other_queries(cache: QueryCache, source: Source, values: tuple[object, ...]) -> None:
    for _ in range(2):
        for value in values:
            await cache.execute(Count(INFO, leaf(value)))

    assert source.asked == len(values)


async def test_conditions_that_differ_in_shape_are_other_queries(cache: QueryCache, source: Source) -> None:
    one, two = leaf(1), leaf(2)
    conditions: list[Predicate] = [
        one, two, leaf(1, "lt"), leaf(1, field="other"), leaf(1, path=("a",)), leaf(1, path=("a", 0)), leaf(1, path=("a", "0")),
        Not(one), And((one, two)), Or((one, two)), And((two, one)), And((one, And((two,)))), And(()), Or(()),
    ]  # fmt: skip
    for _ in range(2):
        for condition in conditions:
            await cache.execute(Count(INFO, condition))

    assert source.asked == len(conditions)


async def test_it_keeps_a_bounded_number_of_answers_and_drops_the_oldest(cache: QueryCache, source: Source) -> None:
    for value in range(MAX_ANSWERS + 1):
        await cache.execute(Count(INFO, leaf(value)))

    assert await cache.execute(Count(INFO, leaf(1))) == 2
    assert await cache.execute(Count(INFO, leaf(0))) == MAX_ANSWERS + 2


async def test_an_abandoned_transaction_leaves_no_answers(cache: QueryCache, source: Source) -> None:
    await cache.execute(Count(INFO, leaf(1)))
    cache.abandon()
    await cache.execute(Count(INFO, leaf(1)))

    assert source.asked == 2
