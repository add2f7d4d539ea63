"""Queries say what they mean: every lookup by example, the traps of the stores, windows, shapes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from functools import reduce
from typing import Any, NamedTuple

import msgspec
import pytest
from pydantic import BaseModel, JsonValue
from typing_extensions import TypedDict

from holdall import Backend, Field, Model, MultipleResultsError, NotFoundError, Q, QueryError, col
from tests.conformance.models import Color, Person, Sample


class Sorted(Model):
    id: int = Field(primary_key=True)
    rank: int | None = None

    class Meta:
        order_by = ["-rank"]


MODELS = (Sample, Person, Sorted)

PEOPLE = [
    Person(id=1, name="Ada", age=36, city="London", tags=["math", "Code"], profile={"address": {"city": "London"}, "n": 1}),
    Person(id=2, name="ada", age=None, city=None, profile={"address": {"city": None}, "n": "1"}),
    Person(id=3, name="Straße", age=18, city="London ", tags=["code"], profile={"address": {}, "n": 1.0, "list": [1, [2], {"a": 3}]}),
    Person(id=4, name="100%_*\\", age=0, city="", tags=[""], profile={"n": None, "list": []}),
    Person(id=5, name="Zoë\U00010000", age=-5, city="\uffff", profile={"n": True, "list": "text", "0": "zero"}),
]


async def people(backend: Backend, *conditions: Any, **lookups: Any) -> list[int]:
    if not await backend.query(Person).exists():
        await backend.create_many([person.model_copy(deep=True) for person in PEOPLE])
    return [found.id for found in await backend.query(Person).filter(*conditions, **lookups).order_by("id")]


@pytest.mark.parametrize(
    ("lookups", "expected"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"age": 36}, [1]),
        ({"age": None}, [2]),
        ({"age__eq": None}, [2]),
        ({"age__ne": None}, [1, 3, 4, 5]),
        ({"age__ne": 36}, [2, 3, 4, 5]),
        ({"age__gt": 0}, [1, 3]),
        ({"age__lt": 0}, [5]),
        ({"age__lte": 0}, [4, 5]),
        ({"age__in": [36, None]}, [1, 2]),
        ({"age__in": [None]}, [2]),
        ({"age__in": []}, []),
        ({"age__in": (0, 18, 18)}, [3, 4]),
        ({"age__in": {0, 18}}, [3, 4]),
        ({"age__in": range(1, 19)}, [3]),
        ({"age__not_in": [36, 18]}, [2, 4, 5]),
        ({"age__not_in": [36, None]}, [3, 4, 5]),
        ({"age__not_in": []}, [1, 2, 3, 4, 5]),
        ({"age__between": (0, 36)}, [1, 3, 4]),
        ({"age__between": [36, 0]}, []),
        ({"age__is_null": True}, [2]),
        ({"age__is_null": False}, [1, 3, 4, 5]),
        ({"name__is_null": True}, []),
        ({"name": None}, []),
        ({"name": "ada"}, [2]),
        ({"name__iexact": "ADA"}, [1, 2]),
        ({"name__iexact": "STRASSE"}, [3]),
        ({"name__icontains": "SS"}, [3]),
        ({"name__contains": "ss"}, []),
        ({"name__contains": "%_*\\"}, [4]),
        ({"name__contains": "_"}, [4]),
        ({"name__contains": ""}, [1, 2, 3, 4, 5]),
        ({"name__startswith": "1"}, [4]),
        ({"name__startswith": "a"}, [2]),
        ({"name__istartswith": "A"}, [1, 2]),
        ({"name__endswith": "\U00010000"}, [5]),
        ({"name__endswith": "A"}, []),
        ({"name__iendswith": "DA"}, [1, 2]),
        ({"city": "London"}, [1]),
        ({"city__startswith": "London"}, [1, 3]),
        ({"city__startswith": ""}, [1, 3, 4, 5]),
        ({"city__contains": ""}, [1, 3, 4, 5]),
        ({"city__gt": "\ud7ff"}, [5]),
        ({"city__lt": "\U00010000"}, [1, 3, 4, 5]),
        ({"tags": []}, [2, 5]),
        ({"tags": ["math", "Code"]}, [1]),
        ({"tags": ["Code", "math"]}, []),
        ({"tags__has": "code"}, [3]),
        ({"tags__has": ""}, [4]),
        ({"tags__has_any": ["math", "code"]}, [1, 3]),
        ({"tags__has_any": []}, []),
        ({"tags__has_all": ["Code", "math"]}, [1]),
        ({"tags__has_all": []}, [1, 2, 3, 4, 5]),
        ({"profile__address__city": "London"}, [1]),
        ({"profile__address__city": None}, [2, 3, 4, 5]),
        ({"profile__address__city__ne": "London"}, [2, 3, 4, 5]),
        ({"profile__address": {}}, [3]),
        ({"profile__n": 1}, [1, 3]),
        ({"profile__n": "1"}, [2]),
        ({"profile__n": True}, [5]),
        ({"profile__n__ne": 1}, [2, 4, 5]),
        ({"profile__n__gte": 1}, [1, 3]),
        ({"profile__n__gt": ""}, [2]),
        ({"profile__n__in": [1, None]}, [1, 3, 4]),
        ({"profile__n__contains": "1"}, [2]),
        ({"profile__list__has": 1}, [3]),
        ({"profile__list__has": [2]}, [3]),
        ({"profile__list__has": 2}, []),
        ({"profile__list__has": {"a": 3}}, [3]),
        ({"profile__list__has_any": [9, 1]}, [3]),
        ({"profile__list__has_any": []}, []),
        ({"profile__list__has_all": []}, [3, 4]),
        ({"profile__list__0": 1}, []),
        ({"profile__0": "zero"}, [5]),
    ],
    ids=repr,
)
async def test_lookups(backend: Backend, lookups: dict[str, Any], expected: list[int]) -> None:
    assert await people(backend, **lookups) == expected


async def test_columns_say_the_same(backend: Backend) -> None:
    age, city, profile = col(Person.age), col(Person.city), col(Person.profile)

    assert await people(backend, age >= 18, (city == "London") | ~col(Person.name).startswith("A")) == [1, 3]
    untyped: Any = Person.age
    assert await people(backend, untyped >= 18) == [1, 3]
    assert await people(backend, ~(age == 36)) == await people(backend, age != 36) == [2, 3, 4, 5]
    assert await people(backend, ~(age > 0)) == [2, 4, 5]
    assert await people(backend, ~~(age > 0)) == [1, 3]
    assert await people(backend, ~age.in_([36, None])) == [3, 4, 5]
    assert await people(backend, ~age.between(0, 36)) == [2, 5]
    assert await people(backend, ~city.contains("London")) == [2, 4, 5]
    assert await people(backend, profile["list"][1] == [2]) == [3]
    assert await people(backend, profile["list"][2]["a"] > 2) == [3]
    assert await people(backend, profile["list"][0].is_null()) == [1, 2, 4, 5]
    assert await people(backend, profile["0"] == "zero") == [5]
    assert await people(backend, profile["list"]["0"] == 1) == []
    assert await people(backend, col(Person.tags)[0] == "math") == [1]


async def test_q_combines(backend: Backend) -> None:
    assert await people(backend, Q(age__gte=18) | Q(city="")) == [1, 3, 4]
    assert await people(backend, Q(age__gte=18) & Q(city="London")) == [1]
    assert await people(backend, ~Q(age__gte=18, city="London")) == [2, 3, 4, 5]
    assert await people(backend, Q(Q(age=0) | Q(age=18), name__startswith="1")) == [4]
    assert await people(backend, Q()) == [1, 2, 3, 4, 5]
    assert await people(backend, ~Q()) == []
    assert await people(backend, Q(age=36), city="London") == [1]


async def test_exclude_is_the_complement_of_filter(backend: Backend) -> None:
    await people(backend)
    query = backend.query(Person).order_by("id")

    assert [found.id for found in await query.exclude(age__gte=18, city="London")] == [2, 3, 4, 5]
    assert [found.id for found in await query.exclude(age__gte=18).exclude(city="London")] == [2, 4, 5]
    assert [found.id for found in await query.filter(age__gte=0).exclude(age=0)] == [1, 3]
    assert await query.exclude() == []


async def test_queries_never_change_the_one_they_came_from(backend: Backend) -> None:
    await people(backend)
    base = backend.query(Person).filter(age__gte=0).order_by("id")

    for derive in (
        lambda: base.filter(age=36),
        lambda: base.exclude(age=36),
        lambda: base.order_by("-id"),
        lambda: base.limit(1),
        lambda: base.offset(1),
        lambda: base.values("name"),
    ):
        derive()
        assert [found.id for found in await base] == [1, 3, 4]


async def test_dates_have_parts_in_utc(backend: Backend) -> None:
    zone = timezone(timedelta(hours=14))
    moments = [
        datetime(2024, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2025, 1, 1, 10, tzinfo=zone),
        datetime(2025, 1, 1, tzinfo=UTC),
    ]
    await backend.create_many([Sample(id=number, moment=moment, day=moment.date()) for number, moment in enumerate(moments, 1)])
    await backend.create(Sample(id=4, moment=datetime.max.replace(tzinfo=UTC), day=date.max))
    await backend.create(Sample(id=5, moment=datetime.min.replace(tzinfo=UTC), day=date.min))
    await backend.create(Sample(id=6))

    async def ids(**lookups: Any) -> list[int]:
        return [found.id for found in await backend.query(Sample).filter(**lookups).order_by("id")]

    assert await ids(moment__year=2024) == [1, 2]
    assert await ids(moment__year=2025) == [3]
    assert await ids(day__year=2025) == [2, 3]
    assert await ids(moment__month=12) == [1, 2, 4]
    assert await ids(moment__day=1) == [3, 5]
    assert await ids(day__day=1) == [2, 3, 5]
    assert await ids(day__month=12) == [1, 4]
    assert await ids(moment__year=9999) == await ids(day__year=9999) == [4]
    assert await ids(moment__year=1) == await ids(day__year=1) == [5]
    for year in (0, -1, 10_000, 2**70):
        assert await ids(moment__year=year) == []
    for month in (0, 13, 2**70):
        assert await ids(moment__month=month) == []
        assert len(await backend.query(Sample).exclude(moment__month=month)) == 6
    assert await backend.query(Sample).exclude(moment__year=2025).count() == 5


# -- order, windows, terminals -------------------------------------------------------------------------------------------------------


async def test_none_is_last_unless_asked_first(backend: Backend) -> None:
    await people(backend)
    query, age = backend.query(Person), col(Person.age)

    async def ids(*terms: Any) -> list[int]:
        return [found.id for found in await query.order_by(*terms)]

    assert await ids("age") == [5, 4, 3, 1, 2]
    assert await ids("-age") == [1, 3, 4, 5, 2]
    assert await ids(age.asc(nulls="first")) == [2, 5, 4, 3, 1]
    assert await ids(age.desc(nulls="first")) == [2, 1, 3, 4, 5]
    assert await ids("name") == [4, 1, 3, 5, 2]
    assert await ids("city") == [4, 1, 3, 5, 2]


async def test_the_key_breaks_ties_in_the_direction_of_the_last_term(backend: Backend) -> None:
    await backend.create_many([Person(id=number, name="x", age=number % 2) for number in (3, 1, 4, 2)])
    query = backend.query(Person)

    assert [found.id for found in await query.order_by("age")] == [2, 4, 1, 3]
    assert [found.id for found in await query.order_by("-age")] == [3, 1, 4, 2]
    assert [found.id for found in await query.order_by("-age", "name")] == [1, 3, 2, 4]
    assert [found.id for found in await query.limit(3)] == [1, 2, 3]
    assert [found.id for found in await query.offset(2)] == [3, 4]


async def test_the_order_of_the_model_counts_where_none_is_stated(backend: Backend) -> None:
    await backend.create_many([Sorted(id=1, rank=1), Sorted(id=2), Sorted(id=3, rank=3), Sorted(id=4, rank=3)])
    query = backend.query(Sorted)

    assert [found.id for found in await query] == [4, 3, 1, 2]
    assert [found.id for found in await query.order_by("id")] == [1, 2, 3, 4]
    assert [found.id for found in await query.order_by().limit(2)] == [1, 2]
    assert (first := await query.first()) is not None
    assert (last := await query.last()) is not None
    assert (first.id, last.id) == (4, 2)
    assert [found.id for found in (await query.page(size=2)).items] == [4, 3]


async def test_windows(backend: Backend) -> None:
    await people(backend)
    query = backend.query(Person).order_by("id")

    assert [found.id for found in await query.limit(2)] == [1, 2]
    assert [found.id for found in await query.limit(2).offset(3)] == [4, 5]
    assert [found.id for found in await query.offset(3)] == [4, 5]
    assert await query.limit(0) == []
    assert await query.offset(2**70) == []
    assert len(await query.limit(2**70)) == 5
    assert await query.limit(0).first() is None
    assert [found.id for found in await query.limit(5).limit(1)] == [1]


async def test_terminals(backend: Backend) -> None:
    await people(backend)
    query = backend.query(Person).order_by("id")
    nobody = query.filter(name="nobody")

    assert await query.count() == 5
    assert (await query.exists(), await nobody.exists()) == (True, False)
    assert ((await query.filter(age=36).one()).id, await nobody.one_or_none(), await nobody.first(), await nobody.last()) == (
        1,
        None,
        None,
        None,
    )
    assert (found := await query.last()) is not None
    assert found.id == 5
    with pytest.raises(NotFoundError):
        await nobody.one()
    with pytest.raises(MultipleResultsError) as caught:
        await query.one()
    assert caught.value.model == "Person"
    with pytest.raises(MultipleResultsError):
        await query.one_or_none()
    assert (await query.get(3)).id == 3
    with pytest.raises(NotFoundError) as missing:
        await query.filter(age=36).get(3)
    assert (missing.value.model, missing.value.key) == ("Person", 3)


async def test_acts_on_all_that_matches_refuse_a_window(backend: Backend) -> None:
    await people(backend)
    for query in (backend.query(Person).limit(1), backend.query(Person).offset(0), backend.query(Person).limit(0)):
        for act in (query.count, query.exists, query.delete, lambda query=query: query.update(name="x"), query.last, query.page):
            with pytest.raises(QueryError):
                await act()
    assert await backend.query(Person).count() == 5


async def test_streams_give_the_same_in_batches(backend: Backend) -> None:
    await people(backend)
    query = backend.query(Person).order_by("-id")

    for batch in (1, 2, 5, 500):
        assert [found.id async for found in query.stream(batch=batch)] == [5, 4, 3, 2, 1]
    assert [found async for found in query.filter(age__in=[]).stream()] == []
    assert [found async for found in query.values("id").limit(1).stream()] == [{"id": 5}]
    wrong: tuple[Any, ...] = (0, -1, True, 1.5)
    for number in wrong:
        with pytest.raises(QueryError):
            query.stream(batch=number)


# -- shapes --------------------------------------------------------------------------------------------------------------------------


class Named(NamedTuple):
    name: str
    age: int | None


@dataclass(frozen=True)
class Data:
    age: int | None
    name: str


class Struct(msgspec.Struct):
    name: str
    tags: list[str]


class Typed(TypedDict):
    profile: dict[str, JsonValue]
    id: int


class Small(BaseModel):
    id: int
    city: str | None


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Named, Named("Ada", 36)),
        (Data, Data(36, "Ada")),
        (Struct, Struct("Ada", ["math", "Code"])),
        (Typed, {"profile": {"address": {"city": "London"}, "n": 1}, "id": 1}),
        (Small, Small(id=1, city="London")),
    ],
)
async def test_into_gives_the_shape_with_all_terminals(backend: Backend, shape: type[Any], expected: Any) -> None:
    await people(backend)
    query = backend.query(Person).into(shape).order_by("id")

    assert (await query)[0] == expected
    assert type((await query)[0]) is type(expected)
    assert await query.first() == expected
    assert await query.filter(age=36).one() == expected
    assert await query.get(1) == expected
    assert await query.count() == 5
    assert (await query.page(size=1)).items == [expected]
    assert [found async for found in query.limit(1).stream()] == [expected]


async def test_values_gives_dicts_of_the_fields_in_that_order(backend: Backend) -> None:
    await people(backend)
    query = backend.query(Person).order_by("id")

    assert await query.values("age", "name").first() == {"age": 36, "name": "Ada"}
    assert list(await query.values("age", "name").get(1)) == ["age", "name"]
    assert await query.values().get(4) == dict(PEOPLE[3])
    assert await backend.query(Sample).values("color").all() == []
    await backend.create(Sample(id=1, color=Color.RED))
    assert await backend.query(Sample).values("color", "color").all() == [{"color": Color.RED}]


# -- size ----------------------------------------------------------------------------------------------------------------------------


async def test_long_lists_and_many_conditions(backend: Backend) -> None:
    await people(backend)
    many = [1000 + number for number in range(40_000)]
    age = col(Person.age)

    assert await people(backend, id__in=[*many, 3]) == [3]
    assert await people(backend, id__not_in=[*many, 3]) == [1, 2, 4, 5]
    assert await people(backend, age__in=[*many, None]) == [2]
    assert await people(backend, name__in=[*map(str, many), "Ada"]) == [1]
    assert await people(backend, profile__n__in=[*many, 1]) == [1, 3]
    assert await people(backend, tags__has_any=[*map(str, many), "code"]) == [3]
    assert await people(backend, reduce(lambda one, other: one | other, [age == number for number in range(3000)])) == [1, 3, 4]
    assert await people(backend, reduce(lambda one, other: one & other, [age != number for number in range(1, 3000)])) == [2, 4, 5]
    query = backend.query(Person).order_by("id")
    for number in range(1, 1500):
        query = query.exclude(age=number)
    assert [found.id for found in await query] == [2, 4, 5]
    assert await backend.query(Person).filter(id__in=[*many, 1]).update(name="x") == 1
    assert await backend.query(Person).filter(id__in=[*many, 1]).delete() == 1
