"""Random rows and queries: the answer of the test's own oracle, or a refusal where the store says that it cannot."""

# pyright: reportUnknownArgumentType=false
# Values of any type are told apart by isinstance here, and what is inside a list or dict then counts as unknown.

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import holdall
from holdall import Backend, Field, Index, Model, UnsupportedOperation, ValidationError, col
from tests.conformance import strategies as pools
from tests.conformance.models import Sample
from tests.conformance.oracle import Asked, Both, Check, Described, Either, Term, answer, condition, holds, same
from tests.conformance.strategies import conditions, rows

REFUSED = {"endswith", "icontains", "istartswith", "iendswith", "iexact"}
NAMES = ("id", "text", "exact", "data", "part", "color", "moment")


class Shelf(Model):
    """A partition, a native sort key, and indexes with what is awkward in them."""

    case: str = Field(primary_key=True)
    place: str = Field(primary_key=True)
    label: str | None = Field(default=None, index=True)
    number: int | None = None
    real: float | None = None
    word: str = ""

    class Meta:
        name = "properties_shelf"
        indexes = (Index("label", "number", "word"), Index("word", "-real"), Index("number", "label"))


class Numbered(Model):
    """Keys of three parts, in which bytes and numbers are ordered."""

    flag: bool = Field(primary_key=True)
    blob: bytes = Field(primary_key=True)
    number: int = Field(primary_key=True)
    text: str | None = None

    class Meta:
        name = "properties_numbered"


MODELS = (Sample, Shelf, Numbered)
# A request of DynamoDB Local takes some milliseconds.
_USUAL = settings().max_examples
fewer = settings(max_examples=max(8, _USUAL // 2))
more = settings(max_examples=_USUAL * 2)


@pytest.fixture
async def backend(dynamodb_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(dynamodb_url, allow_scan=True) as backend:
        await backend.drop(*MODELS)
        await backend.initialize(*MODELS)
        yield backend
        await backend.drop(*MODELS)


async def store(backend: Backend, model: type[Model], records: Sequence[Model]) -> None:
    await backend.clear(model)
    try:
        await backend.create_many([record.model_copy(deep=True) for record in records])
    except ValidationError as error:
        if "1e-130" not in str(error):
            raise
        assume(False)  # a number that only a field of its own can hold


def is_refused(described: Described) -> bool:
    if isinstance(described, Check):
        return described.operator in REFUSED or _is_extreme(described.value)
    return any(map(is_refused, described.items)) if isinstance(described, Both | Either) else is_refused(described.item)


def _is_extreme(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_is_extreme, value))
    if isinstance(value, dict):
        return any(map(_is_extreme, value.values()))
    if isinstance(value, BaseModel):
        return any(map(_is_extreme, value.__dict__.values()))
    return isinstance(value, float) and bool(value) and not 1e-130 <= abs(value) < 1e126


@fewer
@given(records=rows, queries=st.lists(conditions, min_size=4, max_size=12))
async def test_a_condition_and_its_complement_give_what_the_oracle_says(
    backend: Backend, records: list[Sample], queries: list[Described]
) -> None:
    await store(backend, Sample, records)
    for described in queries:
        where = condition(Sample, described)
        query = backend.query(Sample)
        wanted = [record.id for record in records if holds(described, record)]
        try:
            found = sorted(record.id for record in await query.filter(where))
            others = sorted(record.id for record in await query.exclude(where))
        except UnsupportedOperation:
            assert is_refused(described), str(described)
            continue
        assert found == wanted, str(described)
        assert others == [record.id for record in records if record.id not in wanted], str(described)
        assert await query.filter(where).count() == len(found), str(described)
        assert await query.filter(where).exists() == bool(found), str(described)


@fewer
@given(records=rows)
async def test_every_value_comes_back_as_it_was(backend: Backend, records: list[Sample]) -> None:
    await store(backend, Sample, records)
    found = {record.id: record for record in await backend.query(Sample)}
    dicts = {each["id"]: each for each in await backend.query(Sample).values(*NAMES)}
    for record in records:
        for name in Sample.model_fields:
            assert same(getattr(found[record.id], name), getattr(record, name)), name
        assert all(same(dicts[record.id][name], getattr(record, name)) for name in NAMES)


@fewer
@given(records=rows, described=conditions, other=conditions)
async def test_updates_and_deletes_touch_what_matches_and_count_it(
    backend: Backend, records: list[Sample], described: Described, other: Described
) -> None:
    assume(not is_refused(described) and not is_refused(other))
    await store(backend, Sample, records)
    touched = {record.id for record in records if holds(described, record)}

    assert await backend.query(Sample).filter(condition(Sample, described)).update(small=77, text="changed") == len(touched)

    now = sorted(await backend.query(Sample), key=lambda row: row.id)
    assert all((row.small, row.text) == (77, "changed") for row in now if row.id in touched)
    assert [row for row in now if row.id not in touched] == [row for row in records if row.id not in touched]
    gone = {row.id for row in now if holds(other, row)}
    assert await backend.query(Sample).filter(condition(Sample, other)).delete() == len(gone)
    assert sorted(row.id for row in await backend.query(Sample)) == [row.id for row in now if row.id not in gone]


# -- keys and indexes ------------------------------------------------------------------------------------------------------------------

few = st.sampled_from(["", "a", "\x01"])
texts = (
    few
    | st.sampled_from(["", "a", "b", "a\x01", "a\x02", "\x01", "\x02\x01", "ab", "#", "\uffff", "\U00010000", "\U0010ffff"])
    | pools.texts
)
some_numbers = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)])
numbers = st.none() | some_numbers
cases = st.sampled_from(["", "a", "\x01", "b"])
shelves = st.lists(
    st.builds(
        Shelf, case=cases, place=texts, label=st.none() | few | texts, number=numbers, real=st.none() | pools.floats, word=few | texts
    ),
    min_size=4,
    max_size=14,
    unique_by=lambda record: (record.case, record.place),
)
some_terms = st.lists(
    st.builds(Term, st.sampled_from(["place", "number", "label", "real", "word", "case"]), st.booleans(), st.booleans()),
    max_size=3,
    unique_by=lambda term: term.field,
).map(tuple)
_VALUES: dict[str, st.SearchStrategy[Any]] = {"case": cases, "place": texts, "label": texts, "number": some_numbers, "word": texts}


