"""Whose session ``backend.get(…)`` uses: the one of the task that opened it, nobody else's, and never longer than its block."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

import holdall
from holdall import Backend, Field, Model, PoolClosed, Session, SessionClosed, SessionConflict, SessionNotFound


class Thing(Model):
    id: int = Field(primary_key=True)
    name: str = ""


MODELS = (Thing,)


class Abort(Exception):
    """What a block raises to be rolled back."""


async def stored(backend: Backend) -> list[int]:
    """What is committed."""
    with holdall.detach():
        return [thing.id for thing in await backend.query(Thing).order_by("id")]


USES: dict[str, Callable[[Backend], Awaitable[Any]]] = {
    "get": lambda backend: backend.get_or_none(Thing, 1),
    "create": lambda backend: backend.create(Thing(id=77)),
    "query": lambda backend: backend.query(Thing).all(),
    "count": lambda backend: backend.query(Thing).count(),
    "stream": lambda backend: anext(backend.query(Thing).stream(), None),
    "session": lambda backend: backend.session().__aenter__(),
    "sessions.get": lambda backend: _call(backend.sessions.get),
    "run": lambda backend: backend.run(_nothing),
}


async def _nothing(_: Session) -> None:
    return None


async def _call(function: Callable[[], object]) -> object:
    return function()


# -- the task's own ---------------------------------------------------------------------------------------------------------------------


async def test_every_data_method_of_the_backend_joins_the_session(backend: Backend) -> None:
    thing = Thing(id=1)
    with pytest.raises(Abort):
        async with backend.session():
            await backend.create(thing)
            await backend.create_many([Thing(id=2), Thing(id=3)])
            await backend.upsert(Thing(id=4))
            await backend.get_or_create(Thing, {"id": 5})
            thing.name = "x"
            await backend.save(thing)
            await backend.update(thing)
            await backend.refresh(thing)
            await backend.query(Thing).filter(id=2).update(name="y")
            await backend.query(Thing).filter(id=3).delete()
            assert [item.id async for item in backend.query(Thing).order_by("id").stream()] == [1, 2, 4, 5]
            assert await stored(backend) == []
            raise Abort

    assert await stored(backend) == []


async def test_functions_called_by_the_task_see_it(backend: Backend) -> None:
    async def deep(levels: int) -> None:
        if levels:
            await deep(levels - 1)
        else:
            await backend.create(Thing(id=1))

    async with backend.session() as session:
        await deep(5)
        assert (await session.get(Thing, 1)).id == 1
        assert await stored(backend) == []
    assert await stored(backend) == [1]


async def test_a_timeout_block_stays_in_the_task(backend: Backend) -> None:
    async with backend.session(), asyncio.timeout(30):
        await backend.create(Thing(id=1))
        assert await stored(backend) == []


async def test_after_the_block_each_call_is_on_its_own(backend: Backend) -> None:
    async with backend.session():
        await backend.create(Thing(id=1))
    await backend.create(Thing(id=2))
    assert await stored(backend) == [1, 2]
    with pytest.raises(SessionNotFound):
        backend.sessions.get()


async def test_a_second_session_of_the_task_is_refused_and_points_to_savepoints(backend: Backend) -> None:
    async with backend.session() as session:
        for use in (backend.session().__aenter__, lambda: backend.run(_nothing)):
            with pytest.raises(SessionConflict, match="savepoint"):
                await use()
        await session.create(Thing(id=1))
        assert await backend.query(Thing).count() == 1


async def test_sessions_of_two_backends_stand_side_by_side(backend: Backend) -> None:
    async with holdall.open("memory://") as second:
        await second.initialize(Thing)
        async with backend.session() as first_session, second.session() as second_session:
            await backend.create(Thing(id=1))
            await second.create(Thing(id=2))
            assert backend.sessions.get() is first_session
            assert second.sessions.get() is second_session
            assert await stored(backend) == await stored(second) == []
        assert await stored(backend) == [1]
        assert await stored(second) == [2]


async def test_sessions_of_two_backends_may_end_crosswise(backend: Backend) -> None:
    async with holdall.open("memory://") as second:
        await second.initialize(Thing)
        first_block, second_block = backend.session(), second.session()
        await first_block.__aenter__()
        await second_block.__aenter__()
        await first_block.__aexit__(None, None, None)
        await backend.create(Thing(id=1))  # on its own again
        await second.create(Thing(id=2))
        assert await stored(backend) == [1]
        await second_block.__aexit__(None, None, None)
        await backend.create(Thing(id=3))
        await second.create(Thing(id=4))

        assert await stored(backend) == [1, 3]
        assert await stored(second) == [2, 4]


# -- child tasks ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_a_child_task_is_refused_whatever_it_uses(backend: Backend, use: Callable[[Backend], Awaitable[Any]]) -> None:
    async with backend.session():
        with pytest.raises(SessionConflict) as caught:
            await asyncio.create_task(use(backend))  # type: ignore[arg-type]
    for remedy in ("session.get(…)", "session.use()", "holdall.detach()", "asyncio.timeout"):
        assert remedy in str(caught.value)


async def _in_group(work: Awaitable[Any]) -> Any:
    try:
        async with asyncio.TaskGroup() as group:
            task: asyncio.Task[Any] = group.create_task(work)  # type: ignore[arg-type]
    except* SessionConflict as errors:
        raise errors.exceptions[0] from None
    return task.result()


STARTERS: dict[str, Callable[[Awaitable[Any]], Awaitable[Any]]] = {
    "gather": asyncio.gather,
    "wait_for": lambda work: asyncio.wait_for(asyncio.ensure_future(work), 10),
    "ensure_future": asyncio.ensure_future,
    "shield": asyncio.shield,
    "TaskGroup": _in_group,
}


@pytest.mark.parametrize("start", STARTERS.values(), ids=STARTERS)
async def test_however_the_child_is_started(backend: Backend, start: Callable[[Awaitable[Any]], Awaitable[Any]]) -> None:
    async with backend.session() as session:
        with pytest.raises(SessionConflict):
            await start(backend.query(Thing).all())
        await start(session.create(Thing(id=1)))
    assert await stored(backend) == [1]


async def test_a_child_is_refused_for_its_whole_life(backend: Backend) -> None:
    ended = asyncio.Event()

    async def child() -> list[type[BaseException]]:
        found: list[type[BaseException]] = []
        for wait in (False, True):
            if wait:
                await ended.wait()
            try:
                await backend.query(Thing).all()
            except SessionConflict as error:
                found.append(type(error))
        return found

    async with backend.session():
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
    ended.set()
    assert await task == [SessionConflict, SessionConflict]


async def test_a_child_that_starts_late_and_a_grandchild_are_refused_too(backend: Backend) -> None:
    ended = asyncio.Event()

    async def grandchild() -> None:
        await backend.query(Thing).all()

    async def child() -> None:
        await ended.wait()
        await asyncio.create_task(grandchild())

    async with backend.session():
        task = asyncio.create_task(child())
    ended.set()
    with pytest.raises(SessionConflict):
        await task


async def test_a_task_created_before_or_after_the_block_is_free(backend: Backend) -> None:
    go_on = asyncio.Event()

    async def work(number: int) -> None:
        await go_on.wait()
        await backend.create(Thing(id=number))

    before = asyncio.create_task(work(1))
    await asyncio.sleep(0)
    async with backend.session() as session:
        await session.query(Thing).count()
        await session.rollback()
    after = asyncio.create_task(work(2))
    go_on.set()
    await asyncio.gather(before, after)
    assert await stored(backend) == [1, 2]


async def test_a_childs_own_session_is_refused_without_detach(backend: Backend) -> None:
    async def child() -> None:
        async with backend.session():
            pass

    async with backend.session():
        with pytest.raises(SessionConflict):
            await asyncio.create_task(child())


async def test_a_child_may_use_the_session_that_it_is_given(backend: Backend) -> None:
    async def child(session: Session, number: int) -> None:
        await session.create(Thing(id=number))
        async with backend.session(session) as same:
            await same.create(Thing(id=number + 10))

    async with backend.session() as session:
        await asyncio.gather(*(child(session, number) for number in range(5)))
        assert await stored(backend) == []
    assert await stored(backend) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]


async def test_use_adopts_the_session_within_its_block(backend: Backend) -> None:
    async def child(session: Session) -> None:
        with session.use() as same:
            assert same is session
            await backend.create(Thing(id=1))
            with pytest.raises(SessionConflict, match="savepoint"):
                await backend.session().__aenter__()
        with pytest.raises(SessionConflict):
            await backend.query(Thing).all()

    async with backend.session() as session:
        await asyncio.create_task(child(session))
        assert await stored(backend) == []
        await session.rollback()
    assert await stored(backend) == []


async def test_use_puts_back_what_was_before_when_it_fails(backend: Backend) -> None:
    async with backend.session() as session:
        with pytest.raises(Abort), session.use():
            raise Abort
        assert backend.sessions.get() is session
        await backend.create(Thing(id=1))
        assert await stored(backend) == []


async def test_a_child_in_use_has_children_of_its_own(backend: Backend) -> None:
    async def grandchild() -> None:
        await backend.query(Thing).all()

    async def child(session: Session) -> None:
        with session.use(), pytest.raises(SessionConflict):
            await asyncio.create_task(grandchild())

    async with backend.session() as session:
        await asyncio.create_task(child(session))


async def test_detach_works_outside_the_session(backend: Backend) -> None:
    async def child() -> None:
        with holdall.detach():
            await backend.query(Thing).all()
            async with backend.session() as own:
                await own.query(Thing).all()
        with pytest.raises(SessionConflict):
            await backend.query(Thing).all()

    async with backend.session() as session:
        await asyncio.create_task(child())
        with holdall.detach():
            async with backend.session() as inner:
                assert inner is not session
                assert backend.sessions.get() is inner
            with pytest.raises(SessionNotFound):
                backend.sessions.get()
        assert backend.sessions.get() is session


async def test_a_detached_task_is_free_for_its_life(backend: Backend) -> None:
    async def child() -> None:
        await backend.query(Thing).all()

    async with backend.session():
        with holdall.detach():
            task = asyncio.create_task(child())
        await task


# -- nothing stays behind -------------------------------------------------------------------------------------------------------------------


async def test_a_keep_alive_task_is_clean_after_every_kind_of_end(backend: Backend) -> None:
    """A server's connection serves one request after another in one task."""

    async def fine() -> None:
        async with backend.session() as session:
            await session.query(Thing).count()

    async def fails() -> None:
        async with backend.session():
            raise Abort

    async def is_cancelled() -> None:
        async with backend.session() as session:
            await session.query(Thing).count()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            try:
                await asyncio.sleep(0)
            finally:
                task.uncancel()

    async def leaves_by_return() -> int:
        async with backend.session():
            return 1

    for request in (fine, fails, is_cancelled, leaves_by_return, fine):
        with contextlib.suppress(Abort, asyncio.CancelledError):
            await request()
        with pytest.raises(SessionNotFound):
            backend.sessions.get()
        await backend.query(Thing).count()


