"""What a new connection is set to, what is said when there is none, and the pooler in between."""

import asyncio
import os
import sys

import pytest

from holdall.errors import ConfigurationError, ConnectionLost, HoldallError
from holdall.stores.postgres.connection import PostgresConnector, PostgresOptions, begin_statement, commit
from tests.servers import PostgresServer, Proxy
from tests.servers.engines import execute
from tests.servers.process import free_port
from tests.stores.postgres.conftest import Monitor, PoolMaker, is_clean, run

SECRET = "s3cret-pass"


async def settings(options: PostgresOptions, *names: str) -> dict[str, str]:
    connector = PostgresConnector(options)
    connection = await connector.open()
    rows = await connection.fetch("select name, setting from pg_settings where name = any($1)", list(names))
    await connector.close(connection)
    return {row["name"]: row["setting"] for row in rows}


async def refused(options: PostgresOptions) -> HoldallError:
    with pytest.raises(HoldallError) as caught:
        await PostgresConnector(options).open()
    shown = f"{caught.value} {caught.value!r} {options!r} {caught.value.__cause__}"
    assert SECRET not in shown
    return caught.value


async def test_the_settings_at_the_start(postgres_url: str) -> None:
    found = await settings(
        PostgresOptions(dsn=postgres_url, statement_timeout=1.5),
        *("TimeZone", "jit", "client_connection_check_interval", "statement_timeout", "default_transaction_isolation", "application_name"),
    )

    assert found == {
        "TimeZone": "UTC",
        "jit": "off",
        "client_connection_check_interval": "2000",
        "statement_timeout": "1500",
        "default_transaction_isolation": "read committed",
        "application_name": "holdall",
    }


async def test_the_level_of_a_role_does_not_change_ours(fresh_postgres_url: str) -> None:
    name = fresh_postgres_url.rpartition("/")[2]
    execute(fresh_postgres_url, f"alter database \"{name}\" set default_transaction_isolation = 'serializable'")

    found = await settings(PostgresOptions(dsn=fresh_postgres_url), "default_transaction_isolation")

    assert found == {"default_transaction_isolation": "read committed"}


async def test_settings_of_the_application_win(postgres_url: str) -> None:
    found = await settings(PostgresOptions(dsn=postgres_url, server_settings={"jit": "on", "work_mem": "8MB"}), "jit", "work_mem")

    assert found == {"jit": "on", "work_mem": "8192"}


async def test_an_unknown_setting_is_a_configuration_error(postgres_url: str) -> None:
    error = await refused(PostgresOptions(dsn=postgres_url, server_settings={"no_such_setting": "1"}))

    assert isinstance(error, ConfigurationError)
    assert "no_such_setting" in str(error)


async def test_a_refused_connection_is_connection_lost_and_says_where() -> None:
    port = free_port()

    error = await refused(PostgresOptions(host="127.0.0.1", port=port, user="u", password=SECRET, database="d"))

    assert isinstance(error, ConnectionLost)
    assert f"127.0.0.1:{port}" in str(error)


async def test_a_host_without_an_address_is_connection_lost() -> None:
    error = await refused(PostgresOptions(host="no-such-host.invalid", user="u", password=SECRET, database="d"))

    assert isinstance(error, ConnectionLost)


async def test_an_unknown_database_is_named(postgres_url: str) -> None:
    error = await refused(PostgresOptions(dsn=postgres_url, database="nowhere", password=SECRET))

    assert isinstance(error, ConfigurationError)
    assert "nowhere" in str(error)


async def test_a_wrong_password_is_said_without_showing_it(stopped_postgres: PostgresServer) -> None:
    with stopped_postgres as server:
        execute(server.url, "create role guarded login password 'right'")
        execute(server.url, "create table rules (line text)")
        execute(server.url, "insert into rules values ('host all guarded all scram-sha-256'), ('host all all all trust')")
        execute(server.url, "do $$ begin execute format('copy rules to %L', current_setting('hba_file')); end $$")
        execute(server.url, "select pg_reload_conf()")

        async def attempt() -> HoldallError:
            return await refused(PostgresOptions(dsn=f"postgresql://guarded:{SECRET}@{server.host}:{server.port}/postgres", user="guarded"))

        error = await attempt()

    assert isinstance(error, ConfigurationError)
    assert "guarded" in str(error)


@pytest.mark.parametrize("dsn", [f"postgresql://u:a/{SECRET}@h/db", f"mysql://u:{SECRET}@h/db", f"postgresql://u:{SECRET}@h:port/db"])
async def test_a_url_that_cannot_be_read_is_a_configuration_error(dsn: str) -> None:
    assert isinstance(await refused(PostgresOptions(dsn=dsn)), ConfigurationError)


