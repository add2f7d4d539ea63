"""Calls that are cancelled, connections that are cut, a node that dies: an error with a name, and service again."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from signal import SIGKILL
from typing import Any
from urllib.parse import urlsplit

import anyio.lowlevel
import pytest

import holdall
from holdall import Backend, ConnectionLost, Field, HoldallError, Model
from tests.servers import OpenSearchServer, Proxy
from tests.stores.opensearch.conftest import Stub

Stubbed = Callable[..., AbstractAsyncContextManager[Stub]]


class Item(Model):
    id: int = Field(primary_key=True)
    name: str = ""
    code: str | None = Field(default=None, unique=True)


MODELS = (Item,)


@pytest.fixture
async def proxy(opensearch_url: str) -> AsyncGenerator[Proxy]:
    parts = urlsplit(opensearch_url)
    assert parts.hostname
    async with Proxy(parts.hostname, parts.port or 9200) as proxy:
        yield proxy


@pytest.fixture
async def through(proxy: Proxy, opensearch_url: str, backend: Backend) -> AsyncGenerator[Backend]:
    """The same indexes through the proxy."""
    await backend.create_many([Item(id=number, name=str(number)) for number in range(20)])
    async with holdall.open(proxy.url(opensearch_url), pool_max_size=2, coalesce=False, statement_timeout=10) as opened:
        yield opened


async def drained(backend: Backend) -> None:
    async with backend.query(Item).stream(batch=4) as stream:
        async for _ in stream:
            pass


CALLS: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "get": lambda backend: backend.get(Item, 1),
    "get_many": lambda backend: backend.get_many(Item, [1, 2]),
    "query": lambda backend: backend.query(Item).filter(id__lt=5).all(),
    "count": lambda backend: backend.query(Item).count(),
    "create": lambda backend: backend.create(Item(id=100, code="c")),
    "upsert": lambda backend: backend.upsert(Item(id=101, code="d")),
    "create_many": lambda backend: backend.create_many([Item(id=number) for number in range(200, 220)]),
    "update": lambda backend: backend.query(Item).update(name="x"),
    "delete": lambda backend: backend.query(Item).filter(id__lt=3).delete(),
    "stream": drained,
}


async def works(backend: Backend) -> None:
    """See that each answer is that of its own question."""
    for number in (10, 11, 12):
        assert (await backend.get(Item, number)).id == number
    found = await asyncio.gather(*(backend.get(Item, number) for number in range(10, 20)))
    assert [item.id for item in found] == list(range(10, 20))


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_cancelled_at_any_suspension_harms_no_later_one(through: Backend, call: str) -> None:
    for turns in range(25):
        task = asyncio.ensure_future(CALLS[call](through))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError, HoldallError):
            await task
    await works(through)

    stats = through.store.stats()
    assert stats["in_use"] == 0
    assert stats["size"] <= 2


async def test_the_connection_of_a_cancelled_call_serves_again(proxy: Proxy, through: Backend) -> None:
    await works(through)
    proxy.hold_replies()
    task = asyncio.create_task(through.get(Item, 1))
    await proxy.wait_for_request()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    opened = through.store.stats()["opened"]

    proxy.release_replies()
    await works(through)

    assert through.store.stats()["opened"] == opened
    assert through.store.stats()["recovered"] >= 1


@pytest.mark.parametrize("call", ["get", "query", "create", "create_many", "update"])
async def test_a_connection_cut_in_the_middle_of_an_answer_is_named_and_replaced(proxy: Proxy, through: Backend, call: str) -> None:
    for count in (0, 10, 100):
        proxy.cut_after_reply_bytes(count)
        with suppress(ConnectionLost):  # a read is sent once more
            await CALLS[call](through)
    await works(through)


async def test_connections_cut_while_idle_are_not_noticed_by_reads(proxy: Proxy, through: Backend) -> None:
    await works(through)
    proxy.cut()

    await works(through)


async def test_a_write_whose_answer_is_lost_says_so(proxy: Proxy, through: Backend) -> None:
    await works(through)
    proxy.hold_replies()
    task = asyncio.create_task(through.create(Item(id=500)))
    await proxy.wait_for_request()
    proxy.cut()

    with pytest.raises(ConnectionLost):
        await task
    proxy.release_replies()
    await works(through)


async def test_a_node_that_dies_and_comes_back_is_used_again(stopped_opensearch: OpenSearchServer) -> None:
    with stopped_opensearch as node:
        async with holdall.open(node.url("died_")) as backend:
            await backend.initialize(Item)
            await backend.create(Item(id=1, name="a", code="c"))
            await asyncio.to_thread(node.stop, SIGKILL)

            with pytest.raises(ConnectionLost):
                await backend.get(Item, 1)
            with pytest.raises(ConnectionLost):
                await backend.create(Item(id=2))

            await asyncio.to_thread(node.start)
            await backend.upsert(Item(id=1, name="a", code="c"))
            assert (await backend.get(Item, 1)).name == "a"


def test_each_event_loop_has_connections_of_its_own(opensearch_url: str) -> None:
    backend = holdall.open(opensearch_url)

    async def use() -> None:
        await backend.initialize(Item)
        await backend.upsert(Item(id=1, name="loop"))
        assert (await backend.get(Item, 1)).name == "loop"
        assert backend.store.stats()["size"] >= 1

    asyncio.run(use())
    asyncio.run(use())

    async def end() -> None:
        await backend.drop(Item)
        await backend.close()

    asyncio.run(end())


async def test_a_closed_backend_refuses_and_opens_again(opensearch_url: str) -> None:
    backend = holdall.open(opensearch_url)
    await backend.open()
    await backend.close()

    with pytest.raises(holdall.PoolClosed):
        await backend.ping()
    with pytest.raises(holdall.PoolClosed):
        await backend.close()
    async with backend:
        await backend.ping()


async def test_who_waits_for_a_busy_server_does_not_open_a_closed_backend_again(stubbed: Stubbed) -> None:
    async with stubbed((200, {}), *[(429, {"status": 429, "error": "busy"})] * 100) as stub:
        backend = await holdall.open(stub.url).open()
        waiting = asyncio.create_task(backend.get_or_none(Item, 1))
        while len(stub.requests) < 3:
            await anyio.lowlevel.checkpoint()
        connections = stub.connections

        await backend.close()

        with pytest.raises(holdall.PoolClosed):
            await waiting
        assert stub.connections == connections


async def test_a_close_that_is_cancelled_while_something_goes_on_in_the_background_closes(proxy: Proxy, through: Backend) -> None:
    async with through.query(Item).order_by("id").stream(batch=4) as stream:
        await anext(aiter(stream))
        proxy.hold_replies()
        stream._abandon()
        closing = asyncio.create_task(through.close())
        await proxy.wait_for_request()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing

    proxy.release_replies()
    while proxy.open_connections:
        await anyio.lowlevel.checkpoint()


class Plain(Model):
    id: int = Field(primary_key=True)


BUSY = {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "busy"}}


@pytest.mark.parametrize("then", [b"", (413, {})])
async def test_a_bulk_write_whose_repetition_fails_says_what_it_has_written(stubbed: Stubbed, then: Any) -> None:
    for action, done in (("create", 201), ("delete", 200)):
        first = {"errors": True, "items": [{action: {"status": done}}, {action: BUSY}, {action: {"status": done}}]}
        async with stubbed((200, {}), (200, first), then) as stub, holdall.open(stub.url, retry_timeout=0.01) as backend:
            plains = [Plain(id=number) for number in range(3)]
            write = backend.create_many(plains) if action == "create" else backend.delete_many(plains)
            with pytest.raises(HoldallError) as raised:
                await write

        assert list(raised.value.written) == [0, 2]
        assert then == b"" or [reason is None for reason in raised.value.reasons] == [True, False, True]
