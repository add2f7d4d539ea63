"""A backend on the node, the node itself over plain HTTP, and a stub that answers as a node would in trouble."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

import holdall
from holdall import Backend, Model
from tests.servers.opensearch import request as ask_node

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
def ask(opensearch_url: str) -> Ask:
    """``await ask("GET", "/path", body)``: the node itself, in a thread."""
    address = f"http://{urlsplit(opensearch_url).netloc}"

    async def asked(method: str, path: str, body: Any = None) -> Any:
        return await asyncio.to_thread(ask_node, address + path, method, body)

    return asked


@pytest.fixture
async def backend(request: pytest.FixtureRequest, opensearch_url: str) -> AsyncGenerator[Backend]:
    """An open backend with empty indexes of the module's ``MODELS``."""
    models = cast("tuple[type[Model], ...]", getattr(cast("Any", request).module, "MODELS", ()))
    async with holdall.open(opensearch_url) as backend:
        await backend.drop(*models)
        await backend.initialize(*models)
        yield backend
        await backend.drop(*models)


@dataclass
class Stub:
    """An HTTP server that gives the answers it was told to, one for each request, and keeps the requests.

    An answer is (status, JSON), or bytes that are sent as they are; an empty one closes the connection.
    """

    answers: list[tuple[int, Any] | bytes] = field(default_factory=list[Any])
    requests: list[tuple[str, str, bytes]] = field(default_factory=list[Any])
    port: int = 0
    connections: int = 0

    @property
    def url(self) -> str:
        return f"opensearch://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                method, path, _ = lines[0].split(" ")
                length = next((int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length")), 0)
                self.requests.append((method, path, await reader.readexactly(length)))
                answer: tuple[int, Any] | bytes = self.answers.pop(0) if self.answers else (200, {})
                if answer == b"":
                    break
                writer.write(answer if isinstance(answer, bytes) else _answer(*answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def _answer(status: int, body: Any) -> bytes:
    data = json.dumps(body).encode()
    return f"HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data


@pytest.fixture
def stubbed() -> Callable[..., AbstractAsyncContextManager[Stub]]:
    """``async with stubbed(answer, …) as stub``."""

    @asynccontextmanager
    async def opened(*answers: tuple[int, Any] | bytes) -> AsyncGenerator[Stub]:
        stub = Stub(list(answers))
        server = await asyncio.start_server(stub.serve, "127.0.0.1", 0)
        stub.port = server.sockets[0].getsockname()[1]
        try:
            yield stub
        finally:
            server.close()

    return opened
