"""The memory store. Its operations run to their end without waiting, so that each is atomic; transactions work on tables of their own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdall.capabilities import WRITING
from holdall.errors import LockNotAvailable, PoolClosed, SerializationError, TransactionError
from holdall.query.operations import Fetch, Operation, Select
from holdall.record.decoder import Expression
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.store import BeginOptions, Difference
from holdall.stores.memory.capabilities import CAPABILITIES, LIMITS
from holdall.stores.memory.operations import READS, WRITES, check_known
from holdall.stores.memory.settings import MemorySettings
from holdall.stores.memory.tables import Row, Tables


class MemoryStore:
    """Records in this process; they go with the backend."""

    limits = LIMITS

    def __init__(self, settings: MemorySettings, data: Data | None = None) -> None:
        self.settings = settings
        self.capabilities = CAPABILITIES - WRITING if settings.read_only else CAPABILITIES
        self.data = Data(Tables({}), _Writer(settings.acquire_timeout)) if data is None else data
        self._closed = False

    def share(self, settings: MemorySettings) -> MemoryStore:
        """Return a store of the same records."""
        return MemoryStore(settings, self.data)

    @staticmethod
    def values(_: FieldSpec) -> Expression | None:
        """Rows are plain rows already."""
        return None

    async def open(self) -> None:
        """Be usable (again)."""
        self._closed = False

    async def close(self, timeout: float) -> None:
        """Refuse further use; the records stay for whoever opens the backend again."""
        del timeout
        self._closed = True

    async def ping(self) -> None:
        """Answer."""
        self.check_open()

    def check_open(self) -> None:
        """Raise ``PoolClosed`` after ``close``."""
        if self._closed:
            msg = "the backend is closed"
            raise PoolClosed(msg)

    async def prepare(self, models: Sequence[ModelInfo]) -> None:
        """Make the tables that are missing."""
        self.check_open()
        await self.data.writer.acquire()
        try:
            for info in models:
                self.data.tables.add(info)
        finally:
            self.data.writer.release()

    async def drop(self, models: Sequence[ModelInfo]) -> None:
        """Remove the tables of the models."""
        self.check_open()
        await self.data.writer.acquire()
        try:
            for info in models:
                self.data.tables.drop(info)
        finally:
            self.data.writer.release()

    async def compare(self, models: Sequence[ModelInfo]) -> list[Difference]:
        """Return the tables that were never made; those that were cannot differ, because they are made of the models alone."""
        self.check_open()
        known = {table.info.name for table in self.data.tables}
        missing = [info for info in models if info.name not in known]
        return [Difference("table", info.name, info.name, ", ".join(spec.stored_name for spec in info.fields), None) for info in missing]

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation; a write is all or nothing."""
        self.check_open()
        read = READS.get(type(operation))
        if read is not None:
            return run(read, self.data.tables, operation)
        await self.data.writer.acquire()
        try:
            tables = self.data.tables.fork()  # a write that fails half-way leaves nothing behind
            result = run(WRITES[type(operation)], tables, operation)
            self.data.tables = tables
            return result
        finally:
            self.data.writer.release()

    async def stream(self, operation: Select, batch: int) -> ListStream:
        """Start a query; it sees the records of this moment."""
        return ListStream(await self.execute(operation), batch)

    def begin(self, options: BeginOptions) -> MemoryTransaction:
        """Return a transaction that begins with its first statement."""
        return MemoryTransaction(self, options)

    def explain(self, operation: Operation) -> str:
        """Say how the operation is carried out."""
        how = "lookup by key" if isinstance(operation, Fetch) else "scan in memory"
        return f"{how} of {getattr(operation, 'info').name}"  # noqa: B009

    def stats(self) -> Mapping[str, Any]:
        """Return how many records there are."""
        return {table.info.name: len(table.rows) for table in self.data.tables}


def run(function: Any, tables: Tables, operation: Any) -> Any:
    """Carry out one operation on tables."""
    check_known(tables, operation.info)
    return function(tables, operation)


