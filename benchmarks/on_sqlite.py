"""The lines on SQLite, beside ``sqlite3`` behind one thread by hand and aiosqlite with cursors; every commit is synced to the disk."""

import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiosqlite

import holdall
from benchmarks.harness import Contender, Line
from benchmarks.hop import Hop, execute, execute_many, fetch_all, fetch_one
from benchmarks.people import (
    COLUMNS,
    HELD,
    PEOPLE,
    Newcomer,
    Person,
    PersonStruct,
    PersonTuple,
    known_numbers,
    new_numbers,
    newcomer,
    values_of,
)
from holdall import Backend

_NAMES = ", ".join(COLUMNS)
_GET = f"select {_NAMES} from people where id = ?"
_RANGE = f"select {_NAMES} from people where id >= ? and id < ?"
_INSERT = f"insert into newcomers ({_NAMES}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_RENAME = "update people set name = ? where id = ?"
OURS = (Person, PersonStruct, PersonTuple)
Check = Callable[[Any, int], Awaitable[None]]


def native_values_of(number: int) -> tuple[Any, ...]:
    """Return the values of a person as the columns hold them: times as texts, amounts in cents."""
    id, email, name, age, score, active, created, balance, tag = values_of(number)
    return (id, email, name, age, score, int(active), created.isoformat("T", "microseconds"), int(balance * 100), tag)


class Bench:
    """The raw connections and two backends on one file."""

    def __init__(self, hop: Hop, other: aiosqlite.Connection, plain: Backend, coalescing: Backend) -> None:
        self.hop = hop
        self.other = other
        self.plain = plain
        self.coalescing = coalescing
        self.held: list[Person] = []
        self._name = ""
        self._names = count()

    def lines(self) -> list[Line]:
        """Return every line."""
        return [
            *(self._get(tasks, plain, coalesced) for tasks, plain, coalesced in ((1, 2.0, None), (20, None, 5.0), (100, None, 8.0))),
            *(self._filter(rows) for rows in (100, 1000)),
            *(self._create(tasks, target) for tasks, target in ((1, None), (20, 5.0), (100, 10.0))),
            self._save(),
            self._transaction(),
            self._create_many(1000),
            self._stream(),
        ]

    # -- reads -------------------------------------------------------------------------------------------------------------------------

    def _get(self, tasks: int, plain: float | None, coalesced: float | None) -> Line:
        async def cursor(number: int) -> Any:
            async with self.other.execute(_GET, (number,)) as found:
                return await found.fetchone()

        contenders = (
            Contender("aiosqlite, a tuple", cursor, _is_row),
            Contender("sqlite3 in a thread, a tuple", lambda number: self.hop.call(fetch_one, _GET, (number,)), _is_row),
            Contender("holdall, a model", lambda number: self.plain.get(Person, number), _is_row, target=plain),
            Contender("holdall, coalescing", lambda number: self.coalescing.get(Person, number), _is_row, target=coalesced),
        )
        return Line(f"sqlite get, {tasks} task{'s' * (tasks > 1)}", contenders, known_numbers, tasks)

    def _filter(self, rows: int) -> Line:
        async def cursor(number: int) -> Any:
            async with self.other.execute(_RANGE, (number, number + rows)) as found:
                return await found.fetchall()

        def query(number: int) -> Any:
            return self.plain.query(Person).filter(id__gte=number, id__lt=number + rows)

        check = _are_rows(rows)
        contenders = (
            Contender("aiosqlite, tuples", cursor, check),
            Contender("sqlite3 in a thread, tuples", lambda number: self.hop.call(fetch_all, _RANGE, (number, number + rows)), check),
            Contender("holdall, models", lambda number: query(number).all(), check),
            Contender("holdall, into Struct", lambda number: query(number).into(PersonStruct).all(), check),
            Contender("holdall, into NamedTuple", lambda number: query(number).into(PersonTuple).all(), check),
        )
        return Line(f"sqlite filter, {rows} rows", contenders, lambda: known_numbers(rows))

    def _stream(self) -> Line:
        async def cursor(_: int) -> Any:
            found = 0
            async with self.other.execute(f"select {_NAMES} from people") as rows:
                while batch := await rows.fetchmany(500):
                    found += sum(1 for _row in batch)
            return found

        async def ours(_: int) -> Any:
            found = 0
            async for _person in self.plain.query(Person).stream(batch=500):
                found += 1
            return found

        contenders = (Contender("aiosqlite, fetchmany", cursor, _is_everybody), Contender("holdall, models", ours, _is_everybody))
        return Line(f"sqlite stream, {PEOPLE:,} rows", contenders, known_numbers)

    # -- writes ------------------------------------------------------------------------------------------------------------------------

    def _create(self, tasks: int, target: float | None) -> Line:
        async def cursor(number: int) -> None:
            async with self.other.execute(_INSERT, native_values_of(number)):
                pass

        contenders = (
            Contender("sqlite3 in a thread", lambda number: self.hop.call(execute, _INSERT, native_values_of(number)), self._is_stored(1)),
            Contender("aiosqlite", cursor, self._is_stored(1)),
            Contender("holdall", lambda number: self.plain.create(newcomer(number)), self._is_stored(1), target=target),
        )
        numbers = new_numbers()
        return Line(f"sqlite create, {tasks} task{'s' * (tasks > 1)}", contenders, lambda: numbers, tasks, self._empty)

    def _save(self) -> Line:
        def by_hand(number: int) -> Awaitable[None]:
            return self.hop.call(execute, _RENAME, (self._new_name(), number))

        async def cursor(number: int) -> None:
            async with self.other.execute(_RENAME, (self._new_name(), number)):
                pass

        async def ours(number: int) -> None:
            person = self.held[number - 1]
            person.name = self._new_name()
            await self.plain.save(person)

        contenders = (
            Contender("sqlite3 in a thread", by_hand, self._is_renamed),
            Contender("aiosqlite", cursor, self._is_renamed),
            Contender("holdall", ours, self._is_renamed),
        )
        return Line("sqlite save one change", contenders, lambda: known_numbers(PEOPLE - HELD))

    def _new_name(self) -> str:
        # SQLite does not write a page that an update leaves as it was.
        self._name = f"Renamed {next(self._names)}"
        return self._name

    def _transaction(self) -> Line:
        async def by_hand(number: int) -> None:
            call = self.hop.call
            await call(execute, "begin immediate")
            row = await call(fetch_one, _GET, (number,))
            await call(execute, "update people set age = ? where id = ?", (row[3] + 1, number))
            await call(execute, "commit")

        async def cursor(number: int) -> None:
            await self.other.execute("begin immediate")
            async with self.other.execute(_GET, (number,)) as found:
                row = await found.fetchone()
            assert row is not None
            await self.other.execute("update people set age = ? where id = ?", (row[3] + 1, number))
            await self.other.execute("commit")

        async def ours(number: int) -> None:
            async with self.plain.session() as session:
                person = await session.get(Person, number)
                person.age += 1
                await session.save(person)

        contenders = (
            Contender("sqlite3 in a thread", by_hand, self._is_older),
            Contender("aiosqlite", cursor, self._is_older),
            Contender("holdall", ours, self._is_older),
        )
        return Line("sqlite transaction: read, update, commit", contenders, known_numbers)

    def _create_many(self, rows: int) -> Line:
        async def cursor(values: list[tuple[Any, ...]]) -> None:
            await self.other.execute("begin immediate")
            await self.other.executemany(_INSERT, values)
            await self.other.execute("commit")

        def as_rows(number: int) -> list[tuple[Any, ...]]:
            return [native_values_of(each) for each in range(number, number + rows)]

        contenders = (
            Contender("sqlite3 in a thread", lambda values: self.hop.call(execute_many, _INSERT, values), self._is_stored(rows), as_rows),
            Contender("aiosqlite", cursor, self._is_stored(rows), as_rows),
            Contender(
                "holdall",
                self.plain.create_many,
                self._is_stored(rows),
                lambda number: [newcomer(each) for each in range(number, number + rows)],
            ),
        )
        numbers = new_numbers(rows)
        return Line(f"sqlite create_many, {rows:,} rows", contenders, lambda: numbers, reset=self._empty)

    async def _empty(self) -> None:
        await self.hop.call(execute, "delete from newcomers")
        await self.hop.call(fetch_one, "pragma wal_checkpoint(truncate)", ())

    # -- checks of what was written ------------------------------------------------------------------------------------------------------

    def _is_stored(self, rows: int) -> Check:
        async def check(_: Any, number: int) -> None:
            found = await self.hop.call(fetch_all, f"select {_NAMES} from newcomers order by id", ())
            assert found == [native_values_of(each) for each in range(number, number + rows)]

        return check

    async def _is_renamed(self, _: Any, number: int) -> None:
        assert await self._read("name", number) == self._name

    async def _is_older(self, _: Any, number: int) -> None:
        assert await self._read("age", number) > values_of(number)[3]

    async def _read(self, column: str, number: int) -> Any:
        return (await self.hop.call(fetch_one, f"select {column} from people where id = ?", (number,)))[0]


