"""HTTP/1.1 over asyncio, as a connection of opensearch-py's transport: it costs the client a fraction of what a general client does.

It knows what OpenSearch speaks and no more: one request at a time on each connection, bodies with a length or in chunks, no redirects, no
compression. Connections are pooled; one whose call was cancelled is used again once its answer has come and gone.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlencode

from opensearchpy.connection.base import Connection

from holdall.errors import ConnectionLost, StatementTimeout
from holdall.pool import Pool, PoolOptions

Answer = tuple[int, Mapping[str, str], bytes]
_END = b"\r\n\r\n"
_NOTHING: Mapping[str, str] = {}


class HttpProtocol(asyncio.Protocol):
    """One connection: a request is written, its answer is awaited.

    Attributes:
        waiter: whom the answer goes to; None between requests.
        pending: a request is on its way, whether or not somebody still waits for its answer.
        answered: something of the answer has arrived.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.waiter: asyncio.Future[Answer] | None = None
        self.pending = False
        self.answered = False
        self.closed = False
        self._buffer = bytearray()
        self._head: tuple[int, Mapping[str, str], int] | None = None  # status, headers, length of the body or -1 for chunks
        self._chunks = bytearray()  # of the body, as far as they are whole
        self._finished: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, data: bytes) -> asyncio.Future[Answer]:
        """Write a request; return the future of its answer."""
        assert self.transport is not None
        self.waiter = asyncio.get_running_loop().create_future()
        self.pending, self.answered = True, False
        self.transport.write(data)
        return self.waiter

    def data_received(self, data: bytes) -> None:
        """Collect the answer, and hand it over when it is whole."""
        if not self.pending:
            # What nobody asked for, such as a proxy's good-bye, must not be taken for the answer to the next request.
            self.terminate()
            return
        self._buffer += data
        self.answered = True
        try:
            self._read()
        except (ValueError, IndexError, UnicodeDecodeError) as exc:
            self._fail(ConnectionLost(f"the server sent what is not HTTP: {exc}"))
            self.terminate()

    def _read(self) -> None:
        if self._head is None:
            end = self._buffer.find(_END)
            if end < 0:
                return
            self._head = _parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
        status, headers, length = self._head
        if length < 0:
            if not _dechunk(self._buffer, self._chunks):
                return
            body = bytes(self._chunks)
            self._chunks.clear()
        elif len(self._buffer) == length:
            body = bytes(self._buffer)
        elif len(self._buffer) > length:
            msg = "more than one answer to one request"
            raise ValueError(msg)
        else:
            return
        self._head = None
        self._buffer.clear()
        self.pending = False
        if headers is not _NOTHING and headers.get("connection", "").lower() == "close":
            self.terminate()
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result((status, headers, body))
        self.waiter = None
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    async def finish(self) -> None:
        """Wait until the answer that nobody waits for has come."""
        if self.pending and not self.closed:
            self._finished = asyncio.get_running_loop().create_future()
            await self._finished
        if self.closed:
            raise ConnectionLost("the connection was closed")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        error = ConnectionLost("the server closed the connection" if exc is None else f"the connection was lost: {exc}")
        error.__cause__ = exc
        self._fail(error)

    def _fail(self, error: ConnectionLost) -> None:
        self.closed = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(error)
        self.waiter = None
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    def terminate(self) -> None:
        """Close at once."""
        self.closed = True
        if self.transport is not None:
            self.transport.abort()


def _parse_head(head: bytes) -> tuple[int, Mapping[str, str], int]:
    lines = head.decode("latin-1").split("\r\n")
    version, status, *_ = lines[0].split(" ", 2)
    if not version.startswith("HTTP/1."):
        msg = f"{lines[0]!r}"
        raise ValueError(msg)
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return int(status), headers, -1
    if "content-length" not in headers and status not in ("204", "304"):
        msg = "a body without a length"
        raise ValueError(msg)
    return int(status), headers, int(headers.get("content-length", "0"))


