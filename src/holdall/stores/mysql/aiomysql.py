"""aiomysql's connections, with a reader of our own.

aiomysql opens the connection, authenticates and encrypts. Its reader takes three coroutines and a dozen calls for each packet; ours takes
what has come from the socket, skips the definitions of columns that are known, and decodes whole chunks. Nothing follows the end of a
reply, so that no byte of the next one is ever in hand.
"""

# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
# aiomysql has no types, and no public name for where its bytes come from.

from __future__ import annotations

import asyncio
from typing import Any

from aiomysql.connection import Connection as Base
from pymysql.constants import CLIENT, COMMAND, CR
from pymysql.err import MySQLError, OperationalError, raise_mysql_exception

from holdall.stores.mysql.rows import HUGE, LAST, Column, Decode, column_of, decoder, length, row_decoder
from holdall.stores.mysql.values import VALUES
from holdall.stores.mysql.wire import Address, payload_of

_CHUNK = 1 << 20
_SMALLEST_PACKET = 1 << 20  # until the server has told its own limit
_FULL = 0xFFFFFF
_MORE_RESULTS = 8
_IN_TRANSACTION = 1
_RESET = 0x1F  # COM_RESET_CONNECTION
_INIT_DB = COMMAND.COM_INIT_DB
_QUERY = COMMAND.COM_QUERY


class _Connection(Base):  # type: ignore[misc]  # aiomysql has no types
    """aiomysql's connection, without a second statement in a text, and without a way around TLS."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        flags: int = self.client_flag
        self.client_flag: int = (flags | CLIENT.FOUND_ROWS) & ~CLIENT.MULTI_STATEMENTS

    async def _request_authentication(self) -> None:
        # aiomysql would go on without TLS, and without a word.
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise OperationalError(CR.CR_SSL_CONNECTION_ERROR, "the server offers no TLS")
        await super()._request_authentication()


class AiomysqlConnection:
    """Implement ``wire.Connection``."""

    errors: tuple[type[Exception], ...] = (MySQLError,)

    def __init__(self, base: Any, address: Address) -> None:
        self._base = base
        self._reader: Any = base._reader  # noqa: SLF001 - where the bytes come from has no public name
        self._writer: asyncio.StreamWriter = base._writer  # noqa: SLF001
        self._database = address.database
        self.thread_id: int = base.thread_id()
        self.version: str = base.server_version
        self.unanswered = False
        self.in_transaction = False
        self.insert_id = 0
        self.max_packet = _SMALLEST_PACKET
        self.prefix = ""

    @property
    def is_closed(self) -> bool:
        """Whether it is known to be closed."""
        return self._reader.at_eof() or self._writer.transport.is_closing() or self._reader.exception() is not None

    async def fetch(self, sql: str, columns: tuple[Column, ...]) -> list[tuple[Any, ...]]:
        """Run a statement that gives rows of these columns."""
        reply = self._send(_QUERY, payload_of(self.prefix + sql, self.max_packet))
        found: list[tuple[Any, ...]] = []
        await reply.read_rows(found.append, columns)
        return found

    async def execute(self, sql: str) -> int:
        """Run a statement; return how many rows it matched."""
        return await self._send(_QUERY, payload_of(self.prefix + sql, self.max_packet)).read_outcome()

    async def query(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run any statement; return the names of its columns and its rows."""
        reply = self._send(_QUERY, payload_of(self.prefix + sql, self.max_packet))
        found: list[tuple[Any, ...]] = []
        await reply.read_rows(found.append, None)
        return reply.names, found

    async def open_cursor(self, sql: str, columns: tuple[Column, ...]) -> AiomysqlCursor:
        """Run a statement whose rows are read as they are wanted."""
        reply = self._send(_QUERY, payload_of(self.prefix + sql, self.max_packet))
        await reply.begin(columns)
        return AiomysqlCursor(reply)

    async def reset(self) -> None:
        """Forget the session, and go back to the database."""
        await self._send(_RESET, b"").read_outcome()
        if self._database is not None:
            await self._send(_INIT_DB, self._database.encode()).read_outcome()

    async def close(self) -> None:
        """Say goodbye and close."""
        await self._base.ensure_closed()

    def terminate(self) -> None:
        """Close at once."""
        transport: Any = self._writer.transport
        try:
            transport.abort()
        except RuntimeError:
            # The event loop is closed. asyncio's transport has done all but this last step, which it would have scheduled there.
            finish = getattr(transport, "_call_connection_lost", None)
            if finish is not None:
                finish(None)
        self._base._writer = None  # noqa: SLF001 - the driver's finaliser warns of a connection that has one

    def _send(self, command: int, payload: bytes) -> _Reply:
        """Send a command; suspends nowhere."""
        if self.unanswered:
            raise OperationalError(CR.CR_COMMANDS_OUT_OF_SYNC, "the reply to an earlier statement was not read")
        if self.is_closed:
            raise OperationalError(CR.CR_SERVER_GONE_ERROR, "the server has closed the connection")
        self.unanswered = True
        write = self._writer.write
        data = bytes((command,)) + payload
        for number, at in enumerate(range(0, len(data) + 1, _FULL)):  # a full packet wants one more, be it empty
            piece = data[at : at + _FULL]
            write(len(piece).to_bytes(3, "little") + bytes((number & 255,)) + piece)
        return _Reply(self, self._reader)