async def _is_row(result: Any, number: int) -> None:
    if isinstance(result, OURS):
        assert tuple(getattr(result, name) for name in COLUMNS) == values_of(number), result
    else:
        assert tuple(result) == native_values_of(number), str(result)


def _key_of(item: Any) -> int:
    key: int = item.id if isinstance(item, OURS) else item[0]
    return key


def _are_rows(rows: int) -> Check:
    async def check(result: Any, number: int) -> None:
        assert len(result) == rows
        for each, item in enumerate(sorted(result, key=_key_of), number):
            await _is_row(item, each)

    return check


async def _is_everybody(result: Any, _: int) -> None:
    assert result == PEOPLE, result


def _fill(connection: sqlite3.Connection) -> None:
    marks = ", ".join("?" * len(COLUMNS))
    connection.execute("begin immediate")
    connection.executemany(f"insert into people ({_NAMES}) values ({marks})", map(native_values_of, range(1, PEOPLE + 1)))
    connection.execute("commit")
    connection.execute("analyze")


@asynccontextmanager
async def sqlite_lines(folder: Path) -> AsyncGenerator[Sequence[Line]]:
    """Make a file in the folder, fill it, and give the lines."""
    path = folder / "people.db"
    url = f"sqlite:///{path}"
    async with (
        holdall.open(url, coalesce=False) as plain,
        holdall.open(url, coalesce=True) as coalescing,
        aiosqlite.connect(path, isolation_level=None) as other,
    ):
        await plain.initialize(Person, Newcomer)
        await other.execute("pragma synchronous=full")
        hop = Hop(str(path))
        try:
            await hop.call(_fill)
            bench = Bench(hop, other, plain, coalescing)
            bench.held = await plain.query(Person).order_by("id").limit(HELD)
            yield bench.lines()
        finally:
            hop.close()
