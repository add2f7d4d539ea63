"""What has no meaning is refused where it is written, before any I/O, with the near miss."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

import holdall
from holdall import Backend, ConfigurationError, F, Field, Model, Q, QueryBuilder, QueryError, ValidationError, col
from holdall.query import evaluate
from tests.conformance.models import Color, Customer, Level, Order, Part, Person, Sample

untyped: Any = Sample
pytestmark = pytest.mark.engine("memory")


@pytest.fixture
def backend() -> Backend:
    return holdall.open("memory://")


@pytest.fixture
def query(backend: Backend) -> QueryBuilder[Sample]:
    return backend.query(Sample)


def test_a_misspelt_field_is_named_with_its_near_miss(backend: Backend) -> None:
    query = backend.query(Customer)

    uses: list[Callable[[], object]] = [
        lambda: query.filter(agee=1),
        lambda: query.exclude(agee__gt=1),
        lambda: query.filter(Q(agee=1)),
        lambda: query.order_by("-agee"),
        lambda: query.values("agee"),
    ]
    for use in uses:
        with pytest.raises(QueryError, match="customer has no field 'agee'; did you mean 'age'\\?"):
            use()


@pytest.mark.parametrize(
    ("lookups", "said"),
    [
        ({"age__gtee": 1}, "did you mean 'gte'"),
        ({"age__startwith": "x"}, "did you mean 'startswith'"),
        ({"age__": 1}, "has no operator ''"),
        ({"__age": 1}, "has no field ''"),
        ({"age__gt__lt": 1}, "gt"),
        ({"age__startswith": "x"}, "startswith"),
        ({"age__has": 1}, "has"),
        ({"name__year": 1}, "year"),
        ({"tags__gt": ["a"]}, "gt"),
        ({"tags__contains": "a"}, "contains"),
        ({"part__titel": "a"}, "did you mean 'title'"),
        ({"part__price__gt": Decimal(1)}, "gt"),
        ({"text__foo__bar": 1}, "foo"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_operator_that_does_not_exist_or_does_not_fit(backend: Backend, lookups: dict[str, Any], said: str) -> None:
    model: Any = Sample if next(iter(lookups)).split("__")[0] in ("part", "text") else Customer
    with pytest.raises(QueryError) as caught:
        backend.query(model).filter(**lookups)
    assert said in str(caught.value)


WRONG: list[tuple[str, Any]] = [
    ("id", "7"), ("id", 7.0), ("id", True), ("id", b"7"), ("id", [7]), ("id", Decimal(7)),
    ("text", 7), ("text", b"x"), ("text", ["x"]), ("text", Color.RED),
    ("real", "1.0"), ("real", True), ("real", Decimal(1)), ("exact", 1.0), ("exact", "1"), ("exact", True),
    ("flag", 1), ("flag", "true"), ("flag", 0),
    ("moment", "2024-01-01"), ("moment", date(2024, 1, 1)), ("moment", 0), ("day", datetime(2024, 1, 1, tzinfo=UTC)), ("day", "2024-01-01"),
    ("clock", "12:00"), ("span", 5), ("token", "00000000-0000-0000-0000-000000000000"), ("blob", "x"),
    ("color", "mauve"), ("color", Level.LOW), ("level", Color.RED), ("level", 17),
    ("tags", "a"), ("tags", [1]), ("tags", ("a",)), ("profile", [1]), ("part", {"title": "x"}), ("part", "x"),
    ("id__in", 5), ("id__in", "abc"), ("id__in", ["7"]), ("id__in", {1: 2}), ("id__in", [1, True]), ("id__not_in", [1.5]),
    ("id__gt", None), ("number__gte", None), ("number__between", (None, 1)), ("number__between", 5), ("number__between", (1, 2, 3)), ("number__between", "ab"),
    ("number__is_null", None), ("number__is_null", 1), ("number__is_null", "yes"),
    ("text__contains", None), ("text__contains", 5), ("text__startswith", b"x"), ("text__iexact", ["x"]),
    ("tags__has", 5), ("tags__has_any", "abc"), ("tags__has_any", 5), ("tags__has_all", [1]), ("tags__has", None),
    ("moment__year", "2024"), ("moment__year", True), ("moment__month", 1.0), ("moment__day", None),
    ("data__a__gt", [1]), ("data__a__gt", None), ("data__a__gt", object()), ("data__a", object()), ("data__a__contains", 5), ("data__a__year", 5),
    ("data__a", {1: 2}), ("data__a__in", 5), ("times__a", "2024-01-01"), ("part__count", "1"), ("part__on", 1), ("numbers", [1.5]),
]  # fmt: skip


@pytest.mark.parametrize(("lookup", "value"), WRONG, ids=lambda value: str(value)[:20])
def test_a_value_of_another_type_is_refused(query: QueryBuilder[Sample], lookup: str, value: Any) -> None:
    for use in (query.filter, query.exclude):
        with pytest.raises(QueryError) as caught:
            use(**{lookup: value})
        assert "Sample" in str(caught.value)


@pytest.mark.parametrize(
    ("lookup", "value"),
    [
        ("number", 2**63), ("number__in", [-(2**63) - 1]), ("real", float("nan")), ("real__gt", float("inf")), ("text", "a\0"), ("text__contains", "\ud800"),
        ("moment", datetime(2024, 1, 1)), ("moment__between", (datetime(2024, 1, 1), datetime(2024, 1, 1))), ("exact", Decimal("NaN")),  # noqa: DTZ001
        ("data", float("nan")), ("data__a", 2**63), ("data__a__gt", float("inf")), ("tags__has", "a\0"), ("profile", {"a\0": 1}),
    ],
    ids=lambda value: ascii(value)[:20],
)  # fmt: skip
def test_a_value_that_no_store_may_keep_is_refused_in_filters_too(query: QueryBuilder[Sample], lookup: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        query.filter(**{lookup: value})
    assert caught.value.model == "Sample"


def test_values_that_strict_pydantic_takes_are_taken(query: QueryBuilder[Sample]) -> None:
    query.filter(real=1, exact=1, color="red", level=-1, text=None, token=None, data=[1, 1.0, "x"], part=Part(title="x"))
    query.filter(part__made=datetime(2024, 1, 1, tzinfo=UTC), times__a=datetime(2024, 1, 1, tzinfo=UTC), part__score=1)


@pytest.mark.parametrize(
    "thing",
    [True, False, None, 5, "age > 1", "x", F("id"), object(), Sample, {"id": 1}, [Q(id=1)], lambda: True],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_condition_is_refused(query: QueryBuilder[Sample], thing: Any) -> None:
    uses: list[Callable[[], object]] = [lambda: query.filter(thing), lambda: query.exclude(thing), lambda: query.filter(Q(thing))]
    for use in uses:
        with pytest.raises(QueryError):
            use()


def test_comparing_an_instance_is_refused_with_a_hint(query: Any) -> None:
    record = Sample(id=1, text="x")
    with pytest.raises(QueryError, match="instance"):
        query.filter(record.text == "x")
    with pytest.raises(QueryError):
        query.filter(untyped.text)


@pytest.mark.parametrize("thing", ["x", 5, None, Sample, "age"], ids=lambda value: type(value).__name__)
def test_col_refuses_what_is_no_column(thing: Any) -> None:
    with pytest.raises(QueryError):
        col(thing)


def test_columns_of_other_models_and_columns_as_values_are_refused(query: QueryBuilder[Sample]) -> None:
    uses: list[Callable[[], object]] = [
        lambda: query.filter(col(Person.name) == "x"),
        lambda: query.order_by(col(Order.total)),
        lambda: query.filter(col(Sample.text) == Sample.word),
        lambda: query.filter(number=F("small")),
        lambda: query.filter(number=Q(id=1)),
    ]
    for use in uses:
        with pytest.raises(QueryError):
            use()


CONDITION_MISUSE: list[Callable[[], object]] = [
    lambda: bool(col(Sample.id) == 1),
    lambda: not untyped.id,
    lambda: (col(Sample.id) == 1) and Q(id=2),
    lambda: (untyped.id == 1) or Q(id=2),
    lambda: 1 < col(Sample.id) < 5,
    lambda: bool(Q(id=1)),
    lambda: bool(untyped.id),
    lambda: bool(F("id")),
    lambda: list(untyped.tags),
    lambda: 1 if untyped.id == 1 else 2,
]


@pytest.mark.parametrize("misuse", CONDITION_MISUSE, ids=range(len(CONDITION_MISUSE)))
def test_a_condition_has_no_truth_value(misuse: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        misuse()


def test_combining_with_what_is_no_condition_is_refused() -> None:
    uses: list[Callable[[], object]] = [lambda: (untyped.id == 1) & True, lambda: (untyped.id == 1) | None, lambda: (untyped.id == 1) & "x"]
    for misuse in uses:
        with pytest.raises((QueryError, TypeError)):
            misuse()


def test_a_query_hides_no_io(query: Any) -> None:
    misuses: list[tuple[Callable[[], object], str]] = [
        (lambda: len(query), "count"),
        (lambda: bool(query), "exists"),
        (lambda: list(query), "stream"),
        (lambda: 1 in query, ""),
    ]
    for misuse, said in misuses:
        with pytest.raises(TypeError) as caught:
            misuse()
        assert said in str(caught.value)
    with pytest.raises(TypeError, match="stream"):
        query.__aiter__()


@pytest.mark.parametrize("number", [-1, True, 1.0, "1", None], ids=lambda value: type(value).__name__)
def test_limits_and_offsets_are_numbers(query: QueryBuilder[Sample], number: Any) -> None:
    for use in (query.limit, query.offset):
        with pytest.raises(QueryError):
            use(number)
    with pytest.raises(QueryError):
        query.allow_local(max_rows=number)


@pytest.mark.parametrize(
    "term",
    [5, None, Sample, "", "-", "--id", "+id", Q(id=1), col(Sample.profile)["a"], "tags", "profile", "part__title", "id desc"],
    ids=lambda value: type(value).__name__,
)
def test_orders_that_mean_nothing_are_refused(query: QueryBuilder[Sample], term: Any) -> None:
    with pytest.raises(QueryError):
        query.order_by(term)


def test_other_wrong_arguments(query: QueryBuilder[Sample]) -> None:
    class Nothing(NamedTuple):
        nothing: int

    uses: list[Callable[[], object]] = [
        lambda: untyped.id.asc(nulls="middle"),
        lambda: query.for_update(nowait=True, skip_locked=True),
        lambda: query.into(Nothing),
        lambda: query.into(int),
        lambda: query.into(dict[str, int]),
        lambda: col(Sample.profile)[-1],
        lambda: untyped.profile[1.5],
        lambda: query.filter(col(Sample.tags)["a"] == "x"),
        lambda: query.filter(col(Sample.text)["a"] == "x"),
        lambda: query.filter(col(Sample.part)[0] == "x"),
    ]
    for misuse in uses:
        with pytest.raises(QueryError):
            misuse()


async def test_a_lock_needs_a_session(query: QueryBuilder[Sample], backend: Backend) -> None:
    await backend.initialize(Sample)
    with pytest.raises((QueryError, holdall.UnsupportedOperation)):
        await query.for_update()
    with pytest.raises((QueryError, holdall.UnsupportedOperation)):
        await backend.get(Sample, 1, lock=True)


async def test_what_is_no_model_is_refused(backend: Backend) -> None:
    class Plain:
        pass

    wrong: tuple[Any, ...] = (Plain, Part, int, "Sample", None, Sample(id=1))
    for model in wrong:
        with pytest.raises((QueryError, ConfigurationError)):
            backend.query(model)
        with pytest.raises((QueryError, ConfigurationError)):
            await backend.get(model, 1)


def test_keys_of_json_may_be_named_like_operators(query: QueryBuilder[Sample]) -> None:
    records = [Sample(id=1, profile={"year": 1, "a__b": 2}), Sample(id=2)]

    assert [found.id for found in evaluate(query.filter(col(Sample.profile)["year"] == 1), records)] == [1]
    assert [found.id for found in evaluate(query.filter(profile__year__eq=1), records)] == [1]
    assert [found.id for found in evaluate(query.filter(col(Sample.profile)["a__b"] == 2), records)] == [1]


def test_a_field_whose_name_holds_two_underscores_is_found() -> None:
    class Odd(Model):
        id: int = Field(primary_key=True)
        a__b: int = 0
        a: dict[str, int] = {}

    query = holdall.open("memory://").query(Odd)
    records = [Odd(id=1, a__b=5, a={"b": 6}), Odd(id=2)]

    assert [found.id for found in evaluate(query.filter(a__b=5), records)] == [1]
    assert [found.id for found in evaluate(query.filter(a__b__gt=4), records)] == [1]
    assert [found.id for found in evaluate(query.filter(col(Odd.a)["b"] == 6), records)] == [1]


def test_explain_says_without_io_what_will_be_sent(query: QueryBuilder[Sample]) -> None:
    assert query.filter(id__in=[]).explain().statement is None
    assert query.limit(0).explain().statement is None
    explained = query.filter(text="a secret").order_by("word").explain()
    assert "a secret" not in str(explained)
    assert any("index" in note for note in explained.notes)
    assert query.order_by("id").explain().notes == ()
