"""A new index is built while the old one serves and others write; afterwards it holds exactly what they wrote."""

import asyncio
import random
from typing import Any

import anyio.lowlevel
import pytest

import holdall
from holdall import Backend, BackendError, F, Field, Model
from holdall.stores.opensearch import reindexing
from tests.stores.opensearch.conftest import Ask
from tests.stress.ways import WAYS


class Note(Model):
    id: int = Field(primary_key=True)
    text: str = ""
    number: int = 0

    class Meta:
        name = "note"


class Wider(Model):
    """The same records, with a field more and a text that can be searched."""

    id: int = Field(primary_key=True)
    text: str = Field(default="", search="english")
    number: int = 0
    more: int | None = None

    class Meta:
        name = "note"


class Versioned(Model):
    """The same records, with a version."""

    id: int = Field(primary_key=True)
    text: str = ""
    number: int = 0
    size: int = 5
    version: int = Field(default=1, version=True)

    class Meta:
        name = "note"


class Narrow(Model):
    """A mapping that the records do not fit."""

    id: int = Field(primary_key=True)
    text: int = 0

    class Meta:
        name = "note"


MODELS = (Note,)


class Writer:
    """Creates, updates, removes and creates again, in a range of keys of its own, and knows what should be stored."""

    def __init__(self, backend: Backend, first: int) -> None:
        self._backend = backend
        self._random = random.Random(first)
        self._keys = range(first, first + 200)
        self.stored: dict[int, Note] = {}

    async def write(self, until: asyncio.Event) -> int:
        count = 0
        while not until.is_set() or count < 50:
            await self._step(self._random.choice(self._keys))
            count += 1
        return count

    async def _step(self, key: int) -> None:
        note = self.stored.get(key)
        if note is None:
            self.stored[key] = await self._backend.create(Note(id=key, text=f"made {self._random.random()}"))
        elif self._random.random() < 0.4:
            assert await self._backend.delete(self.stored.pop(key))
        else:
            note.number += 1
            await self._backend.save(note)


def prefix_of(backend: Backend) -> str:
    return str(backend.settings.prefix)  # type: ignore[attr-defined]


async def indexes(ask: Ask, backend: Backend) -> list[str]:
    answer: dict[str, Any] = await ask("GET", f"/{prefix_of(backend)}note~v*/_settings")
    return sorted(name.rpartition("~")[2] for name in answer)


@pytest.mark.timeout(180)
async def test_both_sides_are_equal_record_by_record_under_continuous_writers(backend: Backend, ask: Ask) -> None:
    await backend.create_many([Note(id=number, text="old") for number in range(10_000, 14_000)])
    until = asyncio.Event()
    writers = [Writer(backend, 1000 * number) for number in range(6)]
    tasks = [asyncio.create_task(writer.write(until)) for writer in writers]

    await backend.reindex(Note)
    await backend.reindex(Note)

    until.set()
    await asyncio.gather(*tasks)
    expected = {key: note for writer in writers for key, note in writer.stored.items()}
    found = {note.id: note for note in await backend.query(Note).filter(id__lt=10_000)}
    assert found == expected
    assert await backend.query(Note).filter(text="old").count() == 4000
    assert await indexes(ask, backend) == ["v000003"]


@pytest.mark.timeout(180)
async def test_an_update_by_query_over_the_exchange_counts_each_record_once(backend: Backend, ask: Ask) -> None:
    await backend.create_many([Note(id=number) for number in range(1500)])
    until = asyncio.Event()

    async def update() -> int:
        rounds = 0
        while not until.is_set():
            assert await backend.query(Note).update(number=F("number") + 1) == 1500
            rounds += 1
        return rounds

    task = asyncio.create_task(update())
    for _ in range(3):
        await backend.reindex(Note)
        assert len(await backend.query(Note)) == 1500
    until.set()
    rounds = await task

    assert {note.number for note in await backend.query(Note)} == {rounds}
    assert await indexes(ask, backend) == ["v000004"]


async def test_a_new_mapping_takes_effect(backend: Backend) -> None:
    await backend.create_many([Note(id=1, text="running foxes"), Note(id=2, text="a turtle")])
    assert await backend.check(Wider)

    await backend.reindex(Wider)

    assert await backend.check(Wider) == []
    found = await backend.query(Wider).search("fox")
    assert [hit.record.id for hit in found.hits] == [1]
    assert found.records[0].more is None
    await backend.create(Wider(id=3, more=5))
    assert [note.id for note in await backend.query(Wider).filter(more=None).order_by("id")] == [1, 2]


