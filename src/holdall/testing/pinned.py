"""``PinnedStore``: a store whose work is one transaction that is rolled back. Sessions, and calls outside them, become savepoints of it.

Everything runs in tasks of the pin's own, so that fixture and test may be different tasks, and a cancelled caller leaves the transaction
whole. Savepoints nest, and sessions of several tasks do not: whoever works has the connection alone until their session ends.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import (
    ConfigurationError,
    PoolClosed,
    PoolTimeout,
    SessionConflict,
    StatementTimeout,
    TransactionError,
    UnsupportedOperation,
)
from holdall.query.operations import Count, Exists, Fetch, FetchMany, Operation, Raw, Select
from holdall.record.metadata import ModelInfo
from holdall.record.record import Record
from holdall.store import BeginOptions, Difference, Store
from holdall.wrappers.refusing import refuse

T = TypeVar("T")
_SAVEPOINT = "holdall_pinned"
_READS = (Fetch, FetchMany, Select, Count, Exists)
_REMEDY = "mark the test with @pytest.mark.holdall(isolation='fresh')"


@asynccontextmanager
async def pinned(backend: Backend, *models: type[Record], patience: float = 5.0) -> AsyncGenerator[Backend]:
    """Open a backend whose work is rolled back at the end of the block; what the plugin's fixture ``backend`` does.

    Everybody who uses this backend in the block is inside: sessions, ``run``, dependencies of web frameworks, other tasks of the same event
    loop. They wait for one another.

    Args:
        models: initialised before; what ``initialize`` creates is not rolled back.
        patience: seconds to wait for a session of another task to end, before ``PoolTimeout``.

    Raises:
        UnsupportedOperation: the store has no sessions or no savepoints.
    """
    inner = backend.store
    store = PinnedStore(inner, patience=patience)
    backend.use_store(store)
    try:
        async with backend:
            await backend.initialize(*models)
            yield backend
    finally:
        backend.use_store(inner)
        await store.end()


class PinnedStore:
    """A store around another; make it inside the event loop that uses it, and call ``end()`` there."""

    def __init__(self, inner: Store, *, patience: float = 5.0) -> None:
        missing = {Capability.SESSIONS, Capability.SAVEPOINTS} - inner.capabilities
        if missing:
            raise refuse(inner, "the test", f"work that is rolled back; {_REMEDY}", missing)
        self.capabilities = inner.capabilities
        self.limits = inner.limits
        self.values = inner.values
        self._inner = inner
        self._pin = _Pin(inner, patience)
        self._prepared: set[ModelInfo] = set()

    async def open(self) -> None:
        """Connect."""
        self._pin.check()
        await self._inner.open()

    async def close(self, timeout: float) -> None:
        """Do nothing: what the test has done stays until ``end``, for whoever opens the backend again."""

    async def end(self, timeout: float = 10.0) -> None:
        """Roll everything back and close the store behind; wait up to ``timeout`` seconds for connections in use."""
        try:
            await self._pin.end()
        finally:
            await self._inner.close(timeout)

    async def ping(self) -> None:
        """Make one round trip, on the pinned connection where there is raw SQL."""
        if Capability.RAW_SQL in self.capabilities:
            await self.execute(Raw("fetch", "select 1", {}))
        else:
            await self._inner.ping()

    async def prepare(self, models: Sequence[ModelInfo]) -> None:
        """Create what is missing, outside the transaction; models that were prepared here before are passed over.

        Raises:
            ConfigurationError: there are new ones, and the transaction has begun: the two would wait for each other.
        """
        new = [info for info in models if info not in self._prepared]
        if new and self._pin.transaction.is_open:
            names = ", ".join(info.label for info in new)
            msg = f"initialize({names}) comes too late: the test's transaction has begun; name the models in the fixture backend_models"
            raise ConfigurationError(msg)
        if new:
            await self._inner.prepare(models)
            self._prepared.update(models)

    async def drop(self, models: Sequence[ModelInfo]) -> None:
        """Refuse: it could not be rolled back."""
        names = ", ".join(info.label for info in models)
        msg = f"drop({names}) cannot be rolled back at the end of the test; {_REMEDY}"
        raise UnsupportedOperation(msg)

    async def compare(self, models: Sequence[ModelInfo]) -> list[Difference]:
        """Compare what is committed."""
        return await self._inner.compare(models)

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation within a savepoint of its own, so that an error undoes it and no more."""
        await self._pin.take(None)
        return await self._pin.run(self._alone(operation))

    async def _alone(self, operation: Operation) -> Any:
        pin = self._pin
        transaction = pin.transaction
        try:
            await transaction.savepoint(_SAVEPOINT)
            was_open = transaction.is_open
            try:
                result = await transaction.execute(operation)
            except Exception as error:
                if was_open and not transaction.is_open:
                    pin.lost = error
                else:
                    await transaction.rollback_to(_SAVEPOINT)
                raise
            await transaction.release(_SAVEPOINT)
            return result
        finally:
            pin.give()

    async def stream(self, operation: Select, batch: int) -> _ListStream:
        """Start a query; it is read at once, because what comes between its batches may roll back a savepoint."""
        return _ListStream(await self.execute(operation), batch)

    def begin(self, options: BeginOptions) -> PinnedTransaction:
        """Return a transaction that is a savepoint. One at a time keeps the promises of every isolation level."""
        return PinnedTransaction(self._pin, options)

    def explain(self, operation: Operation) -> str:
        """Return what would be sent."""
        return self._inner.explain(operation)

    def stats(self) -> Mapping[str, Any]:
        """Return the figures of the store behind."""
        return self._inner.stats()