def checks(name: str) -> st.SearchStrategy[Check]:
    some = _VALUES[name]
    values = st.none() | some
    operators = ["gt", "gte", "lt", "lte"] + (["startswith"] if name != "number" else [])
    return st.one_of(
        st.builds(Check, st.just(name), st.just(()), st.sampled_from(["eq", "eq", "ne"]), values),
        st.builds(Check, st.just(name), st.just(()), st.sampled_from(operators), some),
        st.builds(Check, st.just(name), st.just(()), st.just("in"), st.lists(values, max_size=3)),
        st.builds(Check, st.just(name), st.just(()), st.just("between"), st.tuples(some, some)),
    )


# What a key or an index begins with, and how it goes on.
_PLACES = [
    ("case", ("place",)),
    ("label", ("case", "place")),
    ("label", ("number", "word", "case")),
    ("word", ("real", "case")),
    ("number", ("label",)),
]


@st.composite
def served(draw: st.DrawFn) -> Asked:
    """Return a query that a key or an index is likely to answer."""
    first, rest = draw(st.sampled_from(_PLACES))
    values: list[Any] = ["", "a", "\x01"] if first in ("case", "word") else [None, "", "a"] if first == "label" else [None, 0, 1, -1]
    some = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True))
    begin = Check(first, (), "eq", some[0]) if draw(st.integers(0, 3)) else Check(first, (), "in", some)
    descending, nulls_first = draw(st.booleans()), draw(st.booleans())
    order = tuple(Term(name, descending, nulls_first if position == 0 else descending) for position, name in enumerate(rest))
    order = order[: draw(st.integers(0, len(rest)))]
    if begin.operator == "in" and order:
        order = (Term(first, draw(st.booleans())), *order)
    more = draw(
        st.lists(st.sampled_from([*rest, *rest, "number", "word"]).filter(lambda name: name in _VALUES).flatmap(checks), max_size=2)
    )
    return Asked(Both((begin, *more)), order, draw(st.none() | st.integers(1, 4)))


random_queries = st.builds(
    Asked,
    where=st.lists(st.sampled_from(list(_VALUES)).flatmap(checks), min_size=1, max_size=4).map(lambda items: Both(tuple(items))),
    order=some_terms,
    limit=st.none() | st.integers(1, 4),
)
asked = st.one_of(served(), served(), served(), random_queries)


def written(model: type[Model], term: Term) -> Any:
    column = col(getattr(model, term.field))
    return (
        column.desc(nulls="first" if term.nulls_first else "last")
        if term.descending
        else column.asc(nulls="first" if term.nulls_first else "last")
    )