def _dechunk(buffer: bytearray, body: bytearray) -> bool:
    """Move whole chunks from the buffer to the body; True at the last one's end."""
    position = 0
    try:
        while (end := buffer.find(b"\r\n", position)) >= 0:
            size = int(bytes(buffer[position:end]).split(b";")[0], 16)
            begin = end + 2
            if size == 0:
                # Trailers, if any, end with an empty line.
                return buffer.startswith(b"\r\n", begin) or buffer.find(_END, begin) >= 0
            if len(buffer) < begin + size + 2:
                return False
            body += buffer[begin : begin + size]
            position = begin + size + 2
        return False
    finally:
        del buffer[:position]


class HttpConnector:
    """Opens connections for the pool."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._host, self._port, self._tls = host, port, tls

    async def open(self) -> HttpProtocol:
        """Connect; raises ``ConnectionLost``."""
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.create_connection(HttpProtocol, self._host, self._port, ssl=self._tls)
        except OSError as exc:
            raise ConnectionLost(f"cannot connect to {self._host}:{self._port}: {exc}") from exc
        return protocol

    def is_closed(self, connection: HttpProtocol) -> bool:
        """Tell whether the server has closed it."""
        return connection.closed

    async def recover(self, connection: HttpProtocol, *, dirty: bool) -> None:
        """Wait for the answer to a call that was cancelled."""
        del dirty
        await connection.finish()

    async def close(self, connection: HttpProtocol) -> None:
        """Close."""
        connection.terminate()
        await asyncio.sleep(0)  # an aborted transport closes its socket in the loop's next turn

    def terminate(self, connection: HttpProtocol) -> None:
        """Close at once."""
        if connection.transport is not None and not connection.closed:
            try:
                connection.terminate()
            except RuntimeError:  # the loop is closed already
                connection.closed = True


class WireConnection(Connection):
    """A node, as opensearch-py's transport sees it."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        pool_options: PoolOptions,
        tls: ssl.SSLContext | None = None,
        http_auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(host=host, port=port, use_ssl=tls is not None, **options)
        self.timeout = timeout  # type: ignore[assignment]
        self.pool: Pool[HttpProtocol] = Pool(HttpConnector(host, port, tls), pool_options)
        agent: str = self._get_default_user_agent()
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"host: {authority}", "content-type: application/json", f"user-agent: {agent}"]
        if http_auth is not None:
            lines.append(f"authorization: Basic {b64encode(':'.join(http_auth).encode()).decode()}")
        self._lines = ("\r\n".join(lines)).encode()

    async def perform_request(  # noqa: PLR0913, PLR0917  - the driver's signature
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        body: bytes | str | None = None,
        timeout: float | None = None,
        ignore: Collection[int] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; return its answer, or raise opensearch-py's error for a status that is not ignored."""
        del headers
        path = f"{url}?{urlencode(params)}" if params else url
        content = b"" if body is None else body.encode() if isinstance(body, str) else body
        head = f"{method} {path} HTTP/1.1\r\ncontent-length: {len(content)}\r\n".encode("ascii")
        answer = await self._exchange(b"".join((head, self._lines, _END, content)), self.timeout if timeout is None else timeout)
        if not 200 <= answer[0] < 300 and answer[0] not in ignore:
            self._raise_error(answer[0], answer[2], answer[1].get("content-type"))
        return answer

    async def _exchange(self, data: bytes, timeout: float | None) -> Answer:
        pool = self.pool
        slot = pool.take() or await pool.acquire()
        waiter = slot.connection.send(data)
        timer = None if timeout is None else asyncio.get_running_loop().call_later(timeout, _expire, waiter, timeout)
        try:
            answer = await waiter
        except (ConnectionLost, StatementTimeout):
            pool.discard(slot)
            raise
        except BaseException:
            pool.hand_off(slot)  # its answer is still to come
            raise
        finally:
            if timer is not None:
                timer.cancel()
        pool.give(slot)
        return answer

    async def close(self) -> None:
        """Close the connections of this node."""
        await self.pool.close(0)


def _expire(waiter: asyncio.Future[Answer], timeout: float) -> None:
    if not waiter.done():
        waiter.set_exception(StatementTimeout(timeout))
