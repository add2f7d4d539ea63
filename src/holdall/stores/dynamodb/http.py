"""A pool of HTTP/1.1 connections to one address, for requests with a body and answers that are read whole.

A request that is cancelled or runs into its timeout takes its connection with it, so that nobody reads the answer of another.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from asyncio import CancelledError
from collections import deque
from typing import NamedTuple, cast

from holdall.errors import PoolClosed, PoolTimeout

_LONGEST_IDLE = 12.0  # the service closes what is idle for longer
_LARGEST_HEAD = 64 * 1024
_CLOSED = "the backend is closed"


class Answer(NamedTuple):
    """What the server has answered; names of headers are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class BrokenAnswerError(ConnectionError):
    """The server has closed the connection in the middle, or what it sent is no answer."""


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, and so on."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0
        self.keeps_alive = True
        self._received = bytearray()
        self._headers: dict[bytes, bytes] | None = None
        self._status = 0
        self._body_at = 0
        self._waiter: asyncio.Future[Answer] | None = None

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._fail(exc)

    def eof_received(self) -> bool:
        return False  # which closes the connection, and tells whoever waits

    def _fail(self, exc: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            error = BrokenAnswerError("the server has closed the connection before its answer was complete")
            error.__cause__ = exc
            self._waiter.set_exception(error)

    def request(self, data: bytes) -> asyncio.Future[Answer]:
        """Send a request; the future gives its answer."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._received.clear()
        self._headers = None
        if self.transport is None:
            self._fail(None)
        else:
            self.transport.write(data)
        return self._waiter

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.abort()  # nobody has asked
            return
        self._received += data
        try:
            answer = self._parse()
        except (ValueError, IndexError, KeyError) as exc:
            self._fail(exc)
            self.abort()
            return
        if answer is not None:
            self._waiter.set_result(answer)

    def _parse(self) -> Answer | None:
        if self._headers is None and not self._parse_head():
            return None
        assert self._headers is not None
        if self._headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            body = _joined_chunks(memoryview(self._received)[self._body_at :])
            return None if body is None else Answer(self._status, self._headers, body)
        end = self._body_at + int(self._headers[b"content-length"])
        if len(self._received) < end:
            return None
        if len(self._received) > end:
            raise ValueError  # an answer to a question that was not asked
        return Answer(self._status, self._headers, bytes(self._received[self._body_at :]))

    def _parse_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            if len(self._received) > _LARGEST_HEAD:
                raise ValueError
            return False
        first, *lines = bytes(self._received[:end]).split(b"\r\n")
        version, status = first.split(b" ", 2)[:2]
        headers: dict[bytes, bytes] = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        self._status, self._headers, self._body_at = int(status), headers, end + 4
        self.keeps_alive = version == b"HTTP/1.1" and headers.get(b"connection", b"").lower() != b"close"
        return True

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()


def _joined_chunks(data: memoryview) -> bytes | None:
    """Return the body of chunks; None while some are missing."""
    whole, at, found = bytes(data), 0, bytearray()
    while True:
        end = whole.find(b"\r\n", at)
        if end < 0:
            return None
        size = int(whole[at:end].split(b";")[0], 16)
        at = end + 2
        if size == 0:
            return bytes(found) if whole.find(b"\r\n", at) >= 0 else None
        if len(whole) < at + size + 2:
            return None
        found += whole[at : at + size]
        at += size + 2


class HttpPool:
    """Connections of one event loop to one address; the last one used is the first to be used again.

    Args:
        tls: None for plain HTTP.
    """

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None, *, most: int, connect_timeout: float, acquire_timeout: float
    ) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._most = most
        self._connect_timeout = connect_timeout
        self._acquire_timeout = acquire_timeout
        self._loop = asyncio.get_running_loop()
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._opening = 0
        self._promised = 0  # turns that were given, and not yet taken
        self._drained: asyncio.Future[None] | None = None
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def stats(self) -> dict[str, int]:
        """Return how many connections there are, and how many requests wait for one."""
        return {
            "size": len(self._idle) + len(self._busy),
            "idle": len(self._idle),
            "in_use": len(self._busy),
            "waiting": len(self._waiters),
        }

    async def request(self, data: bytes, timeout: float) -> Answer:
        """Send a request and return its answer.

        Raises:
            PoolTimeout: no connection came free. ConnectionError, OSError: it could not be opened, or was lost.
            TimeoutError: no answer came in time.
        """
        connection = await self._take()
        timer: asyncio.TimerHandle | None = None
        waiter = connection.request(data)
        timer = self._loop.call_later(timeout, _expire, waiter)
        try:
            answer = await waiter
        except BaseException:  # also a cancel: the answer may still come, and must be nobody else's
            self._busy.discard(connection)
            connection.abort()
            self._wake()
            raise
        finally:
            timer.cancel()
        self._give(connection)
        return answer

    async def _take(self) -> _Connection:
        if not self._closed and (self._waiters or self._free <= 0):
            await self._turn()
        if self._closed:
            raise PoolClosed(_CLOSED)
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and self._loop.time() - connection.idle_since < _LONGEST_IDLE:
                self._busy.add(connection)
                return connection
            connection.abort()
        return await self._open()

    @property
    def _free(self) -> int:
        """How many requests may begin, beside those that were told to."""
        return self._most - len(self._busy) - self._opening - self._promised

    async def _open(self) -> _Connection:
        self._opening += 1
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await self._loop.create_connection(_Connection, self._host, self._port, ssl=self._tls)
            if self._closed:
                connection.abort()
                raise PoolClosed(_CLOSED)
            self._busy.add(connection)
        except TimeoutError as exc:
            if connection is not None:
                connection.abort()
            msg = f"no connection to {self._host}:{self._port} within {self._connect_timeout:g} s"
            raise ConnectionRefusedError(msg) from exc
        except OSError as exc:
            raise ConnectionRefusedError(str(exc)) from exc  # nothing was sent: whatever it was can be tried again
        finally:
            self._opening -= 1
            self._wake()
        return connection

    async def _turn(self) -> None:
        """Wait behind those who came before. Nobody who comes later takes the place that was promised."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self._acquire_timeout):
                await waiter
        except TimeoutError:
            self._leave(waiter)
            raise PoolTimeout(self._acquire_timeout, [f"{len(self._busy)} requests that are under way"]) from None
        except CancelledError:
            self._leave(waiter)
            raise
        self._promised -= 1

    def _leave(self, waiter: asyncio.Future[None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif waiter.done() and not waiter.cancelled():
            self._promised -= 1  # the turn had come in the same moment: pass it on
            self._wake()

    def _wake(self) -> None:
        """Give turns to those who wait, as far as there is room, and tell a close that nothing is in use."""
        while self._waiters and (self._free > 0 or self._closed):
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._promised += 1
                waiter.set_result(None)
        if self._drained is not None and not self._busy and not self._drained.done():
            self._drained.set_result(None)

    def _give(self, connection: _Connection) -> None:
        self._busy.discard(connection)
        if self._closed or not connection.keeps_alive or not connection.is_open:
            connection.abort()
        else:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)
        self._wake()

    async def close(self, timeout: float) -> None:
        """Close what is idle, wait up to ``timeout`` seconds for what is in use, then cut it."""
        self._closed = True
        self._abort_idle()
        self._wake()
        try:
            if self._busy:
                self._drained = self._loop.create_future()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await self._drained
        finally:
            self.terminate()
        await asyncio.sleep(0)  # in which the transports close their sockets

    def terminate(self) -> None:
        """Cut all connections at once."""
        self._closed = True
        self._abort_idle()
        for connection in self._busy:
            connection.abort()
        self._wake()

    def _abort_idle(self) -> None:
        while self._idle:
            self._idle.pop().abort()


def _expire(waiter: asyncio.Future[Answer]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
