"""PostgreSQL: a private server that syncs every commit, whose tables all peers share."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.engine import DICTS, READS, STREAM, WRITES, Engine, Server, Target, beside_others
from benchmarks.peer import Peer, Place
from benchmarks.peers.with_asyncpg import ASYNCPG
from benchmarks.peers.with_holdall import HOLDALL
from benchmarks.peers.with_piccolo import PICCOLO
from benchmarks.peers.with_sqlalchemy import SQLALCHEMY
from benchmarks.peers.with_tortoise import TORTOISE
from benchmarks.people import COLUMNS, values_of
from benchmarks.work import Kind, Look, Work
from tests.servers.postgres import PostgresServer

_TYPES = (
    "(id bigint primary key, email text not null, name text not null, age bigint not null, score double precision not null,"
    " active boolean not null, created timestamptz not null, balance numeric(12, 2) not null, tag text)"
)
_LINES = (*READS, Work(Kind.CREATE), *WRITES, STREAM)


class OnPostgreSQL:
    """A server whose tables are shared."""

    def __init__(self, server: PostgresServer, people: int, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.versions: Mapping[str, str] = {"PostgreSQL": server.version}
        self.address: tuple[str, int] | None = (server.host, server.port)
        self._place = Place(server.url, people)
        self._connection = connection

    async def fill(self) -> None:
        """Make the tables, and fill that of the people."""
        for table in ("people", "newcomers"):
            await self._connection.execute(f"create table {table} {_TYPES}")
        rows = map(values_of, range(1, self._place.people + 1))
        await self._connection.copy_records_to_table("people", records=rows, columns=COLUMNS)
        await self._connection.execute("vacuum analyze")

    async def place(self, peer: Peer) -> Place:  # noqa: ARG002 - all share it
        return self._place

    def look(self, place: Place) -> Look:  # noqa: ARG002
        async def look(table: str, numbers: range) -> list[Sequence[Any]]:
            text = f"select {', '.join(COLUMNS)} from {table} where id >= $1 and id < $2 order by id"
            return [tuple(row) for row in await self._connection.fetch(text, numbers.start, numbers.stop)]

        return look

    async def empty(self, place: Place) -> None:  # noqa: ARG002
        await self._connection.execute("truncate newcomers")


@asynccontextmanager
async def started(_: Path, people: int) -> AsyncGenerator[Server]:
    """Start a server and fill its tables."""
    with PostgresServer(durable=True) as server:
        connection = await asyncpg.connect(server.url)
        try:
            found = OnPostgreSQL(server, people, connection)
            await found.fill()
            yield found
        finally:
            await connection.close()


POSTGRESQL = Engine(
    "postgresql",
    "PostgreSQL",
    peers=(ASYNCPG, HOLDALL, SQLALCHEMY, TORTOISE, PICCOLO),
    work=_LINES,
    targets=(
        Target("get by key", "holdall", "asyncpg", 2.0),
        Target("get by key, 20 tasks", "holdall", "asyncpg", 2.0),
        Target("get by key, 20 tasks", "holdall, coalescing", "asyncpg", 5.0),
        Target("get by key, 100 tasks", "holdall, coalescing", "asyncpg", 10.0),
        Target("filter, objects, 100 rows", "holdall", "asyncpg", 0.7),
        Target("filter, objects, 1,000 rows", "holdall", "asyncpg", 0.7),
        Target("filter, tuples, 1,000 rows", "holdall, Struct", "asyncpg", 0.95),
        Target("filter, tuples, 1,000 rows", "holdall, NamedTuple", "asyncpg", 0.95),
        Target("create one", "holdall", "asyncpg", 1.3),
        Target("save one change", "holdall", "asyncpg", 1.3),
        Target("transaction: read, change, commit", "holdall", "asyncpg", 1.0),
        Target("create many, 1,000 rows", "holdall", "asyncpg, COPY", 0.7),
        Target("stream", "holdall", "asyncpg", 0.6),
        *beside_others(_LINES, (SQLALCHEMY, TORTOISE, PICCOLO)),
    ),
    start=started,
    spared=(DICTS,),
)