class _Reply:
    """One reply: an OK, an error, or rows between the definitions of their columns and an end; sometimes several after one another."""

    def __init__(self, connection: AiomysqlConnection, reader: Any) -> None:
        self._connection = connection
        self._reader = reader
        self._data = b""
        self._at = 0
        self._decode: Decode | None = None
        self._columns: tuple[Column, ...] = ()
        self.names: list[str] = []
        self.affected = 0
        self.is_done = False

    async def read_outcome(self) -> int:
        """Read to the end; return how many rows were matched."""
        await self.read_rows(_ignore, None)
        return self.affected

    async def read_rows(self, add: Any, columns: tuple[Column, ...] | None) -> None:
        """Read to the end; give the rows of the first result, whose columns are taken from the reply where they are not known."""
        await self.begin(columns)
        while not self.is_done:
            await self.read_some(add)

    async def begin(self, columns: tuple[Column, ...] | None) -> None:
        """Read up to the first row."""
        await self._need(4)
        if self._data[self._at + 3] == 0:
            # The server's goodbye, sent before our statement came: it was not carried out.
            self._fail(await self._packet(), goodbye=True)
        first = await self._packet()
        if first[0] == 0:
            self._ok(first)
        elif first[0] == 255:
            self._fail(first)
        elif first[0] == 251:
            raise OperationalError(CR.CR_MALFORMED_PACKET, "the server asks for a local file, which it never gets")
        else:
            count, _ = length(first, 0)
            self._columns = await self._definitions(count, columns)
            self._decode = decoder(self._columns)

    async def read_some(self, add: Any) -> None:
        """Decode what has come; wait for more when that is no whole row."""
        assert self._decode is not None
        data = self._data
        self._at, why = self._decode(data, data.decode("latin-1"), self._at, len(data), add)
        if why == LAST:
            await self._end()
        elif why == HUGE:
            add(row_decoder(self._columns)(await self._packet()))
        else:
            await self._need_packet()

    async def _definitions(self, count: int, columns: tuple[Column, ...] | None) -> tuple[Column, ...]:
        if columns is not None:
            await self._skip(count + 1)
            return columns
        pairs = [column_of(await self._packet()) for _ in range(count)]
        await self._skip(1)
        self.names = [name for name, _ in pairs]
        return tuple([column for _, column in pairs])

    async def _skip(self, count: int) -> None:
        """Pass over packets; those in hand without a coroutine for each."""
        while count:
            data, at = self._data, self._at
            last = len(data) - 4
            while count and at <= last and (after := at + 4 + (data[at] | data[at + 1] << 8 | data[at + 2] << 16)) <= last + 4:
                at = after
                count -= 1
            self._at = at
            if count:
                await self._need_packet()

    async def _end(self) -> None:
        packet = await self._packet()
        if packet[0] == 255:
            self._fail(packet)
        await self._finish(packet[3] | packet[4] << 8)

    def _ok(self, packet: bytes) -> None:
        self.affected, at = length(packet, 1)
        self._connection.insert_id, at = length(packet, at)
        self._settle(packet[at] | packet[at + 1] << 8)

    async def _finish(self, status: int) -> None:
        while status & _MORE_RESULTS:  # of a stored procedure
            status = await self._skip_result()
        self._settle(status)

    def _settle(self, status: int) -> None:
        connection = self._connection
        connection.in_transaction = bool(status & _IN_TRANSACTION)
        if status & _MORE_RESULTS or self._at != len(self._data):
            raise OperationalError(CR.CR_COMMANDS_OUT_OF_SYNC, "more than one reply has come")
        connection.unanswered = False
        self.is_done = True

    async def _skip_result(self) -> int:
        first = await self._packet()
        if first[0] == 255:
            self._fail(first)
        if first[0] == 0:
            _, at = length(first, 1)
            _, at = length(first, at)
            return first[at] | first[at + 1] << 8
        count, _ = length(first, 0)
        await self._skip(count + 1)
        while True:
            packet = await self._packet()
            if packet[0] == 255:
                self._fail(packet)
            if packet[0] == 254 and len(packet) < 9:
                return packet[3] | packet[4] << 8

    def _fail(self, packet: bytes, *, goodbye: bool = False) -> None:
        if goodbye:
            raise OperationalError(CR.CR_SERVER_GONE_ERROR, f"the server said goodbye: {packet[9:].decode(errors='replace')}")
        self._connection.unanswered = False
        self.is_done = True
        raise_mysql_exception(packet)

    async def _packet(self) -> bytes:
        """Take one payload, put together of its packets."""
        whole = b""
        while True:
            await self._need_packet()
            data, at = self._data, self._at
            size = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            self._at = at + 4 + size
            piece = data[at + 4 : self._at]
            if size < _FULL:
                return whole + piece if whole else piece
            whole += piece

    async def _need_packet(self) -> None:
        await self._need(4)
        data, at = self._data, self._at
        await self._need(4 + (data[at] | data[at + 1] << 8 | data[at + 2] << 16))

    async def _need(self, size: int) -> None:
        """Wait until so many bytes are in hand."""
        missing = size - (len(self._data) - self._at)
        if missing <= 0:
            return
        pieces = [self._data[self._at :]]
        while missing > 0:
            piece = await self._reader.read(_CHUNK)
            if not piece:
                raise OperationalError(CR.CR_SERVER_LOST, "the connection was lost before the whole reply had come")
            pieces.append(piece)
            missing -= len(piece)
        self._data, self._at = b"".join(pieces), 0


