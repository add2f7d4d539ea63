"""Transactions and streams on SQLite.

At read committed, reads see what is committed and need no connection of their own; the first write, or locking read, takes the right to
write and begins. A snapshot (repeatable read, read-only) begins with the first statement, and so does a serializable transaction, with the
right to write.
"""

from __future__ import annotations

import sqlite3
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from holdall.errors import BackendError, LockNotAvailable, StatementTimeout, TransactionError
from holdall.query import operations as op
from holdall.query.operations import Operation, Select
from holdall.sql.compiler import Statement
from holdall.store import BeginOptions
from holdall.stores.sqlite import execution
from holdall.stores.sqlite.errors import EXPLAINED, error_name

if TYPE_CHECKING:
    from holdall.stores.sqlite.lease import SessionConnection
    from holdall.stores.sqlite.store import SqliteStore


class SqliteTransaction:
    """One transaction after another."""

    def __init__(self, store: SqliteStore, options: BeginOptions) -> None:
        self._store = store
        self._options = options
        self._lease: SessionConnection | None = None
        self._savepoints: list[str] = []  # set before the transaction has begun

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open now."""
        return self._lease is not None

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation."""
        store = self._store
        lock: op.Lock | None = getattr(operation, "lock", None)
        reads = type(operation) in execution.READS and lock is None
        await self._begin(
            writes=not reads and not (isinstance(operation, op.Raw) and operation.mode == "fetch"), nowait=lock is not None and lock.nowait
        )
        if isinstance(operation, op.Raw):
            return await self._raw(operation)
        try:
            if type(operation) in execution.READS:
                run, args = execution.READS[type(operation)](store.compiler, operation)
                return store.result_of(operation, await self._read(run, args))
            run, args, _ = store.write_of(operation, alone=False)
            return store.result_of(operation, await self._run(run, args))
        except EXPLAINED as exc:
            raise store.explained(operation, exc) from exc.__cause__

    async def _read(self, run: Any, args: tuple[Any, ...]) -> Any:
        if self._lease is None:
            return await self._store.engine.select(run, *args, timeout=self._options.timeout)
        return await self._run(run, args)

    async def _run(self, run: Any, args: tuple[Any, ...]) -> Any:
        assert self._lease is not None
        try:
            return await self._lease.run(run, *args, timeout=self._options.timeout)
        except CancelledError:
            self.abandon()
            raise
        except BackendError as exc:
            if self._options.read_only and exc.__cause__ is not None and error_name(exc.__cause__) == "SQLITE_READONLY":
                raise _read_only() from exc.__cause__
            raise

    async def _raw(self, operation: op.Raw) -> Any:
        from holdall.stores.sqlite.store import reading_first  # noqa: PLC0415 - the store makes transactions

        async def write() -> Any:
            await self._begin(writes=True, nowait=False)
            return await self._run(execution.raw, (operation,))

        return await reading_first(lambda: self._read(execution.raw, (operation,)), write, operation)

    async def _begin(self, *, writes: bool, nowait: bool) -> None:
        options = self._options
        if writes and options.read_only:
            raise _read_only()
        snapshot = options.read_only or options.isolation == "repeatable read"
        at_once = options.isolation == "serializable" and not options.read_only
        if self._lease is None:
            if not (writes or snapshot or at_once):
                return
            lease = await self._store.engine.session()
            try:
                if snapshot:
                    await lease.begin_snapshot(read_only=options.read_only)
                else:
                    await self._wait_for_turn(lease.begin_write, nowait=nowait)
            except BaseException:
                lease.abandon()
                raise
            self._lease = lease
            for name in self._savepoints:
                await self._run(_execute, (f"savepoint {name}",))
        if writes and snapshot and not self._lease.holds_writer:
            try:
                await self._wait_for_turn(self._lease.upgrade_to_write, nowait=nowait)
            except CancelledError:
                self.abandon()
                raise

    async def _wait_for_turn(self, take: Callable[..., Awaitable[None]], *, nowait: bool) -> None:
        timeout = self._options.timeout
        try:
            await take(timeout, nowait=nowait)
        except LockNotAvailable as exc:
            if timeout is None or nowait:
                raise
            raise StatementTimeout(timeout) from exc

    async def stream(self, operation: Select, batch: int) -> SqliteStream:
        """Start a query: on the transaction's connection if it has one, else on its own."""
        await self._begin(writes=operation.lock is not None, nowait=operation.lock is not None and operation.lock.nowait)
        if self._lease is None:
            return await self._store.stream(operation, batch)
        try:
            return await SqliteStream.start(self._store, self._lease, operation, batch, owned=False)
        except CancelledError:
            self.abandon()
            raise

    async def commit(self) -> None:
        """Commit and give the connection back."""
        self._savepoints.clear()
        lease = self._lease
        if lease is None:
            return
        self._lease = None
        try:
            await lease.commit()
        except BaseException:
            lease.abandon()
            raise
        lease.give_back()

    async def rollback(self) -> None:
        """Roll back and give the connection back."""
        self._savepoints.clear()
        lease = self._lease
        if lease is None:
            return
        self._lease = None
        try:
            await lease.rollback()
        except BaseException:
            lease.abandon()
            raise
        lease.give_back()

    def abandon(self) -> None:
        """Leave stopping and rolling back to the pool."""
        self._savepoints.clear()
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.abandon()

    async def savepoint(self, name: str) -> None:
        """Set a savepoint; one before the transaction has begun is set when it begins."""
        if self._lease is None:
            self._savepoints.append(name)
        else:
            await self._run(_execute, (f"savepoint {name}",))

    async def release(self, name: str) -> None:
        """Give up a savepoint."""
        if self._lease is None:
            self._savepoints.remove(name)
        else:
            await self._run(_execute, (f"release {name}",))

    async def rollback_to(self, name: str) -> None:
        """Undo what was done since a savepoint, and remove it."""
        if self._lease is None:
            self._savepoints.remove(name)
        else:
            await self._run(_execute, (f"rollback to {name}",))
            await self._run(_execute, (f"release {name}",))


