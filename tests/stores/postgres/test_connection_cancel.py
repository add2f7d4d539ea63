"""A cancelled call never harms the next one, and never changes anything later."""

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import pytest

from holdall.errors import BackendError
from tests.stores.postgres.conftest import Monitor, PoolMaker, PostgresPool, is_clean, run

SLEEPING = "state = 'active' and wait_event = 'PgSleep'"
LOCKED = "wait_event_type = 'Lock'"


async def by_task(work: Awaitable[object], reached: Awaitable[object], *, times: int = 1) -> None:
    task = asyncio.ensure_future(work)
    await reached
    for _ in range(times):
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_task_twice(work: Awaitable[object], reached: Awaitable[object]) -> None:
    await by_task(work, reached, times=2)


async def by_anyio_scope(work: Awaitable[object], reached: Awaitable[object]) -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                await reached
                scope.cancel()

            group.start_soon(watch)
            await work
    assert scope.cancelled_caught


async def by_timeout(work: Awaitable[object], reached: Awaitable[object]) -> None:
    deadline = asyncio.timeout(None)

    async def watch() -> None:
        await reached
        deadline.reschedule(0)

    watching = asyncio.ensure_future(watch())
    with pytest.raises(TimeoutError):
        async with deadline:
            await work
    await watching


ways = pytest.mark.parametrize("cancel", [by_task, by_task_twice, by_anyio_scope, by_timeout])
Way = Callable[[Awaitable[object], Awaitable[object]], Awaitable[None]]


async def reusable(pool: PostgresPool, pid: int) -> None:
    """The same backend serves again, clean."""
    slot = await pool.acquire()
    assert slot.connection.get_server_pid() == pid
    assert await is_clean(slot)
    pool.give(slot)
    assert pool.stats().in_use == pool.stats().recovering == 0


async def only_pid(pool: PostgresPool) -> int:
    slot = await pool.acquire()
    pool.give(slot)
    return slot.connection.get_server_pid()


@ways
async def test_a_running_statement_is_stopped(open_pool: PoolMaker, monitor: Monitor, cancel: Way) -> None:
    async with open_pool(max_size=1) as pool:
        pid = await only_pid(pool)

        await cancel(run(pool, "select pg_sleep(30)"), monitor.until(SLEEPING))

        await reusable(pool, pid)
        assert await monitor.sessions(SLEEPING) == 0


@ways
async def test_an_update_that_waited_for_a_lock_is_not_applied_later(open_pool: PoolMaker, monitor: Monitor, cancel: Way) -> None:
    async with open_pool(max_size=1) as pool:
        pid = await only_pid(pool)
        async with monitor.connection.transaction():
            await monitor.connection.execute("update counter set v = 10 where id = 1")
            await cancel(run(pool, "update counter set v = v + 1 where id = 1"), monitor.until(LOCKED))
            await reusable(pool, pid)

        assert await monitor.value() == 10


@ways
async def test_an_open_transaction_is_rolled_back(open_pool: PoolMaker, monitor: Monitor, cancel: Way) -> None:
    async def transaction(pool: PostgresPool) -> None:
        slot = await pool.acquire()
        try:
            await slot.connection.execute("begin; update counter set v = 99 where id = 1")
            await slot.connection.fetch("select pg_sleep(30)")
        except BaseException:
            pool.hand_off(slot)
            raise

    async with open_pool(max_size=1) as pool:
        pid = await only_pid(pool)

        await cancel(transaction(pool), monitor.until(SLEEPING))

        await reusable(pool, pid)
        assert await monitor.value() == 0
        assert await monitor.sessions("state like 'idle in transaction%'") == 0


async def test_a_transaction_that_waits_between_statements_is_rolled_back(open_pool: PoolMaker, monitor: Monitor) -> None:
    async def transaction(pool: PostgresPool) -> None:
        slot = await pool.acquire()
        try:
            await slot.connection.execute("begin; update counter set v = 99 where id = 1")
            await asyncio.Event().wait()
        except BaseException:
            pool.hand_off(slot)
            raise

    async with open_pool(max_size=1) as pool:
        await by_task(transaction(pool), monitor.until("state = 'idle in transaction'"))

        await reusable(pool, await only_pid(pool))
        assert await monitor.value() == 0


async def test_a_failed_transaction_is_rolled_back(open_pool: PoolMaker) -> None:
    async with open_pool(max_size=1) as pool:
        with pytest.raises(BackendError, match="division by zero"):
            await run(pool, "begin; select 1/0")

        await reusable(pool, await only_pid(pool))


@pytest.mark.parametrize("turns", range(12))
async def test_a_statement_cancelled_at_any_turn_leaves_a_usable_connection(open_pool: PoolMaker, turns: int) -> None:
    async with open_pool(max_size=1) as pool:
        pid = await only_pid(pool)

        async def prepared() -> None:
            slot = await pool.acquire()
            try:
                await slot.connection.fetch("select $1::int + $2::int", 1, turns)
            except BaseException:
                pool.hand_off(slot)
                raise
            pool.give(slot)

        task = asyncio.create_task(prepared())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

        await reusable(pool, pid)


