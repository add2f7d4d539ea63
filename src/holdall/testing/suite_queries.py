"""Queries mean the same on every store: conditions, order, windows, terminals, shapes (rules R1 to R5, R9 to R12, R17, R18)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, NamedTuple

from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import MultipleResultsError, NotFoundError, QueryError
from holdall.query.expressions import Condition, Q, col
from holdall.testing.suite_checks import Checks, expect, expect_at_once, identify
from holdall.testing.suite_models import Person, Plain, Ranked, Sample
from holdall.testing.suite_refusals import sealed

C = Capability
CHECKS = Checks()

PEOPLE = [
    Person(id=1, name="Ada", age=36, city="London", tags=["math", "Code"], profile={"address": {"city": "London"}, "n": 1}),
    Person(id=2, name="ada", profile={"address": {"city": None}, "n": "1"}),
    Person(id=3, name="Straße", age=18, city="London ", tags=["code"], profile={"address": {}, "n": 1.0, "list": [1, [2], {"a": 3}]}),
    Person(id=4, name="100%_*\\'", age=0, city="", tags=[""], profile={"n": None, "list": []}),
    Person(id=5, name="Zoë\U00010000", age=-5, city="\uffff", profile={"n": True, "list": "text", "0": "zero"}),
]
ALL = [1, 2, 3, 4, 5]
Cases = Sequence[tuple[Mapping[str, Any], list[int]]]

EQUALITY: Cases = [
    ({"age": 36}, [1]),
    ({"age": None}, [2]),
    ({"name": None}, []),
    ({"name__is_null": True}, []),
    ({"age__is_null": True}, [2]),
    ({"age__is_null": False}, [1, 3, 4, 5]),
    ({"age": 36, "city": "London"}, [1]),
    ({"age": 36, "city": "Paris"}, []),
]
INEQUALITY: Cases = [
    ({"age__ne": 36}, [2, 3, 4, 5]),
    ({"age__ne": None}, [1, 3, 4, 5]),
    ({"city__ne": "London"}, [2, 3, 4, 5]),
    ({"name__ne": "ada"}, [1, 3, 4, 5]),
]
MEMBERSHIP: Cases = [
    ({"age__in": [36, None]}, [1, 2]),
    ({"age__in": [None]}, [2]),
    ({"age__in": []}, []),
    ({"age__in": (0, 18, 18)}, [3, 4]),
    ({"age__in": list(range(-3000, 19))}, [3, 4, 5]),
    ({"age__not_in": [36, 18]}, [2, 4, 5]),
    ({"age__not_in": [36, None]}, [3, 4, 5]),
    ({"age__not_in": []}, ALL),
]
ORDERING: Cases = [
    ({"age__gt": 0}, [1, 3]),
    ({"age__gte": 0}, [1, 3, 4]),
    ({"age__lt": 0}, [5]),
    ({"age__lte": 0}, [4, 5]),
    ({"age__between": (0, 36)}, [1, 3, 4]),
    ({"age__between": (36, 0)}, []),
    ({"city__gt": "\ud7ff"}, [5]),
    ({"city__lt": "\U00010000"}, [1, 3, 4, 5]),
]
EXACT_TEXT: Cases = [
    ({"name": "ada"}, [2]),
    ({"name": "Ada"}, [1]),
    ({"name": "ADA"}, []),
    ({"city": "London"}, [1]),
    ({"city": "London "}, [3]),
    ({"name": "Zoe\U00010000"}, []),
]
CONTAINS: Cases = [
    ({"name__contains": "da"}, [1, 2]),
    ({"name__contains": "A"}, [1]),
    ({"name__contains": "ss"}, []),
    ({"name__contains": ""}, ALL),
    ({"city__contains": ""}, [1, 3, 4, 5]),
    ({"city__contains": "London"}, [1, 3]),
]
SUFFIXES: Cases = [
    ({"name__endswith": "\U00010000"}, [5]),
    ({"name__endswith": "A"}, []),
    ({"name__endswith": "%'"}, []),
    ({"name__endswith": "\\'"}, [4]),
    ({"city__endswith": ""}, [1, 3, 4, 5]),
]
WILDCARDS: Cases = [
    ({"name__contains": "%"}, [4]),
    ({"name__contains": "_"}, [4]),
    ({"name__contains": "*"}, [4]),
    ({"name__contains": "%_*\\'"}, [4]),
    ({"name__contains": "d%"}, []),
    ({"name__startswith": "1%"}, []),
    ({"name__startswith": "100%"}, [4]),
]
PREFIXES: Cases = [
    ({"name__startswith": "a"}, [2]),
    ({"city__startswith": "London"}, [1, 3]),
    ({"city__startswith": ""}, [1, 3, 4, 5]),
    ({"city__startswith": "\uffff"}, [5]),
]
FOLDED: Cases = [
    ({"name__iexact": "ADA"}, [1, 2]),
    ({"name__iexact": "STRASSE"}, [3]),
    ({"name__icontains": "SS"}, [3]),
    ({"name__icontains": "%"}, [4]),
    ({"name__istartswith": "A"}, [1, 2]),
    ({"name__iendswith": "DA"}, [1, 2]),
    ({"name__istartswith": "ZOË"}, [5]),
    ({"name__iexact": "zoe\U00010000"}, []),
]
WHOLE_DOCUMENTS: Cases = [
    ({"tags": []}, [2, 5]),
    ({"tags": ["math", "Code"]}, [1]),
    ({"tags": ["Code", "math"]}, []),
    ({"tags__ne": ["code"]}, [1, 2, 4, 5]),
    ({"tags__in": [["code"], []]}, [2, 3, 5]),
    ({"profile": {"n": 1, "address": {"city": "London"}}}, [1]),
    ({"profile": {"n": 1}}, []),
]
LISTS: Cases = [
    ({"tags__has": "code"}, [3]),
    ({"tags__has": ""}, [4]),
    ({"tags__has_any": ["math", "code"]}, [1, 3]),
    ({"tags__has_any": []}, []),
    ({"tags__has_all": ["Code", "math"]}, [1]),
    ({"tags__has_all": []}, ALL),
]
PATHS: Cases = [
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
    ({"profile__list__0": 1}, []),
    ({"profile__0": "zero"}, [5]),
]
LISTS_IN_DOCUMENTS: Cases = [
    ({"profile__list__has": 1}, [3]),
    ({"profile__list__has": [2]}, [3]),
    ({"profile__list__has": 2}, []),
    ({"profile__list__has": {"a": 3}}, [3]),
    ({"profile__list__has_any": [9, 1]}, [3]),
    ({"profile__list__has_any": []}, []),
    ({"profile__list__has_all": []}, [3, 4]),
]


async def people(backend: Backend) -> None:
    """Store everybody, anew."""
    await backend.create_many([person.model_copy(deep=True) for person in PEOPLE])


async def give(cases: Cases, backend: Backend) -> None:
    """Check what lookups give, and that their complement gives the others."""
    await people(backend)
    query = backend.query(Person)
    for lookups, wanted in cases:
        found = sorted(person.id for person in await query.filter(**lookups))
        assert found == wanted, f"filter({lookups!r}) gave {found}, not {wanted}"
        others = sorted(person.id for person in await query.exclude(**lookups))
        assert others == [number for number in ALL if number not in wanted], f"exclude({lookups!r}) gave {others}, as filter gave {wanted}"


def _declare() -> None:
    """Declare the checks of each operator."""
    table: list[tuple[str, Cases, tuple[Capability, ...]]] = [
        ("test_equality_takes_none_for_a_value", EQUALITY, ()),
        ("test_inequality_is_the_complement_of_equality", INEQUALITY, ()),
        ("test_membership_takes_none_for_a_value", MEMBERSHIP, ()),
        ("test_comparisons_by_order_are_false_for_none", ORDERING, ()),
        ("test_texts_are_equal_exactly", EXACT_TEXT, ()),
        ("test_contains_goes_by_case", CONTAINS, (C.TEXT_MATCH,)),
        ("test_wildcards_are_taken_literally", WILDCARDS, (C.TEXT_MATCH,)),
        ("test_startswith_is_a_range_of_texts", PREFIXES, (C.TEXT_MATCH,)),
        ("test_endswith_takes_its_text_literally", SUFFIXES, (C.TEXT_SUFFIX,)),
        ("test_lookups_that_ignore_case_compare_casefolded", FOLDED, (C.CASEFOLD,)),
        ("test_lists_and_dicts_are_equal_exactly", WHOLE_DOCUMENTS, (C.DOCUMENT_EQUALITY,)),
        ("test_has_looks_into_lists", LISTS, (C.LIST_MEMBERSHIP,)),
        ("test_paths_reach_into_documents", PATHS, (C.DOCUMENT_PATHS,)),
        ("test_has_looks_into_lists_inside_documents", LISTS_IN_DOCUMENTS, (C.DOCUMENT_PATHS, C.LIST_MEMBERSHIP)),
    ]
    for name, cases, needs in table:
        CHECKS.of(Person, needs=(C.FILTER, *needs), name=name)(functools.partial(give, cases))


_declare()


@CHECKS.of(Person, needs=(C.FILTER, C.TEXT_MATCH))
async def test_conditions_combine(backend: Backend) -> None:
    """R1: and, or, not, and columns that say the same as names."""
    await people(backend)
    age, city = col(Person.age), col(Person.city)
    cases: list[tuple[Any, list[int]]] = [
        (Q(age__gte=18) | Q(city=""), [1, 3, 4]),
        (Q(age__gte=18) & Q(city="London"), [1]),
        (~Q(age__gte=18, city="London"), [2, 3, 4, 5]),
        (~Q(), []),
        ((age >= 18) & ((city == "London") | ~col(Person.name).startswith("A")), [1, 3]),
        (~(age > 0), [2, 4, 5]),
        (~(~(age > 0)), [1, 3]),
        (~age.in_([36, None]), [3, 4, 5]),
        (~age.between(0, 36), [2, 5]),
        (~city.contains("London"), [2, 4, 5]),
        (~((age == 36) | (age == None)), [3, 4, 5]),  # noqa: E711  - a column, not a value
    ]
    for condition, wanted in cases:
        found = sorted(person.id for person in await backend.query(Person).filter(condition))
        assert found == wanted, f"{condition!r} gave {found}, not {wanted}"


@CHECKS.of(Person, needs=(C.FILTER,))
async def test_hundreds_of_conditions_are_carried_out_or_refused(backend: Backend) -> None:
    """R16."""
    await people(backend)
    many: Condition = Q(age=-1)
    for number in range(300):
        many = many | Q(age=number)

    assert {person.id for person in await backend.query(Person).filter(many)} == {1, 3, 4}


@CHECKS.of(Sample, needs=(C.FILTER,))
async def test_true_is_not_one(backend: Backend) -> None:
    """R6, R18."""
    await backend.create_many([Sample(id=1, flag=True, number=1), Sample(id=2, flag=False, number=0), Sample(id=3)])

    assert [found.id for found in await backend.query(Sample).filter(flag=True)] == [1]
    assert sorted(found.id for found in await backend.query(Sample).filter(flag__ne=True)) == [2, 3]
    for lookups in ({"flag": 1}, {"number": True}):
        expect_at_once(QueryError, functools.partial(backend.query(Sample).filter, **lookups))


ZONE = timezone(timedelta(hours=14))
MOMENTS = [
    datetime(2024, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2025, 1, 1, 10, tzinfo=ZONE),
    datetime(2025, 1, 1, tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
]


async def dated(backend: Backend) -> None:
    """Store a record of each moment, and one of none."""
    await backend.create_many([Sample(id=number, moment=moment, day=moment.date()) for number, moment in enumerate(MOMENTS, 1)])
    await backend.create(Sample(id=6))


async def give_dated(backend: Backend, cases: Cases) -> None:
    """Check what lookups of dates give."""
    for lookups, wanted in cases:
        found = sorted(record.id for record in await backend.query(Sample).filter(**lookups))
        assert found == wanted, f"filter({lookups!r}) gave {found}, not {wanted}"


@CHECKS.of(Sample, needs=(C.FILTER,))
async def test_years_are_those_of_utc(backend: Backend) -> None:
    """R7."""
    await dated(backend)
    await give_dated(
        backend,
        [
            ({"moment__year": 2024}, [1, 2]),
            ({"moment__year": 2025}, [3]),
            ({"day__year": 2025}, [2, 3]),
            ({"moment__year": 9999}, [4]),
            ({"day__year": 1}, [5]),
            ({"moment__year": 10_000}, []),
            ({"moment__year": 0}, []),
        ],
    )


@CHECKS.of(Sample, needs=(C.FILTER, C.DATE_PARTS))
async def test_months_and_days_are_those_of_utc(backend: Backend) -> None:
    """R7."""
    await dated(backend)
    await give_dated(
        backend,
        [
            ({"moment__month": 12}, [1, 2, 4]),
            ({"moment__day": 1}, [3, 5]),
            ({"day__day": 1}, [2, 3, 5]),
            ({"day__month": 12}, [1, 4]),
            ({"moment__month": 13}, []),
        ],
    )


@CHECKS.of(Sample, needs=(C.FILTER,))
async def test_datetimes_are_found_by_the_moment_whatever_the_zone(backend: Backend) -> None:
    """R7: to the microsecond."""
    await dated(backend)

    assert [found.id for found in await backend.query(Sample).filter(moment=datetime(2024, 12, 31, 20, tzinfo=UTC))] == [2]
    assert [found.id for found in await backend.query(Sample).filter(moment=datetime(2025, 1, 1, 14, tzinfo=ZONE))] == [3]
    assert sorted(found.id for found in await backend.query(Sample).filter(moment__gt=MOMENTS[0])) == [3, 4]
    assert [found.id for found in await backend.query(Sample).filter(day=date(2024, 12, 31))] == [1]


# -- order and windows -----------------------------------------------------------------------------------------------------------------


@CHECKS.of(Person, needs=(C.ORDER,))
async def test_none_is_last_unless_asked_first(backend: Backend) -> None:
    """R5."""
    await people(backend)
    age = col(Person.age)
    cases: list[tuple[Any, list[int]]] = [
        ("age", [5, 4, 3, 1, 2]),
        ("-age", [1, 3, 4, 5, 2]),
        (age.asc(nulls="first"), [2, 5, 4, 3, 1]),
        (age.desc(nulls="first"), [2, 1, 3, 4, 5]),
    ]
    for term, wanted in cases:
        assert await identify(backend.query(Person).order_by(term)) == wanted, f"order_by({term!r})"


@CHECKS.of(Person, needs=(C.ORDER,))
async def test_texts_are_ordered_by_code_point(backend: Backend) -> None:
    """R3."""
    names = ["a", "B", "b", "A", "é", "z", "Z", "", " ", "a ", "\uffff", "\U00010000", "ß", "10", "9"]
    await backend.create_many([Person(id=number, name=name) for number, name in enumerate(names)])

    assert [found.name for found in await backend.query(Person).order_by("name")] == sorted(names)
    assert [found.name for found in await backend.query(Person).order_by("-name")] == sorted(names, reverse=True)


@CHECKS.of(Person, needs=(C.ORDER,))
async def test_the_key_breaks_ties_in_the_direction_of_the_last_term(backend: Backend) -> None:
    """R5: every order is total."""
    await backend.create_many([Person(id=number, name="x", age=number % 2) for number in (3, 1, 4, 2)])
    query = backend.query(Person)

    assert await identify(query.order_by("age")) == [2, 4, 1, 3]
    assert await identify(query.order_by("-age")) == [3, 1, 4, 2]
    assert await identify(query.order_by("-age", "name")) == [1, 3, 2, 4]
    assert await identify(query.limit(3)) == [1, 2, 3]


@CHECKS.of(Ranked, needs=(C.ORDER,))
async def test_the_order_of_the_model_counts_where_none_is_stated(backend: Backend) -> None:
    """R5."""
    await backend.create_many([Ranked(id=1, rank=1), Ranked(id=2), Ranked(id=3, rank=3), Ranked(id=4, rank=3)])
    query = backend.query(Ranked)

    assert await identify(query) == [4, 3, 1, 2]
    assert await identify(query.order_by("id")) == [1, 2, 3, 4]
    assert await identify(query.order_by().limit(2)) == [1, 2]
    first, last = await query.first(), await query.last()
    assert first is not None
    assert last is not None
    assert (first.id, last.id) == (4, 2)


@CHECKS.of(Person, needs=(C.FILTER, C.ORDER))
async def test_a_limit_counts_what_matches(backend: Backend) -> None:
    """R9: and not what was looked at."""
    await people(backend)
    query = backend.query(Person).order_by("id")

    assert await identify(query.limit(2)) == [1, 2]
    assert await identify(query.filter(id__gt=3).limit(1)) == [4]
    assert await identify(query.filter(age__lte=0).limit(2)) == [4, 5]
    assert await query.limit(0) == []
    assert len(await query.limit(2**70)) == 5


@CHECKS.of(Person, needs=(C.FILTER, C.ORDER, C.OFFSET))
async def test_an_offset_skips_what_matches(backend: Backend) -> None:
    """In the order that is shown."""
    await people(backend)
    query = backend.query(Person).order_by("-id")

    assert await identify(query.limit(2).offset(3)) == [2, 1]
    assert await identify(query.offset(3)) == [2, 1]
    assert await identify(query.filter(id__lt=4).offset(1)) == [2, 1]
    assert await query.offset(2**70) == []


@CHECKS.of(Person, needs=(C.FILTER,))
async def test_queries_that_match_nothing_do_no_io(backend: Backend) -> None:
    """R9."""
    guarded = sealed(backend).query(Person)

    assert await guarded.filter(age__in=[]) == []
    assert await guarded.filter(age__between=(5, 1)) == []
    assert await guarded.filter(name=None) == []


# -- terminals and shapes --------------------------------------------------------------------------------------------------------------


@CHECKS.of(Person, needs=(C.FILTER, C.COUNT))
async def test_count_and_exists_see_what_the_query_gives(backend: Backend) -> None:
    """R12: exactly, also where None decides, and beyond any page of a server."""
    await people(backend)
    query = backend.query(Person)

    assert await query.count() == 5
    assert await query.exclude(age=36).count() == 4
    assert await query.filter(age__in=[36, None]).count() == 2
    assert (await query.filter(age__lt=0).exists(), await query.filter(age__gt=99).exists()) == (True, False)
    assert (await query.filter(age__in=[]).count(), await query.filter(age__in=[]).exists()) == (0, False)
    await backend.create_many([Person(id=number, name="x") for number in range(10, 1210)])
    assert await query.count() == 1205


@CHECKS.of(Person, needs=(C.FILTER, C.ORDER))
async def test_one_wants_one_and_first_takes_the_first(backend: Backend) -> None:
    """Errors name the model."""
    await people(backend)
    query = backend.query(Person).order_by("-id")
    nobody = query.filter(name="nobody")

    assert (await query.filter(age=36).one()).id == 1
    assert (await nobody.one_or_none(), await nobody.first(), await nobody.last()) == (None, None, None)
    first, last = await query.first(), await query.last()
    assert first is not None
    assert last is not None
    assert (first.id, last.id) == (5, 1)
    assert (await expect(NotFoundError, nobody.one())).model == "Person"
    for several in (query.one, query.one_or_none):
        assert (await expect(MultipleResultsError, several())).model == "Person"


@CHECKS.of(Person, needs=(C.FILTER,))
async def test_a_query_gives_a_record_by_key_only_if_it_matches(backend: Backend) -> None:
    """``query.get``."""
    await people(backend)

    assert (await backend.query(Person).filter(age=36).get(1)).name == "Ada"
    error = await expect(NotFoundError, backend.query(Person).filter(age=36).get(3))
    assert (error.model, error.key) == ("Person", 3)


class NameAge(NamedTuple):
    """Two fields of a person."""

    name: str
    age: int | None


@CHECKS.of(Person, needs=(C.FILTER, C.ORDER))
async def test_shapes_give_the_fields_that_they_name(backend: Backend) -> None:
    """Dicts and tuples."""
    await people(backend)
    query = backend.query(Person).filter(id__lte=2).order_by("id")

    assert await query.into(NameAge) == [NameAge("Ada", 36), NameAge("ada", None)]
    assert await query.values("tags", "id") == [{"tags": ["math", "Code"], "id": 1}, {"tags": [], "id": 2}]
    assert await query.values("profile").first() == {"profile": {"address": {"city": "London"}, "n": 1}}


@CHECKS.of(Plain, needs=(C.FILTER, C.ORDER, C.STREAM))
async def test_streams_give_the_same_in_batches(backend: Backend) -> None:
    """Whatever the size of the batch, and when they are left early."""
    await backend.create_many([Plain(id=number, number=number % 7) for number in range(250)])
    query = backend.query(Plain).filter(number__lt=6).order_by("-number", "id")
    wanted = [found.id for found in await query]
    for batch in (1, 100, 5000):
        assert [found.id async for found in query.stream(batch=batch)] == wanted
    async with query.stream(batch=10) as stream:
        async for found in stream:
            assert found.id == wanted[0]
            break
    assert [found async for found in query.filter(number__in=[]).stream()] == []
    assert await backend.delete(Plain(id=wanted[0])) is True
