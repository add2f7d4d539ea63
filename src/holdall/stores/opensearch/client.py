"""The client of one event loop: opensearch-py's connections, JSON by orjson, and what to do about a busy server.

The driver's own codec would make a float of a Decimal; orjson refuses what JSON does not have.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import ssl
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import asdict
from time import monotonic
from typing import Any, TypeVar

import anyio.to_thread
import orjson
from opensearchpy import AIOHttpConnection, AsyncTransport
from opensearchpy.exceptions import ConnectionError as DriverConnectionError
from opensearchpy.exceptions import ConnectionTimeout

from holdall.errors import BackendError, ConnectionLost, PoolClosed, StatementTimeout
from holdall.pool import PoolOptions
from holdall.stores.opensearch.errors import ServerError
from holdall.stores.opensearch.settings import OpenSearchSettings
from holdall.stores.opensearch.wire import WireConnection

T = TypeVar("T")
_ERRORS = frozenset(range(300, 600))
_TOO_MANY = 429
_TOO_LARGE = 413
_BAD = 400
_FORBIDDEN = 403
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0


class Pauses:
    """Growing, jittered pauses until a deadline."""

    def __init__(self, seconds: float) -> None:
        self._deadline = monotonic() + seconds
        self._next = _FIRST_PAUSE

    async def wait(self) -> bool:
        """Pause; False when the time is over."""
        if monotonic() >= self._deadline:
            return False
        await asyncio.sleep(random.uniform(0.5, 1.5) * self._next)
        self._next = min(2 * self._next, _LONGEST_PAUSE)
        return True


def is_busy(error: ServerError) -> bool:
    """Tell whether the server did nothing, and will do it later: its queues or its memory are full, or an index moves to a new one."""
    if error.status == _TOO_MANY:
        return "disk usage exceeded" not in error.reason
    if error.status == _BAD and "circuit_breaking_exception" in f"{error.type} {error.reason}":
        return True  # too many new scripts in the last minutes, of other clients: ours are few and constant
    return error.status == _FORBIDDEN and "[FORBIDDEN/8/" in error.reason  # a block of writes alone


class Client:
    """Sends requests; made inside the running loop."""

    def __init__(self, settings: OpenSearchSettings) -> None:
        self._settings = settings
        self._retry = settings.retry_timeout
        self._transport: AsyncTransport | None = None
        self._making: asyncio.Lock = asyncio.Lock()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def request(self, method: str, path: str, body: Any = None, *, timeout: float | None = None, fine: bytes | None = None) -> Any:
        """Send a request, again while the server is busy; return its JSON.

        Args:
            body: JSON, or the bytes of a body.
            timeout: seconds for this request, instead of the setting.
            fine: an answer that begins so says nothing else; it is not parsed, and gives None.

        Raises:
            ServerError: the answer is an error.
            ConnectionLost, StatementTimeout, BackendError: there is no answer.
        """
        answer: Any = await self._once(method, path, body, timeout, fine)
        pauses: Pauses | None = None
        while answer is not None and "error" in answer:
            error = ServerError(int(answer.get("status", 500)), answer)
            pauses = Pauses(self._retry) if pauses is None else pauses
            if not is_busy(error) or not await pauses.wait():
                raise error
            answer = await self._once(method, path, body, timeout, fine)
        return answer

    async def read(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that changes nothing: once more when the connection was lost, because it may have been stale."""
        try:
            return await self.request(method, path, body)
        except ConnectionLost:
            return await self.request(method, path, body)

    async def _once(self, method: str, path: str, body: Any, timeout: float | None, fine: bytes | None) -> Any:
        transport = self._transport or await self._made()
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        try:
            # Not by its perform_request(), which retries, and costs as much again as the rest of a small request.
            status, _, found = await transport.get_connection().perform_request(method, path, None, data, timeout, _ERRORS)
            if status == _TOO_LARGE:
                return {"status": status, "error": {"type": "content_too_long", "reason": f"{len(data or b'')} bytes"}}
            return None if fine is not None and found[: len(fine)] == fine else orjson.loads(found)
        except ConnectionTimeout as exc:
            raise StatementTimeout(timeout or self._settings.statement_timeout) from exc
        except DriverConnectionError as exc:
            raise ConnectionLost(f"the connection to {self._settings.host}:{self._settings.port} was lost: {exc.error}") from exc
        except orjson.JSONDecodeError as exc:
            raise BackendError(f"{self._settings.host}:{self._settings.port} answered what is not JSON: {exc.doc[:200]!r}") from exc

    async def _made(self) -> AsyncTransport:
        async with self._making:
            if self._closed:
                raise PoolClosed("the backend was closed meanwhile")
            if self._transport is None:
                tls = await anyio.to_thread.run_sync(_tls_context, self._settings) if self._settings.tls else None
                transport = _transport(self._settings, tls)
                await transport._async_call()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  - makes its connections
                self._transport = transport
        return self._transport

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do in the background what a cancelled task must not wait for."""
        task = self._loop.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: who still waits gets it too, and what is left behind has an end of its own

    async def complete(self, work: Coroutine[Any, Any, T]) -> T:
        """Do what must not stop half-way; it goes on when whoever waits for it is cancelled."""
        task = self.spawn(work)
        await asyncio.wait([task])
        return task.result()

    async def close(self, timeout: float) -> None:
        """Close the connections; wait that many seconds for those in use, and for what goes on in the background."""
        deadline = monotonic() + timeout
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=timeout)
            async with self._making:
                self._closed = True  # whoever still waits for a busy server must not connect anew
            for connection in _connections(self._transport):
                if isinstance(connection, WireConnection):
                    await connection.pool.close(max(0.0, deadline - monotonic()))
                else:
                    await connection.close()
        finally:
            self.terminate()

    def terminate(self) -> None:
        """Close at once."""
        self._closed = True
        transport, self._transport = self._transport, None
        for connection in _connections(transport):
            if isinstance(connection, WireConnection):
                connection.pool.terminate()
            else:
                _abandon(connection.session)

    def stats(self) -> Mapping[str, Any]:
        """Return figures of the pool; empty before the first request."""
        for connection in _connections(self._transport):
            if isinstance(connection, WireConnection):
                return asdict(connection.pool.stats())
        return {}


def _abandon(session: Any) -> None:
    """Close a session of aiohttp without waiting; also when its loop has ended."""
    if session is not None:
        closing: Coroutine[Any, Any, None] = session.close()
        with suppress(StopIteration, RuntimeError):
            closing.send(None)  # closes its sockets; what is left would only wait for them
        closing.close()


def _connections(transport: AsyncTransport | None) -> list[Any]:
    pool: Any = None if transport is None else transport.connection_pool
    return [] if pool is None else list(pool.connections)


def _tls_context(settings: OpenSearchSettings) -> ssl.SSLContext:
    # In a thread: reading the authorities' certificates takes 60 ms, in which the loop would stand still.
    context = ssl.create_default_context(cafile=settings.ca_file)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _transport(settings: OpenSearchSettings, tls: ssl.SSLContext | None) -> AsyncTransport:
    options: dict[str, Any] = {"timeout": settings.statement_timeout}
    if settings.user is not None:
        options["http_auth"] = (settings.user, settings.password or "")
    if settings.wire == "aiohttp":
        options |= {
            "connection_class": AIOHttpConnection,
            "maxsize": settings.pool_max_size,
            "use_ssl": tls is not None,
            "ssl_context": tls,
        }
    else:
        options |= {"connection_class": WireConnection, "pool_options": _pool_options(settings), "tls": tls}
    hosts = [{"host": settings.host, "port": settings.port}]
    # The driver would send again what may have been done, and a busy server's refusal without a pause.
    return AsyncTransport(hosts, max_retries=0, **options)


def _pool_options(settings: OpenSearchSettings) -> PoolOptions:
    return PoolOptions(
        min_size=settings.pool_min_size,
        max_size=settings.pool_max_size,
        acquire_timeout=settings.acquire_timeout,
        connect_timeout=settings.connect_timeout,
        max_idle=settings.max_idle,
        max_lifetime=settings.max_lifetime,
    )
