"""PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from holdall import Backend
from tests.servers import PostgresServer
from tests.stress.engines.facts import APPLICATION, ERROR, NO, WAITS, WAITS_ERROR, YES, Facts, Table, Witness

_OURS = "application_name = $1 and datname = current_database()"


class PostgresWitness:
    """The statistics views of the server."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def run(self, *statements: str) -> None:
        """Run statements, each committed on its own."""
        for statement in statements:
            await self._connection.execute(statement)

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query."""
        return [tuple(row) for row in await self._connection.fetch(sql)]

    async def sessions(self) -> int:
        """Count the backend's connections."""
        return int(await self._connection.fetchval(f"select count(*) from pg_stat_activity where {_OURS}", APPLICATION))

    async def waiting(self, backend: Backend) -> int:
        """Count by the lock table: whoever ends a transaction grants its locks there before the reply is sent, a view of states lags."""
        del backend
        sql = f"select count(distinct pid) from pg_locks join pg_stat_activity using (pid) where not granted and {_OURS}"
        return int(await self._connection.fetchval(sql, APPLICATION))

    async def check_quiet(self, tables: Sequence[str]) -> None:
        """Fail when a connection is in a statement or transaction, or a row or table is locked."""
        left = await self._connection.fetch(f"select state, query from pg_stat_activity where {_OURS} and state <> 'idle'", APPLICATION)
        assert [dict(row) for row in left] == []
        async with self._connection.transaction():
            for table in tables:
                await self._connection.fetch(f"select * from {table} for update nowait")
                await self._connection.execute(f"lock table {table} in exclusive mode nowait")

    async def kill(self, count: int) -> int:
        """Terminate some."""
        sql = f"select pg_terminate_backend(pid) from (select pid from pg_stat_activity where {_OURS} order by random() limit $2) as few"
        return len(await self._connection.fetch(sql, APPLICATION, count))

    @asynccontextmanager
    async def locked(self, row: str) -> AsyncGenerator[None]:
        """Hold the row's lock."""
        async with self._connection.transaction():
            await self._connection.execute(f"{row} for update")
            yield


# The server looks for deadlocks after a second, which is long for a test that makes many; it holds for connections that come after it.
_LOOK_SOONER = "do $$ begin execute format('alter database %I set deadlock_timeout = 10', current_database()); end $$"


@asynccontextmanager
async def open_witness(url: str) -> AsyncGenerator[Witness]:
    """Connect."""
    import asyncpg  # noqa: PLC0415 - a run without PostgreSQL needs no driver

    connection = await asyncpg.connect(url)
    await connection.execute(_LOOK_SOONER)
    try:
        yield PostgresWitness(connection)
    finally:
        await connection.close()


def message_ends(reply: bytes) -> list[int]:
    """Divide by the protocol's frames: a byte for the kind, four for the length, which counts itself."""
    ends = [0]
    while ends[-1] + 5 <= len(reply):
        ends.append(ends[-1] + 1 + int.from_bytes(reply[ends[-1] + 1 : ends[-1] + 5], "big"))
    return ends[1:]


ISOLATION: Table = {
    "G0": (WAITS, WAITS_ERROR, WAITS_ERROR),
    "G1a": (NO, NO, NO),
    "G1b": (NO, NO, NO),
    "G1c": (NO, NO, ERROR),
    "OTV": (WAITS, WAITS_ERROR, WAITS_ERROR),
    "PMP": (YES, NO, NO),
    "PMP, write": (YES, WAITS_ERROR, WAITS_ERROR),
    "P4": (YES, WAITS_ERROR, WAITS_ERROR),
    "P4, locked": (WAITS, WAITS_ERROR, WAITS_ERROR),
    "G-single": (YES, NO, NO),
    "G-single, write": (YES, ERROR, ERROR),
    "G2-item": (YES, YES, ERROR),
    "G2": (YES, YES, ERROR),
    "G2, read-only": (YES, YES, ERROR),
}

FACTS = Facts(
    name="postgres",
    label="PostgreSQL",
    witness=open_witness,
    options={"application_name": APPLICATION},
    message_ends=message_ends,
    server=PostgresServer,
    isolation=ISOLATION,
)
