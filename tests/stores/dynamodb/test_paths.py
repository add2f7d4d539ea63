"""Access paths without a server: what is asked, and what is refused with the remedy; explain and run say the same."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from pydantic import JsonValue

import holdall
from holdall import Backend, Capability, ConfigurationError, F, Field, Index, LimitExceeded, Model, QueryBuilder, UnsupportedOperation, col
from holdall.data_access import key_predicate
from holdall.query.operations import Batch, Insert, UpdateWhere
from holdall.query.predicates import Arithmetic
from holdall.record.encoder import encode
from holdall.record.metadata import model_info

NOWHERE = "dynamodb://nowhere?endpoint_url=http://127.0.0.1:1&access_key_id=a&secret_access_key=b"


class Visit(Model):
    hall: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    guest: str | None = Field(default=None, index=True)
    code: str | None = Field(default=None, unique=True)
    city: str = ""
    stars: int | None = None
    real: float = 0.0
    tags: list[str] = []
    at: datetime | None = None
    visits: int = 0
    data: JsonValue = None

    class Meta:
        indexes = (Index("city", "-stars"),)


@pytest.fixture
def backend() -> Backend:
    """One that fails when it sends anything."""
    return holdall.open(NOWHERE)


Build = Callable[[QueryBuilder[Visit]], QueryBuilder[Any]]
SERVED: list[tuple[str, Build, list[str]]] = [
    ("one key", lambda query: query.filter(hall="a", number=1), ["GetItem of table 'visit' by 1 keys", "requests: 1"]),
    ("keys", lambda query: query.filter(hall="a", number__in=[1, 2]), ["BatchGetItem", "by 2 keys"]),
    ("a partition", lambda query: query.filter(hall="a"), ["Query of table 'visit'", "key condition: hall = :0", "consistency: strong"]),
    ("a range", lambda query: query.filter(hall="a", number__gt=1, number__lt=9), ["number BETWEEN :1 AND :2"]),
    ("backwards", lambda query: query.filter(hall="a").order_by("-number").limit(3), ["backwards", "requests: 100 at most"]),
    ("a filter", lambda query: query.filter(hall="a", stars__gt=1), ["filter: stars > :1"]),
    ("an index", lambda query: query.filter(guest="x"), ["Query of index 'guest'", "consistency: eventual"]),
    ("an index in order", lambda query: query.filter(city="x").order_by("-stars"), ["index 'city.stars'", "backwards", "2 lookups"]),
    ("a unique value", lambda query: query.filter(code="x"), ["GetItem of table 'visit.unique'", "requests: 2"]),
    ("a scan", lambda query: query.filter(stars=1).allow_scan(), ["Scan of table 'visit'"]),
    ("few attributes", lambda query: query.filter(hall="a").values("city"), ["attributes: city"]),
    ("a contradiction", lambda query: query.filter(hall="a").filter(hall="b"), ["nothing is sent"]),
]


@pytest.mark.parametrize(("build", "texts"), [case[1:] for case in SERVED], ids=[case[0] for case in SERVED])
def test_explain_names_the_access_path(backend: Backend, build: Build, texts: list[str]) -> None:
    explained = str(build(backend.query(Visit)).explain())

    for text in texts:
        assert text in explained


def test_explain_of_a_write_that_counts_up_says_that_it_is_one_request(backend: Backend) -> None:
    info = model_info(Visit)
    visits = info.by_name["visits"]
    write = UpdateWhere(info, key_predicate(info, ("a", 1)), {visits: Arithmetic("+", visits, 1)})
    explained = backend.store.explain(write)
    assert "UpdateItem of table 'visit'" in explained
    assert "requests: 1" in explained


@pytest.mark.parametrize(("terminal", "values"), [("all", {}), ("count", {}), ("update", {"city": "x"}), ("delete", {})])
async def test_what_a_query_by_a_unique_value_cannot_ask_is_refused_before_any_io(
    backend: Backend, terminal: str, values: dict[str, Any]
) -> None:
    query = backend.query(Visit).filter(code="x").filter(col(Visit.data)["a"] < 1e200)
    with pytest.raises(UnsupportedOperation, match="1e126"):
        await getattr(query, terminal)(**values)


async def test_what_no_record_of_a_unique_value_can_match_is_not_asked_for(backend: Backend) -> None:
    query = backend.query(Visit).filter(code="x").filter(col(Visit.data)["a"] > True)
    assert (await query, await query.count(), await query.update(city="x")) == ([], 0, 0)


C = Capability
REFUSED: list[tuple[str, Build, set[Capability], str]] = [
    ("no key", lambda query: query.filter(stars=1), set(), "declare Index('stars')"),
    ("everything", lambda query: query, set(), "allow_scan()"),
    ("a range alone", lambda query: query.filter(stars__gt=1), set(), "by equality"),
    ("alternatives", lambda query: query.filter((col(Visit.hall) == "a") | (col(Visit.stars) == 1)), set(), "by equality"),
    ("another order", lambda query: query.filter(hall="a").order_by("stars"), {C.ORDER}, "declare Index('hall', 'stars')"),
    ("an order of all", lambda query: query.order_by("-stars"), {C.ORDER}, "by equality"),
    ("an order of a scan", lambda query: query.filter(city="x").order_by("number").allow_scan(), {C.ORDER}, "declare Index('city'"),
    ("two directions", lambda query: query.filter(city="x").order_by("stars", "-number"), {C.ORDER}, "in one direction"),
    (
        "None amid an order",
        lambda query: query.filter(hall="a").order_by("-city", "-stars"),
        {C.ORDER},
        "col(Visit.stars).desc(nulls='first')",
    ),
    ("a page of all", lambda query: query.limit(3), {C.ORDER}, "by equality"),
    ("an inequality of the key", lambda query: query.filter(hall="a", number__ne=1), set(), "allow_scan()"),
    ("a consistent index", lambda query: query.filter(guest="x").consistent(), set(), "consistent()"),
    ("an offset", lambda query: query.filter(hall="a").offset(1), {C.OFFSET}, ""),
    ("an end", lambda query: query.filter(hall="a", city__endswith="x"), {C.TEXT_SUFFIX}, ""),
    ("letters of any case", lambda query: query.filter(hall="a", city__iexact="x"), {C.CASEFOLD}, ""),
]


@pytest.mark.parametrize(("build", "missing", "remedy"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_what_has_no_path_is_refused_before_any_io_and_says_what_would_make_one(
    backend: Backend, build: Build, missing: set[Capability], remedy: str
) -> None:
    query = build(backend.query(Visit))

    with pytest.raises(UnsupportedOperation) as refused:
        await query
    explained = query.explain()

    assert refused.value.missing == missing
    assert remedy in str(refused.value)
    assert (explained.statement, set(explained.missing)) == (None, {item.value for item in missing})
    if missing <= {C.ORDER}:
        assert explained.notes == (str(refused.value),)


async def test_the_place_of_none_that_a_refusal_names_makes_a_path() -> None:
    class Placed(Visit):
        class Meta:  # pyright: ignore[reportIncompatibleVariableOverride]  - inherits nothing
            name = "placed"
            indexes = (Index("hall", "city", "stars"),)

    query = holdall.open(NOWHERE).query(Placed).filter(hall="a")

    assert "index 'hall.city.stars'" in str(query.order_by("-city", col(Placed.stars).desc(nulls="first")).explain().statement)
    with pytest.raises(UnsupportedOperation, match=r"nulls='first'"):
        await query.order_by("-city", "-stars")


async def test_the_index_that_a_refusal_names_makes_a_path() -> None:
    class Served(Visit):
        class Meta:  # pyright: ignore[reportIncompatibleVariableOverride]  - inherits nothing
            name = "served"
            indexes = (Index("stars"), Index("hall", "stars"), Index("city", "at"))

    query = holdall.open(NOWHERE).query(Served)

    assert "index" in str(query.filter(stars=1).explain().statement)
    assert "index" in str(query.filter(hall="a").order_by("stars").explain().statement)
    assert "index" in str(query.filter(city="x").order_by("-at").explain().statement)


async def test_sessions_are_refused_and_name_what_there_is(backend: Backend) -> None:
    with pytest.raises(UnsupportedOperation, match="write_batch"):
        backend.session()
    with pytest.raises(UnsupportedOperation, match="write_batch"):
        await backend.run(lambda session: session.get(Visit, ("a", 1)))


async def test_more_writes_than_one_transaction_takes_are_refused_with_the_remedy(backend: Backend) -> None:
    with pytest.raises(LimitExceeded, match="divide it") as refused:
        async with backend.write_batch() as batch:
            for number in range(60):
                batch.create(Visit(hall="a", number=number, code=str(number)))

    assert (refused.value.limit, refused.value.value) == (100, 120)


async def test_updates_that_could_stop_halfway_are_refused(backend: Backend) -> None:
    query = backend.query(Visit).filter(hall="a")
    with pytest.raises(UnsupportedOperation, match=r"unique field Visit\.code"):
        await query.update(code="x")
    with pytest.raises(UnsupportedOperation, match=r"float Visit\.real"):
        await query.filter(number=1).update(real=F("real") + 1.5)


async def test_values_beyond_the_limits_of_keys_are_refused_before_any_io(backend: Backend) -> None:
    for record in (
        Visit(hall="x" * 2049, number=1),
        Visit(hall="a", number=1, guest="é" * 1024),
        Visit(hall="a", number=1, code="x" * 2048),
    ):
        with pytest.raises(LimitExceeded) as refused:
            await backend.create(record)
        assert refused.value.limit in (1024, 2048)
    with pytest.raises(LimitExceeded, match="2048"):
        await backend.get(Visit, ("x" * 2049, 1))


async def test_records_beyond_400_kib_are_refused_before_any_io(backend: Backend) -> None:
    with pytest.raises(LimitExceeded) as refused:
        await backend.create(Visit(hall="a", number=1, tags=["x" * 400 * 1024]))
    assert refused.value.limit == 400 * 1024


async def test_conditions_beyond_the_limits_are_refused_before_any_io(backend: Backend) -> None:
    query = backend.query(Visit).filter(hall="a")
    for number in range(200):
        query = query.filter(col(Visit.tags).has(str(number)))
    with pytest.raises(LimitExceeded, match="in several queries"):
        await query


def test_a_batch_is_explained_by_the_service_operation(backend: Backend) -> None:
    info = model_info(Visit)
    insert = Insert(info, encode(info, Visit(hall="a", number=1).__dict__))

    assert "TransactWriteItems" in backend.store.explain(Batch((insert,)))
    assert "TransactWriteItems" in backend.store.explain(insert)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("dynamodb://eu-west-1/table", "dynamodb://region"),
        ("dynamodb://key:secret@eu-west-1", "dynamodb://region"),
        ("dynamodb://eu-west-1?tables=1", "no parameter"),
        ("dynamodb://eu-west-1?access_key_id=a", "go together"),
        ("dynamodb://eu-west-1?request_budget=0", "request_budget"),
        ("dynamodb://eu-west-1?client=boto", "client"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        holdall.open(url)


def test_secrets_are_shown_nowhere() -> None:
    backend = holdall.open("dynamodb://eu-west-1", access_key_id="AKIDKEY", secret_access_key="hush", session_token="whisper")

    for secret in ("AKIDKEY", "hush", "whisper"):
        assert secret not in repr(backend)
        assert secret not in repr(backend.settings)
