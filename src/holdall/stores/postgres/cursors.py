"""The two ways to read a query in batches inside a transaction: each gives something with ``fetch(count)``."""

from __future__ import annotations

from itertools import count
from typing import Any, Protocol

from holdall.sql.compiler import Statement
from holdall.stores.postgres.connection import AsyncpgConnection

_numbers = count(1)


class Cursor(Protocol):
    """A query that is read batch by batch."""

    async def fetch(self, count: int, /) -> list[Any]:
        """Return the next rows; none at the end."""
        ...


async def portal(connection: AsyncpgConnection, statement: Statement) -> Cursor:
    """Open a portal of the protocol, over a prepared statement that has a name."""
    return await connection.cursor(statement.text, *statement.values)


async def declared(connection: AsyncpgConnection, statement: Statement) -> Cursor:
    """Declare a cursor by SQL.

    Behind a pooler a portal will not do: the names that asyncpg gives are unique in one process, and those of two meet on one server.
    """
    name = f"holdall_{next(_numbers)}"
    await connection.execute(f"declare {name} no scroll cursor for {statement.text}", *statement.values)
    return _Declared(connection, name)


class _Declared:
    def __init__(self, connection: AsyncpgConnection, name: str) -> None:
        self._connection = connection
        self._name = name

    async def fetch(self, count: int, /) -> list[Any]:
        return await self._connection.fetch(f"fetch {count:d} from {self._name}")
