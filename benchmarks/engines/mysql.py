"""MySQL: a private MariaDB that syncs every commit, whose tables all peers share."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.engine import DICTS, READS, STREAM, WRITES, Engine, Server, Target, beside_others
from benchmarks.peer import Peer, Place
from benchmarks.peers.with_holdall import HOLDALL, HOLDALL_ASYNCMY
from benchmarks.peers.with_mysql_drivers import AIOMYSQL, ASYNCMY, as_stored
from benchmarks.peers.with_sqlalchemy import SQLALCHEMY
from benchmarks.peers.with_tortoise import TORTOISE
from benchmarks.people import COLUMNS, values_of
from benchmarks.work import Kind, Look, Work
from tests.servers.mariadb import MariadbServer, connect

# As holdall makes them; the collation is its own, too, since a comparison of texts costs as much as the collation says.
_TYPES = (
    "(id bigint primary key, email longtext not null, name longtext not null, age bigint not null, score double not null,"
    " active tinyint(1) not null, created datetime(6) not null, balance decimal(12, 2) not null, tag longtext)"
    " engine=InnoDB default charset=utf8mb4 collate=utf8mb4_nopad_bin"
)
_NAMES = ", ".join(COLUMNS)
_AT_ONCE = 1000
_LINES = (*READS, Work(Kind.CREATE), *WRITES, STREAM)
_SPARED = (Work(Kind.GET, tasks=100), DICTS)


class OnMysql:
    """A server whose tables are shared."""

    def __init__(self, server: MariadbServer, people: int, connection: Any) -> None:
        self.versions: Mapping[str, str] = {"MariaDB": server.version}
        self.address: tuple[str, int] | None = (server.host, server.port)
        self._place = Place(server.url, people)
        self._connection = connection

    async def fill(self) -> None:
        """Make the tables, and fill that of the people."""
        async with self._connection.cursor() as cursor:
            for table in ("people", "newcomers"):
                await cursor.execute(f"create table {table} {_TYPES}")
            text = f"insert into people ({_NAMES}) values ({', '.join(['%s'] * len(COLUMNS))})"
            for first in range(1, self._place.people + 1, _AT_ONCE):
                numbers = range(first, min(first + _AT_ONCE, self._place.people + 1))
                await cursor.executemany(text, [values_of(number) for number in numbers])
            await cursor.execute("analyze table people")

    async def place(self, peer: Peer) -> Place:  # noqa: ARG002 - all share it
        return self._place

    def look(self, place: Place) -> Look:  # noqa: ARG002
        async def look(table: str, numbers: range) -> list[Sequence[Any]]:
            async with self._connection.cursor() as cursor:
                text = f"select {_NAMES} from {table} where id >= %s and id < %s order by id"
                await cursor.execute(text, (numbers.start, numbers.stop))
                return [as_stored(row) for row in await cursor.fetchall()]

        return look

    async def empty(self, place: Place) -> None:  # noqa: ARG002
        async with self._connection.cursor() as cursor:
            await cursor.execute("truncate newcomers")


@asynccontextmanager
async def started(_: Path, people: int) -> AsyncGenerator[Server]:
    """Start a server and fill its tables."""
    with MariadbServer(durable=True) as server:
        connection = await connect(server.url, charset="utf8mb4")
        try:
            found = OnMysql(server, people, connection)
            await found.fill()
            yield found
        finally:
            connection.close()


def _targets() -> list[Target]:
    """Return the targets beside the raw drivers: over aiomysql's connection, and over asyncmy's."""
    times = {Kind.GET: 1.5, Kind.OBJECTS: 2.0}
    lines = [line for line in _LINES if line not in _SPARED]
    over_aiomysql = [Target(line.title, HOLDALL.name, AIOMYSQL.name, times.get(line.kind, 1.0)) for line in lines]
    return over_aiomysql + [Target(line.title, HOLDALL_ASYNCMY.name, ASYNCMY.name, 0.7) for line in lines]


MYSQL = Engine(
    "mysql",
    "MySQL",
    peers=(AIOMYSQL, ASYNCMY, HOLDALL, HOLDALL_ASYNCMY, SQLALCHEMY, TORTOISE),
    work=_LINES,
    targets=(*_targets(), *beside_others(_LINES, (SQLALCHEMY, TORTOISE))),
    start=started,
    spared=_SPARED,
)
