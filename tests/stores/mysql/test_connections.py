"""What a connection is set up with, what raw SQL leaves behind, how opening fails, and what becomes of what was cancelled."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

import holdall
from holdall import Backend, ConfigurationError, ConnectionLost, Field, Model, UnsupportedOperation
from holdall.errors import DeadlockError, StatementTimeout, TransactionError
from holdall.stores.mysql.compiler import MysqlCompiler
from holdall.stores.mysql.flavours import DEFAULT, flavour_of
from tests.servers import MariadbServer
from tests.servers.engines import execute_mysql
from tests.servers.process import Folder, free_port


class Row(Model):
    id: int = Field(primary_key=True)
    number: int = 0


@pytest.fixture
async def backend(driver_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(driver_url, pool_max_size=2) as backend:
        await backend.drop(Row)
        await backend.initialize(Row)
        await backend.create_many([Row(id=number) for number in range(3)])
        yield backend
        await backend.drop(Row)


SET_UP = {
    "autocommit": 1,
    "collation_connection": "utf8mb4_nopad_bin",
    "time_zone": "+00:00",
    "tx_isolation": "READ-COMMITTED",
    "tx_read_only": 0,
    "max_sort_length": 65536,
    "sort_buffer_size": 17 * 15 * 65536,
    "innodb_snapshot_isolation": 1,
    "max_statement_time": 0.0,
}


async def variables(backend: Backend) -> dict[str, Any]:
    found = await backend.engine.fetch_one(f"select {', '.join(f'@@{name} as {name}' for name in SET_UP)}")
    assert found is not None
    return found


async def test_sessions_do_not_depend_on_the_servers_defaults(backend: Backend) -> None:
    assert await variables(backend) == SET_UP
    modes = set(str(await backend.engine.fetch_value("select @@sql_mode")).split(","))
    assert {"STRICT_ALL_TABLES", "NO_ZERO_DATE", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "SIMULTANEOUS_ASSIGNMENT"} <= modes


async def test_raw_sql_leaves_nothing_behind(backend: Backend, driver_url: str) -> None:
    async with holdall.open(driver_url, pool_max_size=1) as single:
        engine = single.engine
        for statement in (
            "set sql_mode = ''",
            "set tx_isolation = 'SERIALIZABLE'",
            "set names latin1",
            "set @left = 5",
            "create temporary table scratch (id int)",
            "use information_schema",
            "set autocommit = 0",
        ):
            await engine.execute(statement)
        assert await engine.fetch_value("select get_lock('left', 0)") == 1

        assert await variables(single) == SET_UP
        assert await engine.fetch_value("select @left") is None
        assert await engine.fetch_value("select is_free_lock('left')") == 1
        with pytest.raises(holdall.BackendError):
            await engine.fetch("select * from scratch")
        assert await single.query(Row).count() == 3


@pytest.mark.parametrize(
    ("pattern", "instead", "words"),
    [
        ("root@", "root:wrong@", "refused the password of user 'root'"),
        ("root@", "nobody:secret@", "nobody"),
        ("/[^/]*$", "/missing", "create database 'missing'"),
    ],
)
async def test_what_a_user_can_mend_is_a_configuration_error(driver_url: str, pattern: str, instead: str, words: str) -> None:
    backend = holdall.open(re.sub(pattern, instead, driver_url))
    with pytest.raises(ConfigurationError, match=words) as caught:
        await backend.open()
    assert "secret" not in str(caught.value)
    await backend.close()


async def test_nobody_there_is_a_lost_connection(driver_url: str) -> None:
    scheme = driver_url.partition(":")[0]
    backend = holdall.open(f"{scheme}://root:secret@127.0.0.1:{free_port()}/test")
    with pytest.raises(ConnectionLost, match=r"cannot connect to mysql at 127\.0\.0\.1") as caught:
        await backend.open()
    assert "secret" not in str(caught.value)
    await backend.close()


async def test_tls_to_a_server_without_it_is_refused(driver_url: str) -> None:
    backend = holdall.open(driver_url, sslmode="require")
    with pytest.raises(ConfigurationError, match="check sslmode"):
        await backend.open()
    await backend.close()


@pytest.fixture
def certificate() -> Iterator[tuple[Path, Path]]:
    """A certificate for 127.0.0.1 that nobody else has signed, and its key, where the server's account can read them."""
    folder = Folder("certificate")
    found, key = folder.path / "certificate.pem", folder.path / "key.pem"
    subject = ("-subj", "/CN=holdall", "-addext", "subjectAltName=IP:127.0.0.1")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject, "-keyout", str(key), "-out", str(found))
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o644)
    yield found, key
    folder.remove()