async def _items(backend: Backend) -> AsyncGenerator[int]:
    async with backend.session() as session:
        await session.query(Thing).count()
        yield 1
        yield 2


async def test_a_generator_that_is_closed_leaves_nothing(backend: Backend) -> None:
    generator = _items(backend)
    await anext(generator)
    await generator.aclose()

    with pytest.raises(SessionNotFound):
        backend.sessions.get()
    await backend.create(Thing(id=1))
    assert await stored(backend) == [1]


async def test_a_generator_closed_in_another_context_leaves_nothing(backend: Backend) -> None:
    """As pytest's fixtures, FastAPI's dependencies and the garbage collector's hook do; a token could not be reset there."""
    generator = _items(backend)
    await anext(generator)
    await asyncio.create_task(generator.aclose(), context=contextvars.copy_context())

    with pytest.raises(SessionNotFound):
        backend.sessions.get()
    await backend.create(Thing(id=1))
    assert await stored(backend) == [1]


async def test_a_generator_that_ends_after_another_backends_session_began_leaves_nothing(backend: Backend) -> None:
    async with holdall.open("memory://") as second:
        await second.initialize(Thing)
        generator = _items(backend)
        await anext(generator)
        async with second.session():
            assert [item async for item in generator] == [2]
            await backend.create(Thing(id=1))
            assert await stored(backend) == [1]
        with pytest.raises(SessionNotFound):
            backend.sessions.get()
        await backend.create(Thing(id=2))
        assert await stored(backend) == [1, 2]
        await asyncio.create_task(backend.create(Thing(id=3)))


