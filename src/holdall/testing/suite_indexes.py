"""Orders and ranges by the key and by declared indexes, which every store that orders at all has (rule R5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.query.builder import QueryBuilder
from holdall.query.expressions import F, col
from holdall.testing.suite_checks import Checks
from holdall.testing.suite_models import Plain, Visit
from holdall.testing.suite_pages import walk, walk_back

C = Capability
CHECKS = Checks()
NEEDS = (C.FILTER, C.INDEX_ORDER)
CITIES = ("London", "", None, "Paris")
STARS = (None, 3, -1, 3, 2**63 - 1, None, -(2**63))


async def visits(backend: Backend) -> list[Visit]:
    """Store visits of two halls, with ties and None."""
    found = [
        Visit(
            hall=hall,
            number=number,
            guest=None if number % 5 == 0 else f"guest {number % 3}",
            city=city,
            stars=STARS[number % 7],
            text="x" * number,
        )
        for hall in ("a", "b")
        for number, city in enumerate(CITIES * 6, -10)
    ]
    return await backend.create_many(found)


async def keys(query: QueryBuilder[Visit]) -> list[tuple[str, int]]:
    """Return the keys of what a query gives, in order."""
    return [(found.hall, found.number) for found in await query]


def ordered(records: list[Visit], *, descending: bool, nulls_first: bool = False) -> list[tuple[str, int]]:
    """Return the keys by stars, and then by key in the same direction."""
    present = sorted(
        [item for item in records if item.stars is not None], key=lambda item: (item.stars, item.hall, item.number), reverse=descending
    )
    absent = sorted([item for item in records if item.stars is None], key=lambda item: (item.hall, item.number), reverse=descending)
    return [(item.hall, item.number) for item in (absent + present if nulls_first else present + absent)]


@CHECKS.of(Visit, needs=NEEDS)
async def test_the_second_part_of_a_key_orders_what_shares_the_first(backend: Backend) -> None:
    """In both directions, with a limit and a filter."""
    await visits(backend)
    query = backend.query(Visit).filter(hall="a")

    assert [item.number for item in await query.order_by("number")] == list(range(-10, 14))
    assert [item.number for item in await query.order_by("-number").limit(3)] == [13, 12, 11]
    assert [item.number for item in await query.limit(2)] == [-10, -9]
    assert [item.number for item in await query.filter(text="xxx").order_by("number").limit(2)] == [3]
    assert [item.number for item in await query.filter(city="London").order_by("-number").limit(2)] == [10, 6]
    first, last = await query.first(), await query.last()
    assert first is not None
    assert last is not None
    assert (first.number, last.number) == (-10, 13)


@CHECKS.of(Visit, needs=(*NEEDS, C.COUNT))
async def test_ranges_of_a_key_have_just_their_ends(backend: Backend) -> None:
    """R9."""
    await visits(backend)
    query = backend.query(Visit).filter(hall="a").order_by("number")
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({"number__gt": 10}, [11, 12, 13]),
        ({"number__gte": 12}, [12, 13]),
        ({"number__lt": -8}, [-10, -9]),
        ({"number__lte": -9}, [-10, -9]),
        ({"number__gt": 1, "number__lt": 4}, [2, 3]),
        ({"number__between": (1, 3)}, [1, 2, 3]),
        ({"number__gt": 1, "number__lt": 2}, []),
        ({"number__gte": 3, "number__lte": 1}, []),
        ({"number": 3, "number__gt": 2}, [3]),
        ({"number": 3, "number__gt": 3}, []),
        ({"number__in": [5, 3, 99]}, [3, 5]),
        ({"number__gt": 2**63 - 1}, []),
    ]
    for lookups, wanted in cases:
        assert [item.number for item in await query.filter(**lookups)] == wanted, lookups
        assert await query.filter(**lookups).count() == len(wanted), lookups


@CHECKS.of(Visit, needs=(*NEEDS, C.COUNT))
async def test_an_index_orders_by_its_fields_and_the_key_with_none_at_either_end(backend: Backend) -> None:
    """R5: no record is left out, whatever is None."""
    records = await visits(backend)
    stars = col(Visit.stars)
    for city in CITIES:
        query = backend.query(Visit).filter(city=city)
        mine = [record for record in records if record.city == city]
        assert await keys(query.order_by("stars")) == ordered(mine, descending=False), city
        assert await keys(query.order_by("-stars")) == ordered(mine, descending=True), city
        assert await keys(query.order_by(stars.asc(nulls="first"))) == ordered(mine, descending=False, nulls_first=True), city
        assert await keys(query.order_by(stars.desc(nulls="first"))) == ordered(mine, descending=True, nulls_first=True), city
        assert await keys(query.order_by("-stars").limit(5)) == ordered(mine, descending=True)[:5], city
        assert await query.count() == len(mine)


@CHECKS.of(Visit, needs=(*NEEDS, C.COUNT, C.TEXT_MATCH))
async def test_an_index_answers_ranges_and_filters_exactly(backend: Backend) -> None:
    """The limit counts what matches."""
    records = await visits(backend)
    query = backend.query(Visit).filter(city="London").order_by("stars")
    mine = [record for record in records if record.city == "London"]
    cases: list[tuple[dict[str, Any], Callable[[Visit], bool]]] = [
        ({"stars__gt": -1}, lambda item: item.stars is not None and item.stars > -1),
        ({"stars__gte": 3}, lambda item: item.stars is not None and item.stars >= 3),
        ({"stars__lt": 3}, lambda item: item.stars is not None and item.stars < 3),
        ({"stars__lte": -1}, lambda item: item.stars is not None and item.stars <= -1),
        ({"stars": None}, lambda item: item.stars is None),
        ({"stars__is_null": False}, lambda item: item.stars is not None),
        ({"stars__ne": 3}, lambda item: item.stars != 3),
        ({"stars": 3, "number__gt": 0}, lambda item: item.stars == 3 and item.number > 0),
        ({"hall": "b", "text__contains": "xx"}, lambda item: item.hall == "b" and "xx" in item.text),
    ]
    for lookups, holds in cases:
        wanted = ordered([item for item in mine if holds(item)], descending=False)
        assert await keys(query.filter(**lookups)) == wanted, lookups
        assert await keys(query.filter(**lookups).limit(2)) == wanted[:2], lookups
        assert await query.filter(**lookups).exists() == bool(wanted), lookups


@CHECKS.of(Visit, needs=(*NEEDS, C.PAGES, C.TEXT_MATCH))
async def test_pages_by_key_and_by_index_show_each_record_once(backend: Backend) -> None:
    """Forwards and backwards."""
    await visits(backend)
    stars = col(Visit.stars)
    queries: list[QueryBuilder[Visit]] = [
        backend.query(Visit).filter(hall="a").order_by("number"),
        backend.query(Visit).filter(hall="b").order_by("-number"),
        backend.query(Visit).filter(hall="b", number__gt=-3, text__contains="x").order_by("-number"),
        backend.query(Visit).filter(city="London").order_by("stars"),
        backend.query(Visit).filter(city=None).order_by("-stars"),
        backend.query(Visit).filter(city="").order_by(stars.asc(nulls="first")),
        backend.query(Visit).filter(city="Paris", number__gt=0).order_by(stars.desc(nulls="first")),
        backend.query(Visit).filter(guest="guest 1").order_by("hall", "number"),
    ]
    for query in queries:
        wanted = await keys(query)
        for size in (1, 3, len(wanted), 100):
            pages = await walk(query, size)
            assert [(item.hall, item.number) for page in pages for item in page.items] == wanted, (query, size)
            back = await walk_back(query, size, pages[-1])
            assert [(item.hall, item.number) for page in back for item in page.items] == wanted, (query, size)


@CHECKS.of(Visit, needs=NEEDS)
async def test_what_a_write_changes_moves_in_the_index(backend: Backend) -> None:
    """One field of an index alone, all of them, and the record itself."""
    visit = await backend.create(Visit(hall="a", number=1, city="London", stars=1))
    query = backend.query(Visit)
    visit.stars = 5
    await backend.save(visit)
    assert await keys(query.filter(city="London", stars=5)) == [("a", 1)]
    assert await keys(query.filter(city="London", stars=1)) == []
    other = await backend.get(Visit, ("a", 1))
    other.city = "Paris"
    await backend.save(other)
    visit.stars = None
    await backend.save(visit)
    assert await keys(query.filter(city="Paris", stars=None)) == [("a", 1)]
    assert await keys(query.filter(city="London")) == []
    await backend.upsert(Visit(hall="a", number=1, city="Rome"))
    assert await keys(query.filter(city="Rome")) == [("a", 1)]
    await backend.delete(Visit(hall="a", number=1))
    assert await keys(query.filter(city="Rome")) == []


@CHECKS.of(Visit, needs=(C.FILTER, C.STREAM))
async def test_streams_of_a_partition_give_all_of_it(backend: Backend) -> None:
    """Whatever the batch."""
    await visits(backend)
    query = backend.query(Visit).filter(hall="a")
    for batch in (1, 7, 100):
        assert sorted([item.number async for item in query.stream(batch=batch)]) == list(range(-10, 14))


@CHECKS.of(Visit, Plain, needs=(C.FILTER, C.CONSISTENT, C.COUNT))
async def test_a_consistent_query_sees_what_was_written_just_before(backend: Backend) -> None:
    """R13. ``allow_scan()`` is a permission that every store takes."""
    await backend.create(Visit(hall="a", number=1))
    await backend.create(Plain(id=1, number=7))

    assert await keys(backend.query(Visit).filter(hall="a").consistent()) == [("a", 1)]
    assert await backend.query(Visit).filter(hall="a").consistent().count() == 1
    assert [found.id for found in await backend.query(Plain).filter(number=7).allow_scan().consistent()] == [1]


@CHECKS.of(Visit, needs=(C.FILTER, C.COUNT, C.UPDATE_WHERE, C.DELETE_WHERE, C.EXPRESSIONS))
async def test_writes_by_key_and_by_index_change_what_matches(backend: Backend) -> None:
    """R12."""
    await visits(backend)
    query = backend.query(Visit)

    assert await query.filter(hall="a", number=1).update(stars=F("stars") + 1, text="y") == 1
    assert (await backend.get(Visit, ("a", 1))).text == "y"
    assert await query.filter(hall="a", number=99).update(text="y") == 0
    assert await query.filter(city="Paris", hall="b").update(city="Rome") == 6
    assert await query.filter(city="Rome").count() == 6
    assert await query.filter(city="Rome", number__gt=0).delete() == 4
    assert await query.filter(city="Rome").count() == 2
    assert await query.filter(hall="a").delete() == 24
    assert await query.filter(hall="b").count() == 20
