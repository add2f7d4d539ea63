"""What OpenSearch is known to do behind one's back, and does not do here."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pydantic import JsonValue

import holdall
from holdall import Backend, BackendError, ConfigurationError, Field, LimitExceeded, Model, UnsupportedOperation, ValidationError, col
from tests.stores.opensearch.conftest import Ask, Stub


class Fact(Model):
    id: int = Field(primary_key=True)
    text: str | None = None
    number: int | None = None
    real: float | None = None
    amount: Decimal | None = Field(default=None, max_digits=30, decimal_places=10)
    moment: datetime | None = None
    tags: list[str] = []
    data: dict[str, JsonValue] = {}
    prose: str | None = Field(default=None, max_length=5_000_000)


class Unknown(Model):
    id: int = Field(primary_key=True)


MODELS = (Fact,)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def index_of(backend: Backend) -> str:
    return f"{backend.settings.prefix}fact"  # type: ignore[attr-defined]


async def ids(query: holdall.QueryBuilder[Fact]) -> list[int]:
    return [found.id for found in await query.order_by("id")]


async def test_the_mapping_is_strict_and_coerces_nothing(backend: Backend, ask: Ask) -> None:
    answer = await ask("GET", f"/{index_of(backend)}/_mapping")

    mapping = next(iter(answer.values()))["mappings"]
    assert mapping["dynamic"] == "strict"
    assert {item["coerce"] for item in mapping["properties"].values() if item["type"] in ("long", "double", "byte")} == {False}


async def test_a_text_of_more_than_256_characters_is_found(backend: Backend) -> None:
    text = "ä" * 10_000
    await backend.create(Fact(id=1, text=text))

    assert await ids(backend.query(Fact).filter(text=text)) == [1]
    assert await ids(backend.query(Fact).filter(text__contains="ä" * 200)) == [1]


@pytest.mark.parametrize("field", ["text", "tags"])
async def test_a_text_too_long_for_the_index_is_refused_before_any_io(backend: Backend, field: str) -> None:
    text = "x" * 40_000

    with pytest.raises(LimitExceeded, match="32766") as raised:
        await backend.create(Fact.model_validate({"id": 1, field: [text] if field == "tags" else text}))

    assert raised.value.limit == 32_766
    assert await backend.get_or_none(Fact, 1) is None


async def test_a_text_declared_long_is_stored_whole_and_not_filtered_by(backend: Backend) -> None:
    fact = await backend.create(Fact(id=1, prose="é" * 1_000_000))
    await backend.create(Fact(id=2))

    assert await backend.get(Fact, 1) == fact
    assert await ids(backend.query(Fact).filter(prose=None)) == [2]
    for query in (backend.query(Fact).filter(prose="x"), backend.query(Fact).order_by("prose")):
        with pytest.raises(UnsupportedOperation, match="stored alone"):
            await query
        assert query.explain().missing


async def test_numbers_beyond_53_bits_and_decimals_come_back_exact(backend: Backend) -> None:
    numbers = [2**53 + 1, 2**63 - 1, -(2**63), 2**53]
    amount = Decimal("12345678901234567890.0123456789")
    await backend.create_many([Fact(id=place, number=number, amount=amount) for place, number in enumerate(numbers)])

    for place, number in enumerate(numbers):
        found = await backend.get(Fact, place)
        assert (found.number, found.amount) == (number, amount)
        assert await ids(backend.query(Fact).filter(number=number, amount=amount)) == [place]
    assert await ids(backend.query(Fact).filter(amount__lt=amount)) == []


async def test_a_decimal_never_becomes_a_float_on_the_wire(backend: Backend, ask: Ask) -> None:
    await backend.create(Fact(id=1, amount=Decimal("0.1"), data={"price": "0.1"}))

    source = (await ask("GET", f"/{index_of(backend)}/_doc/1"))["_source"]

    assert isinstance(source["amount"], str)
    assert source["amount"].endswith("1000000000")


async def test_datetimes_keep_their_microseconds_in_every_year(backend: Backend) -> None:
    moments = [EPOCH - timedelta(microseconds=1), EPOCH + timedelta(microseconds=1), datetime.max.replace(tzinfo=UTC)]
    await backend.create_many([Fact(id=place, moment=moment) for place, moment in enumerate(moments)])

    for place, moment in enumerate(moments):
        assert (await backend.get(Fact, place)).moment == moment
        assert await ids(backend.query(Fact).filter(moment=moment)) == [place]


async def test_none_does_not_tie_with_the_largest_int(backend: Backend) -> None:
    await backend.create_many([Fact(id=1), Fact(id=2, number=2**63 - 1), Fact(id=3, number=-(2**63))])
    number = col(Fact.number)

    for term, expected in (
        (number.asc(), [3, 2, 1]),
        (number.desc(), [2, 3, 1]),
        (number.asc(nulls="first"), [1, 3, 2]),
        (number.desc(nulls="first"), [1, 2, 3]),
    ):
        assert [found.id for found in await backend.query(Fact).order_by(term)] == expected
        first = await backend.query(Fact).order_by(term).page(size=1)
        second = await backend.query(Fact).order_by(term).page(size=2, after=first.next)
        assert [found.id for found in (*first.items, *second.items)] == expected


async def test_a_save_replaces_a_dict_and_merges_nothing(backend: Backend) -> None:
    fact = await backend.create(Fact(id=1, data={"a": 1}))
    fact.data = {"b": 12345678901234567}

    await backend.save(fact)

    assert (await backend.get(Fact, 1)).data == {"b": 12345678901234567}
    assert await ids(backend.query(Fact).filter(data__a=1)) == []


@pytest.mark.timeout(180)
async def test_more_than_ten_thousand_records_are_counted_read_and_streamed(backend: Backend) -> None:
    count = 10_050
    await backend.create_many([Fact(id=number, number=number % 7) for number in range(count)])
    query = backend.query(Fact)

    assert await query.count() == count
    assert sorted(found.id for found in await query) == list(range(count))
    assert [found.id for found in await query.order_by("-id").limit(5).offset(10_020)] == [29, 28, 27, 26, 25]
    assert [found.id for found in await query.order_by("id").limit(10_010)] == list(range(10_010))
    assert [found.id async for found in query.order_by("id").stream(batch=4000)] == list(range(count))
    assert await query.filter(number=3).delete() == len(range(3, count, 7))
    assert await query.count() == count - len(range(3, count, 7))


@pytest.mark.parametrize("answer", [{"timed_out": True}, {"_shards": {"total": 2, "successful": 1, "failed": 1}}])
async def test_a_part_of_an_answer_is_an_error(
    stubbed: Callable[..., AbstractAsyncContextManager[Stub]], answer: dict[str, object]
) -> None:
    body: dict[str, object] = {"timed_out": False, "_shards": {"failed": 0}, "count": 3, "hits": {"hits": []}, **answer}
    async with stubbed((200, {}), (200, body), (200, body), (200, body)) as stub, holdall.open(stub.url) as backend:
        with pytest.raises(BackendError, match="a part of the answer"):
            await backend.query(Fact).limit(5)
        with pytest.raises(BackendError, match="a part of the answer"):
            await backend.query(Fact).filter(number=1).count()
        with pytest.raises(BackendError, match="a part of the answer"):
            await backend.query(Fact).filter(number=1).exists()

    assert all("allow_partial_search_results=false" in path for _, path, _ in stub.requests if "_search" in path)


async def test_a_model_that_was_not_initialised_makes_no_index(backend: Backend, ask: Ask) -> None:
    for write in (backend.create, backend.upsert):
        with pytest.raises(ConfigurationError, match="initialize"):
            await write(Unknown(id=1))
    for call in (
        backend.get(Unknown, 1),
        backend.create_many([Unknown(id=1)]),
        backend.query(Unknown).count(),
        backend.query(Unknown).delete(),
    ):
        with pytest.raises(ConfigurationError, match="initialize"):
            await call
    with pytest.raises(ConfigurationError, match="initialize"):
        await backend.query(Unknown)

    assert not await ask("GET", f"/{backend.settings.prefix}unknown*/_settings?allow_no_indices=true")  # type: ignore[attr-defined]


async def test_another_mapping_is_named_with_the_remedy(backend: Backend) -> None:
    class Changed(Model):
        id: int = Field(primary_key=True)
        more: str = ""

        class Meta:
            name = "fact"

    with pytest.raises(ConfigurationError, match="reindex"):
        await backend.create(Changed(id=1))
    differences = await backend.check(Changed)
    assert "column 'more' of table 'fact' is missing" in "".join(map(str, differences))


@pytest.mark.parametrize(
    ("lookup", "limit"),
    [({"text__gt": "x" * 1001}, 1000), ({"text__contains": "x" * 400}, 300), ({"number__in": list(range(70_000))}, 65_536)],
)
async def test_values_beyond_what_a_query_takes_are_refused_before_any_io(backend: Backend, lookup: dict[str, object], limit: int) -> None:
    with pytest.raises(LimitExceeded) as raised:
        await backend.query(Fact).filter(**lookup)

    assert raised.value.limit == limit


async def test_a_condition_of_too_many_parts_is_refused_before_any_io(backend: Backend) -> None:
    condition = col(Fact.number) == 0
    for number in range(1, 1002):
        condition = condition | ((col(Fact.number) == number) & (col(Fact.text) == str(number)))

    with pytest.raises(LimitExceeded, match="conditions"):
        await backend.query(Fact).filter(condition)


@pytest.mark.parametrize("key", ["", "~", ".", "..", "_doc", "a/b", "#", "?", "%2F", "~#", " ", "é\U0001f600", "x" * 600, "x" * 601])
async def test_any_text_is_a_key_of_its_own(backend: Backend, key: str) -> None:
    class Named(Model):
        name: str = Field(primary_key=True)
        note: str = ""

    await backend.initialize(Named)
    try:
        for other in ("", "~", "~~", "x" * 599, "x" * 602):
            await backend.upsert(Named(name=other))
        await backend.upsert(Named(name=key, note="this"))

        assert (await backend.get(Named, key)).note == "this"
        assert [found.name for found in await backend.query(Named).filter(note="this")] == [key]
    finally:
        await backend.drop(Named)


async def test_a_computed_int_does_not_wrap_around(backend: Backend) -> None:
    await backend.create_many([Fact(id=1, number=1), Fact(id=2, number=2**63 - 1)])

    with pytest.raises(ValidationError):
        await backend.query(Fact).update(number=holdall.F("number") + 1)

    assert [(await backend.get(Fact, number)).number for number in (1, 2)] == [1, 2**63 - 1]


async def test_a_point_in_time_is_given_back_when_a_stream_is_left(backend: Backend) -> None:
    await backend.create_many([Fact(id=number) for number in range(50)])
    async for _ in backend.query(Fact).stream(batch=10):
        break

    # The node allows 300 of them: each pass leaves one behind, if it is not given back.
    for _ in range(320):
        async with backend.query(Fact).stream(batch=10) as stream:
            async for _ in stream:
                break


def test_the_password_is_never_shown() -> None:
    backend = holdall.open("opensearch://user:secret@127.0.0.1:1")

    assert "secret" not in repr(backend)


async def test_too_many_new_scripts_of_others_are_waited_for(stubbed: Callable[..., AbstractAsyncContextManager[Stub]]) -> None:
    breaker = {"type": "circuit_breaking_exception", "reason": "[script] Too many dynamic script compilations within, max: [75/5m]"}
    error: dict[str, object] = {"type": "illegal_argument_exception", "reason": "failed to execute script"}
    refused: object = {
        "status": 400,
        "error": {**error, "root_cause": [error], "caused_by": {"type": "general_script_exception", **breaker}},
    }
    async with stubbed((200, {}), (400, refused), (200, {"result": "deleted"})) as stub, holdall.open(stub.url) as backend:
        assert await backend.delete(Fact(id=1))
