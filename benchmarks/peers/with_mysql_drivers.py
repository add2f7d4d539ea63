"""aiomysql and asyncmy by hand, whose interfaces are one: their own pools, autocommit on, plain cursors that give tuples."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC
from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlsplit

from benchmarks.peer import Peer, Place, Way
from benchmarks.people import COLUMNS, values_of
from benchmarks.work import Kind, Rename

_NAMES = ", ".join(COLUMNS)
_GET = f"select {_NAMES} from people where id = %s"
_RANGE = f"select {_NAMES} from people where id >= %s and id < %s"
_INSERT = f"insert into newcomers ({_NAMES}) values ({', '.join(['%s'] * len(COLUMNS))})"


class Work:
    """The work, on a pool of one of the drivers."""

    def __init__(self, pool: Any, server_side: type[Any]) -> None:
        self._pool = pool
        self._server_side = server_side

    async def get(self, number: int) -> Any:
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(_GET, (number,))
            return await cursor.fetchone()

    async def rows(self, keys: range) -> Any:
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(_RANGE, (keys.start, keys.stop))
            return await cursor.fetchall()

    async def dicts(self, keys: range) -> Any:
        return [dict(zip(COLUMNS, row, strict=True)) for row in await self.rows(keys)]

    async def run(self, statement: str, values: tuple[Any, ...]) -> None:
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(statement, values)

    async def save(self, change: Rename) -> None:
        await self.run("update people set name = %s where id = %s", (change.name, change.number))

    async def change(self, number: int) -> None:
        async with self._pool.acquire() as connection:
            await connection.begin()
            async with connection.cursor() as cursor:
                await cursor.execute(_GET, (number,))
                row = await cursor.fetchone()
                await cursor.execute("update people set age = %s where id = %s", (row[3] + 1, number))
            await connection.commit()

    async def create_many(self, rows: list[tuple[Any, ...]]) -> None:
        # The drivers make one statement of them, which is all or none by itself.
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.executemany(_INSERT, rows)

    async def stream(self, batch: int) -> int:
        total = 0
        async with self._pool.acquire() as connection, connection.cursor(self._server_side) as cursor:
            await cursor.execute(f"select {_NAMES} from people")
            while rows := await cursor.fetchmany(batch):
                total += sum(row[0] for row in rows)
        return total

    def ways(self) -> Sequence[Way]:
        """Return the ways."""
        return (
            Way(Kind.GET, self.get),
            Way(Kind.OBJECTS, self.rows, "tuples"),
            Way(Kind.DICTS, self.dicts),
            Way(Kind.TUPLES, self.rows),
            Way(Kind.CREATE, lambda number: self.run(_INSERT, values_of(number))),
            Way(Kind.SAVE, self.save),
            Way(Kind.CHANGE, self.change),
            Way(Kind.CREATE_MANY, self.create_many, "executemany", lambda keys: [values_of(number) for number in keys]),
            Way(Kind.STREAM, self.stream, "SSCursor"),
        )


def _opening(driver: str) -> Callable[[Place], AbstractAsyncContextManager[Sequence[Way]]]:
    @asynccontextmanager
    async def opened(place: Place) -> AsyncGenerator[Sequence[Way]]:
        """Open a pool."""
        module, cursors = import_module(driver), import_module(f"{driver}.cursors")  # neither has types
        parts = urlsplit(place.url)
        account = {"user": unquote(parts.username or "root"), "password": unquote(parts.password or "")}
        where = {"host": parts.hostname, "port": parts.port, "db": parts.path.strip("/")}
        size = {"minsize": place.pool_size, "maxsize": place.pool_size}
        async with module.create_pool(**where, **account, **size, charset="utf8mb4", autocommit=True) as pool:
            yield Work(pool, cursors.SSCursor).ways()

    return opened


def as_stored(row: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a person of what the columns hold: a number for a bool, and a datetime without a time zone, which is in UTC."""
    return (*row[:5], bool(row[5]), row[6].replace(tzinfo=UTC), *row[7:])


AIOMYSQL = Peer("aiomysql", _opening("aiomysql"), role="raw", read=as_stored)
ASYNCMY = Peer("asyncmy", _opening("asyncmy"), role="raw", read=as_stored)