async def test_records_without_a_version_get_their_first_by_an_update_or_an_upsert(backend: Backend) -> None:
    await backend.create_many([Note(id=1), Note(id=2)])
    await backend.reindex(Versioned)

    await backend.upsert(Versioned(id=1))
    assert await backend.query(Versioned).filter(id=2).update(size=5) == 1

    assert [(note.size, note.version) for note in await backend.query(Versioned)] == [(5, 1), (5, 1)]
    for note in await backend.query(Versioned):
        note.size = 6
        await backend.save(note)
        assert note.version == 2


async def test_records_that_do_not_fit_leave_all_as_it_was(backend: Backend, ask: Ask) -> None:
    note = await backend.create(Note(id=1, text="no number"))

    with pytest.raises(BackendError, match="cannot be copied"):
        await backend.reindex(Narrow)

    assert await indexes(ask, backend) == ["v000001"]
    assert await backend.get(Note, 1) == note
    note.number = 1
    await backend.save(note)


async def test_two_at_once_are_told_of_one_another(backend: Backend) -> None:
    await backend.create_many([Note(id=number) for number in range(500)])

    results = await asyncio.gather(backend.reindex(Note), backend.reindex(Note), return_exceptions=True)

    errors = [result for result in results if isinstance(result, BackendError)]
    assert len(errors) == 1
    assert "another one is reindexing" in str(errors[0])
    assert await backend.query(Note).count() == 500


async def test_a_cancelled_reindex_leaves_the_old_index_in_service(backend: Backend, ask: Ask) -> None:
    await backend.create_many([Note(id=number) for number in range(2000)])
    for turns in (1, 5, 20, 60):
        task = asyncio.create_task(backend.reindex(Note))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await backend.create(Note(id=-turns))  # waits, if need be, until the block is gone

    assert await backend.query(Note).count() == 2004


async def test_a_reindex_cancelled_at_any_suspension_leaves_one_index_and_no_block(backend: Backend, ask: Ask) -> None:
    await backend.create_many([Note(id=number) for number in range(50)])
    for way in WAYS:
        k = 1
        while await way(backend.reindex(Note), k):
            await settled(backend)
            assert len(await indexes(ask, backend)) == 1
            await asyncio.wait_for(backend.update(Note(id=1, number=k)), 5)
            assert await backend.query(Note).count() == 50
            k += 1
        assert k > 10


async def test_what_the_server_copies_for_a_cancelled_reindex_is_stopped(
    backend: Backend, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.create_many([Note(id=number) for number in range(50)])
    monkeypatch.setattr(reindexing, "_PAGE", 1)
    monkeypatch.setattr(reindexing, "_HOW", f"{reindexing._HOW}&requests_per_second=1")
    task = asyncio.create_task(backend.reindex(Note))
    while not await copies(ask):
        await anyio.lowlevel.checkpoint()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not await copies(ask)
    assert await indexes(ask, backend) == ["v000001"]


async def copies(ask: Ask) -> list[str]:
    found = await ask("GET", "/_tasks?actions=indices:data/write/reindex&detailed=true")
    return [task["description"] for node in found["nodes"].values() for task in node["tasks"].values()]


async def settled(backend: Backend) -> None:
    """Wait for what goes on in the background."""
    store: Any = backend.store
    tasks = store._loops.get().client._tasks
    while tasks:
        await asyncio.wait(set(tasks))
        await asyncio.sleep(0)


async def test_what_one_who_died_has_left_is_named(backend: Backend, ask: Ask) -> None:
    await backend.create(Note(id=1))
    orphan = f"/{prefix_of(backend)}note~v000002"
    await ask("PUT", orphan, {})
    await ask("PUT", f"/{prefix_of(backend)}note~v000001/_settings", {"index.blocks.write": True})

    with pytest.raises(BackendError, match="delete that index"):
        await backend.reindex(Note)
    await ask("DELETE", orphan)
    await backend.reindex(Note)

    await backend.create(Note(id=2))
    assert await backend.query(Note).count() == 2


async def test_a_stream_over_the_exchange_says_to_begin_again(backend: Backend) -> None:
    await backend.create_many([Note(id=number) for number in range(20)])
    async with backend.query(Note).order_by("id").stream(batch=5) as stream:
        assert (await anext(aiter(stream))).id == 0

        await backend.reindex(Note)

        with pytest.raises(BackendError, match="stream again"):
            [note async for note in stream]


async def test_a_block_that_stays_is_an_error_with_a_remedy(opensearch_url: str, backend: Backend, ask: Ask) -> None:
    await ask("PUT", f"/{prefix_of(backend)}note~v000001/_settings", {"index.blocks.write": True})

    async with holdall.open(opensearch_url, retry_timeout=0.1) as hasty:
        with pytest.raises(BackendError, match=r"reindex\(Note\)"):
            await hasty.create(Note(id=1))
        with pytest.raises(BackendError, match=r"reindex\(Note\)"):
            await hasty.create_many([Note(id=1)])
        await hasty.reindex(Note)
        await hasty.create(Note(id=1))
