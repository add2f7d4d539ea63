import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import holdall
from holdall import Backend, Field, Model, NotFoundError
from holdall.query.operations import Fetch, FetchMany, Operation, Select
from holdall.query.stream import RowStream
from holdall.store import Executor
from holdall.wrappers.coalescing import MAX_KEYS, Coalescing


class Pet(Model):
    id: int = Field(primary_key=True)
    tags: list[str] = []


class Gate:
    """Notes what passes, and holds it back until it is opened."""

    def __init__(self, inner: Executor) -> None:
        self.inner = inner
        self.seen: list[Operation] = []
        self.open = asyncio.Event()
        self.open.set()
        self.cancelled = 0
        self.error: Exception | None = None

    async def execute(self, operation: Operation) -> Any:
        self.seen.append(operation)
        try:
            await asyncio.sleep(0)  # as every database, it answers in a later turn
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return await self.inner.execute(operation)

    async def stream(self, operation: Select, batch: int) -> RowStream:
        return await self.inner.stream(operation, batch)


class Kennel:
    def __init__(self, backend: Backend, gate: Gate) -> None:
        self.backend = backend
        self.gate = gate

    def get(self, key: int) -> asyncio.Task[Pet]:
        return asyncio.create_task(self.backend.get(Pet, key))

    def kinds(self) -> list[str]:
        kinds = [type(operation).__name__ for operation in self.gate.seen]
        self.gate.seen.clear()
        return kinds

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def kennel() -> AsyncIterator[Kennel]:
    async with holdall.open("memory://", coalesce=False) as backend:
        await backend.initialize(Pet)
        await backend.create_many([Pet(id=number, tags=["t"]) for number in range(1, MAX_KEYS + 51)])
        gate = Gate(backend.store)
        backend._outside = Coalescing(gate)
        yield Kennel(backend, gate)


async def test_reads_of_one_turn_become_one_operation_behind_the_first(kennel: Kennel) -> None:
    pets = await asyncio.gather(*map(kennel.get, (1, 2, 3)))
    assert [pet.id for pet in pets] == [1, 2, 3]
    assert kennel.kinds() == ["Fetch", "FetchMany"]

    pets = await asyncio.gather(*map(kennel.get, (4, 5, 6)))
    assert [pet.id for pet in pets] == [4, 5, 6]
    assert kennel.kinds() == ["FetchMany"]


async def test_a_read_that_is_alone_goes_at_once(kennel: Kennel) -> None:
    for key in (1, 2):
        assert (await kennel.backend.get(Pet, key)).id == key
    assert kennel.kinds() == ["Fetch", "Fetch"]
    await asyncio.gather(*map(kennel.get, (1, 2, 3)))
    kennel.kinds()

    before = asyncio.all_tasks()
    await kennel.backend.get(Pet, 1)
    await kennel.backend.get(Pet, 1)
    assert kennel.kinds() == ["Fetch", "Fetch"]
    assert asyncio.all_tasks() == before


async def test_a_read_begins_after_it_was_asked_for(kennel: Kennel) -> None:
    kennel.gate.open.clear()
    early = kennel.get(1)
    await kennel.settle()
    late = kennel.get(1)
    await kennel.settle()
    assert kennel.kinds() == ["Fetch", "Fetch"]
    kennel.gate.open.set()
    assert await early == await late


async def test_reads_of_one_key_get_an_object_each(kennel: Kennel) -> None:
    await asyncio.gather(*map(kennel.get, (1, 2, 3)))
    first, second = await asyncio.gather(kennel.get(7), kennel.get(7))
    assert first == second
    assert first is not second
    first.tags.append("own")
    assert second.tags == ["t"]
    assert holdall.is_stored(second)
    assert not holdall.changes(second)


async def test_a_missing_record_is_missed_by_its_own_reader_alone(kennel: Kennel) -> None:
    found = await asyncio.gather(*map(kennel.get, (1, 0, 2)), return_exceptions=True)
    assert [type(item) for item in found] == [Pet, NotFoundError, Pet]


async def test_a_cancelled_reader_takes_nobody_along(kennel: Kennel) -> None:
    kennel.gate.open.clear()
    tasks = [kennel.get(key) for key in (1, 2, 3, 3)]
    await kennel.settle()
    tasks[1].cancel()
    tasks[2].cancel()
    await kennel.settle()
    kennel.gate.open.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(item) for item in done] == [Pet, asyncio.CancelledError, asyncio.CancelledError, Pet]
    assert not kennel.gate.cancelled


async def test_what_nobody_waits_for_any_more_is_cancelled(kennel: Kennel) -> None:
    kennel.gate.open.clear()
    alone = kennel.get(1)
    await asyncio.sleep(0)
    tasks = [kennel.get(key) for key in (2, 3)]
    await kennel.settle()
    assert kennel.kinds() == ["Fetch", "FetchMany"]
    for task in tasks:
        task.cancel()
    await kennel.settle()
    assert kennel.gate.cancelled == 1

    kennel.gate.open.set()
    assert (await alone).id == 1
    assert [pet.id for pet in await asyncio.gather(kennel.get(4), kennel.get(5))] == [4, 5]


async def test_an_error_reaches_every_reader(kennel: Kennel) -> None:
    kennel.gate.error = holdall.ConnectionLost("gone")
    found = await asyncio.gather(*map(kennel.get, (1, 2, 3)), return_exceptions=True)
    assert [type(item) for item in found] == [holdall.ConnectionLost] * 3


async def test_a_group_has_a_limit(kennel: Kennel) -> None:
    await asyncio.gather(*map(kennel.get, (1, 2, 3)))
    kennel.gate.seen.clear()
    count = MAX_KEYS + 50
    pets = await asyncio.gather(*map(kennel.get, range(1, count + 1)))
    assert [pet.id for pet in pets] == list(range(1, count + 1))
    sizes = [len(operation.keys) for operation in kennel.gate.seen if isinstance(operation, FetchMany)]
    assert sizes == [MAX_KEYS, 50]
    assert not any(isinstance(operation, Fetch) for operation in kennel.gate.seen)