async def test_a_server_that_does_not_answer_is_connection_lost(postgres_url: str) -> None:
    host, _, port = postgres_url.partition("@")[2].partition("/")[0].partition(":")
    async with Proxy(host, int(port)) as proxy:
        proxy.hold_replies()

        error = await refused(PostgresOptions(dsn=proxy.url(postgres_url), connect_timeout=0.1))

    assert isinstance(error, ConnectionLost)


async def test_a_transaction_begins_with_all_its_settings_in_one_round_trip(postgres_url: str) -> None:
    host, _, port = postgres_url.partition("@")[2].partition("/")[0].partition(":")
    async with Proxy(host, int(port)) as proxy:
        connector = PostgresConnector(PostgresOptions(dsn=proxy.url(postgres_url)))
        connection = await connector.open()
        proxy.reset_counts()

        await connection.execute(begin_statement("repeatable read", read_only=True, timeout_seconds=1.25))

        assert proxy.round_trips == 1
        assert connection.is_in_transaction()
        found = [
            await connection.fetchval(f"show {name}") for name in ("transaction_isolation", "transaction_read_only", "statement_timeout")
        ]
        assert found == ["repeatable read", "on", "1250ms"]
        await commit(connection)
        assert await connection.fetchval("show statement_timeout") == "0"
        await connector.close(connection)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_would_be_none_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError):
        begin_statement("read committed", timeout_seconds=seconds)


def test_a_level_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="chaos"):
        begin_statement("chaos")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_a_cancel_behind_a_pooler_leaves_a_usable_connection(open_pool: PoolMaker, monitor: Monitor, pgbouncer_url: str) -> None:
    options = PostgresOptions(dsn=pgbouncer_url, pooler="transaction", application_name="holdall-tests-pooler", statement_timeout=30)
    asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and query = 'select pg_sleep(31)'"
    async with open_pool(options, max_size=1) as pool:
        task = asyncio.create_task(run(pool, "select pg_sleep(31)"))
        while await monitor.connection.fetchval(asleep) == 0:
            await monitor.connection.execute("select pg_sleep(0.005)")
        task.cancel()
        await asyncio.wait([task])

        slot = await pool.acquire()

        assert await is_clean(slot)
        assert await monitor.connection.fetchval(asleep) == 0
        assert await slot.connection.fetchval("select $1::int", 7) == 7
        assert pool.stats().opened == 1
        pool.give(slot)
        await pool.close()


async def test_a_pooler_that_was_not_declared_says_what_to_do(pgbouncer_url: str) -> None:
    error = await refused(PostgresOptions(dsn=pgbouncer_url))

    assert isinstance(error, ConfigurationError)
    assert "pooler=transaction" in str(error)


async def test_many_tasks_behind_a_pooler(open_pool: PoolMaker, pgbouncer_url: str) -> None:
    async with open_pool(PostgresOptions(dsn=pgbouncer_url, pooler="transaction"), max_size=8) as pool:

        async def work(number: int) -> None:
            for turn in range(10):
                slot = pool.take() or await pool.acquire()
                slot.dirty = turn == 5
                assert await slot.connection.fetchval("select $1::int + $2::int", number, turn) == number + turn
                pool.give(slot)

        await asyncio.gather(*(work(number) for number in range(20)))
        await pool.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_that_ends_normally_leaves_the_parents_connections_alone(postgres_url: str) -> None:
    # A process of its own: the child runs every finalizer on its way out, which the test run must not.
    program = f"""
import asyncio, os, sys
from holdall.pool import Pool
from holdall.stores.postgres.connection import PostgresConnector, PostgresOptions

async def main():
    pool = Pool(PostgresConnector(PostgresOptions(dsn={postgres_url!r})))
    slot = await pool.acquire()
    pid = await slot.connection.fetchval("select pg_backend_pid()")
    pool.give(slot)
    child = os.fork()
    if child == 0:
        return None
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    async with asyncio.timeout(10):
        slot = await pool.acquire()
        same = await slot.connection.fetchval("select pg_backend_pid()") == pid
        pool.give(slot)
        await pool.close()
    return code, same

loop = asyncio.new_event_loop()
try:
    result = loop.run_until_complete(main())
except RuntimeError:  # the child: its loop belongs to the parent
    result = None
if result is not None:
    print(result)
    loop.close()
"""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await child.communicate()

    assert out.decode().strip() == "(0, True)", err.decode()
