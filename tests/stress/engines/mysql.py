"""MariaDB."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from holdall import Backend
from tests.servers import MariadbServer
from tests.servers.mariadb import connect
from tests.stress.engines.facts import ERROR, NO, WAITS, WAITS_DEADLOCK, WAITS_ERROR, YES, Facts, Table, Witness

_OURS = "db = database() and id <> connection_id()"
_THREAD = re.compile(r"MariaDB thread id (\d+)")


class MysqlWitness:
    """The list of processes, and InnoDB's own report: the tables of transactions are a tenth of a second old."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def run(self, *statements: str) -> None:
        """Run statements, each committed on its own."""
        for statement in statements:
            await self.rows(statement)

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query."""
        async with self._connection.cursor() as cursor:
            await cursor.execute(sql)
            return list(await cursor.fetchall())

    async def sessions(self) -> int:
        """Count the backend's connections."""
        return len(await self._threads())

    async def waiting(self, backend: Backend) -> int:
        """Count the transactions that wait for a lock."""
        del backend
        return len(await self._transactions("LOCK WAIT"))

    async def check_quiet(self, tables: Sequence[str]) -> None:
        """Fail when a transaction is open, or a row or table is locked."""
        assert await self._transactions(", ACTIVE") == []
        for table in tables:
            await self.run("begin", f"select * from `{table}` for update nowait", "rollback")
            await self.run(f"lock tables `{table}` write nowait", "unlock tables")

    async def kill(self, count: int) -> int:
        """Kill some."""
        threads = (await self.rows(f"select id from information_schema.processlist where {_OURS} order by rand() limit {count:d}"))[:count]
        for (thread,) in threads:
            try:
                await self.run(f"kill {thread:d}")
            except Exception as error:
                if error.args[0] != 1094:  # it has ended by itself meanwhile
                    raise
        return len(threads)

    @asynccontextmanager
    async def locked(self, row: str) -> AsyncGenerator[None]:
        """Hold the row's lock."""
        await self.run("begin", f"{row} for update")
        try:
            yield
        finally:
            await self.run("rollback")

    async def _threads(self) -> list[int]:
        return [thread for (thread,) in await self.rows(f"select id from information_schema.processlist where {_OURS}")]

    async def _transactions(self, state: str) -> list[str]:
        """Return the backend's transactions in a state, as the report has them."""
        ((_, _, report),) = await self.rows("show engine innodb status")
        threads = set(await self._threads())
        blocks = [block for block in report.split("---TRANSACTION ")[1:] if state in block]
        return [block for block in blocks if (match := _THREAD.search(block)) and int(match[1]) in threads]


@asynccontextmanager
async def open_witness(url: str) -> AsyncGenerator[Witness]:
    """Connect."""
    connection = await connect(url)
    try:
        yield MysqlWitness(connection)
    finally:
        connection.close()


def message_ends(reply: bytes) -> list[int]:
    """Divide by the protocol's packets: three bytes of length, one for the number."""
    ends = [0]
    while ends[-1] + 4 <= len(reply):
        ends.append(ends[-1] + 4 + int.from_bytes(reply[ends[-1] : ends[-1] + 3], "little"))
    return ends[1:]


# Serializable reads lock; what waited for a row that has changed meanwhile fails, because sessions set innodb_snapshot_isolation.
ISOLATION: Table = {
    "G0": (WAITS, WAITS, WAITS_ERROR),
    "G1a": (NO, NO, WAITS),
    "G1b": (NO, NO, WAITS_ERROR),
    "G1c": (NO, NO, WAITS_DEADLOCK),
    "OTV": (WAITS, WAITS, WAITS_ERROR),
    "PMP": (YES, NO, WAITS),
    "PMP, write": (WAITS, WAITS, WAITS_ERROR),
    "P4": (YES, WAITS_ERROR, WAITS_DEADLOCK),
    "P4, locked": (WAITS, WAITS, WAITS_ERROR),
    "G-single": (YES, NO, WAITS),
    "G-single, write": (YES, ERROR, WAITS_DEADLOCK),
    "G2-item": (YES, YES, WAITS_DEADLOCK),
    "G2": (YES, YES, WAITS_DEADLOCK),
    "G2, read-only": (YES, YES, WAITS_DEADLOCK),
}

FACTS = Facts(
    name="mysql",
    label="MariaDB",
    witness=open_witness,
    message_ends=message_ends,
    server=lambda: MariadbServer(durable=True),
    crash=signal.SIGKILL,
    slow="select sleep(60)",
    isolation=ISOLATION,
)
