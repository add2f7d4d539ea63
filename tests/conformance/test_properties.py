"""Random rows and queries: the test's own oracle, the library's, and the store give the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdall import Backend, QueryBuilder, col
from holdall.query import evaluate
from tests.conformance.models import Sample
from tests.conformance.oracle import Asked, Described, Term, answer, condition, holds, same
from tests.conformance.strategies import asked, conditions, orders, rows, tied_orders, tied_rows

MODELS = (Sample,)
several = st.lists(asked, min_size=4, max_size=12)
NAMES = ("id", "text", "exact", "data", "part", "color", "moment")


@pytest.fixture(params=["memory", "sqlite", "postgres", "mysql", "opensearch"])
def backend_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


def build(backend: Backend, query: Asked) -> QueryBuilder[Sample]:
    built = backend.query(Sample).order_by(*map(written, query.order), *(() if query.order else ("id",)))
    if query.where is not None:
        where = condition(Sample, query.where)
        built = built.exclude(where) if query.exclude else built.filter(where)
    if query.limit is not None:
        built = built.limit(query.limit)
    return built if query.offset is None else built.offset(query.offset)


def written(term: Term) -> Any:
    column = col(getattr(Sample, term.field))
    nulls: Any = "first" if term.nulls_first else "last"
    return column.desc(nulls=nulls) if term.descending else column.asc(nulls=nulls)


async def store(backend: Backend, records: Sequence[Sample]) -> None:
    await backend.clear(Sample)
    await backend.create_many([record.model_copy(deep=True) for record in records])


def ids(found: Sequence[Sample]) -> list[int]:
    return [record.id for record in found]


@given(records=rows, queries=several)
async def test_a_query_gives_what_both_oracles_say(backend: Backend, records: list[Sample], queries: list[Asked]) -> None:
    await store(backend, records)

    for query in queries:
        expected = ids(answer(query, records))
        built = build(backend, query)
        assert ids(evaluate(built, records)) == expected, f"the library's oracle, for {query.where}"
        assert ids(await built) == expected, f"the store, for {query.where}"


@given(records=rows, queries=st.lists(conditions, min_size=4, max_size=12))
async def test_rows_of_a_condition_and_of_its_complement_add_up(backend: Backend, records: list[Sample], queries: list[Described]) -> None:
    await store(backend, records)

    for described in queries:
        where = condition(Sample, described)
        query = backend.query(Sample)
        found, others = ids(await query.filter(where)), ids(await query.filter(~where))
        assert sorted(found + others) == ids(records), str(described)
        assert sorted(ids(await query.exclude(where))) == sorted(others), str(described)
        assert await query.filter(where).count() == len(found), str(described)
        assert await query.filter(where).exists() == bool(found), str(described)
        assert await query.exclude(where).exists() == bool(others), str(described)


@given(
    rows_and_order=st.tuples(rows, orders) | st.tuples(tied_rows, tied_orders) | st.tuples(tied_rows, tied_orders),
    where=st.none() | conditions,
    size=st.integers(1, 4),
)
async def test_pages_forwards_and_backwards_show_each_row_once(
    backend: Backend, rows_and_order: tuple[list[Sample], tuple[Term, ...]], where: Described | None, size: int
) -> None:
    records, order = rows_and_order
    await store(backend, records)
    expected = ids(answer(Asked(where, order), records))
    query = build(backend, Asked(where, order))

    page = await query.page(size=size)
    forwards = [page]
    while page.next is not None:
        page = await query.page(size=size, after=page.next)
        forwards.append(page)
    backwards = [page]
    while page.previous is not None:
        page = await query.page(size=size, after=page.previous)
        backwards.insert(0, page)

    assert [number for page in forwards for number in ids(page.items)] == expected
    assert [number for page in backwards for number in ids(page.items)] == expected
    assert forwards[0].previous is None


@given(records=rows, order=orders)
async def test_every_value_comes_back_as_it_was(backend: Backend, records: list[Sample], order: tuple[Term, ...]) -> None:
    await store(backend, records)
    query = build(backend, Asked(None, order))
    expected = answer(Asked(None, order), records)

    found = await query
    dicts = await query.values(*NAMES)

    for record, loaded, picked in zip(expected, found, dicts, strict=True):
        for name in Sample.model_fields:
            assert same(getattr(loaded, name), getattr(record, name)), name
        assert list(picked) == list(NAMES)
        assert all(same(picked[name], getattr(record, name)) for name in NAMES)
    assert (await query.first(), await query.last()) == (found[0], found[-1])


@given(records=rows, described=conditions, other=conditions)
async def test_updates_and_deletes_touch_what_matches_and_count_it(
    backend: Backend, records: list[Sample], described: Described, other: Described
) -> None:
    await store(backend, records)
    touched = {record.id for record in records if holds(described, record)}

    updated = await backend.query(Sample).filter(condition(Sample, described)).update(small=77, text="changed")

    assert updated == len(touched)
    now = await backend.query(Sample).order_by("id")
    assert all((row.small, row.text) == (77, "changed") for row in now if row.id in touched)
    assert [row for row in now if row.id not in touched] == [row for row in records if row.id not in touched]
    gone = {row.id for row in now if holds(other, row)}
    assert await backend.query(Sample).filter(condition(Sample, other)).delete() == len(gone)
    assert ids(await backend.query(Sample).order_by("id")) == [row.id for row in now if row.id not in gone]