def _ignore(_: object) -> None:
    return None


class AiomysqlCursor:
    """Implement ``wire.Cursor``."""

    def __init__(self, reply: _Reply) -> None:
        self._reply = reply
        self._rows: list[tuple[Any, ...]] = []

    @property
    def is_done(self) -> bool:
        """Whether all rows have been read."""
        return self._reply.is_done and not self._rows

    async def fetch(self, count: int) -> list[tuple[Any, ...]]:
        """Return the next rows; none at the end."""
        rows = self._rows
        while len(rows) < count and not self._reply.is_done:
            await self._reply.read_some(rows.append)
        found, self._rows = rows[:count], rows[count:]
        return found


class _Driver:
    values = staticmethod(VALUES)
    errors: tuple[type[Exception], ...] = (MySQLError,)

    async def connect(self, address: Address) -> AiomysqlConnection:
        """Connect."""
        base = _Connection(
            host=address.host or "127.0.0.1",
            port=address.port or 3306,
            user=address.user,
            password=address.password or "",
            db=address.database,
            unix_socket=address.unix_socket,
            ssl=address.ssl,
            charset="utf8mb4",
            autocommit=None,
            program_name=address.application_name or "",
        )
        try:
            await base._connect()  # noqa: SLF001 - aiomysql.connect() knows no class of connection but its own
        except BaseException:  # a cancelled attempt does not close by itself
            base.close()
            raise
        return AiomysqlConnection(base, address)


DRIVER = _Driver()
