"""asyncmy's connections: a driver in Cython, whose own reader is fast."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import asyncmy.connection
import asyncmy.cursors
import asyncmy.errors
from asyncmy.constants import CLIENT

from holdall.stores.mysql.errors import is_from_server
from holdall.stores.mysql.rows import Column
from holdall.stores.mysql.values import NAIVE_VALUES
from holdall.stores.mysql.wire import Address, payload_of

_IN_TRANSACTION = 1
_OUT_OF_SYNC = 2014
_SMALLEST_PACKET = 1 << 20  # until the server has told its own limit
_RESET = 0x1F  # COM_RESET_CONNECTION


class AsyncmyConnection:
    """Implement ``wire.Connection``. Only whole texts are sent: the driver's own escaping, of dicts' keys, say, is open to injection."""

    errors: tuple[type[Exception], ...] = (asyncmy.errors.MySQLError,)

    def __init__(self, base: Any, address: Address) -> None:
        self._base = base
        self._database = address.database
        self.thread_id: int = base.thread_id()
        self.version: str = base.get_server_info()
        self.unanswered = False
        self.max_packet = _SMALLEST_PACKET
        self.prefix = ""

    @property
    def is_closed(self) -> bool:
        """Whether it is known to be closed."""
        return not self._base.connected or bool(self._base._stream_broken)  # noqa: SLF001 - the one way to know of an end in time

    @property
    def in_transaction(self) -> bool:
        """What the server said with its last reply."""
        return bool(self._base.server_status & _IN_TRANSACTION)

    @property
    def insert_id(self) -> int:
        """The generated key of the first row of the last INSERT."""
        found: int = self._base.insert_id()
        return found

    async def fetch(self, sql: str, columns: tuple[Column, ...]) -> list[tuple[Any, ...]]:  # noqa: ARG002 - the driver knows
        """Run a statement that gives rows of these columns."""
        result = await self._query(sql)
        return result.rows or []

    async def execute(self, sql: str) -> int:
        """Run a statement; return how many rows it matched."""
        await self._query(sql)
        found: int = self._base.affected_rows()
        return found

    async def query(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run any statement; return the names of its columns and its rows."""
        result = await self._query(sql)
        names = [column[0] for column in result.description or ()]
        return names, [tuple([_aware(value) for value in row]) for row in result.rows or ()]

    async def open_cursor(self, sql: str, columns: tuple[Column, ...]) -> AsyncmyCursor:  # noqa: ARG002 - the driver knows
        """Run a statement whose rows are read as they are wanted."""
        payload_of(self.prefix + sql, self.max_packet)
        self._check_answered()
        cursor = self._base.cursor(asyncmy.cursors.SSCursor)
        self.unanswered = True
        try:
            await cursor.execute(self.prefix + sql)
        except asyncmy.errors.MySQLError as error:
            self.unanswered = self.is_closed or not is_from_server(error)
            raise
        return AsyncmyCursor(self, cursor)

    async def _query(self, sql: str) -> Any:
        payload = payload_of(self.prefix + sql, self.max_packet)
        self._check_answered()
        self.unanswered = True
        try:
            await self._base.query(payload)
            while self._base._result.has_next:  # noqa: SLF001 - of a stored procedure; the first result is the one that counts
                result = self._base._result  # noqa: SLF001
                await self._base.next_result()
                if result.rows is not None:
                    self.unanswered = False
                    return result
        except asyncmy.errors.MySQLError as error:
            # An error of the server is a whole reply; any other leaves half of one.
            self.unanswered = self.is_closed or not is_from_server(error)
            raise
        self.unanswered = False
        return self._base._result  # noqa: SLF001 - where the driver's own cursors find it

    def _check_answered(self) -> None:
        if self.unanswered:
            raise asyncmy.errors.OperationalError(_OUT_OF_SYNC, "the reply to an earlier statement was not read")

    async def reset(self) -> None:
        """Forget the session, and go back to the database."""
        self.unanswered = True
        await self._base._execute_command(_RESET, b"")  # noqa: SLF001 - the driver has no name for it
        await self._base._read_ok_packet()  # noqa: SLF001
        if self._database is not None:
            await self._base.select_db(self._database)
        self.unanswered = False

    async def close(self) -> None:
        """Say goodbye and close."""
        await self._base.ensure_closed()

    def terminate(self) -> None:
        """Close at once."""
        transport: Any = self._base._transport  # noqa: SLF001 - close() would wait for what is still to be written
        if transport is not None:
            try:
                transport.abort()
            except RuntimeError:
                # The event loop is closed. asyncio's transport has done all but this last step, which it would have scheduled there.
                finish = getattr(transport, "_call_connection_lost", None)
                if finish is not None:
                    finish(None)
        self._base._transport = None  # noqa: SLF001
        self._base._connected = False  # noqa: SLF001


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


class AsyncmyCursor:
    """Implement ``wire.Cursor``."""

    def __init__(self, connection: AsyncmyConnection, cursor: Any) -> None:
        self._connection = connection
        self._cursor = cursor
        self.is_done = False

    async def fetch(self, count: int) -> list[tuple[Any, ...]]:
        """Return the next rows; none at the end."""
        if self.is_done:
            return []
        found: list[tuple[Any, ...]] = list(await self._cursor.fetchmany(count))
        if len(found) < count:
            self.is_done = True
            self._connection.unanswered = False
        return found


class _Driver:
    values = staticmethod(NAIVE_VALUES)
    errors: tuple[type[Exception], ...] = (asyncmy.errors.MySQLError,)

    async def connect(self, address: Address) -> AsyncmyConnection:
        """Connect."""
        base: Any = asyncmy.connection.Connection(  # type: ignore[no-untyped-call]
            host=address.host or "127.0.0.1",
            port=address.port or 3306,
            user=address.user,
            password=address.password or "",
            db=address.database,
            unix_socket=address.unix_socket,
            ssl=address.ssl,
            charset="utf8mb4",
            autocommit=True,
            client_flag=CLIENT.FOUND_ROWS,
            program_name=address.application_name or "",
        )
        base._client_flag &= ~CLIENT.MULTI_STATEMENTS  # noqa: SLF001 - one text is one statement
        try:
            await base.connect()
        except BaseException:  # a cancelled attempt does not close by itself
            base.close()
            raise
        return AsyncmyConnection(base, address)


DRIVER = _Driver()
