"""Pages by keyset: each record once, under ties, None and inserts; cursors of another query, or changed ones, are refused."""

from __future__ import annotations

import base64
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

import holdall
from holdall import Backend, Field, Model, Page, QueryBuilder, QueryError, col
from tests.conformance.models import Color, Sample


class Entry(Model):
    id: int = Field(primary_key=True)
    rank: int | None = None
    name: str | None = None


class Spot(Model):
    hall: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    rank: int | None = None


class Brief(NamedTuple):
    name: str | None


MODELS = (Entry, Spot, Sample)


async def entries(backend: Backend, count: int = 25) -> QueryBuilder[Entry]:
    await backend.create_many(
        [
            Entry(id=number, rank=None if number % 5 == 0 else number % 3, name=None if number % 7 == 3 else str(number % 4))
            for number in range(count)
        ]
    )
    return backend.query(Entry)


async def walk(query: QueryBuilder[Any], size: int) -> list[Page[Any]]:
    pages = [await query.page(size=size)]
    while pages[-1].next is not None:
        pages.append(await query.page(size=size, after=pages[-1].next))
    return pages


async def walk_back(query: QueryBuilder[Any], size: int, page: Page[Any]) -> list[Page[Any]]:
    pages = [page]
    while pages[0].previous is not None:
        pages.insert(0, await query.page(size=size, after=pages[0].previous))
    return pages


ORDERS: list[tuple[Any, ...]] = [
    (),
    ("id",),
    ("-id",),
    ("rank",),
    ("-rank",),
    ("rank", "-name"),
    ("-rank", "name", "-id"),
    (col(Entry.rank).asc(nulls="first"),),
    (col(Entry.rank).desc(nulls="first"), "name"),
    (col(Entry.rank).desc(nulls="first"), col(Entry.name).asc(nulls="first")),
]


@pytest.mark.parametrize("order", ORDERS, ids=range(len(ORDERS)))
@pytest.mark.parametrize("size", [1, 4, 5, 24, 25, 26])
async def test_each_record_is_seen_once_forwards_and_backwards(backend: Backend, order: tuple[Any, ...], size: int) -> None:
    query = (await entries(backend)).order_by(*order)
    expected = [found.id for found in await (query if order else query.order_by("id"))]

    pages = await walk(query, size)
    back = await walk_back(query, size, pages[-1])

    assert [item.id for page in pages for item in page.items] == expected
    assert [item.id for page in back for item in page.items] == expected
    assert [len(page.items) for page in pages] == [size] * (25 // size) + ([25 % size] if 25 % size else [])
    assert (pages[0].previous, pages[-1].next) == (None, None)
    assert all(page.previous is not None for page in pages[1:])


async def test_pages_of_shapes_have_the_same_cursors(backend: Backend) -> None:
    query = (await entries(backend)).order_by("-rank").filter(id__gt=2)

    for shaped in (query.values("name"), query.into(Brief)):
        pages = await walk(shaped, 4)
        whole = await walk(query, 4)
        assert [page.next for page in pages] == [page.next for page in whole]
        assert [item for page in pages for item in page.items] == await shaped
    assert [item.keys() for item in (await query.values("name").page(size=1)).items] == [{"name"}]


async def test_inserts_and_deletes_between_pages_neither_repeat_nor_skip(backend: Backend) -> None:
    query = (await entries(backend, 10)).order_by("id")
    first = await query.page(size=4)
    assert first.next is not None
    await backend.create(Entry(id=-1))
    await backend.create(Entry(id=100))
    await backend.query(Entry).filter(id__in=[3, 4]).delete()

    second = await query.page(size=4, after=first.next)

    assert [item.id for item in second.items] == [5, 6, 7, 8]
    assert second.previous is not None
    before = await query.page(size=4, after=second.previous)
    assert [item.id for item in before.items] == [-1, 0, 1, 2]
    assert before.next is not None
    assert [item.id for item in (await query.page(size=2, after=before.next)).items] == [5, 6]


async def test_composite_keys_place_a_page(backend: Backend) -> None:
    await backend.create_many(
        [Spot(hall=hall, number=number, rank=1 if number else None) for hall in "abß\uffff\U00010000" for number in range(4)]
    )
    for order in ((), ("rank",), ("-rank",), ("-number",), ("hall", "-number")):
        query = backend.query(Spot).order_by(*order)
        expected = [(found.hall, found.number) for found in await (query if order else query.order_by("hall"))]
        assert [(item.hall, item.number) for page in await walk(query, 3) for item in page.items] == expected


AWKWARD: dict[str, list[Any]] = {
    "text": [None, "", "a", "\uffff", "\U00010000", "'", "a\nb"],
    "number": [None, -(2**63), 2**63 - 1, 2**53 + 1, 2**53],
    "real": [None, 0.1, 5e-324, -1.7976931348623157e308, 1.0, 0.30000000000000004],
    "exact": [None, Decimal("9999999999999999999999.999999999999"), Decimal("0.000000000001"), Decimal("-1.5")],
    "amount": [None, Decimal("9999999999999999.99"), Decimal("-0.01")],
    "moment": [
        None,
        datetime(9999, 12, 31, 23, 59, 59, 999998, tzinfo=UTC),
        datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    ],
    "span": [None, timedelta(microseconds=-1), timedelta(days=100000, microseconds=1)],
    "blob": [None, b"", b"\xff", b"\x00a"],
    "flag": [None, True, False],
    "color": [None, *Color],
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("sign", ["", "-"])
async def test_a_cursor_holds_every_kind_of_value(backend: Backend, name: str, sign: str) -> None:
    await backend.create_many([Sample(id=number, **{name: value}) for number, value in enumerate(AWKWARD[name] * 2)])
    query = backend.query(Sample).order_by(sign + name)

    pages = await walk(query, 1)

    assert [page.items[0].id for page in pages] == [found.id for found in await query]
    assert [page.items[0].id for page in await walk_back(query, 1, pages[-1])] == [found.id for found in await query]


async def test_an_empty_query_has_one_empty_page(backend: Backend) -> None:
    for query in (backend.query(Entry), backend.query(Entry).filter(id__in=[])):
        page = await query.page()
        assert (page.items, page.next, page.previous) == ([], None, None)


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "5", None])
async def test_a_size_is_a_number_from_one(backend: Backend, size: Any) -> None:
    with pytest.raises(QueryError):
        await backend.query(Entry).page(size=size)


