"""A service that answers as a test tells it to: what DynamoDB Local never does."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

Answer = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Request:
    target: str
    headers: dict[str, str]
    body: dict[str, Any]


def gives(body: dict[str, Any], status: int = 200, *, checksum: int | None = None, closes: bool = False) -> Answer:
    """Answer with a body."""
    raw = orjson.dumps(body)

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        crc = zlib.crc32(raw) if checksum is None else checksum
        connection = "close" if closes else "keep-alive"
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(raw)}\r\nx-amz-crc32: {crc}\r\nConnection: {connection}\r\n\r\n"
        writer.write(head.encode() + raw)

    return answer


def refuses(name: str, message: str = "no", status: int = 400, **more: Any) -> Answer:
    """Answer with an error of the service."""
    return gives({"__type": f"com.amazonaws.dynamodb.v20120810#{name}", "message": message, **more}, status)


async def hangs_up(_: Request, writer: asyncio.StreamWriter) -> None:
    """Close the connection in place of an answer."""
    writer.transport.abort()


async def breaks_off(_: Request, writer: asyncio.StreamWriter) -> None:
    """Close the connection in the middle of an answer."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.transport.abort()


async def keeps_silent(_: Request, __: asyncio.StreamWriter) -> None:
    """Never answer."""


async def speaks_nonsense(_: Request, writer: asyncio.StreamWriter) -> None:
    """Send what is no HTTP."""
    writer.write(b"\r\n\r\nnonsense\r\n\r\n")


def _html(status: int) -> Answer:
    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 15\r\nDate: yesterday\r\n\r\n<html>hi</html>" % status)

    return answer


speaks_html, speaks_html_of_an_error = _html(200), _html(404)


async def sends_chunks(_: Request, writer: asyncio.StreamWriter) -> None:
    """Answer in chunks, byte by byte, as a proxy between may do."""
    for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n":
        writer.write(bytes([byte]))
        await writer.drain()


@dataclass
class Service:
    """Attributes:
    script: the answers to come, in order; afterwards everything is answered by ``usual``.
    requests: what has come. ``connections``: how many there were, and are open.
    """

    script: list[Answer] = field(default_factory=list[Answer])
    usual: Answer = field(default_factory=lambda: gives({}))
    requests: list[Request] = field(default_factory=list[Request])
    connections: int = 0
    open: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = ""
    port: int = 0

    def url(self, **options: Any) -> str:
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"dynamodb://us-east-1?endpoint_url=http://{self.address}:{self.port}&access_key_id=a&secret_access_key=b{more}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                pairs = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line]
                headers = {name.lower(): value for name, value in pairs}
                body = orjson.loads(await reader.readexactly(int(headers["content-length"])))
                request = Request(headers["x-amz-target"].rpartition(".")[2], headers, body)
                self.requests.append(request)
                self.arrived.set()
                await (self.script.pop(0) if self.script else self.usual)(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def service(*script: Answer, usual: Answer | None = None, host: str = "127.0.0.1") -> AsyncGenerator[Service]:
    """Run a service on a free port."""
    made = Service(list(script)) if usual is None else Service(list(script), usual)
    made.address = f"[{host}]" if ":" in host else host
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(made.serve(reader, writer)))

    server = await asyncio.start_server(accept, host, 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
