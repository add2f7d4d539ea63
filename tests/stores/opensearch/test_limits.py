"""What the server bounds is refused before any I/O, or works."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import Any

import pytest

import holdall
from holdall import Backend, BackendError, F, Field, LimitExceeded, Model, Q, ValidationError
from holdall.query.search import Dates
from tests.stores.opensearch.conftest import Stub


class Wide(Model):
    id: int = Field(primary_key=True)
    number: int | None = None
    real: float | None = None
    amount: Decimal = Field(default=Decimal(0), max_digits=12, decimal_places=2)
    text: str | None = None
    flag: bool | None = None
    at: datetime | None = None
    tags: list[str] = []
    data: dict[str, Any] | None = None
    small: int = Field(default=0, ge=0)
    code: str | None = Field(default=None, unique=True)
    body: str = Field(default="", max_length=200_000_000, search="english")


MODELS = (Wide,)
Stubbed = Callable[..., AbstractAsyncContextManager[Stub]]
MANY = 500
LEAVES: dict[str, Any] = {
    "number__gt": range(MANY),
    "number": range(MANY),
    "number__between": [(number, number + 1) for number in range(MANY)],
    "real__lt": [float(number) for number in range(MANY)],
    "amount__gte": [Decimal(number) for number in range(MANY)],
    "text__contains": list(map(str, range(MANY))),
    "text__startswith": list(map(str, range(MANY))),
    "text__icontains": list(map(str, range(MANY))),
    "at__year": range(1000, 1000 + MANY),
    "at__month": [number % 12 + 1 for number in range(MANY)],
    "tags__has": list(map(str, range(MANY))),
    "data__a__gt": range(MANY),
    "data__a": range(MANY),
}


@pytest.mark.parametrize("name", LEAVES)
async def test_as_many_conditions_as_are_allowed_work(backend: Backend, name: str) -> None:
    for many in (MANY, MANY // 5):
        conditions: list[Any] = [Q(**{name: value}) for value in LEAVES[name][:many]]
        either: Any = reduce(lambda one, other: one | other, conditions)
        for query in (either, ~either):
            try:
                await backend.query(Wide).filter(query).count()
            except LimitExceeded as error:
                assert many == MANY
                assert error.__cause__ is None  # noqa: PT017 - the server was not asked


@pytest.mark.parametrize("filters", [{"tags__has_all": list(map(str, range(600)))}, {"data__a__in": list(range(70_000))}])
async def test_more_conditions_than_that_are_refused_before_any_io(filters: dict[str, Any]) -> None:
    with pytest.raises(LimitExceeded):
        await holdall.open("opensearch://127.0.0.1:1").query(Wide).filter(**filters)


def within_one_another(levels: int) -> Any:
    query: Any = Q(number=0)
    for level in range(levels):
        query = (query | Q(number=level)) if level % 2 else (query & ~Q(text=str(level)))
    return query


async def test_conditions_within_one_another_work_up_to_what_is_refused_before_any_io(backend: Backend) -> None:
    query = backend.query(Wide).filter(within_one_another(69))
    assert await query.count() == await query.update(number=1) == len(await query) == 0

    with pytest.raises(LimitExceeded):
        await holdall.open("opensearch://127.0.0.1:1").query(Wide).filter(within_one_another(100)).count()


@pytest.mark.parametrize("operation", ["all", "count", "exists"])
async def test_what_is_too_much_is_refused_before_the_refresh_that_it_asks_for(operation: str) -> None:
    query = holdall.open("opensearch://127.0.0.1:1").query(Wide).filter(text__contains="x" * 301).consistent()

    with pytest.raises(LimitExceeded):
        await getattr(query, operation)()


@pytest.mark.parametrize("values", [{"small": -1}, {"text": "x" * 40_000}])
@pytest.mark.parametrize("others", [{}, {"number": F("number") + 1}, {"code": "x"}])
async def test_an_update_by_query_to_what_cannot_be_is_refused_before_any_io(values: dict[str, Any], others: dict[str, Any]) -> None:
    with pytest.raises(ValidationError if "small" in values else LimitExceeded):
        await holdall.open("opensearch://127.0.0.1:1").query(Wide).update(**values, **others)


async def test_more_words_than_the_server_takes_are_a_limit(backend: Backend) -> None:
    with pytest.raises(LimitExceeded, match="words"):
        await backend.query(Wide).search(" ".join(f"word{number}" for number in range(1100)))


async def test_more_buckets_than_the_server_makes_are_a_limit(stubbed: Stubbed) -> None:
    cause = {"type": "too_many_buckets_exception", "reason": "Trying to create too many buckets"}
    refused: dict[str, Any] = {"type": "search_phase_execution_exception", "reason": "", "root_cause": [], "caused_by": cause}
    async with stubbed((200, {}), (503, {"status": 503, "error": refused})) as stub, holdall.open(stub.url) as backend:
        with pytest.raises(LimitExceeded, match="longer periods"):
            await backend.query(Wide).search("x").facets(times=Dates("at", "minute"))


async def test_a_text_longer_than_what_is_analysed_for_it_is_highlighted_at_its_begin(backend: Backend) -> None:
    await backend.create(Wide(id=1, body="fox " + "word " * 220_000))

    found = await backend.query(Wide).search("fox").highlight("body")

    assert found.hits[0].highlights["body"][0].startswith("<em>fox</em>")


async def test_a_record_larger_than_a_request_may_be_is_refused_with_a_remedy(stubbed: Stubbed) -> None:
    refused = b"HTTP/1.1 413 Request Entity Too Large\r\ncontent-length: 0\r\n\r\n"
    async with stubbed((200, {}), refused, refused) as stub, holdall.open(stub.url) as backend:
        for write in (backend.create(Wide(id=1)), backend.create_many([Wide(id=1)])):
            with pytest.raises(BackendError, match=r"http\.max_content_length"):
                await write


@pytest.mark.parametrize("filters", [{"tags__has_any": list(map(str, range(60_000)))}, {"data__a__in": list(range(60_000))}])
async def test_long_lists_work(backend: Backend, filters: dict[str, Any]) -> None:
    assert await backend.query(Wide).filter(**filters).count() == 0