@pytest.mark.parametrize("scheme", ["mysql", "mysql+asyncmy"])
async def test_tls_is_checked_as_the_mode_says(scheme: str, certificate: tuple[Path, Path], stopped_mysql: MariadbServer) -> None:
    found, key = certificate
    stopped_mysql.settings = {"ssl-cert": str(found), "ssl-key": str(key)}
    url = stopped_mysql.start().url.replace("mysql", scheme, 1)
    for options in (
        {"sslmode": "require"},
        {"sslmode": "verify-ca", "ssl_ca": str(found)},
        {"sslmode": "verify-full", "ssl_ca": str(found)},
    ):
        async with holdall.open(url, **options) as backend:
            assert (await backend.engine.fetch("show status like 'Ssl_cipher'"))[0]["Value"] != ""

    stranger = holdall.open(url, sslmode="verify-full")
    with pytest.raises(ConfigurationError, match="certificate"):
        await stranger.open()
    await stranger.close()
    renamed = holdall.open(url.replace("127.0.0.1", "localhost"), sslmode="verify-full", ssl_ca=str(found))
    with pytest.raises(ConfigurationError, match="certificate"):
        await renamed.open()
    await renamed.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://host", "names a database"),
        ("mysql://host/a/b", "%2F"),
        ("mysql://host/a?unix_socket=/x", "unix_socket"),
        ("mysql://host/a?ssl_ca=/x", "sslmode"),
        ("mysql://host/a?charset=latin1", "no parameter 'charset'"),
        ("mysql://host:port/a", "port"),
        ("mysql+asyncmy://host", "names a database"),
    ],
)
def test_urls_are_checked(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        holdall.open(url)


def test_a_certificate_that_cannot_be_read_is_a_configuration_error() -> None:
    with pytest.raises((ConfigurationError, ssl.SSLError), match="ssl_ca"):
        holdall.open("mysql://host/a?sslmode=verify-full&ssl_ca=/missing.pem")


@pytest.mark.parametrize(
    ("version", "name", "collation"),
    [
        ("5.5.5-10.11.19-MariaDB-0+deb12u1", "MariaDB", "utf8mb4_nopad_bin"),
        ("11.4.2-MariaDB", "MariaDB", "utf8mb4_nopad_bin"),
        ("8.0.36", "MySQL", "utf8mb4_0900_bin"),
        ("8.4.0-log", "MySQL", "utf8mb4_0900_bin"),
    ],
)
def test_the_flavour_is_the_live_servers(version: str, name: str, collation: str) -> None:
    flavour = flavour_of(version)
    assert (flavour.name, flavour.collation) == (name, collation)


@pytest.mark.parametrize("version", ["5.5.5-10.5.1-MariaDB", "5.7.44-log", "8.0.11"])
def test_a_server_that_is_too_old_is_refused(version: str) -> None:
    with pytest.raises(ConfigurationError, match="or newer"):
        flavour_of(version)


def test_mysql_says_which_letters_it_cannot_compare() -> None:
    query = holdall.open("memory://").query(Row)
    assert MysqlCompiler(flavour_of("8.0.36")).select(query._select())[0].text == MysqlCompiler(DEFAULT).select(query._select())[0].text

    class Named(Model):
        id: int = Field(primary_key=True)
        name: str = ""

    select = holdall.open("memory://").query(Named).filter(name__icontains="strasse")._select()
    assert "REGEXP" in MysqlCompiler(DEFAULT).select(select)[0].text
    with pytest.raises(UnsupportedOperation, match="casefolded copy"):
        MysqlCompiler(flavour_of("8.0.36")).select(select)


async def test_a_deadlock_ends_the_session_whatever_its_savepoints(backend: Backend) -> None:
    """The server rolls all back, and would commit each later statement by itself."""
    ready = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def second() -> None:
        async with backend.session() as session:
            await session.query(Row).filter(id=2).update(number=2)
            ready.set()
            await session.query(Row).filter(id=1).update(number=2)

    outcomes: list[type[BaseException] | None] = []
    try:
        async with backend.session() as session:
            await session.query(Row).filter(id=0).update(number=1)
            async with session.savepoint():
                await session.query(Row).filter(id=1).update(number=1)
                with holdall.detach():
                    tasks.append(asyncio.create_task(second()))
                await ready.wait()
                await session.query(Row).filter(id=2).update(number=1)
        outcomes.append(None)
    except DeadlockError:
        outcomes.append(DeadlockError)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    outcomes += [None if result is None else type(result) for result in results]

    assert sorted(map(str, outcomes)) == sorted(map(str, [None, DeadlockError]))
    numbers = [row.number for row in await backend.query(Row).order_by("id")]
    assert numbers in ([1, 1, 1], [0, 2, 2])


async def test_a_statement_that_defines_tables_ends_the_session(backend: Backend) -> None:
    with pytest.raises(TransactionError, match="ended the session's transaction"):
        async with backend.session() as session:
            await session.query(Row).filter(id=0).update(number=9)
            await session.execute("create table if not exists row2 (id int)")
    await backend.engine.execute("drop table row2")


async def test_the_backends_own_timeout_bounds_single_statements(driver_url: str) -> None:
    async with holdall.open(driver_url, statement_timeout=0.05) as backend:
        with pytest.raises(StatementTimeout):
            await backend.engine.fetch("select sleep(30)")
        assert await backend.engine.fetch_value("select 1") == 1


async def test_a_session_reads_on_while_it_streams(backend: Backend) -> None:
    await backend.create_many([Row(id=number) for number in range(10, 5010)])
    async with backend.session() as session:
        seen = 0
        async for row in session.query(Row).order_by("id").stream(batch=10):
            seen += 1
            if row.id in (0, 100, 4000):
                row.number = 7
                await session.save(row)
            if row.id == 200:
                async for _ in session.query(Row).stream(batch=10):
                    break
        assert seen == 5003
        assert await session.query(Row).filter(number=7).count() == 3


async def test_a_stream_sees_what_was_there_when_it_began(backend: Backend) -> None:
    await backend.create_many([Row(id=number) for number in range(10, 1010)])
    stream = backend.query(Row).order_by("id").stream(batch=10)
    first = await anext(stream)
    await backend.query(Row).filter(id__gt=500).delete()

    rest = [row async for row in stream]

    assert first.id == 0
    assert len(rest) == 1002


async def test_a_stream_that_is_broken_off_stops_on_the_server(backend: Backend, driver_url: str) -> None:
    await backend.create_many([Row(id=number) for number in range(10, 3010)])
    for _ in range(3):
        async for _row in backend.query(Row).stream(batch=1):
            break
    async with asyncio.timeout(10):
        while backend.engine.stats()["recovering"]:
            await checkpoint()
    assert await backend.query(Row).count() == 3003


async def test_a_user_without_the_right_to_anything_else_may_kill_its_own(backend: Backend, mysql_url: str, driver_url: str) -> None:
    """A cancelled statement is stopped by another connection of the same user, whoever that is."""
    database = mysql_url.rpartition("/")[2]
    user = f"holdall_{database[-20:]}"
    execute_mysql(
        mysql_url,
        f"create user if not exists '{user}'@'%' identified by 'secret'",
        f"grant select, insert, update, delete on `{database}`.* to '{user}'@'%'",
    )
    url = driver_url.replace("root@", f"{user}:secret@")
    try:
        async with holdall.open(url, pool_max_size=1) as limited, backend.session() as session:
            await session.get(Row, 1, lock=True)
            with holdall.detach():
                waiting = asyncio.create_task(limited.query(Row).filter(id=1).update(number=5))
                await _until(backend, "select count(*) from information_schema.processlist where info like 'UPDATE %'", 1)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                while limited.engine.stats()["recovering"]:
                    await checkpoint()
        assert (await backend.get(Row, 1)).number == 0
    finally:
        execute_mysql(mysql_url, f"drop user '{user}'@'%'")


async def _until(backend: Backend, sql: str, value: int) -> None:
    async with asyncio.timeout(10):
        while await backend.engine.fetch_value(sql) < value:
            pass
