"""Pages by keyset: each record once, under ties, None and inserts."""

from __future__ import annotations

from typing import Any

from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import QueryError
from holdall.query.builder import Page, QueryBuilder
from holdall.query.expressions import col
from holdall.testing.suite_checks import Checks, expect, identify
from holdall.testing.suite_models import Person, Plain, Sample, Seat
from holdall.testing.suite_values import SCALARS

C = Capability
CHECKS = Checks()
NEEDS = (C.ORDER, C.PAGES)


async def people(backend: Backend, count: int = 13) -> QueryBuilder[Person]:
    """Store persons with ties and None, and return the query of all."""
    ages = [None if number % 5 == 0 else number % 3 for number in range(count)]
    await backend.create_many([Person(id=number, name=str(number % 4), age=age) for number, age in enumerate(ages)])
    return backend.query(Person)


async def walk(query: QueryBuilder[Any], size: int) -> list[Page[Any]]:
    """Return all pages, from the first."""
    pages = [await query.page(size=size)]
    while (after := pages[-1].next) is not None:
        pages.append(await query.page(size=size, after=after))
        assert len(pages) < 100, "the pages have no end"
    return pages


async def walk_back(query: QueryBuilder[Any], size: int, page: Page[Any]) -> list[Page[Any]]:
    """Return all pages up to one, from its end."""
    pages = [page]
    while (before := pages[0].previous) is not None:
        pages.insert(0, await query.page(size=size, after=before))
        assert len(pages) < 100, "the pages have no beginning"
    return pages


@CHECKS.of(Person, needs=NEEDS)
async def test_pages_show_each_record_once_forwards_and_backwards(backend: Backend) -> None:
    """R5."""
    query, age = await people(backend), col(Person.age)
    orders: list[tuple[Any, ...]] = [
        ("id",),
        ("-id",),
        ("age",),
        ("-age", "name"),
        ("-age", "name", "-id"),
        (age.asc(nulls="first"), "-name"),
        (age.desc(nulls="first"),),
    ]
    for order in orders:
        ordered = query.order_by(*order)
        wanted = await identify(ordered)
        for size in (1, 4, 13, 14):
            pages = await walk(ordered, size)
            back = await walk_back(ordered, size, pages[-1])
            assert [item.id for page in pages for item in page.items] == wanted, f"order_by{order!r} size={size}"
            assert [item.id for page in back for item in page.items] == wanted, f"order_by{order!r} size={size}, backwards"
            assert (pages[0].previous, pages[-1].next) == (None, None)


@CHECKS.of(Sample, needs=NEEDS)
async def test_cursors_hold_values_of_every_type(backend: Backend) -> None:
    """Exactly."""
    for field, values in SCALARS.values():
        await backend.create_many(
            [Sample.model_validate({"id": number, field: value}) for number, value in enumerate([*values[:6], *values[:3]])]
        )
        query = backend.query(Sample).order_by(f"-{field}")
        pages = await walk(query, 2)
        assert [item.id for page in pages for item in page.items] == await identify(query), field
        await backend.delete_many(await backend.query(Sample))


@CHECKS.of(Seat, needs=NEEDS)
async def test_composite_keys_place_a_page(backend: Backend) -> None:
    """Part by part."""
    await backend.create_many([Seat(number=number, hall=hall, guest="x" if number else None) for hall in "abß" for number in range(3)])
    for order in (("guest",), ("-guest",), ("-hall",), ("hall", "-number")):
        query = backend.query(Seat).order_by(*order)
        wanted = [(seat.hall, seat.number) for seat in await query]
        assert [(item.hall, item.number) for page in await walk(query, 2) for item in page.items] == wanted, order


@CHECKS.of(Plain, needs=NEEDS)
async def test_inserts_and_deletes_between_pages_neither_repeat_nor_skip(backend: Backend) -> None:
    """The page goes on behind its last record."""
    await backend.create_many([Plain(id=number) for number in range(10)])
    query = backend.query(Plain).order_by("id")
    first = await query.page(size=4)
    await backend.create_many([Plain(id=-1), Plain(id=100)])
    await backend.delete_many([Plain(id=3), Plain(id=4)])

    second = await query.page(size=4, after=first.next)

    assert [item.id for item in second.items] == [5, 6, 7, 8]
    assert [item.id for item in (await query.page(size=9, after=second.previous)).items] == [-1, 0, 1, 2]


@CHECKS.of(Plain, needs=(*NEEDS, C.FILTER))
async def test_pages_keep_to_the_filter_and_cursors_to_their_query(backend: Backend) -> None:
    """A cursor of another query is refused."""
    await backend.create_many([Plain(id=number, number=number % 2) for number in range(10)])
    query = backend.query(Plain).filter(number=1).order_by("-id")

    pages = await walk(query, 2)

    assert [item.id for page in pages for item in page.items] == [9, 7, 5, 3, 1]
    for other in (query.filter(id__gt=1), query.order_by("id"), backend.query(Plain)):
        await expect(QueryError, other.page(size=2, after=pages[0].next))
    assert (await query.filter(id=99).page()).items == []
