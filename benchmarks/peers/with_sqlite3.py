"""``sqlite3`` by hand, behind the simplest thread that one would write: one hop there and back for every call."""

import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.hop import Hop
from benchmarks.peer import Peer, Place, Way
from benchmarks.peers import sqlite_rows as sql
from benchmarks.work import Kind


def _get(connection: sqlite3.Connection, number: int) -> Any:
    return connection.execute(sql.GET, (number,)).fetchone()


def _rows(connection: sqlite3.Connection, keys: range) -> list[Any]:
    return connection.execute(sql.RANGE, (keys.start, keys.stop)).fetchall()


def _dicts(connection: sqlite3.Connection, keys: range) -> list[dict[str, Any]]:
    return [sql.dict_of_row(row) for row in _rows(connection, keys)]


def _run(connection: sqlite3.Connection, statement: str, values: tuple[Any, ...] = ()) -> None:
    connection.execute(statement, values)


def _next_rows(_: sqlite3.Connection, cursor: sqlite3.Cursor, batch: int) -> list[Any]:
    return cursor.fetchmany(batch)


def _create_many(connection: sqlite3.Connection, rows: list[tuple[Any, ...]], statement: str = sql.INSERT) -> None:
    connection.execute("begin immediate")
    connection.executemany(statement, rows)
    connection.execute("commit")


class Work:
    """The work, on a thread with a connection."""

    def __init__(self, hop: Hop) -> None:
        self._hop = hop

    async def change(self, number: int) -> None:
        call = self._hop.call
        await call(_run, "begin immediate")
        row = await call(_get, number)
        await call(_run, sql.AGE, (row[3] + 1, number))
        await call(_run, "commit")

    async def stream(self, batch: int) -> int:
        total = 0
        cursor = await self._hop.call(sqlite3.Connection.execute, sql.EVERYBODY)
        while rows := await self._hop.call(_next_rows, cursor, batch):
            total += sum(row[0] for row in rows)
        return total

    def ways(self) -> Sequence[Way]:
        """Return the ways."""
        call = self._hop.call
        return (
            Way(Kind.GET, lambda number: call(_get, number)),
            Way(Kind.OBJECTS, lambda keys: call(_rows, keys), "tuples"),
            Way(Kind.DICTS, lambda keys: call(_dicts, keys)),
            Way(Kind.TUPLES, lambda keys: call(_rows, keys)),
            Way(Kind.CREATE, lambda number: call(_run, sql.INSERT, sql.native_values_of(number))),
            Way(Kind.SAVE, lambda change: call(_run, sql.RENAME, (change.name, change.number))),
            Way(Kind.CHANGE, self.change),
            Way(Kind.CREATE_MANY, lambda rows: call(_create_many, rows), "executemany", lambda keys: list(sql.native_rows(keys))),
            Way(Kind.STREAM, self.stream, "fetchmany"),
        )


@asynccontextmanager
async def opened(place: Place) -> AsyncGenerator[Sequence[Way]]:
    """Start the thread, and make and fill the tables."""
    hop = Hop(place.url.removeprefix("sqlite:///"))
    try:
        for statement in sql.TABLES:
            await hop.call(_run, statement)
        await hop.call(_create_many, list(sql.native_rows(range(1, place.people + 1))), sql.FILL)
        yield Work(hop).ways()
    finally:
        hop.close()


SQLITE3 = Peer("sqlite3 in a thread", opened, role="raw", read=sql.from_native, stored=sql.from_native)
