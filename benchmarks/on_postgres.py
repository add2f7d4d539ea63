"""The lines on PostgreSQL, beside asyncpg with the pool as its documentation shows it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import asyncpg

import holdall
from benchmarks.harness import Contender, Line
from benchmarks.people import (
    COLUMNS,
    CROWD,
    HELD,
    PEOPLE,
    Newcomer,
    Passerby,
    Person,
    PersonStruct,
    PersonTuple,
    known_numbers,
    new_numbers,
    newcomer,
    values_of,
)
from holdall import Backend

POOL_SIZE = 10
_NAMES = ", ".join(COLUMNS)
_GET = f"select {_NAMES} from people where id = $1"
_RANGE = f"select {_NAMES} from people where id >= $1 and id < $2"
_INSERT = f"insert into newcomers ({_NAMES}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_UNNEST = (
    f"insert into newcomers ({_NAMES}) select * from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::float8[],"
    " $6::boolean[], $7::timestamptz[], $8::numeric[], $9::text[])"
)
Check = Callable[[Any, int], Awaitable[None]]


class Bench:
    """The raw pool and two backends on one server, with the same number of warm connections each."""

    def __init__(self, raw: "asyncpg.Pool[asyncpg.Record]", plain: Backend, coalescing: Backend) -> None:
        self.raw = raw
        self.plain = plain
        self.coalescing = coalescing
        self.held: list[Person] = []
        self._name = ""
        self._names = count()

    def lines(self) -> list[Line]:
        """Return every line."""
        return [
            *(self._get(tasks, plain, coalesced) for tasks, plain, coalesced in ((1, 2.0, None), (20, 2.0, 5.0), (100, None, 10.0))),
            *(self._filter(rows) for rows in (100, 1000)),
            self._create(),
            self._save(),
            self._transaction(),
            self._create_many(1000),
            self._stream(),
        ]

    # -- reads -------------------------------------------------------------------------------------------------------------------------

    def _get(self, tasks: int, plain: float | None, coalesced: float | None) -> Line:
        async def raw(number: int) -> Any:
            async with self.raw.acquire() as connection:
                return await connection.fetchrow(_GET, number)

        contenders = (
            Contender("asyncpg, a Record", raw, _is_row),
            Contender("holdall, a model", lambda number: self.plain.get(Person, number), _is_row, target=plain),
            Contender("holdall, coalescing", lambda number: self.coalescing.get(Person, number), _is_row, target=coalesced),
        )
        return Line(f"postgresql get, {tasks} task{'s' * (tasks > 1)}", contenders, known_numbers, tasks)

    def _filter(self, rows: int) -> Line:
        async def raw(number: int) -> Any:
            async with self.raw.acquire() as connection:
                return await connection.fetch(_RANGE, number, number + rows)

        def query(number: int) -> Any:
            return self.plain.query(Person).filter(id__gte=number, id__lt=number + rows)

        check = _are_rows(rows)
        contenders = (
            Contender("asyncpg, Records", raw, check),
            Contender("holdall, models", lambda number: query(number).all(), check, target=0.7),
            Contender("holdall, into Struct", lambda number: query(number).into(PersonStruct).all(), check, target=0.95),
            Contender("holdall, into NamedTuple", lambda number: query(number).into(PersonTuple).all(), check, target=0.95),
        )
        return Line(f"postgresql filter, {rows} rows", contenders, lambda: known_numbers(rows))

    def _stream(self) -> Line:
        async def raw(_: int) -> Any:
            found = 0
            async with self.raw.acquire() as connection, connection.transaction():
                async for _row in connection.cursor(f"select {_NAMES} from crowd", prefetch=500):
                    found += 1
            return found

        async def ours(_: int) -> Any:
            found = 0
            async for _person in self.plain.query(Passerby).stream(batch=500):
                found += 1
            return found

        contenders = (Contender("asyncpg, cursor", raw, _is_crowd), Contender("holdall, models", ours, _is_crowd, target=0.6))
        return Line(f"postgresql stream, {CROWD:,} rows", contenders, known_numbers)

    # -- writes ------------------------------------------------------------------------------------------------------------------------

    def _create(self) -> Line:
        async def raw(number: int) -> None:
            async with self.raw.acquire() as connection:
                await connection.execute(_INSERT, *values_of(number))

        contenders = (
            Contender("asyncpg", raw, self._is_stored(1)),
            Contender("holdall", lambda number: self.plain.create(newcomer(number)), self._is_stored(1), target=1.3),
        )
        numbers = new_numbers()
        return Line("postgresql create one", contenders, lambda: numbers, reset=self._empty)

    def _save(self) -> Line:
        async def raw(number: int) -> None:
            async with self.raw.acquire() as connection:
                await connection.execute("update people set name = $1 where id = $2", self._new_name(), number)

        async def ours(number: int) -> None:
            person = self.held[number - 1]
            person.name = self._new_name()
            await self.plain.save(person)

        contenders = (Contender("asyncpg", raw, self._is_renamed), Contender("holdall", ours, self._is_renamed, target=1.3))
        return Line("postgresql save one change", contenders, lambda: known_numbers(PEOPLE - HELD))

    def _new_name(self) -> str:
        # SQLite does not write a page that an update leaves as it was.
        self._name = f"Renamed {next(self._names)}"
        return self._name

    def _transaction(self) -> Line:
        async def raw(number: int) -> None:
            async with self.raw.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(_GET, number)
                assert row is not None
                await connection.execute("update people set age = $1 where id = $2", row["age"] + 1, number)

        async def ours(number: int) -> None:
            async with self.plain.session() as session:
                person = await session.get(Person, number)
                person.age += 1
                await session.save(person)

        contenders = (Contender("asyncpg", raw, self._is_older), Contender("holdall", ours, self._is_older, target=1.0))
        return Line("postgresql transaction: read, update, commit", contenders, known_numbers)

    def _create_many(self, rows: int) -> Line:
        async def copy(values: list[tuple[Any, ...]]) -> None:
            async with self.raw.acquire() as connection:
                await connection.copy_records_to_table("newcomers", records=values, columns=COLUMNS)

        async def unnest(columns: list[list[Any]]) -> None:
            async with self.raw.acquire() as connection:
                await connection.execute(_UNNEST, *columns)

        def as_rows(number: int) -> list[tuple[Any, ...]]:
            return [values_of(each) for each in range(number, number + rows)]

        def as_columns(number: int) -> list[list[Any]]:
            return [list(column) for column in zip(*as_rows(number), strict=True)]

        contenders = (
            Contender("asyncpg, COPY", copy, self._is_stored(rows), as_rows),
            Contender("asyncpg, unnest", unnest, self._is_stored(rows), as_columns),
            Contender(
                "holdall",
                self.plain.create_many,
                self._is_stored(rows),
                lambda number: [newcomer(each) for each in range(number, number + rows)],
                target=0.7,
            ),
        )
        numbers = new_numbers(rows)
        return Line(f"postgresql create_many, {rows:,} rows", contenders, lambda: numbers, reset=self._empty)

    async def _empty(self) -> None:
        await self.raw.execute("truncate newcomers")

    # -- checks of what was written ------------------------------------------------------------------------------------------------------

    def _is_stored(self, rows: int) -> Check:
        async def check(_: Any, number: int) -> None:
            found = await self.raw.fetch(f"select {_NAMES} from newcomers order by id")
            assert [tuple(row) for row in found] == [values_of(each) for each in range(number, number + rows)]

        return check

    async def _is_renamed(self, _: Any, number: int) -> None:
        assert await self.raw.fetchval("select name from people where id = $1", number) == self._name

    async def _is_older(self, _: Any, number: int) -> None:
        assert await self.raw.fetchval("select age from people where id = $1", number) > values_of(number)[3]


def fields_of(item: Any) -> tuple[Any, ...]:
    """Return the values of a row or an object, in the order of the columns."""
    return tuple(item[name] if isinstance(item, asyncpg.Record) else getattr(item, name) for name in COLUMNS)


async def _is_row(result: Any, number: int) -> None:
    assert fields_of(result) == values_of(number), result


def _are_rows(rows: int) -> Check:
    async def check(result: Any, number: int) -> None:
        assert sorted(map(fields_of, result)) == [values_of(each) for each in range(number, number + rows)]

    return check


async def _is_crowd(result: Any, _: int) -> None:
    assert result == CROWD, result


async def _fill(raw: "asyncpg.Pool[asyncpg.Record]") -> None:
    for table, rows in (("people", PEOPLE), ("crowd", CROWD)):
        await raw.copy_records_to_table(table, records=map(values_of, range(1, rows + 1)), columns=COLUMNS)
    await raw.execute("vacuum analyze")


@asynccontextmanager
async def postgres_lines(url: str) -> AsyncGenerator[Sequence[Line]]:
    """Fill the tables and give the lines. The tables are dropped at the end."""
    size = {"pool_min_size": POOL_SIZE, "pool_max_size": POOL_SIZE}
    async with (
        asyncpg.create_pool(url, min_size=POOL_SIZE, max_size=POOL_SIZE) as raw,
        holdall.open(url, coalesce=False, **size) as plain,
        holdall.open(url, coalesce=True, **size) as coalescing,
    ):
        await plain.initialize(Person, Newcomer, Passerby)
        try:
            await plain.clear(Person, Newcomer, Passerby)
            await _fill(raw)
            bench = Bench(raw, plain, coalescing)
            bench.held = await plain.query(Person).order_by("id").limit(HELD)
            yield bench.lines()
        finally:
            await plain.drop(Person, Newcomer, Passerby)
