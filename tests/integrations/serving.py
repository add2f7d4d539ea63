"""A real uvicorn in the loop of a test."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn


@dataclass
class Served:
    """Where the application answers, and how many connections it was asked by."""

    address: str
    clients: set[Any] = field(default_factory=set[Any])

    @property
    def connections(self) -> int:
        return len(self.clients)


@asynccontextmanager
async def served(app: Any) -> AsyncGenerator[Served]:
    """Serve an application on a free port until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found = Served(f"http://127.0.0.1:{listener.getsockname()[1]}")

        async def counting(scope: Any, receive: Any, send: Any) -> None:
            found.clients.add(scope["client"])
            await app(scope, receive, send)

        server = uvicorn.Server(uvicorn.Config(counting, lifespan="off", log_config=None))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield found
        finally:
            server.should_exit = True
            await task
