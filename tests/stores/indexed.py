"""A table worth an index, and the queries that must use one, for the tests of plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdall import Backend, Field, Index, Model, QueryBuilder, col
from holdall.query import cursors
from holdall.query.operations import Select
from holdall.query.predicates import OrderTerm
from holdall.query.resolve import total_order

COUNT = 20_000


class Listed(Model):
    id: int = Field(primary_key=True)
    name: str = Field(index=True, max_length=100)
    city: str | None = Field(default=None, index=True, max_length=100)
    rank: int | None = None
    size: int = 0
    note: str = ""

    class Meta:
        indexes = [Index("rank"), Index("-size", "name"), Index("-rank", "-id", name="listed_by_rank_down")]


async def fill(backend: Backend) -> None:
    """Make the table and its rows: every tenth city and rank is None."""
    await backend.drop(Listed)
    await backend.initialize(Listed)
    await backend.create_many(
        [
            Listed(
                id=number,
                name=f"name {number * 7919 % COUNT:05}",
                city=None if number % 10 == 0 else f"city {number % 5000:04}",
                rank=None if number % 10 == 1 else number * 31 % COUNT,
                size=number % 1000,
                note="x" * 60,
            )
            for number in range(COUNT)
        ]
    )


# What the index must serve: the query, and whether its order must come from the index as well, without sorting.
QUERIES: dict[str, tuple[Callable[[QueryBuilder[Listed]], QueryBuilder[Listed]], bool]] = {
    "key": (lambda query: query.filter(id=77), False),
    "equal": (lambda query: query.filter(name="name 00077"), False),
    "equal where None may be": (lambda query: query.filter(city="city 0077"), False),
    "is None and a range": (lambda query: query.filter(city=None, id__lt=50), False),
    "in": (lambda query: query.filter(name__in=[f"name {number:05}" for number in range(0, 200, 10)]), False),
    "in with None": (lambda query: query.filter(city__in=["city 0077", None]).limit(5).order_by("city"), False),
    "range": (lambda query: query.filter(rank__gte=100, rank__lt=120), False),
    "between": (lambda query: query.filter(rank__between=(100, 120)), False),
    "startswith": (lambda query: query.filter(name__startswith="name 0007"), False),
    "exclude a long range": (lambda query: query.exclude(size__gte=2), False),
    "exclude all but a few and None": (lambda query: query.exclude(rank__gte=20).exclude(rank=None), False),
    "one of two": (lambda query: query.filter(col(Listed.name) == "name 00077", col(Listed.size) == 1), False),
    "order": (lambda query: query.order_by("name").limit(20), True),
    "order down": (lambda query: query.order_by("-name").limit(20), True),
    "order of two": (lambda query: query.order_by("-size", "name").limit(20), True),
    "order where None may be": (lambda query: query.order_by("rank").limit(20), True),
    "order down where None may be": (lambda query: query.order_by("-rank").limit(20), True),
    "range in its order": (lambda query: query.filter(name__gte="name 1").order_by("name").limit(20), True),
}
ORDERS: dict[str, tuple[tuple[str, ...], tuple[Any, ...]]] = {
    "page by key": (("id",), (5000,)),
    "page down by key": (("-id",), (5000,)),
    "page": (("name",), ("name 10000", 5000)),
    "page down": (("-name",), ("name 10000", 5000)),
    "page where None may be": (("rank",), (10000, 5000)),
    "page down where None may be": (("-rank",), (10000, 5000)),
    "page within None": (("rank",), (None, 5001)),
}


def page_operation(backend: Backend, name: str) -> Select:
    """Return the operation of the second page of an order."""
    terms, values = ORDERS[name]
    query = backend.query(Listed).order_by(*terms)
    order: tuple[OrderTerm, ...] = total_order(query._info, query._stated_order())
    return query._page_operation(order, cursors.Position(values, backward=False), 21)
