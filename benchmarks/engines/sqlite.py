"""SQLite: a file for each peer, because each has its own form of storing times and amounts; every commit is synced."""

import sqlite3
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from benchmarks.engine import DICTS, READS, STREAM, WRITES, Engine, Server, Target, beside_others
from benchmarks.peer import Peer, Place
from benchmarks.peers.with_aiosqlite import AIOSQLITE
from benchmarks.peers.with_holdall import HOLDALL
from benchmarks.peers.with_sqlalchemy import SQLALCHEMY
from benchmarks.peers.with_sqlite3 import SQLITE3
from benchmarks.peers.with_tortoise import TORTOISE
from benchmarks.people import COLUMNS
from benchmarks.work import Kind, Look, Work

_PREFIX = "sqlite:///"
_LINES = (*READS, *(Work(Kind.CREATE, tasks=tasks) for tasks in (1, 20, 100)), *WRITES, STREAM)


class OnSQLite:
    """A folder with a file for each peer. All files have a write-ahead log, which those who read while others write want."""

    def __init__(self, folder: Path, people: int) -> None:
        self.versions: Mapping[str, str] = {"SQLite": sqlite3.sqlite_version}
        self.address: tuple[str, int] | None = None
        self._folder = folder
        self._people = people

    async def place(self, peer: Peer) -> Place:
        place = Place(f"{_PREFIX}{self._folder / peer.name.replace(' ', '-')}.db", self._people, is_empty=True)
        with closing(_connect(place)) as connection:
            connection.execute("pragma journal_mode=wal")
        return place

    def look(self, place: Place) -> Look:
        async def look(table: str, numbers: range) -> list[Sequence[Any]]:
            text = f"select {', '.join(COLUMNS)} from {table} where id >= ? and id < ? order by id"
            with closing(_connect(place)) as connection:
                return connection.execute(text, (numbers.start, numbers.stop)).fetchall()

        return look

    async def empty(self, place: Place) -> None:
        with closing(_connect(place)) as connection:
            connection.execute("delete from newcomers")
            connection.execute("pragma wal_checkpoint(truncate)")


def _connect(place: Place) -> sqlite3.Connection:
    return sqlite3.connect(place.url.removeprefix(_PREFIX), isolation_level=None)


@asynccontextmanager
async def started(folder: Path, people: int) -> AsyncGenerator[Server]:
    """Use the folder."""
    yield OnSQLite(folder, people)


SQLITE = Engine(
    "sqlite",
    "SQLite",
    peers=(AIOSQLITE, SQLITE3, HOLDALL, SQLALCHEMY, TORTOISE),
    work=_LINES,
    targets=(
        Target("get by key", "holdall", "aiosqlite", 2.0),
        Target("get by key, 20 tasks", "holdall, coalescing", "aiosqlite", 5.0),
        Target("get by key, 100 tasks", "holdall, coalescing", "aiosqlite", 8.0),
        Target("create one, 20 tasks", "holdall", "sqlite3 in a thread", 5.0),
        Target("create one, 100 tasks", "holdall", "sqlite3 in a thread", 10.0),
        *beside_others(_LINES, (SQLALCHEMY, TORTOISE)),
    ),
    start=started,
    spared=(Work(Kind.OBJECTS, 100), DICTS, Work(Kind.TUPLES, 1000)),
)
