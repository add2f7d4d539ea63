"""The URLs of the engines, as fixtures. Tests that use them are counted by engine in the table at the end of the run."""

import itertools
import os
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.servers import OpenSearchServer, PostgresServer, ServerMissing
from tests.servers.engines import execute, with_database, with_parameters
from tests.servers.opensearch import request as ask_opensearch
from tests.servers.plugin import EnginePlugin

ENGINE_OF_FIXTURE = {
    "memory_url": "memory",
    "sqlite_url": "sqlite",
    "postgres_url": "postgres",
    "fresh_postgres_url": "postgres",
    "private_postgres": "postgres",
    "stopped_postgres": "postgres",
    "pgbouncer_url": "pgbouncer",
    "dynamodb_url": "dynamodb",
    "opensearch_url": "opensearch",
    "opensearch_prefix": "opensearch",
    "stopped_opensearch": "opensearch",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "engine(*names): count the test as one of these engines")
    config.pluginmanager.register(EnginePlugin(config, ENGINE_OF_FIXTURE), "holdall-engines")


@pytest.fixture(scope="session")
def engines(request: pytest.FixtureRequest) -> EnginePlugin:
    """The engines of this run."""
    plugin = request.config.pluginmanager.get_plugin("holdall-engines")
    assert isinstance(plugin, EnginePlugin)
    return plugin


@pytest.fixture(scope="session")
def postgres_database(engines: EnginePlugin) -> Generator[str]:
    """The name of this worker's own database; with a pooler in between it is the same."""
    server = engines.url("postgres")
    # The process id keeps two runs apart that share a server.
    name = f"holdall_{os.getpid()}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    execute(server, f'create database "{name}" template template0')
    yield name
    execute(server, f'drop database "{name}" with (force)')


@pytest.fixture
def memory_url() -> str:
    """A memory store of the test's own."""
    return "memory://"


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def postgres_url(engines: EnginePlugin, postgres_database: str) -> str:
    """This worker's database: tests make tables of their own and drop them."""
    return with_database(engines.url("postgres"), postgres_database)


@pytest.fixture
def pgbouncer_url(engines: EnginePlugin, postgres_database: str) -> str:
    """The same database as ``postgres_url``, through pgbouncer in transaction mode."""
    return with_database(engines.url("pgbouncer"), postgres_database)


@pytest.fixture
def fresh_postgres_url(engines: EnginePlugin, postgres_database: str) -> Generator[str]:
    """An empty database for this test alone; it costs some 0.2 s."""
    server = engines.url("postgres")
    name = f"{postgres_database}_{next(_numbers)}"
    execute(server, f'create database "{name}" template template0')
    yield with_database(server, name)
    execute(server, f'drop database "{name}" with (force)')


_numbers = itertools.count(1)


@pytest.fixture
def stopped_postgres(engines: EnginePlugin) -> Generator[PostgresServer]:
    """A whole server for this test alone, not started yet."""
    engines.url("postgres")  # the one way to skip, or fail under CI, where there is none
    try:
        server = PostgresServer()
    except ServerMissing as error:
        pytest.skip(f"only a remote postgres is there: {error}")
    yield server
    server.delete()


@pytest.fixture
def private_postgres(stopped_postgres: PostgresServer) -> PostgresServer:
    """A whole server for this test alone, to stop, kill and start again; it costs more than a second."""
    return stopped_postgres.start()


@pytest.fixture(scope="session")
def dynamodb_url(engines: EnginePlugin) -> str:
    """This worker's tables, which nobody else sees: DynamoDB Local keeps a database for each access key."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return with_parameters(engines.url("dynamodb"), access_key_id=f"holdall{os.getpid()}{worker}")


@pytest.fixture(scope="session")
def opensearch_prefix(engines: EnginePlugin) -> Generator[str]:
    """What the names of this worker's indexes begin with; the indexes are removed at the end."""
    server = engines.url("opensearch")
    prefix = f"t{os.getpid()}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_"
    yield prefix
    ask_opensearch(f"http://{urlsplit(server).netloc}/{prefix}*?expand_wildcards=all", "DELETE")


@pytest.fixture
def opensearch_url(engines: EnginePlugin, opensearch_prefix: str) -> str:
    """This worker's indexes on the shared node, found at once after a write: tests make indexes of their own and drop them."""
    return with_parameters(engines.url("opensearch"), prefix=opensearch_prefix, refresh="wait_for")


@pytest.fixture
def stopped_opensearch(engines: EnginePlugin) -> Generator[OpenSearchServer]:
    """A whole node for this test alone, not started yet."""
    engines.url("opensearch")  # the one way to skip, or fail under CI, where there is none
    server = OpenSearchServer(heap="256m")
    yield server
    server.delete()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def backend_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty or shared database, for every engine in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))
