"""The engines of one test run: found or started once, shared by all workers."""

import asyncio
import os
import platform
import sqlite3
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tests.servers.dynamodb import DynamoDbServer
from tests.servers.opensearch import OpenSearchServer
from tests.servers.pgbouncer import PgbouncerServer
from tests.servers.postgres import PostgresServer
from tests.servers.process import ServerFailed, ServerMissing

JavaServer = DynamoDbServer | OpenSearchServer
T = TypeVar("T")

CORE = "core"  # tests that use no engine


@dataclass(frozen=True)
class Engine:
    """What the tests know of an engine; without a ``url``, ``missing`` says why. Plain values: workers get them as a dict."""

    name: str
    version: str
    url: str | None = None
    missing: str | None = None


class Server(Protocol):
    """What can be stopped."""

    def delete(self) -> None: ...


@dataclass
class Engines:
    """Start engines by name, remember them, and stop what was started."""

    found: dict[str, Engine]
    _servers: list[Server]
    _launched: dict[str, JavaServer]

    def __init__(self) -> None:
        self.found = {}
        self._servers = []
        self._launched = {}

    def start(self, names: Iterable[str]) -> None:
        wanted = [name for name in names if name not in self.found]
        for name in wanted:
            if name in JAVA:
                self._launch(name)  # JVMs boot side by side while the other servers start
        for name in sorted(wanted, key=lambda name: name in JAVA):
            if name not in self.found:
                self.found[name] = self._find(name)

    def stop(self) -> None:
        while self._servers:
            self._servers.pop().delete()

    def _launch(self, name: str) -> None:
        if os.environ.get(f"HOLDALL_{name.upper()}_URL"):
            return
        server = JAVA[name]()
        try:
            self._launched[name] = server.launch()
        except (ServerMissing, ServerFailed) as error:
            self.found[name] = Engine(name, "missing", missing=str(error))
        else:
            self._servers.append(server)

    def _java(self, name: str) -> Engine:
        if url := os.environ.get(f"HOLDALL_{name.upper()}_URL"):
            return Engine(name, "running already", url)
        server = self._launched[name].wait_ready()
        return Engine(name, server.version, server.url())

    def _find(self, name: str) -> Engine:
        try:
            return FINDERS[name](self)
        except (ServerMissing, ServerFailed) as error:
            return Engine(name, "missing", missing=str(error))

    def _core(self) -> Engine:
        return Engine(CORE, f"Python {platform.python_version()}")

    def _memory(self) -> Engine:
        return Engine("memory", "-", "memory://")

    def _sqlite(self) -> Engine:
        return Engine("sqlite", sqlite3.sqlite_version, "sqlite://")

    def _postgres(self) -> Engine:
        if url := postgres_url_of_environment():
            return Engine("postgres", _version_of_running_server("postgres", url), url)
        server = PostgresServer().start()
        self._servers.append(server)
        return Engine("postgres", server.version, server.url)

    def _pgbouncer(self) -> Engine:
        if url := os.environ.get("HOLDALL_PGBOUNCER_URL"):
            return Engine("pgbouncer", "running already", url)
        self.start(["postgres"])
        behind = self.found["postgres"]
        if behind.url is None:
            return Engine("pgbouncer", "missing", missing=f"needs postgres: {behind.missing}")
        if postgres_url_of_environment():
            return Engine("pgbouncer", "missing", missing="HOLDALL_PGBOUNCER_URL is not set, and a private one needs a private postgres")
        server = PgbouncerServer(behind.url).start()
        self._servers.append(server)
        return Engine("pgbouncer", server.version, server.url)


FINDERS: dict[str, Callable[[Engines], Engine]] = {
    CORE: Engines._core,
    "memory": Engines._memory,
    "sqlite": Engines._sqlite,
    "postgres": Engines._postgres,
    "pgbouncer": Engines._pgbouncer,
    "dynamodb": lambda engines: engines._java("dynamodb"),
    "opensearch": lambda engines: engines._java("opensearch"),
}
JAVA: dict[str, type[JavaServer]] = {"dynamodb": DynamoDbServer, "opensearch": OpenSearchServer}


def postgres_url_of_environment() -> str | None:
    """Return the URL of a server that runs already, when a variable names one."""
    if url := os.environ.get("HOLDALL_POSTGRES_URL"):
        return url
    url = os.environ.get("DATABASE_URL", "")
    return url if url.startswith(("postgresql://", "postgres://")) else None


def with_parameters(url: str, **parameters: str) -> str:
    """Return the URL with these parameters in place of its own of the same names."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), **parameters}, safe=":/")))


def with_database(url: str, database: str) -> str:
    """Return the URL with another database in it."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


def execute(url: str, *statements: str) -> None:
    """Run statements on a PostgreSQL server, each in its own transaction."""

    async def run() -> None:
        import asyncpg  # noqa: PLC0415 - a run without PostgreSQL needs no driver

        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    _in_a_loop_of_its_own(run)


def _version_of_running_server(name: str, url: str) -> str:
    async def run() -> str:
        import asyncpg  # noqa: PLC0415

        connection = await asyncpg.connect(url, timeout=10)
        try:
            return str(await connection.fetchval("show server_version")).split()[0]
        finally:
            await connection.close()

    try:
        return _in_a_loop_of_its_own(run)
    except (OSError, TimeoutError) as error:
        raise ServerFailed(f"{name} at the URL that the environment names does not answer: {error}") from error


def _in_a_loop_of_its_own(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    # In a thread, because asyncio.run() would leave the caller's thread without the event loop that pytest-asyncio set.
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(main())).result()
