"""The pool over a real server: its census is the server's, whatever is lost on the way."""

import asyncio
import random

import pytest

from holdall.errors import ConnectionLost, HoldallError, PoolTimeout
from holdall.pool import PerLoop, Pool, PoolOptions
from holdall.stores.postgres.connection import PostgresConnector, PostgresOptions
from holdall.stores.postgres.errors import translate
from tests.servers import PostgresServer, Proxy
from tests.stores.postgres.conftest import APPLICATION, Monitor, PoolMaker, PostgresPool, is_clean, run


async def test_many_tasks_share_few_connections_fairly(open_pool: PoolMaker, monitor: Monitor) -> None:
    async with open_pool(min_size=5, max_size=5) as pool:
        await pool.open()
        visits = dict.fromkeys(range(100), 0)

        async def work(number: int) -> None:
            for _ in range(10):
                assert await run(pool, f"update counter set v = v + 1 where id = {number % 40 + 1}") == "UPDATE 1"
                visits[number] += 1
                assert max(visits.values()) - min(visits.values()) <= 4

        await asyncio.gather(*(work(number) for number in visits))

        assert await monitor.connection.fetchval("select sum(v) from counter") == 1000
        assert await monitor.sessions() == pool.stats().size == 5


async def test_the_deadline_names_holder_and_line(open_pool: PoolMaker) -> None:
    async with open_pool(max_size=1) as pool:
        slot = await pool.acquire()

        async def slow_report() -> None:
            await slot.connection.execute("select pg_sleep(0.3)")

        task = asyncio.create_task(slow_report(), name="report-3")
        slot.holder = task
        with pytest.raises(PoolTimeout, match=r"report-3 at test_connection_pool\.py:\d+ in slow_report for 0\."):
            await pool.acquire(timeout=0.05)
        await task
        pool.give(slot)


async def test_a_killed_idle_backend_is_never_handed_out(open_pool: PoolMaker, monitor: Monitor) -> None:
    async with open_pool(max_size=3) as pool:
        noticed = asyncio.Semaphore(0)
        for slot in [await pool.acquire() for _ in range(3)]:
            slot.connection.add_termination_listener(lambda _: noticed.release())
            pool.give(slot)
        await monitor.connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1", APPLICATION)
        for _ in range(3):
            await noticed.acquire()

        slot = await pool.acquire()

        assert await is_clean(slot)
        pool.give(slot)
        assert await monitor.sessions() == pool.stats().size


async def test_a_backend_killed_in_a_statement_is_connection_lost_and_replaced(open_pool: PoolMaker, monitor: Monitor) -> None:
    async with open_pool(max_size=1) as pool:
        slot = await pool.acquire()
        statement = asyncio.create_task(slot.connection.execute("select pg_sleep(30)"))
        await monitor.until("wait_event = 'PgSleep'")
        await monitor.connection.execute(f"select pg_terminate_backend({slot.connection.get_server_pid()})")

        with pytest.raises(Exception) as caught:
            await statement

        assert isinstance(translate(caught.value), ConnectionLost)
        pool.discard(slot)
        assert await run(pool, "select 1") == "SELECT 1"


async def test_a_server_restart_is_survived(stopped_postgres: PostgresServer) -> None:
    server = stopped_postgres.start()
    pool = Pool(PostgresConnector(PostgresOptions(dsn=server.url)), PoolOptions(max_size=3))
    for slot in [await pool.acquire() for _ in range(3)]:
        pool.give(slot)

    server.stop()
    with pytest.raises(ConnectionLost):
        await run(pool, "select 1")
    with pytest.raises(ConnectionLost):
        await pool.acquire()
    server.start()

    assert await run(pool, "select 1") == "SELECT 1"
    await pool.close()


