"""Streams: a result that is read as it is wanted keeps its connection busy, so that other statements of a session first make room."""

from __future__ import annotations

import pickle
import tempfile
from typing import IO, TYPE_CHECKING, Any

from holdall.errors import ConnectionLost
from holdall.pool import Pool, Slot, SlotState
from holdall.query.operations import Select
from holdall.sql.compiler import Statement
from holdall.stores.mysql.errors import INTERRUPTED, number_of
from holdall.stores.mysql.literals import render
from holdall.stores.mysql.values import columns_of
from holdall.stores.mysql.wire import Connection, Cursor

if TYPE_CHECKING:
    from holdall.stores.mysql.store import MysqlStore, MysqlTransaction

_IN_MEMORY = 1 << 20
_SPOOLED_ROWS = 1000


class Spool:
    """Rows put aside in a temporary file, so that memory stays flat."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed with the stream
        self._left = 0
        self._rows: list[tuple[Any, ...]] = []

    async def take_over(self, cursor: Cursor) -> None:
        """Read a result to its end."""
        while rows := await cursor.fetch(_SPOOLED_ROWS):
            pickle.dump(rows, self._file, pickle.HIGHEST_PROTOCOL)
            self._left += 1
        self._file.seek(0)

    def fetch(self, count: int) -> list[tuple[Any, ...]]:
        """Return the next rows; none at the end."""
        while len(self._rows) < count and self._left:
            self._rows += pickle.load(self._file)  # noqa: S301 - written a moment ago, by this process
            self._left -= 1
        found, self._rows = self._rows[:count], self._rows[count:]
        return found

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


class OwnStream:
    """A query outside a session: one statement on a connection of its own."""

    def __init__(self, pool: Pool[Connection], slot: Slot[Connection], store: MysqlStore, operation: Select, batch: int) -> None:
        self._pool = pool
        self._slot: Slot[Connection] | None = slot
        self._store = store
        self._operation = operation
        self._batch = batch
        self._cursor: Cursor | None = None

    async def start(self, statement: Statement) -> OwnStream:
        """Run the statement."""
        assert self._slot is not None
        columns = columns_of(self._operation.decoder.fields)
        try:
            self._cursor = await self._slot.connection.open_cursor(render(statement), columns)
        except BaseException as error:  # noqa: BLE001 - raised by fail()
            self._give_up(error)
            self._store.fail(error, self._operation)
        return self

    async def fetch(self) -> list[Any]:
        """Return the next batch of objects."""
        if self._cursor is None or self._slot is None:
            return []
        if self._slot.state is SlotState.GONE:
            raise ConnectionLost("the stream's connection is gone: the backend was closed")
        try:
            rows = await self._cursor.fetch(self._batch)
        except BaseException as error:  # noqa: BLE001 - raised by fail()
            self._give_up(error)
            self._store.fail(error, self._operation)
        found: list[Any] = self._operation.decoder.many(rows)
        return found

    async def aclose(self) -> None:
        """End the query."""
        self.abandon()

    def abandon(self) -> None:
        """Give the connection back; one with rows that nobody wants is ended, on the server, too."""
        slot, self._slot = self._slot, None
        self._cursor = None
        if slot is None:
            return
        if slot.connection.unanswered:
            self._pool.hand_off(slot, "being stopped in the middle of a stream")
        else:
            self._pool.give(slot)

    def _give_up(self, error: BaseException) -> None:
        slot, self._slot = self._slot, None
        self._cursor = None
        if slot is not None:
            self._store.give_up(self._pool, slot, error)


class SessionStream:
    """A query of a session, on the session's connection."""

    def __init__(self, transaction: MysqlTransaction, cursor: Cursor, operation: Select, batch: int) -> None:
        self._transaction = transaction
        self._cursor: Cursor | None = cursor
        self._spool: Spool | None = None
        self._operation = operation
        self._batch = batch

    async def fetch(self) -> list[Any]:
        """Return the next batch of objects."""
        rows: list[tuple[Any, ...]] = []
        if self._spool is not None:
            rows = self._spool.fetch(self._batch)
        elif self._cursor is not None:
            rows = await self._transaction.read_cursor(self._cursor, self._batch, self._operation)
        found: list[Any] = self._operation.decoder.many(rows)
        return found

    async def put_aside(self) -> None:
        """Read the rest of the result into a file, so that the connection can do something else."""
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            self._spool = Spool()
            await self._spool.take_over(cursor)

    async def aclose(self) -> None:
        """End the query."""
        self.abandon()

    def abandon(self) -> None:
        """End the query; what is left of its result is cleared away by the next statement."""
        cursor, self._cursor = self._cursor, None
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        self._transaction.leave(self, cursor)


async def read_off(connection: Connection, cursor: Cursor) -> None:
    """Read a result to its end, for nothing; the server was told to stop sending it."""
    try:
        while await cursor.fetch(_SPOOLED_ROWS):
            pass
    except connection.errors as error:
        if number_of(error) != INTERRUPTED:
            raise
