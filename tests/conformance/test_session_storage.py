"""``backend.sessions``: the ambient session of a task, managed by hand."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

import holdall
from holdall import Backend, Field, Model, Session, SessionClosed, SessionConflict, SessionNotFound, ambient
from holdall.session import SessionBlock


class Thing(Model):
    id: int = Field(primary_key=True)

    class Meta:
        name = "storage_things"


MODELS = (Thing,)


async def open_session(backend: Backend) -> tuple[Session, SessionBlock]:
    """Return a session that is no task's, and the block that ends it."""
    block = backend.session()
    session = await block.__aenter__()
    assert backend.sessions.pop() is session
    return session, block


async def test_a_stored_session_is_used_by_the_backend_and_stays_open_when_it_is_taken_out(backend: Backend) -> None:
    session, block = await open_session(backend)

    backend.sessions.store(session)
    await backend.create(Thing(id=1))
    assert backend.sessions.get() is session
    assert backend.sessions.pop() is session
    await session.create(Thing(id=2))
    await session.rollback()
    await block.__aexit__(None, None, None)

    assert await backend.query(Thing).count() == 0


async def test_the_block_of_a_session_that_is_no_task_s_still_commits(backend: Backend) -> None:
    session, block = await open_session(backend)
    await session.create(Thing(id=1))
    await block.__aexit__(None, None, None)

    assert await backend.query(Thing).count() == 1


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_there_is_no_session_before_it_is_stored_and_after_it_is_removed(backend: Backend) -> None:
    session, block = await open_session(backend)
    for use in (backend.sessions.get, backend.sessions.pop, backend.sessions.remove):
        with pytest.raises(SessionNotFound, match=r"sessions\.store"):
            use()

    backend.sessions.store(session)
    backend.sessions.remove()
    with pytest.raises(SessionNotFound):
        backend.sessions.get()
    await block.__aexit__(None, None, None)


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_a_second_session_is_refused(backend: Backend) -> None:
    session, block = await open_session(backend)
    async with backend.session() as current:
        with pytest.raises(SessionConflict, match="already"):
            backend.sessions.store(session)
        with pytest.raises(SessionConflict, match="already"):
            backend.sessions.store(current)
        assert backend.sessions.get() is current
    await block.__aexit__(None, None, None)


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_a_session_of_another_backend_or_one_that_has_ended_is_refused(backend: Backend) -> None:
    async with holdall.open("memory://") as other:
        foreign, block = await open_session(other)
        with pytest.raises(SessionConflict, match="another backend"):
            backend.sessions.store(foreign)
        await block.__aexit__(None, None, None)
        with pytest.raises(SessionClosed):
            other.sessions.store(foreign)


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_another_task_can_store_a_session_that_is_no_task_s(backend: Backend) -> None:
    session, block = await open_session(backend)

    async def serve() -> None:
        backend.sessions.store(session)
        await backend.create(Thing(id=1))
        backend.sessions.remove()

    await asyncio.create_task(serve())
    with pytest.raises(SessionNotFound):
        backend.sessions.get()
    await block.__aexit__(None, None, None)

    assert await backend.query(Thing).count() == 1


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_a_task_that_was_started_inside_a_session_stores_none_but_outside_of_it(backend: Backend) -> None:
    session, block = await open_session(backend)

    async def inside() -> None:
        for use in (backend.sessions.get, backend.sessions.pop, lambda: backend.sessions.store(session)):
            with pytest.raises(SessionConflict, match="started inside"):
                use()
        with holdall.detach():
            backend.sessions.store(session)
            assert backend.sessions.get() is session
        with pytest.raises(SessionConflict, match="started inside"):
            backend.sessions.get()

    async with backend.session():
        await asyncio.create_task(inside())
    await block.__aexit__(None, None, None)


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_sessions_of_two_backends_come_and_go_in_any_order(backend: Backend) -> None:
    async with holdall.open("memory://") as other:
        mine, my_block = await open_session(backend)
        its, its_block = await open_session(other)

        backend.sessions.store(mine)
        other.sessions.store(its)
        backend.sessions.remove()
        with pytest.raises(SessionNotFound):
            backend.sessions.get()
        assert other.sessions.get() is its
        backend.sessions.store(mine)
        other.sessions.remove()
        assert backend.sessions.get() is mine
        backend.sessions.remove()

        assert ambient.current.get() is None
        await my_block.__aexit__(None, None, None)
        await its_block.__aexit__(None, None, None)


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_blocks_of_two_backends_that_end_in_the_wrong_order_leave_nothing_behind(backend: Backend) -> None:
    async with holdall.open("memory://") as other:
        first, second = backend.session(), other.session()
        await first.__aenter__()
        await second.__aenter__()
        await first.__aexit__(None, None, None)
        with pytest.raises(SessionNotFound):
            backend.sessions.get()
        await second.__aexit__(None, None, None)

        for each in (backend, other):
            with pytest.raises(SessionNotFound):
                each.sessions.get()


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_a_session_that_ends_in_another_context_is_gone_where_it_was_stored(backend: Backend) -> None:
    block = backend.session()
    await block.__aenter__()
    await asyncio.get_running_loop().create_task(block.__aexit__(None, None, None), context=contextvars.Context())

    with pytest.raises(SessionNotFound):
        backend.sessions.get()
    assert await backend.query(Thing).count() == 0


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_a_stored_session_that_has_ended_says_so_until_it_is_removed(backend: Backend) -> None:
    session, block = await open_session(backend)
    backend.sessions.store(session)
    await block.__aexit__(None, None, None)

    with pytest.raises(SessionClosed):
        await backend.query(Thing).count()
    backend.sessions.remove()
    assert await backend.query(Thing).count() == 0