@more
@given(records=shelves, queries=st.lists(asked, min_size=15, max_size=40), size=st.integers(1, 4))
async def test_keys_and_indexes_answer_in_order_or_the_query_is_refused(
    backend: Backend, records: list[Shelf], queries: list[Asked], size: int
) -> None:
    await store(backend, Shelf, records)
    for query in queries:
        assert query.where is not None
        built = backend.query(Shelf).filter(condition(Shelf, query.where)).order_by(*[written(Shelf, term) for term in query.order])
        expected = [(row.case, row.place) for row in answer(query, records, ("case", "place"))]
        limited = built if query.limit is None else built.limit(query.limit)
        try:
            found = [(row.case, row.place) for row in await limited]
        except UnsupportedOperation:
            continue
        if not query.order and query.limit is None:
            found.sort()
            expected.sort()
        assert found == expected, f"{query.where} in the order of {query.order}, by\n{limited.explain()}"
        if query.limit is None and query.order:
            await walk(built, size, expected)


async def walk(query: Any, size: int, expected: list[Any]) -> None:
    page = await query.page(size=size)
    forwards = [page]
    while page.next is not None:
        page = await query.page(size=size, after=page.next)
        forwards.append(page)
    backwards = [page]
    while page.previous is not None:
        page = await query.page(size=size, after=page.previous)
        backwards.insert(0, page)
    assert [(row.case, row.place) for each in forwards for row in each.items] == expected
    assert [(row.case, row.place) for each in backwards for row in each.items] == expected


numbered = st.lists(
    st.builds(Numbered, flag=st.booleans(), blob=pools.blobs, number=st.integers(-2, 2), text=st.none() | texts),
    min_size=3,
    max_size=14,
    unique_by=lambda record: (record.flag, record.blob, record.number),
)


@fewer
@given(records=numbered, blob=pools.blobs, other=pools.blobs, number=st.integers(-2, 2), descending=st.booleans())
async def test_keys_of_three_parts_are_found_and_ordered(
    backend: Backend, records: list[Numbered], blob: bytes, other: bytes, number: int, descending: bool
) -> None:
    await store(backend, Numbered, records)
    for record in records:
        assert await backend.get(Numbered, (record.flag, record.blob, record.number)) == record
    wheres = [
        (Check("blob", (), "eq", blob),),
        (Check("blob", (), "eq", blob), Check("number", (), "gte", number)),
        (Check("blob", (), "gt", blob), Check("blob", (), "lt", other)),
        (Check("blob", (), "gte", blob), Check("number", (), "lt", number)),
        (Check("blob", (), "in", [blob, other]),),
    ]
    for flag in (False, True):
        for where in wheres:
            whole = Both((Check("flag", (), "eq", flag), *where))
            terms = (Term("blob", descending), Term("number", descending))
            expected = answer(Asked(whole, terms), records, ("flag", "blob", "number"))
            query = backend.query(Numbered).filter(condition(Numbered, whole)).order_by(*[written(Numbered, term) for term in terms])
            assert await query == expected, str(whole)


# -- writes that move records in indexes -----------------------------------------------------------------------------------------------

new_values = st.fixed_dictionaries(
    {},
    optional={"label": st.none() | few | texts, "number": numbers, "real": st.none() | pools.floats, "word": few | texts},
).filter(bool)
writes = st.lists(
    st.tuples(asked.map(lambda query: query.where), st.none() | new_values, st.sampled_from(["query", "save", "upsert"])),
    min_size=1,
    max_size=5,
)


@fewer
@given(records=shelves, changes=writes)
async def test_what_is_written_moves_in_every_index(
    backend: Backend, records: list[Shelf], changes: list[tuple[Described, dict[str, Any] | None, str]]
) -> None:
    """Updates and deletes, by query and by objects; then each index is asked for each of its values."""
    await store(backend, Shelf, records)
    expected = [record.model_copy(deep=True) for record in records]
    for where, values, way in changes:
        touched = [record for record in expected if holds(where, record)]
        query = backend.query(Shelf).filter(condition(Shelf, where))
        if way == "query":
            assert await (query.delete() if values is None else query.update(**values)) == len(touched), str(where)
        else:
            for record in await query:
                for name, value in (values or {}).items():
                    setattr(record, name, value)
                await (backend.delete(record) if values is None else backend.save(record) if way == "save" else backend.upsert(record))
        expected = [record for record in expected if values is not None or record not in touched]
        for record in touched:
            for name, value in (values or {}).items():
                setattr(record, name, value)

    for first, rest in _PLACES:
        for value in {getattr(record, first) for record in (*records, *expected)}:
            whole = Check(first, (), "eq", value)
            terms = tuple(Term(name, descending=False) for name in rest)
            query = backend.query(Shelf).filter(condition(Shelf, whole)).order_by(*[written(Shelf, term) for term in terms])
            found = [(row.case, row.place) for row in await query]
            assert found == [(row.case, row.place) for row in answer(Asked(whole, terms), expected, ("case", "place"))], (
                f"{first}={value!r}"
            )
            streamed = [(row.case, row.place) async for row in query.stream(batch=2)]
            assert streamed == found
