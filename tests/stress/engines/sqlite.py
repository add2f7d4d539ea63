"""SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.lowlevel

from holdall import Backend
from tests.stress.engines.facts import ERROR, NO, WAITS, WAITS_ERROR, YES, Facts, Table, Witness


class SqliteWitness:
    """Another connection to the file, with no patience."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def run(self, *statements: str) -> None:
        """Run statements, each committed on its own."""
        for statement in statements:
            while not self._succeeds(statement):  # the one writer of now may be a task of this loop
                await anyio.lowlevel.checkpoint()

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query."""
        return [tuple(row) for row in self._connection.execute(sql)]

    def _succeeds(self, statement: str) -> bool:
        try:
            self._connection.execute(statement)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    async def sessions(self) -> None:
        """Know of none: there is no server."""

    async def waiting(self, backend: Backend) -> int:
        """Count in the queue for the right to write; whoever is given it leaves the queue in the next turn of the loop."""
        for _ in range(2):
            await asyncio.sleep(0)
        return int(backend.engine.stats()["writes_waiting"])

    async def check_quiet(self, tables: Sequence[str]) -> None:
        """Fail when anybody may still write, or holds an old snapshot: then the log cannot be put into the file and begun anew."""
        del tables
        self._connection.execute("begin immediate")
        self._connection.execute("rollback")
        busy, _, _ = self._connection.execute("pragma wal_checkpoint(truncate)").fetchone()
        assert not busy

    async def kill(self, count: int) -> int:
        """Do nothing."""
        return count * 0

    @asynccontextmanager
    async def locked(self, row: str) -> AsyncGenerator[None]:
        """Hold the one right to write."""
        self._connection.execute("begin immediate")
        try:
            self._connection.execute(row)
            yield
        finally:
            self._connection.execute("rollback")


@asynccontextmanager
async def open_witness(url: str) -> AsyncGenerator[Witness]:
    """Open the file."""
    connection = sqlite3.connect(Path(url.removeprefix("sqlite:///")), timeout=0, isolation_level=None)
    try:
        yield SqliteWitness(connection)
    finally:
        connection.close()


ISOLATION: Table = {
    "G0": (WAITS, WAITS_ERROR, WAITS),
    "G1a": (NO, NO, WAITS),
    "G1b": (NO, NO, WAITS),
    "G1c": (WAITS, WAITS_ERROR, WAITS),
    "OTV": (WAITS, WAITS_ERROR, WAITS),
    "PMP": (YES, NO, WAITS),
    "PMP, write": (WAITS, WAITS_ERROR, WAITS),
    "P4": (YES, WAITS_ERROR, WAITS),
    "P4, locked": (WAITS, WAITS_ERROR, WAITS),
    "G-single": (YES, NO, WAITS),
    "G-single, write": (YES, ERROR, WAITS),
    "G2-item": (YES, WAITS_ERROR, WAITS),
    "G2": (YES, WAITS_ERROR, WAITS),
    "G2, read-only": (YES, ERROR, WAITS),
}

FACTS = Facts(name="sqlite", label="SQLite", witness=open_witness, isolation=ISOLATION, one_writer=True)
