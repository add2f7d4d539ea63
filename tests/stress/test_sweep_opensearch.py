"""Every public operation on OpenSearch is cancelled at every suspension; then the pool is whole, replies are nobody else's, and values free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import count
from typing import Any

import pytest

import holdall
from holdall import Backend, Field, Model
from tests.stress.ways import Way, at_once, by_anyio_scope, by_timeout, twice

pytestmark = pytest.mark.timeout(180)
_numbers = count(1000)


class Leaf(Model):
    """A record whose name is its own."""

    id: int = Field(primary_key=True)
    name: str = Field(unique=True)
    size: int = 0
    version: int = Field(default=1, version=True)


async def _save(backend: Backend, number: int) -> None:
    leaf = await backend.get(Leaf, 1)
    leaf.size = number
    await backend.save(leaf)


async def _rename(backend: Backend, number: int) -> None:
    leaf = await backend.get(Leaf, 2)
    leaf.name = f"renamed {number}"
    await backend.save(leaf)


async def _create_and_delete(backend: Backend, number: int) -> None:
    await backend.delete(await backend.create(Leaf(id=number, name=f"leaf {number}")))


async def _create_many(backend: Backend, number: int) -> None:
    found = await backend.create_many([Leaf(id=number + place, name=f"leaf {number + place}") for place in range(0, 1_000_000, 500_000)])
    await backend.delete_many(found)


async def _stream(backend: Backend, _number: int) -> None:
    async with backend.query(Leaf).order_by("id").stream(batch=3) as leaves:
        async for leaf in leaves:
            if leaf.id > 5:
                break


OPERATIONS: dict[str, Callable[[Backend, int], Awaitable[Any]]] = {
    "get": lambda backend, _: backend.get(Leaf, 1),
    "get_many": lambda backend, _: backend.get_many(Leaf, [1, 2, 3]),
    "save": _save,
    "rename": _rename,
    "create and delete": _create_and_delete,
    "create_many and delete_many": _create_many,
    "upsert": lambda backend, number: backend.upsert(Leaf(id=3, name="the 3", size=number)),
    "get_or_create": lambda backend, number: backend.get_or_create(Leaf, {"name": "the 4"}, defaults={"id": 4, "size": number}),
    "select": lambda backend, _: backend.query(Leaf).filter(size__gte=0).order_by("id").limit(5).all(),
    "count": lambda backend, _: backend.query(Leaf).consistent().count(),
    "page": lambda backend, _: backend.query(Leaf).order_by("id").page(size=3),
    "stream": _stream,
    "update by query": lambda backend, number: backend.query(Leaf).filter(id__in=[5, 6]).update(size=number),
    "delete by query": lambda backend, number: backend.query(Leaf).filter(id=number).delete(),
    "reindex": lambda backend, _: backend.reindex(Leaf),
}


@pytest.fixture
async def backend(opensearch_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(opensearch_url, coalesce=False, unique_grace=0.2, pool_max_size=4) as backend:
        await backend.initialize(Leaf)
        await backend.create_many([Leaf(id=number, name=f"the {number}") for number in range(1, 9)])
        yield backend
        await backend.drop(Leaf)


async def settled(backend: Backend) -> None:
    """Wait for what goes on in the background; fail when something stays in use."""
    for _ in range(500):
        stats = backend.store.stats()
        if stats["idle"] == stats["size"]:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"connections stay in use: {backend.store.stats()}")


@pytest.mark.parametrize("way", [at_once, twice, by_timeout, by_anyio_scope])
@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_cancelled_operation_harms_nothing(backend: Backend, name: str, way: Way) -> None:
    for k in count(1):
        number = next(_numbers)
        was_cancelled = await way(OPERATIONS[name](backend, number), k)
        await settled(backend)

        literal = f"the {number % 2 + 7}"
        assert (await backend.get(Leaf, number % 2 + 7)).name == literal
        # What a cancelled writer has reserved is free again after the grace, and records can be written.
        leaf = Leaf(id=number, name=f"leaf {number}")
        if await backend.get_or_none(Leaf, number) is None:
            await backend.create(leaf)
        await backend.query(Leaf).filter(id=number).consistent().all()
        await backend.delete(await backend.get(Leaf, number))
        if not was_cancelled:
            break
    assert [leaf is not None and leaf.id for leaf in await backend.get_many(Leaf, range(1, 9))] == list(range(1, 9))
    assert len([task for task in asyncio.all_tasks() if task is not asyncio.current_task()]) == 0
