"""Writes while others write: exact by version, by query and in bulk."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

import holdall
from holdall import Backend, BackendError, ConflictError, DuplicateKeyError, F, Field, Model
from holdall.stores.opensearch.requests import Item, Lines, ModelRequests
from tests.stores.opensearch.conftest import Ask, Stub


class Counter(Model):
    id: int = Field(primary_key=True)
    count: int = 0
    touched: int = 0
    group: int = 0
    version: int = Field(default=1, version=True)


MODELS = (Counter,)
Stubbed = Callable[..., AbstractAsyncContextManager[Stub]]


async def test_an_update_by_query_reaches_every_record_once_while_others_write(backend: Backend) -> None:
    size = 3000
    await backend.create_many([Counter(id=number) for number in range(size)])
    done = asyncio.Event()
    others = 0

    async def write(first: int) -> None:
        nonlocal others
        number = first
        while not done.is_set():
            changed = await backend.query(Counter).filter(id=number % size).update(touched=F("touched") + 1)
            others += changed
            number += 7

    writers = [asyncio.create_task(write(first)) for first in range(4)]
    try:
        assert await backend.query(Counter).update(count=F("count") + 1) == size
        assert await backend.query(Counter).filter(count=1).update(group=5) == size
    finally:
        done.set()
        await asyncio.gather(*writers)

    found = await backend.query(Counter)
    assert {(counter.count, counter.group) for counter in found} == {(1, 5)}
    assert sum(counter.touched for counter in found) == others > 0
    assert all(counter.version == 3 + counter.touched for counter in found)


async def test_a_delete_by_query_sees_what_was_written_just_before(opensearch_url: str, backend: Backend) -> None:
    assert backend.capabilities
    async with holdall.open(opensearch_url.replace("refresh=wait_for", "refresh=")) as lagging:
        await lagging.create_many([Counter(id=number) for number in range(50)])

        assert await lagging.query(Counter).filter(id__lt=20).delete() == 20
        assert await lagging.query(Counter).consistent().count() == 30


async def test_saves_of_one_version_have_one_winner(backend: Backend) -> None:
    await backend.create(Counter(id=1))
    loaded = [await backend.get(Counter, 1) for _ in range(20)]
    for number, counter in enumerate(loaded):
        counter.count = number + 1

    results = await asyncio.gather(*map(backend.save, loaded), return_exceptions=True)

    assert sum(isinstance(result, Counter) for result in results) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 19


async def test_a_stale_version_stays_stale_in_a_new_index(backend: Backend) -> None:
    """Sequence numbers start anew in a new index, so that by them a stale save would pass."""
    fresh = await backend.create(Counter(id=1))
    stale = await backend.get(Counter, 1)
    fresh.count = 5
    await backend.save(fresh)
    await backend.reindex(Counter)
    stale.count = 9

    with pytest.raises(ConflictError):
        await backend.save(stale)
    with pytest.raises(ConflictError):
        await backend.delete(stale)

    assert (await backend.get(Counter, 1)).count == 5


async def test_a_bulk_write_that_fails_says_what_it_has_written(backend: Backend) -> None:
    await backend.create_many([Counter(id=1500, count=7), Counter(id=1700)])
    counters = [Counter(id=number) for number in range(3000)]

    with pytest.raises(DuplicateKeyError) as raised:
        await backend.create_many(counters)

    written = set(raised.value.written)
    stored = {counter.id for counter in await backend.query(Counter)}
    assert stored - {1500, 1700} == {counters[place].id for place in written}
    assert len(stored) == 2000  # the first chunk, and what the second held beside the duplicates
    reasons = {place: reason for place, reason in enumerate(raised.value.reasons) if reason is not None}
    assert {place: type(reason) for place, reason in reasons.items()} == {1500: DuplicateKeyError, 1700: DuplicateKeyError}
    assert len(raised.value.reasons) == 3000
    assert raised.value.values == (1500,)
    assert [holdall.is_stored(counter) for counter in counters] == [place in written for place in range(3000)]
    assert (await backend.get(Counter, 1500)).count == 7


async def test_bulk_writes_are_divided_by_their_bytes(opensearch_url: str, backend: Backend) -> None:
    assert backend.capabilities
    async with holdall.open(opensearch_url, bulk_bytes=2000) as small:
        await small.create_many([Counter(id=number) for number in range(300)])
        assert await small.query(Counter).count() == 300


BUSY: dict[str, object] = {"error": {"type": "rejected_execution_exception", "reason": "queue full", "root_cause": []}, "status": 429}
DONE = {"_index": "counter", "_id": "1", "result": "created"}


async def test_a_busy_server_is_asked_again_and_a_create_is_sent_once_after_success(stubbed: Stubbed) -> None:
    async with stubbed((200, {}), (429, BUSY), (429, BUSY), (201, DONE)) as stub, holdall.open(stub.url) as backend:
        await backend.create(Counter(id=1))

    assert [path.split("?")[0] for _, path, _ in stub.requests] == ["/", *3 * ["/counter/_create/1"]]


async def test_a_server_that_stays_busy_is_an_error_within_the_time_allowed(stubbed: Stubbed) -> None:
    async with stubbed((200, {}), *[(429, BUSY)] * 50) as stub, holdall.open(stub.url, retry_timeout=0.2) as backend:
        with pytest.raises(BackendError, match="429"):
            await backend.create(Counter(id=1))


async def test_the_refused_part_of_a_bulk_write_is_sent_again(stubbed: Stubbed) -> None:
    error = {"type": "rejected_execution_exception", "reason": "queue full"}
    first = {
        "errors": True,
        "items": [{"create": {"status": 201}}, {"create": {"status": 429, "error": error}}, {"create": {"status": 201}}],
    }
    second = {"errors": False, "items": [{"create": {"status": 201}}]}
    async with stubbed((200, {}), (200, first), (200, second)) as stub, holdall.open(stub.url) as backend:
        await backend.create_many([Counter(id=number) for number in range(3)])

    assert [body.count(b'"create"') for _, _, body in stub.requests] == [0, 3, 1]
    assert b'"_id":"1"' in stub.requests[2][2]


async def test_writes_wait_for_what_they_were_told(opensearch_url: str, backend: Backend, ask: Ask) -> None:
    """Without a refresh queries lag; reads by key do not, nor a query that is to be consistent."""
    prefix = backend.settings.prefix  # type: ignore[attr-defined]
    await ask("PUT", f"/{prefix}counter/_settings", {"index.refresh_interval": "-1"})
    async with holdall.open(opensearch_url.replace("refresh=wait_for", "refresh=")) as lagging:
        counter = await lagging.create(Counter(id=1))

        assert holdall.Capability.FRESH_QUERIES not in lagging.capabilities
        assert await lagging.query(Counter) == []
        assert await lagging.get(Counter, 1) == counter
        assert await lagging.query(Counter).filter(id=1) == [counter]
        assert await lagging.query(Counter).consistent() == [counter]
    async with holdall.open(opensearch_url.replace("refresh=wait_for", "refresh=true")) as fresh:
        await fresh.create(Counter(id=2))

        assert holdall.Capability.FRESH_QUERIES in fresh.capabilities
        assert await fresh.query(Counter).filter(group=0).count() == 2


async def test_an_update_by_query_sends_no_more_at_once_than_it_should(
    opensearch_url: str, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.create_many([Counter(id=number) for number in range(100)])
    sizes: list[int] = []
    bulk = ModelRequests.bulk

    async def measured(self: ModelRequests, lines: Lines, index: str | None = None) -> list[Item]:
        sizes.append(len(lines.buffer))
        return await bulk(self, lines, index)

    monkeypatch.setattr(ModelRequests, "bulk", measured)
    async with holdall.open(opensearch_url, bulk_bytes=1000) as modest:
        assert await modest.query(Counter).update(count=F("count") + 1) == 100
        assert await modest.query(Counter).delete() == 100

    assert len(sizes) > 10
    assert max(sizes) < 1300