async def test_a_socket_cut_in_a_reply_is_connection_lost(postgres_url: str) -> None:
    host, _, port = postgres_url.partition("@")[2].partition("/")[0].partition(":")
    async with Proxy(host, int(port)) as proxy:
        pool = Pool(PostgresConnector(PostgresOptions(dsn=proxy.url(postgres_url))), PoolOptions(max_size=2))
        slot = await pool.acquire()
        proxy.cut_after_reply_bytes(30)

        with pytest.raises(Exception) as caught:
            await slot.connection.fetch("select i, repeat('x', 1000) from generate_series(1, 100) i")

        assert isinstance(translate(caught.value), ConnectionLost)
        pool.discard(slot)
        assert await run(pool, "select 1") == "SELECT 1"
        await pool.close()


async def test_close_while_in_use_ends_every_session(open_pool: PoolMaker, monitor: Monitor) -> None:
    async with open_pool(max_size=4) as pool:
        tasks = [asyncio.create_task(run(pool, "select pg_sleep(30)")) for _ in range(3)]
        await monitor.until("wait_event = 'PgSleep'", 3)

        await pool.close(timeout=0.05)

        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [ConnectionLost] * 3
        await monitor.until("true", 0)


async def test_close_waits_for_a_statement_that_ends_in_time(open_pool: PoolMaker, monitor: Monitor) -> None:
    async with open_pool(max_size=2) as pool:
        task = asyncio.create_task(run(pool, "select pg_sleep(0.1)"))
        await monitor.until("wait_event = 'PgSleep'")

        await pool.close()

        assert await task == "SELECT 1"
        await monitor.until("true", 0)


def test_several_loops_have_pools_of_their_own_and_leave_no_session(postgres_options: PostgresOptions) -> None:
    pools: PerLoop[PostgresPool] = PerLoop(lambda: Pool(PostgresConnector(postgres_options)), PostgresPool.terminate)

    async def main() -> int:
        pool = pools.get()
        slot = await pool.acquire()
        assert await is_clean(slot)
        pool.give(slot)
        held = await pool.acquire()
        return int(
            await held.connection.fetchval(
                "select count(*) from pg_stat_activity where application_name = $1", postgres_options.application_name
            )
        )

    assert [asyncio.run(main()) for _ in range(3)] == [1, 1, 1]


def test_a_loop_that_was_closed_without_a_shutdown_leaves_no_warning(postgres_options: PostgresOptions) -> None:
    pools: PerLoop[PostgresPool] = PerLoop(lambda: Pool(PostgresConnector(postgres_options)), PostgresPool.terminate)

    async def main() -> None:
        pool = pools.get()
        pool.give(await pool.acquire())

    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
    asyncio.run(main())


@pytest.mark.parametrize("seed", range(5))
async def test_random_schedules_never_leak_a_session(open_pool: PoolMaker, monitor: Monitor, seed: int) -> None:
    random_ = random.Random(seed)
    statements = (
        "select pg_sleep(0.01)",
        "update counter set v = v + 1 where id = 1",
        "begin; update counter set v = v + 1 where id = 2; commit",
        "begin; update counter set v = v + 1 where id = 3",
        "select 1/0",
        "select pg_terminate_backend(pg_backend_pid())",
    )

    async def visit(pool: PostgresPool) -> str:
        slot = pool.take() or await pool.acquire()
        try:
            assert await is_clean(slot)
            slot.dirty = random_.random() < 0.3
            tag = await slot.connection.execute(random_.choices(statements, (6, 6, 4, 2, 2, 1))[0])
        except BaseException:
            pool.hand_off(slot)
            raise
        if slot.connection.is_in_transaction():
            pool.hand_off(slot)
        else:
            pool.give(slot)
        return tag

    async with open_pool(max_size=4) as pool:
        tasks = [asyncio.create_task(visit(pool)) for _ in range(80)]
        for task in random_.sample(tasks, 30):
            await run(pool, "select 1")
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)

        unexpected = [r for r in results if isinstance(r, Exception) and translate(r) is None and not isinstance(r, HoldallError)]
        assert unexpected == []
        slots = [await pool.acquire() for _ in range(4)]
        assert all([await is_clean(slot) for slot in slots])
        await monitor.until("true", pool.stats().size)
        assert await monitor.sessions("state like 'idle in transaction%'") == 0
        for slot in slots:
            pool.give(slot)
        await pool.close()
        await monitor.until("true", 0)