async def test_a_cancelled_copy_writes_nothing(open_pool: PoolMaker, monitor: Monitor) -> None:
    async with open_pool(max_size=1) as pool:
        pid = await only_pid(pool)

        async def copy() -> None:
            slot = await pool.acquire()
            try:
                # Waits for its own first row, for the lock of the table.
                await slot.connection.copy_records_to_table("counter", records=[(number, 1) for number in range(1000, 3000)])
            except BaseException:
                pool.hand_off(slot)
                raise

        async with monitor.connection.transaction():
            await monitor.connection.execute("lock table counter in exclusive mode")
            await by_task(copy(), monitor.until(LOCKED))
            await reusable(pool, pid)
        assert await monitor.connection.fetchval("select count(*) from counter") == 40


async def test_twenty_at_once_are_all_reusable_and_the_census_agrees(open_pool: PoolMaker, monitor: Monitor) -> None:
    async with open_pool(max_size=20) as pool:
        slots = [await pool.acquire() for _ in range(20)]
        pids = {slot.connection.get_server_pid() for slot in slots}
        for slot in slots:
            pool.give(slot)
        async with monitor.connection.transaction():
            await monitor.connection.execute("update counter set v = 10 where id <= 20")
            tasks = [asyncio.create_task(run(pool, f"update counter set v = v + 1 where id = {number}")) for number in range(1, 21)]
            await monitor.until(LOCKED, 20)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            slots = [await pool.acquire() for _ in range(20)]

        assert {slot.connection.get_server_pid() for slot in slots} == pids
        assert all([await is_clean(slot) for slot in slots])
        assert await monitor.connection.fetchval("select sum(v) from counter") == 200
        assert await monitor.sessions() == pool.stats().size == 20


async def test_a_backend_that_does_not_answer_is_given_up_at_the_deadline(open_pool: PoolMaker, monitor: Monitor) -> None:
    # A statement that shrugs cancel requests off.
    stubborn = "do $$ begin loop begin perform pg_sleep(30); exception when query_canceled then null; end; end loop; end $$"
    async with open_pool(max_size=1, recover_timeout=0.3) as pool:
        await by_task(run(pool, stubborn), monitor.until(SLEEPING))

        slot = await pool.acquire()

        assert await is_clean(slot)
        assert pool.stats().size == 1
        pool.give(slot)
        await monitor.connection.fetch(
            f"select pg_terminate_backend(pid) from pg_stat_activity where pid <> $1 and {SLEEPING}", slot.connection.get_server_pid()
        )


async def test_cancel_requests_are_repeated_until_the_backend_obeys(open_pool: PoolMaker, monitor: Monitor) -> None:
    # It survives the request that asyncpg sends, and the first of ours.
    hard = """do $$ begin
        begin perform pg_sleep(30); exception when query_canceled then null; end;
        begin perform pg_sleep(30); exception when query_canceled then null; end;
        perform pg_sleep(30); end $$"""
    async with open_pool(max_size=1) as pool:
        pid = await only_pid(pool)

        await by_task(run(pool, hard), monitor.until(SLEEPING))

        await reusable(pool, pid)


async def test_state_left_behind_is_gone_from_a_dirty_connection(open_pool: PoolMaker, monitor: Monitor) -> None:
    async with open_pool(max_size=1) as pool:
        slot = await pool.acquire()
        slot.dirty = True
        await slot.connection.execute(
            "set search_path = nowhere; set jit = on; create temp table left_behind (x int); listen something;"
            "select pg_advisory_lock(42); declare c cursor with hold for select 1; set role pg_monitor"
        )
        pid = slot.connection.get_server_pid()
        pool.give(slot)

        slot = await pool.acquire()

        connection = slot.connection
        assert connection.get_server_pid() == pid
        assert await connection.fetchval("show search_path") == '"$user", public'
        assert await connection.fetchval("show jit") == "off"
        assert await connection.fetchval("select to_regclass('left_behind')") is None
        assert await connection.fetchval("select current_user = session_user")
        assert await connection.fetch("select * from pg_listening_channels()") == []
        assert await connection.fetch("select * from pg_cursors where name = 'c'") == []
        assert await monitor.connection.fetchval("select count(*) from pg_locks where locktype = 'advisory' and pid = $1", pid) == 0
        pool.give(slot)


async def test_a_cancelled_dirty_transaction_is_stopped_and_reset(open_pool: PoolMaker, monitor: Monitor) -> None:
    async def transaction(pool: PostgresPool) -> None:
        slot = await pool.acquire()
        slot.dirty = True
        try:
            await slot.connection.execute("set search_path = nowhere; begin")
            await slot.connection.execute("select pg_sleep(30)")
        except BaseException:
            pool.hand_off(slot)
            raise

    async with open_pool(max_size=1) as pool:
        pid = await only_pid(pool)

        await by_task(transaction(pool), monitor.until(SLEEPING))

        await reusable(pool, pid)
        slot = await pool.acquire()
        assert await slot.connection.fetchval("show search_path") == '"$user", public'
        pool.give(slot)