class ListStream:
    """A stream over objects that are there already."""

    def __init__(self, found: list[Any], batch: int) -> None:
        self._found = found
        self._batch = batch

    async def fetch(self) -> list[Any]:
        """Return the next batch."""
        batch, self._found = self._found[: self._batch], self._found[self._batch :]
        return batch

    async def aclose(self) -> None:
        """Forget the rest."""
        self.abandon()

    def abandon(self) -> None:
        """Forget the rest."""
        self._found = []


@dataclass
class Data:
    """What is committed, and the right to change it; stores of the same data share it."""

    tables: Tables
    writer: _Writer


class _Writer:
    """The right to write: one at a time, first come, first served."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._held = False
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def acquire(self, *, nowait: bool = False) -> None:
        if not self._held:
            self._held = True
            return
        if nowait:
            msg = "another session is writing"
            raise LockNotAvailable(msg)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(self._timeout, self._expire, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release()  # the turn had come in the same moment: pass it on
            raise
        finally:
            timer.cancel()

    def _expire(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_exception(LockNotAvailable(f"another session has been writing for {self._timeout:g} s; end sessions sooner"))

    def release(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._held = False


class MemoryTransaction:
    """Reads see what is committed (or one snapshot); the first write, or locking read, takes the right to write until the end.

    At ``serializable`` the first statement does.
    """

    def __init__(self, store: MemoryStore, options: BeginOptions) -> None:
        self._store = store
        self._options = options
        self._snapshot: Tables | None = None
        self._work: Tables | None = None  # what this transaction sees and changes, once it writes
        self._savepoints: list[tuple[str, Tables | None]] = []

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open now."""
        return self._work is not None or self._snapshot is not None

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation."""
        self._store.check_open()
        read = READS.get(type(operation))
        lock = getattr(operation, "lock", None)
        if self._options.isolation == "serializable" and not self._options.read_only:
            await self._begin_write(nowait=False)
        elif self._options.isolation is not None or self._options.read_only:
            self._snapshot = self._snapshot or self._store.data.tables.fork()
        if read is not None and lock is None:
            return run(read, self._work or self._snapshot or self._store.data.tables, operation)
        if self._options.read_only:
            msg = "the session is read-only"
            raise TransactionError(msg)
        await self._begin_write(nowait=lock is not None and lock.nowait)
        assert self._work is not None
        if read is not None:
            return run(read, self._work, operation)
        work = self._work.fork()
        result = run(WRITES[type(operation)], work, operation)
        self._work = work
        return result

    async def _begin_write(self, *, nowait: bool) -> None:
        if self._work is not None:
            return
        await self._store.data.writer.acquire(nowait=nowait)
        self._work = self._store.data.tables.fork()
        if self._snapshot is not None and self._options.isolation != "serializable" and _rows(self._snapshot) != _rows(self._work):
            self._work = None
            self._store.data.writer.release()
            msg = "the snapshot of this transaction is out of date: another one has written since; run it again"
            raise SerializationError(msg)

    async def stream(self, operation: Select, batch: int) -> ListStream:
        """Start a query; it sees the records of this moment."""
        return ListStream(await self.execute(operation), batch)

    async def commit(self) -> None:
        """Publish the changes."""
        if self._work is not None:
            self._store.data.tables = self._work
        self.abandon()

    async def rollback(self) -> None:
        """Forget the changes."""
        self.abandon()

    def abandon(self) -> None:
        """Forget the changes."""
        self._snapshot = None
        self._savepoints.clear()
        if self._work is not None:
            self._work = None
            self._store.data.writer.release()

    async def savepoint(self, name: str) -> None:
        """Remember the state."""
        self._savepoints.append((name, None if self._work is None else self._work.fork()))

    async def release(self, name: str) -> None:
        """Forget the remembered state."""
        while self._savepoints and self._savepoints.pop()[0] != name:
            pass

    async def rollback_to(self, name: str) -> None:
        """Go back to the remembered state."""
        while self._savepoints:
            found, work = self._savepoints.pop()
            if found == name:
                if self._work is not None:
                    self._work = work or self._store.data.tables.fork()
                return


def _rows(tables: Tables) -> Mapping[str, Mapping[Any, Row]]:
    return {table.info.name: table.rows for table in tables}