async def test_a_stream_leaves_nothing_in_its_consumer(backend: Backend) -> None:
    await backend.create_many([Thing(id=number) for number in range(5)])
    async for thing in backend.query(Thing).order_by("id").stream(batch=2):
        with pytest.raises(SessionNotFound):
            backend.sessions.get()
        if thing.id == 3:
            break
    await backend.create(Thing(id=9))
    assert 9 in await stored(backend)


async def test_a_block_left_in_another_task_is_ended_there(backend: Backend) -> None:
    block = backend.session()
    session = await asyncio.create_task(block.__aenter__())
    await session.create(Thing(id=1))
    await asyncio.create_task(_exit(block))
    assert await stored(backend) == [1]
    await backend.create(Thing(id=2))


async def _exit(block: Any) -> None:
    await block.__aexit__(None, None, None)


# -- by hand -------------------------------------------------------------------------------------------------------------------------------


async def test_sessions_are_managed_by_hand(backend: Backend) -> None:
    with pytest.raises(SessionNotFound):
        backend.sessions.pop()
    with pytest.raises(SessionNotFound):
        backend.sessions.remove()
    async with backend.session() as session:
        assert backend.sessions.pop() is session
        with pytest.raises(SessionNotFound):
            backend.sessions.get()
        await backend.create(Thing(id=1))
        assert await stored(backend) == [1]
        backend.sessions.store(session)
        assert backend.sessions.get() is session
        with pytest.raises(SessionConflict):
            backend.sessions.store(session)
        await backend.query(Thing).count()
        backend.sessions.remove()
        with pytest.raises(SessionNotFound):
            backend.sessions.get()
    with pytest.raises(SessionClosed):
        backend.sessions.store(session)
    await backend.query(Thing).count()


async def test_a_foreign_session_is_not_stored(backend: Backend) -> None:
    async with holdall.open("memory://") as second, backend.session() as session:
        with pytest.raises(SessionConflict):
            second.sessions.store(session)


# -- closed backends ---------------------------------------------------------------------------------------------------------------------------


async def test_a_session_that_begins_after_the_backend_was_closed_is_refused(backend_url: str) -> None:
    backend = holdall.open(backend_url)
    await backend.open()
    await backend.initialize(Thing)
    async with backend.session() as session:
        await backend.close()
        with pytest.raises(PoolClosed):
            await session.get_or_none(Thing, 1)
        await session.rollback()
    with pytest.raises(PoolClosed):
        backend.session()
    await backend.open()
    await backend.drop(Thing)
    await backend.close()
