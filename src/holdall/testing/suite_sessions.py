"""Sessions: one transaction from its first statement to the end of its block, savepoints, isolation, locks (rule R13)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import holdall
from holdall.active import Model
from holdall.ambient import detach
from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import (
    ConflictError,
    DuplicateKeyError,
    LockNotAvailable,
    QueryError,
    SerializationError,
    SessionClosed,
    StatementTimeout,
    TransactionError,
)
from holdall.session import Session
from holdall.testing.suite_checks import Checks, expect
from holdall.testing.suite_models import Plain, Versioned

C = Capability
CHECKS = Checks()
PATIENCE = 3.0  # seconds after which what should not wait counts as waiting


class Abort(Exception):
    """What a block raises to be rolled back."""


async def seen(backend: Backend, key: int = 1, model: type[Model] = Plain) -> Any:
    """Return the number of what is committed, from outside any session; None when there is no such record."""
    with detach():
        found: Any = await backend.get_or_none(model, key)
    return None if found is None else found.number


# -- begin and end ---------------------------------------------------------------------------------------------------------------------


@CHECKS.of(Plain, needs=(C.SESSIONS,))
async def test_the_end_of_the_block_commits_all_of_it(backend: Backend) -> None:
    """And nobody sees any of it before."""
    await backend.create(Plain(id=1, number=1))
    async with backend.session() as session:
        found = await session.get(Plain, 1)
        found.number = 5
        await session.save(found)
        await session.create(Plain(id=2, number=2))
        assert (await seen(backend), await seen(backend, 2)) == (1, None)

    assert (await seen(backend), await seen(backend, 2)) == (5, 2)


@CHECKS.of(Plain, needs=(C.SESSIONS,))
async def test_an_exception_rolls_back_and_goes_on(backend: Backend) -> None:
    """Objects are again as the store has them, and keep the edits of their user."""
    record = await backend.create(Plain(id=1, number=1))
    fresh = Plain(id=2)
    with suppress(Abort):
        async with backend.session() as session:
            record.number = 5
            await session.save(record)
            await session.create(fresh)
            raise Abort
    assert (await seen(backend), await seen(backend, 2)) == (1, None)
    assert holdall.changes(record) == {"number": (1, 5)}
    assert not holdall.is_stored(fresh)


@CHECKS.of(Plain, needs=(C.SESSIONS,))
async def test_a_cancelled_block_rolls_back_and_lets_others_write(backend: Backend) -> None:
    """No lock, connection or right to write stays behind."""
    await backend.create(Plain(id=1, number=1))
    written = asyncio.Event()

    async def work() -> None:
        async with backend.session() as session:
            await session.update(Plain(id=1, number=5))
            written.set()
            await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE):
        for _ in range(12):
            written.clear()
            task = asyncio.create_task(work())
            try:
                await written.wait()
            finally:
                task.cancel()
                await expect(asyncio.CancelledError, task)
        await backend.update(Plain(id=1, name="next", number=1))
    assert (await backend.get(Plain, 1)).name == "next"


@CHECKS.of(Plain, needs=(C.SESSIONS,))
async def test_a_session_reads_what_it_wrote(backend: Backend) -> None:
    """By key and by query."""
    async with backend.session() as session:
        await session.create_many([Plain(id=1), Plain(id=2)])
        await session.upsert(Plain(id=1, number=5))
        assert await session.delete(Plain(id=2)) is True
        assert (await session.get(Plain, 1)).number == 5
        assert [found.id for found in await session.query(Plain)] == [1]
        assert await session.get_many(Plain, [2]) == [None]


@CHECKS.of(Plain, needs=(C.SESSIONS,))
async def test_commit_and_rollback_inside_the_block_begin_anew(backend: Backend) -> None:
    """Each ends a transaction."""
    async with backend.session() as session:
        await session.create(Plain(id=1, number=1))
        await session.commit()
        assert await seen(backend) == 1
        await session.upsert(Plain(id=1, number=2))
        await session.rollback()
        assert (await session.get(Plain, 1)).number == 1
        await session.upsert(Plain(id=2, number=3))

    assert (await seen(backend), await seen(backend, 2)) == (1, 3)


@CHECKS.of(Plain, needs=(C.SESSIONS,))
async def test_after_a_database_error_nothing_goes_on_until_the_rollback(backend: Backend) -> None:
    """Also where the database itself would go on."""
    await backend.create(Plain(id=1))
    async with backend.session() as session:
        await session.create(Plain(id=2))
        await expect(DuplicateKeyError, session.create(Plain(id=1)))
        await expect(TransactionError, session.create(Plain(id=3)))
        await session.rollback()
        await session.create(Plain(id=4))

    assert sorted(found.id for found in await backend.query(Plain)) == [1, 4]


@CHECKS.of(Plain, needs=(C.SESSIONS,))
async def test_a_session_that_has_ended_refuses(backend: Backend) -> None:
    """It does not reach for another connection."""
    async with backend.session() as session:
        pass
    for use in (lambda: session.get(Plain, 1), lambda: session.create(Plain(id=1)), session.commit):
        await expect(SessionClosed, use())


@CHECKS.of(Plain, needs=(C.SESSIONS,))
async def test_callbacks_are_called_at_the_end_that_they_wait_for(backend: Backend) -> None:
    """After the commit, or after the rollback."""
    calls: list[str] = []

    async def committed() -> None:
        calls.append(f"committed {await seen(backend)}")

    async with backend.session() as session:
        session.on_commit(committed)
        session.on_rollback(lambda: calls.append("never"))
        await session.create(Plain(id=1, number=7))
        assert calls == []
    with suppress(Abort):
        async with backend.session() as session:
            session.on_commit(committed)
            session.on_rollback(lambda: calls.append("rolled back"))
            await session.create(Plain(id=2))
            raise Abort
    assert calls == ["committed 7", "rolled back"]


@CHECKS.of(Plain, needs=(C.SESSIONS, C.ORDER, C.STREAM))
async def test_streams_inside_a_session_see_its_work(backend: Backend) -> None:
    """And may be left early."""
    async with backend.session() as session:
        await session.create_many([Plain(id=number) for number in range(20)])
        assert [found.id async for found in session.query(Plain).order_by("id").stream(batch=3)] == list(range(20))
        async with session.query(Plain).order_by("id").stream(batch=3) as stream:
            async for _ in stream:
                break
        await session.create(Plain(id=20))

    assert len(await backend.query(Plain)) == 21


# -- savepoints ------------------------------------------------------------------------------------------------------------------------


@CHECKS.of(Plain, needs=(C.SESSIONS, C.SAVEPOINTS))
async def test_an_exception_undoes_its_savepoint_alone(backend: Backend) -> None:
    """Savepoints nest, and may come before the first statement."""
    async with backend.session() as session:
        with suppress(Abort):
            async with session.savepoint():
                await session.create(Plain(id=1))
                raise Abort
        async with session.savepoint():
            await session.create(Plain(id=2))
            with suppress(Abort):
                async with session.savepoint():
                    await session.upsert(Plain(id=2, number=9))
                    raise Abort
        await session.create(Plain(id=3))

    assert sorted((found.id, found.number) for found in await backend.query(Plain)) == [(2, 0), (3, 0)]


@CHECKS.of(Plain, needs=(C.SESSIONS, C.SAVEPOINTS))
async def test_a_database_error_inside_a_savepoint_leaves_the_rest_usable(backend: Backend) -> None:
    """That is what savepoints are for."""
    async with backend.session() as session:
        await session.create(Plain(id=1))
        try:
            async with session.savepoint():
                await session.create(Plain(id=2))
                await session.create(Plain(id=1))
        except DuplicateKeyError:
            pass
        await session.create(Plain(id=3))

    assert sorted(found.id for found in await backend.query(Plain)) == [1, 3]


# -- isolation -------------------------------------------------------------------------------------------------------------------------


@CHECKS.of(Plain, needs=(C.SESSIONS,))
async def test_read_committed_sees_what_others_commit(backend: Backend) -> None:
    """R13: it is the default."""
    await backend.create(Plain(id=1, number=1))
    async with backend.session() as session:
        assert (await session.get(Plain, 1)).number == 1
        with detach():
            await backend.upsert(Plain(id=1, number=2))
        assert (await session.get(Plain, 1)).number == 2


@CHECKS.of(Plain, needs=(C.SESSIONS, C.REPEATABLE_READ))
async def test_a_snapshot_stays_as_it_was(backend: Backend) -> None:
    """R13."""
    await backend.create(Plain(id=1, number=1))
    async with backend.session(isolation="repeatable read") as session:
        assert (await session.get(Plain, 1)).number == 1
        with detach():
            await backend.upsert(Plain(id=1, number=2))
            await backend.create(Plain(id=2))
        assert (await session.get(Plain, 1)).number == 1
        assert len(await session.query(Plain)) == 1


@CHECKS.of(Plain, needs=(C.SESSIONS, C.REPEATABLE_READ))
async def test_a_write_on_a_stale_snapshot_is_a_serialization_error(backend: Backend) -> None:
    """R13: no update is lost."""
    await backend.create(Plain(id=1, number=1))

    async def stale() -> None:
        async with backend.session(isolation="repeatable read") as session:
            found = await session.get(Plain, 1)
            with detach():
                await backend.upsert(Plain(id=1, number=2))
            found.number += 10
            await session.save(found)

    assert holdall.is_retryable(await expect(SerializationError, stale()))
    assert await seen(backend) == 2


@CHECKS.of(Plain, needs=(C.SESSIONS, C.SERIALIZABLE))
async def test_serializable_sessions_lose_no_update(backend: Backend) -> None:
    """``run`` tries again where the database gives up."""
    await backend.create(Plain(id=1))

    async def deposit(session: Session) -> None:
        found = await session.get(Plain, 1)
        await asyncio.sleep(0)
        found.number += 1
        await session.save(found)

    await asyncio.gather(*(backend.run(deposit, isolation="serializable", retries=30) for _ in range(4)))

    assert await seen(backend) == 4


@CHECKS.of(Plain, needs=(C.SESSIONS, C.READ_ONLY))
async def test_a_read_only_session_reads_and_refuses_writes(backend: Backend) -> None:
    """The store does, whatever the write."""
    await backend.create(Plain(id=1, number=1))
    async with backend.session(read_only=True) as session:
        assert (await session.get(Plain, 1)).number == 1
        writes: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: session.create(Plain(id=2)),
            lambda: session.upsert(Plain(id=1)),
            lambda: session.delete_many([Plain(id=1)]),
        )
        for write in writes:
            await expect(TransactionError, write())
            await session.rollback()

    assert (await seen(backend), await seen(backend, 2)) == (1, None)


# -- locks and timeouts ----------------------------------------------------------------------------------------------------------------


@CHECKS.of(Plain, needs=(C.SESSIONS, C.ROW_LOCKS))
async def test_a_lock_prevents_lost_updates(backend: Backend) -> None:
    """R13."""
    await backend.create(Plain(id=1))

    async def deposit() -> None:
        async with backend.session() as session:
            found = await session.get(Plain, 1, lock=True)
            await asyncio.sleep(0)
            found.number += 1
            await session.save(found)

    await asyncio.gather(*(deposit() for _ in range(6)))

    assert await seen(backend) == 6


@CHECKS.of(Plain, needs=(C.ROW_LOCKS,))
async def test_locks_are_refused_outside_sessions(backend: Backend) -> None:
    """They would end with their statement."""
    await expect(QueryError, backend.get(Plain, 1, lock=True))
    await expect(QueryError, backend.query(Plain).for_update().all())


@CHECKS.of(Plain, needs=(C.SESSIONS, C.ROW_LOCKS, C.LOCK_NOWAIT))
async def test_nowait_refuses_to_wait(backend: Backend) -> None:
    """At once."""
    await backend.create(Plain(id=1))

    async def second() -> None:
        async with backend.session() as session:
            await session.query(Plain).for_update(nowait=True).all()

    async with backend.session() as session:
        await session.get(Plain, 1, lock=True)
        with detach():
            async with asyncio.timeout(PATIENCE):
                await expect(LockNotAvailable, second())
    await second()


@CHECKS.of(Plain, needs=(C.SESSIONS, C.ROW_LOCKS, C.SKIP_LOCKED))
async def test_skip_locked_leaves_out_what_others_have_locked(backend: Backend) -> None:
    """Without waiting."""
    await backend.create_many([Plain(id=1), Plain(id=2)])
    async with backend.session() as session:
        await session.get(Plain, 1, lock=True)
        with detach():
            async with asyncio.timeout(PATIENCE), backend.session() as second:
                found = await second.query(Plain).for_update(skip_locked=True)

    assert [record.id for record in found] == [2]


@CHECKS.of(Plain, needs=(C.SESSIONS, C.STATEMENT_TIMEOUT, C.ROW_LOCKS))
async def test_a_statement_that_waits_too_long_raises_statement_timeout(backend: Backend) -> None:
    """And leaves the backend usable."""
    await backend.create(Plain(id=1))

    async def second() -> None:
        async with backend.session(timeout=0.05) as session:
            await session.update(Plain(id=1, number=5))

    async with backend.session() as session:
        await session.get(Plain, 1, lock=True)
        with detach():
            error = await expect(StatementTimeout, second())
    assert error.timeout == 0.05
    assert await seen(backend) == 0


@CHECKS.of(Versioned, needs=(C.SESSIONS, C.FILTER, C.COUNT))
async def test_a_version_prevents_lost_updates(backend: Backend) -> None:
    """R13: a conflict is an answer, and does not fail the transaction."""
    await backend.create(Versioned(id=1))
    async with backend.session() as session:
        mine = await session.get(Versioned, 1)
        with detach():
            theirs = await backend.get(Versioned, 1)
            theirs.number = 5
            await backend.save(theirs)
        mine.number = 7
        await expect(ConflictError, session.save(mine))
        await session.create(Versioned(id=2))

    assert (await seen(backend, 1, Versioned), await seen(backend, 2, Versioned)) == (5, 0)


# -- raw SQL ---------------------------------------------------------------------------------------------------------------------------


@CHECKS.of(Plain, needs=(C.RAW_SQL,))
async def test_raw_sql_binds_named_parameters(backend: Backend) -> None:
    """Whatever stands in the values."""
    name = "O'Hara :x $1 ? %s -- ß"
    await backend.create_many([Plain(id=1, name=name, number=3), Plain(id=2, number=4)])
    engine = backend.engine

    assert await engine.fetch("select id, number from suite_plain where name = :name", name=name) == [{"id": 1, "number": 3}]
    assert await engine.fetch_value("select count(*) from suite_plain where number >= :low and number >= :low", low=3) == 2
    assert await engine.fetch_one("select id from suite_plain where number = :number", number=99) is None
    assert await engine.execute("update suite_plain set number = :number where id = :id", number=9, id=2) == 1
    assert (await engine.fetch_as(Plain, "select * from suite_plain where id = :id", id=2)) == [Plain(id=2, number=9)]
    await expect(QueryError, engine.fetch("select id from suite_plain where id = :id", wrong=1))


@CHECKS.of(Plain, needs=(C.RAW_SQL, C.SESSIONS))
async def test_raw_sql_belongs_to_its_session(backend: Backend) -> None:
    """It is rolled back with it."""
    await backend.create(Plain(id=1, number=1))
    with suppress(Abort):
        async with backend.session() as session:
            assert await session.execute("update suite_plain set number = :number", number=5) == 1
            assert (await session.get(Plain, 1)).number == 5
            assert await backend.engine.fetch_value("select number from suite_plain") == 5
            raise Abort
    assert await seen(backend) == 1
