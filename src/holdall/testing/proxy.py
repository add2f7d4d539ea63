"""A TCP proxy that counts what passes and does harm on request."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

CHUNK = 65_536


class Proxy:
    """Stand before ``host:port`` on a free loopback port, counting round trips, bytes and connections.

    A round trip is a burst from a client after the last bytes came from the server, so that pipelined messages count once, and the
    handshake of a connection counts too: warm up, then ``reset_counts()``. Encrypted connections pass, too.

    ::

        async with Proxy("127.0.0.1", 5432) as proxy, holdall.open(proxy.url(url)) as backend:
            proxy.cut_after_reply_bytes(20)

    Attributes:
        host, port: where it listens, once it is entered.
        delay: seconds before each chunk of a reply is passed on.
        chunk: at most so many bytes are passed on at once, in both directions; 1 is a trickle.
        round_trips, bytes_sent, bytes_received, connections: counted since the last ``reset_counts()``, from the clients' point of view.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.delay = 0.0
        self.chunk = CHUNK
        self._target = (host, port)
        self._listener: asyncio.Server | None = None
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._replies_flow = asyncio.Event()
        self._replies_flow.set()
        self._request_came = asyncio.Event()
        self._reply_budget = _Budget()
        self._request_budget = _Budget()
        self.reset_counts()

    def reset_counts(self) -> None:
        """Count from zero again."""
        self.round_trips = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self.connections = 0

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._links)

    def url(self, url: str) -> str:
        """Return the URL of a server with this proxy's address in the place of its own."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}{self.host}:{self.port}"))

    def cut(self) -> None:
        """Drop every open connection, on both sides, with whatever is still to be passed on."""
        for link in self._links:
            link.abort()

    def cut_after_reply_bytes(self, count: int) -> None:
        """Let exactly ``count`` more bytes of replies pass, then drop the connection that would get the next one."""
        self._reply_budget.left = count

    def cut_after_request_bytes(self, count: int) -> None:
        """Let exactly ``count`` more bytes of requests pass, then drop the connection that sends the next one."""
        self._request_budget.left = count

    def hold_replies(self) -> None:
        """Keep what servers say until ``release_replies``; requests still pass."""
        self._replies_flow.clear()

    def release_replies(self) -> None:
        """Pass on what was held, and what comes."""
        self._replies_flow.set()

    async def wait_for_request(self) -> None:
        """Wait until the next bytes from a client have been passed on to the server."""
        self._request_came.clear()
        await self._request_came.wait()

    def refuse(self) -> None:
        """Stop listening: new connections are refused by the system, open ones live on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def admit(self) -> None:
        """Listen again, on the same port."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, self.host, self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.admit()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening and drop all connections."""
        self.refuse()
        self.cut()
        serving = list(self._links.values())
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task that ends cancelled makes asyncio's connection callback complain, so the end of this proxy is an ordinary return.
        with suppress(asyncio.CancelledError):
            await self._carry(_Link(writer), reader)

    async def _carry(self, link: _Link, reader: asyncio.StreamReader) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links[link] = task
        self.connections += 1
        try:
            server_reader = await link.connect(*self._target)
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._pass_requests(link, reader))
                both_ways.create_task(self._pass_replies(link, server_reader))
        except OSError:
            pass  # the target refuses: the client sees its connection dropped
        finally:
            link.abort()
            del self._links[link]

    async def _pass_requests(self, link: _Link, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):  # either side went away
            while data := await reader.read(self.chunk):
                if not link.client_spoke_last:
                    link.client_spoke_last = True
                    self.round_trips += 1
                allowed = self._request_budget.spend(data)
                self.bytes_sent += len(allowed)
                await link.send(link.server, allowed)
                self._request_came.set()
                if len(allowed) < len(data):
                    link.abort()
        link.finish(link.server)

    async def _pass_replies(self, link: _Link, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(self.chunk):
                link.client_spoke_last = False
                await self._replies_flow.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                allowed = self._reply_budget.spend(data)
                self.bytes_received += len(allowed)
                await link.send(link.client, allowed)
                if len(allowed) < len(data):
                    link.abort()
        link.finish(link.client)


class _Budget:
    """How many bytes may still pass in one direction before a cut; None for all."""

    def __init__(self) -> None:
        self.left: int | None = None

    def spend(self, data: bytes) -> bytes:
        """Return what may pass; after the first byte that may not, all may again."""
        if self.left is None:
            return data
        allowed = data[: self.left]
        self.left = None if len(allowed) < len(data) else self.left - len(data)
        return allowed


class _Link:
    """A client's connection with its connection to the server."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.client_spoke_last = False
        self._server: asyncio.StreamWriter | None = None

    @property
    def server(self) -> asyncio.StreamWriter:
        assert self._server is not None
        return self._server

    async def connect(self, host: str, port: int) -> asyncio.StreamReader:
        reader, self._server = await asyncio.open_connection(host, port)
        for writer in (self.client, self._server):
            writer.transport.set_write_buffer_limits(high=0)  # so that drain() means passed to the system, and a cut is exact
        return reader

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    def finish(self, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if not writer.is_closing():
                writer.write_eof()

    def abort(self) -> None:
        self.client.transport.abort()
        if self._server is not None:
            self._server.transport.abort()
