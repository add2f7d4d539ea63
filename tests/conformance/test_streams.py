"""A stream reads batch by batch, holds one batch, and gives its connection back however it ends."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import holdall
from holdall import Backend, Capability, Field, Model, QueryError, TransactionError

ROWS = 25


class Item(Model):
    id: int = Field(primary_key=True)
    name: str = ""


MODELS = (Item,)
sql_only = pytest.mark.parametrize("backend_url", ["sqlite", "postgres", "mysql"], indirect=True)


@pytest.fixture
async def filled(backend: Backend) -> Backend:
    await backend.create_many([Item(id=number, name=f"n{number % 3}") for number in range(ROWS)])
    return backend


def leases(backend: Backend) -> int:
    return int(backend.engine.stats()["in_use"]) if Capability.RAW_SQL in backend.capabilities else 0


class Abort(Exception):
    """Raised in the middle of a loop."""


async def in_session(backend: Backend, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    async with backend.session() as session:
        return await work(session)


async def in_snapshot(backend: Backend, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    async with backend.session(isolation="repeatable read") as session:
        return await work(session)


async def outside(backend: Backend, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    return await work(backend)


places = pytest.mark.parametrize("place", [outside, in_session, in_snapshot])


@places
@pytest.mark.parametrize("batch", [1, 7, ROWS, 500])
async def test_all_rows_come_once_in_order(filled: Backend, place: Any, batch: int) -> None:
    async def read(access: Any) -> list[int]:
        return [item.id async for item in access.query(Item).order_by("-id").stream(batch=batch)]

    assert await place(filled, read) == list(reversed(range(ROWS)))
    assert leases(filled) == 0


async def test_a_stream_can_be_filtered_limited_and_shaped(filled: Backend) -> None:
    query = filled.query(Item).filter(name="n1").order_by("id").offset(1).limit(3)
    assert [item.id async for item in query.stream(batch=2)] == [4, 7, 10]
    assert [item async for item in query.values("id").stream(batch=2)] == [{"id": 4}, {"id": 7}, {"id": 10}]
    assert [item async for item in filled.query(Item).filter(id__in=[]).stream()] == []
    assert [item async for item in filled.query(Item).limit(0).stream()] == []
    assert [item async for item in filled.query(Item).filter(id=-1).stream()] == []


async def test_a_wrong_batch_is_refused(filled: Backend) -> None:
    for batch in (0, -1, "5", True, 1.5):
        with pytest.raises(QueryError):
            filled.query(Item).stream(batch=batch)  # type: ignore[arg-type]


async def test_streamed_records_are_stored_records(filled: Backend) -> None:
    async for item in filled.query(Item).filter(id=3).stream():
        assert holdall.is_stored(item)
        item.name = "changed"
        await filled.save(item)
    assert (await filled.get(Item, 3)).name == "changed"


@sql_only
async def test_at_most_one_batch_is_alive(filled: Backend) -> None:
    refs: list[weakref.ref[Item]] = []
    async for item in filled.query(Item).order_by("id").stream(batch=5):
        refs.append(weakref.ref(item))
        del item
        assert sum(ref() is not None for ref in refs) <= 5
        if len(refs) in (6, 11):
            assert not any(ref() is not None for ref in refs[:5])


@sql_only
async def test_nothing_is_asked_before_the_first_item(filled: Backend) -> None:
    before = filled.engine.stats()["acquired"]
    stream = filled.query(Item).stream()
    assert filled.engine.stats()["acquired"] == before
    await stream.aclose()
    assert filled.engine.stats()["acquired"] == before


@sql_only
async def test_after_break_the_connection_is_back_at_once(filled: Backend) -> None:
    async for _ in filled.query(Item).stream(batch=2):
        assert leases(filled) == 1
        break
    assert leases(filled) == 0


@sql_only
async def test_a_stream_that_somebody_holds_gives_back_at_aclose(filled: Backend) -> None:
    stream = filled.query(Item).stream(batch=2)
    async for _ in stream:
        break
    assert leases(filled) == 1
    await stream.aclose()
    assert leases(filled) == 0
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@sql_only
async def test_a_forgotten_stream_gives_back(filled: Backend) -> None:
    stream = filled.query(Item).stream(batch=2)
    await anext(stream)
    del stream
    gc.collect()
    assert leases(filled) == 0


async def test_a_stream_is_a_context_manager(filled: Backend) -> None:
    async with filled.query(Item).order_by("id").stream(batch=2) as stream:
        assert (await anext(stream)).id == 0
        assert (await anext(stream)).id == 1
    assert leases(filled) == 0
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@places
async def test_an_exception_in_the_loop_gives_the_connection_back(filled: Backend, place: Any) -> None:
    async def read(access: Any) -> None:
        async for _ in access.query(Item).stream(batch=2):
            raise Abort

    with pytest.raises(Abort):
        await place(filled, read)
    assert leases(filled) == 0
    with pytest.raises(Abort):
        async with filled.query(Item).stream(batch=2) as stream:
            await anext(stream)
            raise Abort
    assert leases(filled) == 0


@places
async def test_a_cancel_in_the_middle_gives_the_connection_back(filled: Backend, place: Any) -> None:
    reached = asyncio.Event()

    async def read(access: Any) -> None:
        async for _ in access.query(Item).stream(batch=2):
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(place(filled, read))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    assert leases(filled) == 0
    assert await filled.query(Item).count() == ROWS


@sql_only
async def test_many_streams_at_once_wait_for_one_another(filled: Backend, backend_url: str) -> None:
    async with holdall.open(backend_url, pool_max_size=2) as small:

        async def read() -> int:
            return len([item async for item in small.query(Item).stream(batch=3)])

        assert await asyncio.gather(*(read() for _ in range(12))) == [ROWS] * 12
        assert leases(small) == 0


async def test_a_stream_outside_sessions_does_not_see_its_own_writes_twice(filled: Backend) -> None:
    """It reads one snapshot, or what it had read before: a row that a consumer moves behind the end must not come again."""
    seen: list[int] = []
    async for item in filled.query(Item).order_by("id").stream(batch=3):
        seen.append(item.id)
        if item.id < ROWS:
            await filled.create(Item(id=item.id + 1000))
        assert len(seen) <= ROWS
    assert seen == list(range(ROWS))


@places
async def test_statements_between_batches_work(filled: Backend, place: Any) -> None:
    async def read(access: Any) -> int:
        count = 0
        async for item in access.query(Item).order_by("id").stream(batch=4):
            count += 1
            assert (await access.get(Item, item.id)).id == item.id
            if place is not outside and item.id % 5 == 0:
                await access.query(Item).filter(id=item.id).update(name="x")
        return count

    assert await place(filled, read) == ROWS
    assert leases(filled) == 0


async def test_two_streams_of_one_session_interleave(filled: Backend) -> None:
    async with filled.session() as session:
        await session.query(Item).filter(id=1).update(name="mine")
        first = session.query(Item).order_by("id").stream(batch=2)
        second = session.query(Item).order_by("-id").stream(batch=3)
        pairs = [((await anext(first)).id, (await anext(second)).id) for _ in range(ROWS)]
        assert pairs == [(number, ROWS - 1 - number) for number in range(ROWS)]
        await first.aclose()
        await second.aclose()


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("writes", [False, True])
async def test_a_sessions_stream_ends_with_its_transaction(filled: Backend, end: str, writes: bool) -> None:
    async with filled.session() as session:
        if writes:
            await session.query(Item).filter(id=1).update(name="mine")
        stream = session.query(Item).order_by("id").stream(batch=2)
        await anext(stream)
        await getattr(session, end)()
        assert leases(filled) == 0
        await anext(stream)  # what was read already
        with pytest.raises(TransactionError, match="stream"):
            await anext(stream)
        assert await session.query(Item).count() == ROWS  # the next transaction is not harmed
    await stream.aclose()


@pytest.mark.parametrize("writes", [False, True])
async def test_a_stream_that_outlives_its_session_pins_nothing(filled: Backend, writes: bool) -> None:
    streams: list[Any] = []
    for _ in range(3):
        async with filled.session() as session:
            if writes:
                await session.query(Item).filter(id=1).update(name="mine")
            streams.append(session.query(Item).stream(batch=2))
            await anext(streams[-1])
    assert leases(filled) == 0
    for name in ("a", "b"):  # the connections have no old snapshot
        async with filled.session() as session:
            await session.query(Item).filter(id=2).update(name=name)
            assert (await session.get(Item, 2)).name == name
        async with filled.session(isolation="repeatable read") as session:
            assert (await session.get(Item, 2)).name == name
            await session.query(Item).filter(id=2).update(name=f"{name}{name}")
    for stream in streams:
        await stream.aclose()


async def test_a_session_stream_broken_off_leaves_the_session_usable(filled: Backend) -> None:
    async with filled.session() as session:
        await session.query(Item).filter(id=1).update(name="mine")
        for _ in range(3):
            async for _ in session.query(Item).stream(batch=2):
                break
        await session.create(Item(id=100))
    assert await filled.query(Item).count() == ROWS + 1


async def test_an_error_in_a_stream_gives_the_connection_back(filled: Backend) -> None:
    await filled.drop(Item)
    with pytest.raises(holdall.HoldallError):
        await anext(filled.query(Item).stream())
    assert leases(filled) == 0
    await filled.initialize(Item)


async def test_a_streams_connection_may_be_closed_under_it(backend_url: str, filled: Backend) -> None:
    if backend_url.startswith("memory"):
        return
    second = holdall.open(backend_url)
    await second.open()
    stream = second.query(Item).stream(batch=2)
    await anext(stream)
    await second.close(timeout=0.05)
    await anext(stream)
    with pytest.raises(holdall.HoldallError):
        await anext(stream)
    await stream.aclose()