def _read_only() -> TransactionError:
    return TransactionError("the session is read-only")


def _execute(connection: sqlite3.Connection, text: str) -> None:
    connection.execute(text)


class SqliteStream:
    """A cursor, read batch by batch in a worker thread."""

    def __init__(self, lease: SessionConnection, cursors: _Cursors, operation: Select, batch: int, *, owned: bool) -> None:
        self._lease = lease
        self._cursors = cursors
        self._operation = operation
        self._batch = batch
        self._owned = owned
        self._done = False

    @classmethod
    async def start(cls, store: SqliteStore, lease: SessionConnection, operation: Select, batch: int, *, owned: bool) -> SqliteStream:
        """Start a query on a connection; ``owned`` ones give it back at their end."""
        cursors = _Cursors(store.compiler.select(operation))
        lease.opens(cursors.close)
        return cls(lease, cursors, operation, batch, owned=owned)

    async def fetch(self) -> list[Any]:
        """Return the next batch of objects."""
        found: list[Any] = await self._lease.run(self._cursors.fetch, self._operation, self._batch)
        return found

    async def aclose(self) -> None:
        """Close the cursor, and give an owned connection back."""
        if self._done:
            return
        self._done = True
        try:
            await self._lease.close(self._cursors.close)
        except BaseException:
            if self._owned:
                self._lease.abandon()
            raise
        if self._owned:
            self._lease.give_back()

    def abandon(self) -> None:
        """Leave the cursor to the pool, or to the end of the session."""
        self._done = True
        if self._owned:
            self._lease.abandon()


class _Cursors:
    """The cursor of a query; lives in the worker thread."""

    def __init__(self, statements: list[Statement]) -> None:
        self._statement = statements[0]
        self._cursor: sqlite3.Cursor | None = None

    def fetch(self, connection: sqlite3.Connection, operation: Select, batch: int) -> list[Any]:
        if self._cursor is None:
            self._cursor = connection.execute(self._statement.text, self._statement.values)
        found: list[Any] = operation.decoder.many(self._cursor.fetchmany(batch))
        return found

    def close(self, _: sqlite3.Connection) -> None:
        if self._cursor is not None:
            self._cursor.close()
