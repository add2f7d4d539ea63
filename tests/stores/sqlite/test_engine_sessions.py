"""Connections for sessions and streams: transactions, isolation, cancels, and that nothing is left behind."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from holdall.errors import (
    BackendError,
    LockNotAvailable,
    PoolTimeout,
    SerializationError,
    SessionClosed,
    StatementTimeout,
    TransactionError,
)
from holdall.pool import PoolOptions
from holdall.stores.sqlite.connection import EngineOptions
from holdall.stores.sqlite.engine import Engine
from holdall.stores.sqlite.lease import SessionConnection
from tests.stores.sqlite.test_engine_reads import ENDLESS, Gate, fetch

pytestmark = pytest.mark.engine("sqlite")

INSERT = "insert into t values (?, ?)"
ENDLESS_INSERT = "insert into t with recursive r(x) as (select 10 union all select x + 1 from r) select x, x from r"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "test.db")


@pytest.fixture
async def engine(path: str) -> AsyncGenerator[Engine]:
    engine = Engine(EngineOptions(path, busy_timeout=5, pool=PoolOptions(max_size=4)))
    await engine.open()
    await engine.write(fetch, "create table t (id integer primary key, v integer unique) strict", groupable=False)
    yield engine
    await settled(engine)
    await engine.close()
    assert engine.stats().connections == 0


async def settled(engine: Engine) -> None:
    """Nothing is leased, no lock is held, no transaction is open."""
    async with asyncio.timeout(10):
        while engine.pool.stats().in_use or engine.pool.stats().recovering:  # noqa: ASYNC110 (the pool has no event for it)
            await asyncio.sleep(0)
        await engine.write(fetch, "delete from t where id = -1")
    connections = [await engine.session() for _ in range(engine.pool.stats().max_size)]
    for connection in connections:
        assert not connection.holds_writer
        assert await connection.run(lambda raw: raw.in_transaction) is False
        assert await connection.run(fetch, "select 'mine'") == [("mine",)]
        connection.give_back()
    stats = engine.pool.stats()
    assert (stats.idle, stats.size) == (4, 4)
    assert engine.stats().connections == stats.size + engine.stats().threads - 1  # every thread but the sessions' has its own


async def ids(engine: Engine) -> list[object]:
    return [row[0] for row in await engine.read(fetch, "select id from t order by id")]


async def test_a_committed_session_is_seen_and_a_rolled_back_one_is_not(engine: Engine) -> None:
    session = await engine.session()
    await session.begin_write()
    await session.run(fetch, INSERT, 1, 1)
    assert (session.in_transaction, session.holds_writer) == (True, True)
    assert await ids(engine) == []
    await session.commit()
    assert (session.in_transaction, session.holds_writer) == (False, False)
    await session.begin_write()
    await session.run(fetch, INSERT, 2, 2)
    await session.rollback()
    session.give_back()

    assert await ids(engine) == [1]


async def test_savepoints_are_plain_statements(engine: Engine) -> None:
    session = await engine.session()
    await session.begin_write()
    await session.run(fetch, INSERT, 1, 1)
    await session.run(fetch, "savepoint s")
    await session.run(fetch, INSERT, 2, 2)
    await session.run(fetch, "rollback to s")
    await session.run(fetch, "release s")
    await session.commit()
    session.give_back()

    assert await ids(engine) == [1]


async def test_reads_outside_a_transaction_see_what_is_committed(engine: Engine) -> None:
    session = await engine.session()
    assert await session.run(fetch, "select count(*) from t") == [(0,)]
    await engine.write(fetch, INSERT, 1, 1)

    assert await session.run(fetch, "select count(*) from t") == [(1,)]
    session.give_back()


async def test_a_snapshot_starts_where_it_begins_and_stays(engine: Engine) -> None:
    session = await engine.session()
    await session.begin_snapshot()
    await engine.write(fetch, INSERT, 1, 1)

    assert await session.run(fetch, "select count(*) from t") == [(0,)]
    await session.commit()
    assert await session.run(fetch, "select count(*) from t") == [(1,)]
    session.give_back()


async def test_a_read_only_snapshot_refuses_to_write_and_leaves_no_setting(engine: Engine) -> None:
    session = await engine.session()
    await session.begin_snapshot(read_only=True)
    with pytest.raises(BackendError):
        await session.run(fetch, INSERT, 1, 1)
    await session.rollback()
    await session.begin_write()
    await session.run(fetch, INSERT, 1, 1)
    await session.commit()
    session.give_back()

    assert await ids(engine) == [1]


async def test_a_fresh_snapshot_becomes_a_write(engine: Engine) -> None:
    session = await engine.session()
    await session.begin_snapshot()
    await session.upgrade_to_write()
    assert session.holds_writer
    await session.run(fetch, INSERT, 1, 1)
    await session.commit()
    session.give_back()

    assert await ids(engine) == [1]


async def test_a_stale_snapshot_cannot_write(engine: Engine) -> None:
    session = await engine.session()
    await session.begin_snapshot()
    await engine.write(fetch, INSERT, 1, 1)
    with pytest.raises(SerializationError):
        await session.upgrade_to_write()
    assert not session.holds_writer
    assert session.in_transaction
    await session.rollback()
    session.give_back()


async def test_two_snapshots_that_both_want_to_write_do_not_wait_for_each_other(engine: Engine) -> None:
    first, second = await engine.session(), await engine.session()
    await first.begin_snapshot()
    await second.begin_snapshot()
    await first.upgrade_to_write()
    waiting = asyncio.create_task(second.upgrade_to_write())
    await first.run(fetch, INSERT, 1, 1)
    await first.commit()
    with pytest.raises(SerializationError):
        await waiting
    await second.rollback()
    first.give_back()
    second.give_back()


async def test_an_upgrade_waits_for_another_program_that_then_rolls_back(engine: Engine, path: str) -> None:
    session = await engine.session()
    await session.begin_snapshot()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    task = asyncio.create_task(session.upgrade_to_write())
    done, _ = await asyncio.wait([task], timeout=0.05)
    assert not done
    other.execute("rollback")
    other.close()
    await task
    await session.run(fetch, INSERT, 1, 1)
    await session.commit()
    session.give_back()

    assert await ids(engine) == [1]


async def test_nowait_refuses_at_once(engine: Engine, path: str) -> None:
    first, second = await engine.session(), await engine.session()
    await first.begin_write()
    with pytest.raises(LockNotAvailable):
        await second.begin_write(nowait=True)
    await first.rollback()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(LockNotAvailable):
        await second.begin_write(nowait=True)
    other.close()
    await second.begin_write(nowait=True)
    await second.rollback()
    first.give_back()
    second.give_back()


@pytest.mark.parametrize("holder", ["session", "program"])
async def test_waiting_for_the_writer_has_an_end(engine: Engine, path: str, holder: str) -> None:
    session, second = await engine.session(), await engine.session()
    other = sqlite3.connect(path, isolation_level=None)
    if holder == "session":
        await session.begin_write()
    else:
        other.execute("begin immediate")
    with pytest.raises(LockNotAvailable):
        await second.begin_write(timeout=0.05)
    assert not second.holds_writer
    other.close()
    await session.rollback()
    await second.begin_write()
    await second.commit()
    session.give_back()
    second.give_back()


async def test_sessions_wait_for_a_connection_with_a_deadline(engine: Engine) -> None:
    sessions = [await engine.session() for _ in range(4)]
    with pytest.raises(PoolTimeout):
        await engine.session(timeout=0.02)
    for session in sessions:
        session.give_back()


async def test_a_stream_holds_one_batch_and_blocks_no_write(engine: Engine) -> None:
    await engine.write(lambda raw: raw.executemany(INSERT, ((n, n) for n in range(2000))).close(), groupable=False)
    session = await engine.session()
    cursor = await session.run(lambda raw: raw.execute("select id from t order by id"))
    seen = list[int]()
    while rows := await session.run(lambda _: cursor.fetchmany(500)):
        seen += [row[0] for row in rows]
        await engine.write(fetch, INSERT, 5000 + len(seen), 5000 + len(seen))
    await session.run(lambda _: cursor.close())
    session.give_back()

    assert seen == list(range(2000))


async def test_a_forgotten_stream_leaves_no_old_snapshot_in_the_pool(engine: Engine) -> None:
    await engine.write(lambda raw: raw.executemany(INSERT, ((n, n) for n in range(100))).close(), groupable=False)
    session = await engine.session()
    cursor = await session.run(lambda raw: raw.execute("select id from t"))
    await session.run(lambda _: cursor.fetchmany(10))
    session.give_back(clean=False)
    await settled(engine)
    await engine.write(fetch, "delete from t", groupable=False)

    sessions = [await engine.session() for _ in range(4)]
    for each in sessions:
        assert await each.run(fetch, "select count(*) from t") == [(0,)]
        each.give_back()
    assert cursor is not None


async def test_a_given_back_connection_is_closed_to_its_user(engine: Engine) -> None:
    session = await engine.session()
    session.give_back()
    session.give_back()
    session.abandon()
    for use in (session.run(fetch, "select 1"), session.begin_write(), session.begin_snapshot(), session.commit(), session.rollback()):
        with pytest.raises(SessionClosed):
            await use
    assert (session.in_transaction, session.holds_writer) == (False, False)


async def test_an_open_transaction_given_back_is_rolled_back(engine: Engine) -> None:
    session = await engine.session()
    await session.begin_write()
    await session.run(fetch, INSERT, 1, 1)
    session.give_back()
    await engine.write(fetch, INSERT, 2, 2)

    assert await ids(engine) == [2]


async def test_raw_begin_given_back_is_rolled_back(engine: Engine) -> None:
    session = await engine.session()
    await session.run(fetch, "begin")
    await session.run(fetch, INSERT, 1, 1)
    session.give_back()
    await settled(engine)

    assert await ids(engine) == []


async def test_the_order_of_a_transaction_is_checked(engine: Engine) -> None:
    session = await engine.session()
    with pytest.raises(TransactionError):
        await session.upgrade_to_write()
    await session.begin_write()
    with pytest.raises(TransactionError):
        await session.begin_write()
    with pytest.raises(TransactionError):
        await session.begin_snapshot()
    await session.rollback()
    session.give_back()


async def test_a_transaction_that_sqlite_rolled_back_cannot_go_on_or_commit(engine: Engine) -> None:
    session = await engine.session()
    await session.begin_write()
    await session.run(fetch, INSERT, 1, 1)
    with pytest.raises(StatementTimeout):
        await session.run(fetch, ENDLESS_INSERT, timeout=0.05)
    assert not session.in_transaction
    with pytest.raises(TransactionError):
        await session.run(fetch, INSERT, 2, 2)
    with pytest.raises(TransactionError):
        await session.commit()
    held = [session.holds_writer]
    await session.rollback()
    held.append(session.holds_writer)
    session.give_back()

    assert held == [True, False]
    assert await ids(engine) == []


async def test_a_timed_out_read_leaves_the_transaction_open(engine: Engine) -> None:
    session = await engine.session()
    await session.begin_write()
    await session.run(fetch, INSERT, 1, 1)
    with pytest.raises(StatementTimeout):
        await session.run(fetch, ENDLESS, timeout=0.05)
    await session.commit()
    session.give_back()

    assert await ids(engine) == [1]


async def test_a_shared_connection_runs_one_operation_at_a_time(engine: Engine) -> None:
    session = await engine.session()
    await session.begin_write()
    await asyncio.gather(*(session.run(fetch, INSERT, number, number) for number in range(50)))
    await session.commit()
    session.give_back()

    assert len(await ids(engine)) == 50


async def test_a_cancelled_session_lets_the_next_one_write(engine: Engine) -> None:
    async def hold() -> None:
        session = await engine.session()
        try:
            await session.begin_write()
            await session.run(fetch, INSERT, 1, 1)
            await session.run(fetch, ENDLESS)
        except asyncio.CancelledError:
            session.abandon()
            raise

    task = asyncio.create_task(hold())
    await asyncio.wait([task], timeout=0.05)
    waiting = asyncio.create_task(engine.write(fetch, INSERT, 2, 2))
    await asyncio.sleep(0)
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await waiting

    assert await ids(engine) == [2]


async def test_an_anyio_scope_around_a_session_leaves_nothing(engine: Engine) -> None:
    with anyio.move_on_after(0.05) as scope:
        session = await engine.session()
        try:
            await session.begin_write()
            await session.run(fetch, INSERT, 1, 1)
            await session.run(fetch, ENDLESS)
        finally:
            session.abandon()

    assert scope.cancelled_caught
    await settled(engine)
    assert await ids(engine) == []


async def test_a_cancelled_wait_for_the_writer_leaves_the_queue(engine: Engine) -> None:
    holder, waiter = await engine.session(), await engine.session()
    await holder.begin_write()
    task = asyncio.create_task(waiter.begin_write())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.stats().writes_waiting == 0
    await holder.commit()
    await waiter.begin_write()
    await waiter.commit()
    holder.give_back()
    waiter.give_back()


async def test_the_writer_granted_and_cancelled_in_one_turn_is_passed_on(engine: Engine) -> None:
    holder, waiter = await engine.session(), await engine.session()
    for turns in range(6):
        await holder.begin_write()
        task = asyncio.create_task(waiter.begin_write())
        await asyncio.sleep(0)
        await holder.commit()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        waiter.abandon()
        await engine.write(fetch, "delete from t")
        waiter = await engine.session()
    holder.give_back()
    waiter.give_back()


async def test_a_cancelled_wait_for_another_program_gives_up(engine: Engine, path: str) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    session = await engine.session()
    task = asyncio.create_task(session.begin_write())
    await asyncio.wait([task], timeout=0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    session.abandon()
    other.execute("rollback")
    other.close()
    await settled(engine)


async def test_after_a_cancelled_begin_only_a_rollback_helps(engine: Engine) -> None:
    gate = Gate()
    session, other = await engine.session(), await engine.session()
    writer = asyncio.create_task(engine.write(gate.hold, groupable=False))
    await gate.wait_entered()
    task = asyncio.create_task(session.begin_write())
    await asyncio.sleep(0)
    gate.open()
    await writer
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await session.rollback()
    await session.begin_write()
    await session.run(fetch, INSERT, 1, 1)
    await session.commit()
    session.give_back()
    other.give_back()

    assert await ids(engine) == [1]


async def transaction(engine: Engine, number: int) -> None:
    """Every kind of step, as a session above would take them."""
    session = await engine.session()
    try:
        await session.run(fetch, "select 1")
        await session.begin_snapshot()
        await session.run(fetch, "select count(*) from t")
        await session.rollback()
        await session.begin_write()
        await session.run(fetch, INSERT, number, number)
        await session.run(fetch, "savepoint s")
        await session.run(fetch, INSERT, number + 1, number + 1)
        await session.run(fetch, "release s")
        await session.commit()
    except BaseException:
        session.abandon()
        raise
    session.give_back()


async def test_a_cancel_at_any_suspension_leaves_nothing_behind(engine: Engine) -> None:
    """Cancel after the k-th turn of the loop, until the transaction gets through."""
    turns = outcomes = 0
    while True:
        task = asyncio.create_task(transaction(engine, turns * 10))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            await task
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await engine.read(fetch, "select count(*) % 2 from t") == [(0,)]  # both inserts or none
        outcomes += 1
        turns += 1 + turns // 20
        if turns % 10 == 0:
            await settled(engine)

    assert outcomes > 10


async def test_sessions_cancelled_at_random_keep_the_sum(engine: Engine) -> None:
    await engine.write(lambda raw: raw.executemany(INSERT, [(1, 10_000), (2, 0)]).close(), groupable=False)

    async def transfer() -> None:
        session = await engine.session()
        try:
            await session.begin_write()
            await session.run(fetch, "update t set v = v - 1 where id = 1")
            await session.run(fetch, "update t set v = v + 1 where id = 2")
            await session.commit()
        except BaseException:
            session.abandon()
            raise
        session.give_back()

    for turn in range(30):
        tasks = [asyncio.create_task(transfer()) for _ in range(8)]
        await asyncio.wait(tasks, timeout=0.0005 * (turn % 10))
        for task in tasks[turn % 4 :: 2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await engine.read(fetch, "select sum(v) from t") == [(10_000,)]


async def test_abandoning_from_another_task_ends_the_running_statement(engine: Engine) -> None:
    session = await engine.session()
    task = asyncio.create_task(session.run(fetch, ENDLESS))
    await asyncio.wait([task], timeout=0.05)
    session.abandon()
    with pytest.raises(SessionClosed):
        await task


async def test_abandoning_while_another_task_waits_for_the_writer(engine: Engine) -> None:
    holder, waiter = await engine.session(), await engine.session()
    await holder.begin_write()
    task = asyncio.create_task(waiter.begin_write())
    await asyncio.sleep(0)
    waiter.abandon()
    await holder.commit()
    holder.give_back()
    with pytest.raises(SessionClosed):
        await task


async def test_a_failed_commit_needs_a_rollback(engine: Engine) -> None:
    await engine.write(fetch, "create table c (t integer references t deferrable initially deferred)", groupable=False)
    session: SessionConnection = await engine.session()
    await session.begin_write()
    await session.run(fetch, "insert into c values (77)")
    with pytest.raises(Exception, match="refer"):
        await session.commit()
    with pytest.raises(TransactionError):
        await session.commit()
    await session.rollback()
    session.give_back()

    assert await engine.read(fetch, "select count(*) from c") == [(0,)]
