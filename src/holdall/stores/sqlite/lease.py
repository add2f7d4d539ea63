"""A connection of its own for one session or stream."""

from __future__ import annotations

from asyncio import CancelledError
from time import monotonic
from typing import TYPE_CHECKING, Literal, TypeVar, TypeVarTuple

from holdall.errors import PoolClosed, SessionClosed, TransactionError
from holdall.stores.sqlite.connection import patiently, roll_back
from holdall.stores.sqlite.pooled import Connector, Opened, PooledConnection, SessionOperation

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from holdall.pool import Pool, Slot
    from holdall.stores.sqlite.worker import Worker
    from holdall.stores.sqlite.writer import Writer

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_BEGIN_WRITE = "begin immediate"
# Takes the write lock inside an open transaction, and changes nothing unless the file was set to incremental auto-vacuum (then a page).
_UPGRADE = "pragma incremental_vacuum(1)"


class _Locking(SessionOperation):
    """Takes the write lock, waiting for other processes until a deadline or until nobody waits for it any more."""

    __slots__ = ("_deadline", "_sql")

    def __init__(self, pooled: PooledConnection, worker: Worker, sql: str, deadline: float) -> None:
        super().__init__(pooled, worker, _execute, interruptible=False)
        self._sql = sql
        self._deadline = deadline

    def perform(self, connection: sqlite3.Connection, worker: Worker) -> None:  # noqa: ARG002 (its deadline is its own)
        try:
            patiently(lambda: _execute(connection, self._sql), self._deadline, self.future.done)
        except BaseException as error:  # noqa: BLE001 (raised where the result is awaited)
            self.fail(error)


