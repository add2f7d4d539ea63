"""The private servers, the fixtures and the table."""

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import pytest

from tests.servers import OpenSearchServer, PgbouncerServer, PostgresServer, Proxy, ServerFailed
from tests.servers.java import answers
from tests.servers.opensearch import request

ROOT = Path(__file__).parents[2]


async def ask(url: str, sql: str) -> object:
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(url, statement_cache_size=0)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_each_engine_answers_at_its_url(backend_url: str) -> None:
    if backend_url.startswith("postgresql://"):
        assert await ask(backend_url, "select current_database()") == urlsplit(backend_url).path[1:]


def test_a_sqlite_file_has_an_absolute_path_and_does_not_exist(sqlite_url: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))

    assert path.is_absolute()
    assert not path.exists()


@pytest.mark.parametrize(
    ("setting", "value"), [("TimeZone", "UTC"), ("server_encoding", "UTF8"), ("lc_collate", "C.UTF-8"), ("lc_ctype", "C.UTF-8")]
)
async def test_the_server_has_plain_settings(postgres_url: str, setting: str, value: str) -> None:
    assert await ask(postgres_url, f"show {setting}") == value


async def test_a_fresh_database_is_empty_and_not_the_shared_one(postgres_url: str, fresh_postgres_url: str) -> None:
    assert await ask(fresh_postgres_url, "select count(*) from pg_tables where schemaname = 'public'") == 0
    assert await ask(fresh_postgres_url, "select current_database()") != await ask(postgres_url, "select current_database()")


async def test_the_pooler_leads_to_the_same_database(postgres_url: str, pgbouncer_url: str) -> None:
    statement = "select current_database()"

    assert pgbouncer_url != postgres_url
    assert await ask(pgbouncer_url, statement) == await ask(postgres_url, statement)


async def test_the_pooler_shares_server_connections_between_clients(pgbouncer_url: str) -> None:
    clients: list[asyncpg.Connection[asyncpg.Record]] = [await asyncpg.connect(pgbouncer_url, statement_cache_size=0) for _ in range(8)]

    servers = {await client.fetchval("select pg_backend_pid()") for client in clients}

    for client in clients:
        await client.close()
    assert len(servers) < len(clients)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_server_that_starts_again_has_its_data(private_postgres: PostgresServer, how: signal.Signals) -> None:
    await ask(private_postgres.url, "create table kept as select 7 as n")
    private_postgres.stop(how)
    with pytest.raises(OSError):
        await ask(private_postgres.url, "select 1")

    private_postgres.start()

    assert await ask(private_postgres.url, "select n from kept") == 7


async def test_a_prepared_statement_is_counted_by_the_proxy(postgres_url: str) -> None:
    target = urlsplit(postgres_url)
    assert target.hostname
    async with Proxy(target.hostname, target.port or 5432) as proxy:
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(proxy.url(postgres_url))
        await connection.fetchval("select $1::int", 1)
        proxy.reset_counts()

        await connection.fetchval("select $1::int", 2)

        assert proxy.round_trips == 1
        await connection.close()


def test_a_deleted_server_leaves_no_process_and_no_folder(stopped_postgres: PostgresServer, pgbouncer_url: str) -> None:
    with stopped_postgres as server, PgbouncerServer(server.url) as pooler:
        pids = [server.pid, pooler.pid]
        folders = [Path(f"/proc/{pid}/cwd").resolve() for pid in pids]

    assert all(pid is not None and is_gone(pid) for pid in pids)
    assert not any(folder.exists() for folder in folders)


def test_a_server_that_cannot_start_says_why(stopped_postgres: PostgresServer) -> None:
    with socket.socket() as taken:
        taken.bind((stopped_postgres.host, stopped_postgres.port))
        taken.listen()

        with pytest.raises(ServerFailed, match="Address already in use"):
            stopped_postgres.start()


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_death_of_the_tests_ends_the_server_and_removes_its_folder(how: signal.Signals, stopped_postgres: PostgresServer) -> None:
    program = """
        from tests.servers import PostgresServer
        server = PostgresServer(port={port}).start()
        print(server.pid, flush=True)
        input()
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program.format(port=stopped_postgres.port))]
    with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        server = os.pidfd_open(pid)
        folder = Path(f"/proc/{pid}/cwd").resolve()
        process.send_signal(how)
        process.stdout.read()  # its end is the end of the sweeper, which holds it too
    ended, _, _ = select.select([server], [], [], 10)
    os.close(server)

    assert ended
    assert not folder.exists()


PROBE = """
    import pytest

    @pytest.mark.engine("sqlite")
    def test_marked(): pass

    @pytest.mark.parametrize("engine", ["memory", "sqlite"])
    def test_parametrised(engine): assert engine == "sqlite"

    def test_fixture(postgres_url): assert postgres_url.startswith("postgresql://")

    def test_core(): pass

    @pytest.mark.skip
    def test_skipped(memory_url): pass
"""


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    """A test folder of its own, with the fixtures of this one."""
    (tmp_path / "test_probe.py").write_text(textwrap.dedent(PROBE))
    (tmp_path / "conftest.py").write_text("from tests.conftest import *  # noqa")
    return tmp_path


def run_probe(probe: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", *arguments, str(probe)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def table_of(output: str) -> dict[str, list[str]]:
    lines = output.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("engine "))
    return {line.split()[0]: line.split()[-4:] for line in lines[begin + 2 :] if line}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_table_counts_tests_by_engine(probe: Path, postgres_url: str, workers: str) -> None:
    done = run_probe(probe, "-n", workers, HOLDALL_POSTGRES_URL=postgres_url, CI="")

    table = table_of(done.stdout)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert table["core"] == ["1", "1", "0", "0"]
    assert table["memory"] == ["1", "0", "1", "1"]
    assert table["sqlite"] == ["2", "2", "0", "0"]
    assert table["postgres"] == ["1", "1", "0", "0"]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_missing_engine_skips_its_tests_and_is_named(probe: Path, workers: str) -> None:
    done = run_probe(probe, "-n", workers, "-k", "fixture", HOLDALL_POSTGRES_URL="postgresql://127.0.0.1:1/none", CI="")

    assert done.returncode == pytest.ExitCode.OK, done.stdout
    assert table_of(done.stdout)["postgres"][-4:] != ["1", "1", "0", "0"]
    assert "postgres is missing, its tests were skipped: " in done.stdout


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_missing_engine_fails_a_run_for_continuous_integration(probe: Path, workers: str) -> None:
    done = run_probe(probe, "-n", workers, "-k", "fixture", HOLDALL_POSTGRES_URL="postgresql://127.0.0.1:1/none", CI="true")

    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "FAILED: CI=true demands every engine, and postgres is missing: " in done.stdout


async def test_dynamodb_answers_at_its_url(dynamodb_url: str) -> None:
    parameters = dict(parse_qsl(urlsplit(dynamodb_url).query))

    assert answers(parameters["endpoint_url"])
    assert parameters["access_key_id"].isalnum()


async def test_opensearch_is_a_real_node(opensearch_url: str) -> None:
    node = request(f"http://{urlsplit(opensearch_url).netloc}")

    assert node["version"]["number"] == OpenSearchServer.version


def test_a_node_that_starts_again_has_its_data(stopped_opensearch: OpenSearchServer) -> None:
    with stopped_opensearch as node:
        request(f"{node.http}/kept/_doc/1?refresh=true", "PUT", {"n": 7})
        pid = node.pid
        node.stop()
        assert pid is not None
        assert is_gone(pid)

        node.start()

        assert request(f"{node.http}/kept/_doc/1")["_source"] == {"n": 7}
