"""asyncpg by hand: a pool with its defaults but for the size, as its documentation shows it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from benchmarks.peer import Peer, Place, Way
from benchmarks.people import COLUMNS, values_of
from benchmarks.work import Kind, Rename

_NAMES = ", ".join(COLUMNS)
_GET = f"select {_NAMES} from people where id = $1"
_RANGE = f"select {_NAMES} from people where id >= $1 and id < $2"
_INSERT = f"insert into newcomers ({_NAMES}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_UNNEST = (
    f"insert into newcomers ({_NAMES}) select * from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::float8[],"
    " $6::boolean[], $7::timestamptz[], $8::numeric[], $9::text[])"
)


class Work:
    """The work, on a pool."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def get(self, number: int) -> Any:
        async with self._pool.acquire() as connection:
            return await connection.fetchrow(_GET, number)

    async def rows(self, keys: range) -> list[Any]:
        async with self._pool.acquire() as connection:
            return await connection.fetch(_RANGE, keys.start, keys.stop)

    async def dicts(self, keys: range) -> Any:
        return [dict(row) for row in await self.rows(keys)]

    async def create(self, number: int) -> None:
        async with self._pool.acquire() as connection:
            await connection.execute(_INSERT, *values_of(number))

    async def save(self, change: Rename) -> None:
        async with self._pool.acquire() as connection:
            await connection.execute("update people set name = $1 where id = $2", change.name, change.number)

    async def change(self, number: int) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(_GET, number)
            assert row is not None
            await connection.execute("update people set age = $1 where id = $2", row["age"] + 1, number)

    async def copy(self, rows: list[tuple[Any, ...]]) -> None:
        async with self._pool.acquire() as connection:
            await connection.copy_records_to_table("newcomers", records=rows, columns=COLUMNS)

    async def unnest(self, columns: list[list[Any]]) -> None:
        async with self._pool.acquire() as connection:
            await connection.execute(_UNNEST, *columns)

    async def stream(self, batch: int) -> int:
        total = 0
        async with self._pool.acquire() as connection, connection.transaction():
            async for row in connection.cursor(f"select {_NAMES} from people", prefetch=batch):
                total += row["id"]
        return total

    def ways(self) -> Sequence[Way]:
        """Return the ways."""
        return (
            Way(Kind.GET, self.get),
            Way(Kind.OBJECTS, self.rows, "Records"),
            Way(Kind.DICTS, self.dicts),
            Way(Kind.TUPLES, self.rows, "Records"),
            Way(Kind.CREATE, self.create),
            Way(Kind.SAVE, self.save),
            Way(Kind.CHANGE, self.change),
            Way(Kind.CREATE_MANY, self.copy, "COPY", _as_rows),
            Way(Kind.CREATE_MANY, self.unnest, "unnest", lambda keys: [list(column) for column in zip(*_as_rows(keys), strict=True)]),
            Way(Kind.STREAM, self.stream, "cursor"),
        )


def _as_rows(keys: range) -> list[tuple[Any, ...]]:
    return [values_of(number) for number in keys]


@asynccontextmanager
async def opened(place: Place) -> AsyncGenerator[Sequence[Way]]:
    """Open a pool."""
    async with asyncpg.create_pool(place.url, min_size=place.pool_size, max_size=place.pool_size) as pool:
        yield Work(pool).ways()


ASYNCPG = Peer("asyncpg", opened, role="raw")