async def test_a_huge_size_gives_all(backend: Backend) -> None:
    query = await entries(backend)

    for size in (2**31, 2**63 - 1, 2**70):
        page = await query.page(size=size)
        assert (len(page.items), page.next) == (25, None)


# -- cursors that are refused --------------------------------------------------------------------------------------------------------


async def test_cursors_of_another_query_are_refused(backend: Backend) -> None:
    query = (await entries(backend)).order_by("rank").filter(id__gt=1)
    cursor = (await query.page(size=3)).next
    assert cursor is not None

    others: list[QueryBuilder[Any]] = [
        query.order_by("-rank"),
        query.order_by("rank", "name"),
        query.order_by(col(Entry.rank).asc(nulls="first")),
        query.filter(id__gt=1),
        query.filter(id__lt=9),
        backend.query(Entry).order_by("rank").filter(id__gt=2),
        backend.query(Entry).order_by("rank").exclude(id__gt=1),
        backend.query(Entry).order_by("rank").filter(rank__gt=1),
        backend.query(Entry).order_by("rank"),
        backend.query(Spot).order_by("rank"),
    ]
    for other in others:
        with pytest.raises(QueryError):
            await other.page(size=3, after=cursor)
    assert (await query.page(size=7, after=cursor)).items
    assert (await query.values("id").page(size=7, after=cursor)).items


async def test_changed_cursors_are_refused(backend: Backend) -> None:
    query = await entries(backend)
    cursor = (await query.page(size=3)).next
    assert cursor is not None
    swapped = [cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :] for place in range(len(cursor) - 1)]

    for broken in ("", "x", "ß", "====", cursor[:-2], cursor[4:], cursor + "AAAA", cursor[::-1], "A" * 40, *swapped):
        with pytest.raises(QueryError):
            await query.page(size=3, after=broken)
    for wrong in (5, b"x", True, [cursor]):
        with pytest.raises(QueryError):
            await query.page(size=3, after=wrong)  # type: ignore[arg-type]


async def test_a_cursor_is_signed_with_the_key(backend: Backend, backend_url: str) -> None:
    await entries(backend)
    cursors: list[str] = []
    for key in (None, "first secret", "second secret"):
        async with holdall.open(backend_url, cursor_key=key) as other:
            await other.initialize(*MODELS)
            if not await other.query(Entry).exists():
                await entries(other)
            page = await other.query(Entry).page(size=3)
            assert page.next is not None
            for cursor in cursors:
                with pytest.raises(QueryError):
                    await other.query(Entry).page(size=3, after=cursor)
            cursors.append(page.next)
            assert len((await other.query(Entry).page(size=3, after=page.next)).items) == 3
            body = base64.urlsafe_b64decode(page.next + "=" * (-len(page.next) % 4))
            assert b"secret" not in body
            assert "secret" not in repr(other)
    assert len(set(cursors)) == 3


PROGRAM = """
import asyncio, holdall
from holdall import Field, Model
class Entry(Model):
    id: int = Field(primary_key=True)
    name: str | None = None
    tags: list[str] = []
async def main():
    async with holdall.open("memory://", cursor_key="k") as backend:
        await backend.initialize(Entry)
        await backend.create_many([Entry(id=1, name="a"), Entry(id=2, name="b")])
        names = {"a", "b", "c", "d", "e", None}
        page = await backend.query(Entry).filter(name__in=names).exclude(tags__has_any=names - {None}).page(size=1)
        print(page.next)
asyncio.run(main())
"""


@pytest.mark.engine("memory")
def test_a_cursor_is_the_same_in_every_worker_of_a_service() -> None:
    # Sets have another order in every process.
    cursors = {
        subprocess.run([sys.executable, "-c", PROGRAM], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True).stdout
        for seed in ("1", "2", "3")
    }

    assert len(cursors) == 1
