"""aiosqlite by hand: one connection, cursors as its documentation shows them."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite

from benchmarks.peer import Peer, Place, Way
from benchmarks.peers import sqlite_rows as sql
from benchmarks.work import Kind, Rename


class Work:
    """The work, on a connection."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def get(self, number: int) -> Any:
        async with self._connection.execute(sql.GET, (number,)) as cursor:
            return await cursor.fetchone()

    async def rows(self, keys: range) -> Any:
        async with self._connection.execute(sql.RANGE, (keys.start, keys.stop)) as cursor:
            return await cursor.fetchall()

    async def dicts(self, keys: range) -> Any:
        return [sql.dict_of_row(row) for row in await self.rows(keys)]

    async def run(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        async with self._connection.execute(statement, values):
            pass

    async def change(self, number: int) -> None:
        await self.run("begin immediate")
        row = await self.get(number)
        await self.run(sql.AGE, (row[3] + 1, number))
        await self.run("commit")

    async def create_many(self, rows: list[tuple[Any, ...]], statement: str = sql.INSERT) -> None:
        await self.run("begin immediate")
        await self._connection.executemany(statement, rows)
        await self.run("commit")

    async def stream(self, batch: int) -> int:
        total = 0
        async with self._connection.execute(sql.EVERYBODY) as cursor:
            while rows := await cursor.fetchmany(batch):
                total += sum(row[0] for row in rows)
        return total

    async def save(self, change: Rename) -> None:
        await self.run(sql.RENAME, (change.name, change.number))

    def ways(self) -> Sequence[Way]:
        """Return the ways."""
        return (
            Way(Kind.GET, self.get),
            Way(Kind.OBJECTS, self.rows, "tuples"),
            Way(Kind.DICTS, self.dicts),
            Way(Kind.TUPLES, self.rows),
            Way(Kind.CREATE, lambda number: self.run(sql.INSERT, sql.native_values_of(number))),
            Way(Kind.SAVE, self.save),
            Way(Kind.CHANGE, self.change),
            Way(Kind.CREATE_MANY, self.create_many, "executemany", lambda keys: list(sql.native_rows(keys))),
            Way(Kind.STREAM, self.stream, "fetchmany"),
        )


@asynccontextmanager
async def opened(place: Place) -> AsyncGenerator[Sequence[Way]]:
    """Connect, and make and fill the tables."""
    async with aiosqlite.connect(place.url.removeprefix("sqlite:///"), isolation_level=None) as connection:
        work = Work(connection)
        for statement in sql.TABLES:
            await work.run(statement)
        await work.create_many(list(sql.native_rows(range(1, place.people + 1))), sql.FILL)
        yield work.ways()


AIOSQLITE = Peer("aiosqlite", opened, role="raw", read=sql.from_native, stored=sql.from_native)