class SessionConnection:
    """A connection out of the pool. It runs one operation at a time; whoever shares it waits.

    Outside a transaction each read sees what is committed. While it holds the right to write, it runs in the writer's thread, which has
    nothing else to do then; otherwise in the sessions' thread.
    """

    def __init__(self, pool: Pool[PooledConnection], slot: Slot[PooledConnection], connector: Connector, workers: Workers) -> None:
        self._pool = pool
        self._slot: Slot[PooledConnection] | None = slot
        self._pooled = slot.connection
        self._connector = connector
        self._workers = workers
        self._mode: Literal["write", "snapshot"] | None = None
        self._read_only = False
        self._broken = False  # a begin or commit whose end is not known: only rollback() and abandon() are left

    async def run(self, fn: Callable[[sqlite3.Connection, *Ts], R], *args: *Ts, timeout: float | None = None) -> R:
        """Run a function in a worker thread; a cancel interrupts it, which rolls a write transaction back as a whole."""
        await self._ready()
        operation = SessionOperation(self._pooled, self._worker, fn, args)
        result: R = await operation.run(self._workers.statement_timeout if timeout is None else timeout)
        return result

    def opens(self, close: Opened) -> None:
        """Note a cursor that is about to be opened, and how to close it in the worker thread; a lease ends with it open or closed."""
        self._pooled.opened.append(close)

    async def close(self, close: Opened) -> None:
        """Close a cursor."""
        await self.run(close)
        if close in self._pooled.opened:
            self._pooled.opened.remove(close)

    async def begin_write(self, timeout: float | None = None, *, nowait: bool = False) -> None:
        """Wait for the right to write and begin a transaction with it.

        Raises:
            LockNotAvailable: it was not to be had within ``timeout`` seconds (default: the engine's ``busy_timeout``), or at once.
        """
        await self._ready()
        self._require(None)
        await self._lock(_BEGIN_WRITE, timeout, nowait=nowait)

    async def begin_snapshot(self, *, read_only: bool = False) -> None:
        """Begin a transaction whose reads all see the database of this moment."""
        await self._ready()
        self._require(None)
        self._broken = True
        await SessionOperation(self._pooled, self._worker, _begin_snapshot, (read_only,), interruptible=False).run()
        self._broken = False
        self._mode = "snapshot"
        self._read_only = read_only

    async def upgrade_to_write(self, timeout: float | None = None, *, nowait: bool = False) -> None:
        """Wait for the right to write inside a snapshot.

        Raises:
            SerializationError: the database has changed since the snapshot was taken.
            LockNotAvailable: as for ``begin_write``.
        """
        await self._ready()
        self._require("snapshot")
        await self._lock(_UPGRADE, timeout, nowait=nowait)

    async def commit(self) -> None:
        """Commit, and let the next one write. A cancelled commit may have happened."""
        await self._ready()
        if self._mode is None:
            return
        self._broken = True
        await SessionOperation(self._pooled, self._worker, _end, ("commit", self._read_only), interruptible=False).run()
        self._ended()

    async def rollback(self) -> None:
        """Roll back what is open, and let the next one write."""
        self._connection()
        await self._pooled.wait_idle()
        self._connection()
        self._broken = True
        await SessionOperation(self._pooled, self._worker, _end, ("rollback", self._read_only), interruptible=False).run()
        self._ended()

    def give_back(self, *, clean: bool = True) -> None:
        """Give the connection back; the pool mends it when it is not clean: a transaction, cursor or setting is left behind."""
        if self._slot is None:
            return
        pooled = self._pooled
        clean = clean and not pooled.closed
        clean = clean and not self._broken and self._mode is None and pooled.current is None and pooled.ticket is None and not pooled.opened
        if clean and not pooled.raw.in_transaction:
            slot, self._slot = self._slot, None
            self._pool.give(slot)
        else:
            self.abandon()

    def abandon(self) -> None:
        """Stop what runs and leave the rest (rollback, the right to write) to the pool; for a task that was cancelled."""
        if self._slot is None:
            return
        self._pooled.interrupt()
        slot, self._slot = self._slot, None
        self._pool.hand_off(slot)

    @property
    def in_transaction(self) -> bool:
        """Tell whether a transaction is open that the database has not rolled back by itself."""
        return self._slot is not None and self._mode is not None and not self._pooled.closed and self._pooled.raw.in_transaction

    @property
    def holds_writer(self) -> bool:
        """Tell whether nobody else may write now."""
        return self._slot is not None and self._pooled.ticket is not None

    @property
    def _worker(self) -> Worker:
        return self._workers.sessions if self._pooled.ticket is None else self._workers.writing

    def _connection(self) -> None:
        if self._slot is None:
            raise SessionClosed("the connection was given back already; take another one from the engine")
        if self._pooled.closed:
            raise PoolClosed("the backend was closed while the session was open; its transaction was rolled back")

    async def _ready(self) -> None:
        self._connection()
        if self._pooled.current is not None:
            await self._pooled.wait_idle()
            self._connection()
        if self._broken:
            raise TransactionError("the transaction's begin or commit was cut off; roll back before anything else")
        if self._mode is not None and not self._pooled.raw.in_transaction:
            raise TransactionError("sqlite has rolled the transaction back (an interrupted write, a full disk); roll back and run it again")

    def _require(self, mode: Literal["snapshot"] | None) -> None:
        if self._mode != mode:
            raise TransactionError(f"the connection has a {self._mode or 'closed'} transaction, where {mode or 'no open'} one is needed")

    async def _lock(self, sql: str, timeout: float | None, *, nowait: bool) -> None:
        patience = 0.0 if nowait else self._workers.writing.patience if timeout is None else timeout
        deadline = monotonic() + patience
        writer = self._workers.writer
        ticket = writer.take_nowait() if nowait else await writer.take(patience)
        if self._slot is None:  # given back by somebody else during the wait
            writer.release(ticket)
        self._connection()
        self._pooled.ticket = ticket
        try:
            await self._pooled.wait_idle()
            self._connection()
            await _Locking(self._pooled, self._workers.writing, sql, deadline).run()
        except CancelledError:
            self._broken = True  # it may have begun; the ticket stays with the connection until that is undone
            raise
        except BaseException:
            self._connector.release(self._pooled)
            raise
        self._mode = "write"

    def _ended(self) -> None:
        self._mode = None
        self._broken = self._read_only = False
        self._connector.release(self._pooled)


class Workers:
    """What a lease runs on."""

    def __init__(self, sessions: Worker, writing: Worker, writer: Writer, statement_timeout: float | None) -> None:
        self.sessions = sessions
        self.writing = writing
        self.writer = writer
        self.statement_timeout = statement_timeout


def _execute(connection: sqlite3.Connection, sql: str) -> None:
    connection.execute(sql).fetchall()


def _begin_snapshot(connection: sqlite3.Connection, read_only: bool) -> None:  # noqa: FBT001 (called through the worker)
    if read_only:
        connection.execute("pragma query_only=on")
    connection.execute("begin")
    connection.execute("select 1 from sqlite_schema limit 1").fetchall()  # BEGIN takes no snapshot; the first read does


def _end(connection: sqlite3.Connection, sql: Literal["commit", "rollback"], read_only: bool) -> None:  # noqa: FBT001
    if sql == "commit":
        connection.execute("commit")
    else:
        roll_back(connection)
    if read_only:
        connection.execute("pragma query_only=off")