class _Pin:
    """The one transaction of a test, and who works on it."""

    def __init__(self, inner: Store, patience: float) -> None:
        self.transaction = inner.begin(BeginOptions())
        self.lost: Exception | None = None  # what took the whole transaction with it
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None  # the task whose session holds the connection
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ended = False

    def check(self) -> None:
        """Raise when the transaction cannot be used, or not from here."""
        if asyncio.get_running_loop() is not self._loop:
            msg = (
                "the test works in another event loop than the fixture that pinned its connection: give both the same loop scope, and "
                "call a web application by httpx.AsyncClient(transport=ASGITransport(app)): synchronous test clients run it in a loop of "
                "their own"
            )
            raise ConfigurationError(msg)
        if self._ended:
            msg = "the test is over, and its work is rolled back"
            raise PoolClosed(msg)
        if self.lost is not None:
            msg = f"the connection that held the work of this test is gone ({self.lost}); {_REMEDY} to test lost connections"
            raise TransactionError(msg) from self.lost

    async def take(self, holder: asyncio.Task[Any] | None) -> None:
        """Wait for the connection; ``holder`` keeps it for a session."""
        self.check()
        if self._holder is not None and self._holder is asyncio.current_task():
            msg = f"this task works outside its open session, on the one connection that the test has; {_REMEDY}"
            raise SessionConflict(msg)
        try:
            async with asyncio.timeout(self._patience):
                await self._lock.acquire()
        except TimeoutError:
            name = "a call" if self._holder is None else f"the session of {self._holder.get_name()}"
            raise PoolTimeout(self._patience, [f"{name}; all work of this test shares one connection: {_REMEDY}"]) from None
        self._holder = holder

    def give(self) -> None:
        """Let the next one work."""
        self._holder = None
        self._lock.release()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something on the transaction, whatever becomes of the caller."""
        task = self._loop.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the transaction and wait for it."""
        return await asyncio.shield(self.start(work))

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the caller may have been cancelled, and nobody else asks

    async def end(self) -> None:
        """Wait for what runs, and roll back."""
        self._ended = True
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.transaction.rollback()


class PinnedTransaction:
    """A session's transaction: a savepoint from its first statement to its end, during which nobody else works on the connection."""

    def __init__(self, pin: _Pin, options: BeginOptions) -> None:
        self._pin = pin
        self._options = options
        self._held = False
        self._last: asyncio.Task[Any] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open now."""
        return self._held

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation; a read-only session refuses all but reads, and raw SQL that does not fetch."""
        if self._options.read_only and not isinstance(operation, _READS) and not (isinstance(operation, Raw) and operation.mode == "fetch"):
            msg = "the session is read-only"
            raise TransactionError(msg)
        return await self._run(lambda: self._pin.transaction.execute(operation))

    async def stream(self, operation: Select, batch: int) -> _ListStream:
        """Start a query; it is read at once."""
        return _ListStream(await self.execute(operation), batch)

    async def _run(self, work: Callable[[], Awaitable[T]]) -> T:
        pin = self._pin
        if self._held:
            pin.check()
            task = pin.start(self._statement(work))
        else:
            await pin.take(asyncio.current_task())
            self._held = True
            task = pin.start(self._first_statement(work))
        self._last = task
        try:
            async with asyncio.timeout(self._options.timeout):
                return await asyncio.shield(task)
        except TimeoutError:
            if task.done():
                raise
            raise StatementTimeout(self._options.timeout) from None

    async def _first_statement(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            await self._pin.transaction.savepoint(_SAVEPOINT)
        except Exception:
            if self._held:  # else it was abandoned, and what undoes it gives the connection back
                self._held = False
                self._pin.give()
            raise
        return await self._statement(work)

    async def _statement(self, work: Callable[[], Awaitable[T]]) -> T:
        transaction = self._pin.transaction
        was_open = transaction.is_open
        try:
            return await work()
        except Exception as error:
            if was_open and not transaction.is_open:
                self._pin.lost = error
            raise

    async def commit(self) -> None:
        """Keep the work, for the rest of the test."""
        await self._end(self._pin.transaction.release)

    async def rollback(self) -> None:
        """Undo the work."""
        await self._end(self._undo)

    async def _undo(self, name: str) -> None:
        if self._pin.lost is None:
            await self._pin.transaction.rollback_to(name)

    async def _end(self, end: Callable[[str], Awaitable[None]]) -> None:
        if self._held:
            self._held = False
            await self._pin.run(self._after_last(end, self._last))

    async def _after_last(self, end: Callable[[str], Awaitable[None]], last: asyncio.Task[Any] | None) -> None:
        try:
            if last is not None:
                await asyncio.wait([last])  # its caller was cancelled or timed out, and it runs on
            await end(_SAVEPOINT)
        finally:
            self._pin.give()

    def abandon(self) -> None:
        """Undo the work without waiting."""
        if self._held:
            self._held = False
            self._pin.start(self._after_last(self._undo, self._last))

    async def savepoint(self, name: str) -> None:
        """Set a savepoint within."""
        await self._run(lambda: self._pin.transaction.savepoint(name))

    async def release(self, name: str) -> None:
        """Give up a savepoint."""
        await self._run(lambda: self._pin.transaction.release(name))

    async def rollback_to(self, name: str) -> None:
        """Undo what was done since a savepoint, and remove it."""
        await self._run(lambda: self._pin.transaction.rollback_to(name))


class _ListStream:
    """A stream over objects that are there already."""

    def __init__(self, found: list[Any], batch: int) -> None:
        self._found = found
        self._batch = batch

    async def fetch(self) -> list[Any]:
        batch, self._found = self._found[: self._batch], self._found[self._batch :]
        return batch

    async def aclose(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        self._found = []
