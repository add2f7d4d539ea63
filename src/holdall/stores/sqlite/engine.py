"""The SQLite engine of one event loop and one file: readers, one writer with a queue, and connections for sessions.

::

    read ───► reader thread      gets: takes all that wait, answers with one wake-up
    select ─► select thread      queries with many rows, so that a long one blocks no get
    write ──► Writer (FIFO) ───► writer thread     waiting single writes share a commit
    session ► pool ► sessions thread, and the writer's thread while the session holds the right to write
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from holdall.errors import ConfigurationError, LockNotAvailable, PoolClosed
from holdall.pool import Pool, forks
from holdall.stores.sqlite.connection import Connections, EngineOptions
from holdall.stores.sqlite.lease import SessionConnection, Workers
from holdall.stores.sqlite.mailbox import Mailbox
from holdall.stores.sqlite.pooled import Connector
from holdall.stores.sqlite.worker import CLOSED, FORKED, Operation, Worker
from holdall.stores.sqlite.writer import Writer

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_LAST_SECONDS = 1.0  # for interrupted statements to end, after close() ran into its deadline


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What the engine is doing.

    Attributes:
        connections: open connections to the file, the threads' own included.
        threads: running worker threads.
        reads_waiting: reads that no thread has taken yet.
        writes_waiting: single writes and sessions that wait for the right to write.
        commits: transactions made for single writes.
        writes: single writes that were sent in them.
    """

    connections: int
    threads: int
    reads_waiting: int
    writes_waiting: int
    commits: int
    writes: int


class Engine:
    """Runs functions ``fn(connection, *args)`` in worker threads; belongs to the event loop in which it was made.

    A function leaves no open cursor and no open transaction behind. One that writes may be run again after what it did was rolled back.
    """

    def __init__(self, options: EngineOptions) -> None:
        self._loop = asyncio.get_running_loop()
        self._statement_timeout = options.statement_timeout
        self._mailbox = mailbox = Mailbox(self._loop)
        self._connections = connections = Connections(options)
        self._reader = Worker("holdall-sqlite-get", mailbox, connections, options, read_only=True)
        self._selector = Worker("holdall-sqlite-select", mailbox, connections, options, read_only=True)
        self._writing = Worker("holdall-sqlite-write", mailbox, connections, options)
        self._sessions = Worker("holdall-sqlite-session", mailbox, connections, options)
        self._workers = (self._reader, self._selector, self._writing, self._sessions)
        self._writer = Writer(self._writing, self._loop, options.busy_timeout)
        self._connector = Connector(connections, self._sessions, self._writer)
        self.pool = Pool(self._connector, options.pool)
        self._leasing = Workers(self._sessions, self._writing, self._writer, options.statement_timeout)
        self._closed = False
        self._forked = False
        self._terminated = False
        self._closing: asyncio.Task[None] | None = None
        # An engine that nobody closed: its threads end when it is forgotten. They know the workers, never the engine.
        weakref.finalize(self, _stop, self._workers, connections).atexit = False
        forks.watch(self)

    async def open(self) -> None:
        """Open the file, and create it when it does not exist."""
        self._require_open()
        await self._call(self._writing, _probe, (), None)
        await self._call(self._reader, _probe, (), None)

    async def read(self, fn: Callable[[sqlite3.Connection, *Ts], R], *args: *Ts, timeout: float | None = None) -> R:
        """Run a short read; for reads by key. The connection refuses to write."""
        self._require_open()
        operation = Operation(self._loop.create_future(), fn, args)
        self._reader.submit(operation)
        result: R = await self._reader.wait(operation, self._statement_timeout if timeout is None else timeout)
        return result

    async def select(self, fn: Callable[[sqlite3.Connection, *Ts], R], *args: *Ts, timeout: float | None = None) -> R:
        """Run a read that may take long, beside the short ones. The connection refuses to write."""
        self._require_open()
        result: R = await self._call(self._selector, fn, args, timeout)
        return result

    async def write(
        self, fn: Callable[[sqlite3.Connection, *Ts], R], *args: *Ts, groupable: bool = True, timeout: float | None = None
    ) -> R:
        """Run a write in a transaction, and return when it is committed.

        A groupable one is a single statement: it may share its transaction with others that wait, and once it runs it cannot be stopped
        (when its task is cancelled then, its outcome is unknown). The others run alone, and a cancel or timeout rolls them back.

        Raises:
            LockNotAvailable: somebody else held the right to write for the whole ``busy_timeout``.
            StatementTimeout: it did not begin, or did not end, within ``timeout`` seconds.
        """
        self._require_open()
        timeout = self._statement_timeout if timeout is None else timeout
        result: R = await self._writer.write(fn, args, groupable=groupable, timeout=timeout)
        return result

    async def session(self, timeout: float | None = None) -> SessionConnection:
        """Take a connection out of the pool, for one session or stream; end it with ``give_back`` or ``abandon``."""
        self._require_open()
        slot = self.pool.take() or await self.pool.acquire(timeout)
        return SessionConnection(self.pool, slot, self._connector, self._leasing)

    def stats(self) -> EngineStats:
        """Tell what the engine is doing; ``pool.stats()`` tells it of session connections."""
        return EngineStats(
            connections=len(self._connections),
            threads=sum(worker.running for worker in self._workers),
            reads_waiting=self._reader.waiting() + self._selector.waiting(),
            writes_waiting=self._writer.waiting(),
            commits=self._writer.groups,
            writes=self._writer.grouped,
        )

    async def close(self, timeout: float = 10.0) -> None:
        """Refuse what is new, wait for sessions and for what was asked before, then end the threads.

        After ``timeout`` seconds what still runs is interrupted and rolled back. Closing twice does no harm; when the closing task is
        cancelled, the engine goes on closing.
        """
        self._closed = True
        if self._forked or self._terminated:
            return
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(timeout), name="holdall-sqlite-close", context=contextvars.Context())
        await asyncio.wait([self._closing])
        self._closing.result()

    def terminate(self) -> None:
        """End everything without waiting: what runs is interrupted, what waits fails. Also fit for an event loop that is closed already."""
        if self._forked or self._terminated:
            return
        self._closed = self._terminated = True
        self.pool.terminate()
        _stop(self._workers, self._connections)
        for worker in self._workers:
            worker.refuse_rest()
        if not self._loop.is_closed():
            self._writer.refuse_rest()
            ending = [worker.ended for worker in self._workers if worker.running]
            for ended in ending:
                ended.add_done_callback(lambda _: self._mailbox.detach() if all(each.done() for each in ending) else None)

    def leave_to_parent(self) -> object:
        """Let go, in a forked child, of the parent's threads and connections, which must not even be closed here."""
        self._closed = self._forked = True
        for worker in self._workers:
            worker.leave_to_parent()
        return self._workers, self._connections, self._mailbox

    async def _close(self, timeout: float) -> None:
        deadline = self._loop.time() + timeout
        await self.pool.close(timeout)
        with contextlib.suppress(LockNotAvailable):  # then who still waits is refused
            self._writer.release(await self._writer.take(max(deadline - self._loop.time(), 0)))  # the queue is served in order
        self._writer.refuse_rest()
        ending = [worker.ended for worker in self._workers if worker.running]
        _stop(self._workers, self._connections)
        if ending and (await asyncio.wait(ending, timeout=max(deadline - self._loop.time(), 0)))[1]:
            for worker in self._workers:
                worker.refuse_rest()
            await asyncio.wait(ending, timeout=_LAST_SECONDS)
        for worker in self._workers:
            worker.join()
        self._mailbox.detach()

    async def _call(self, worker: Worker, fn: Callable[..., R], args: tuple[object, ...], timeout: float | None) -> R:
        operation = Operation(self._loop.create_future(), fn, args)
        result: R = await worker.call(operation, self._statement_timeout if timeout is None else timeout)
        return result

    def _require_open(self) -> None:
        if self._closed:
            raise ConfigurationError(FORKED) if self._forked else PoolClosed(CLOSED)


def _stop(workers: tuple[Worker, ...], connections: Connections) -> None:
    connections.end()
    for worker in workers:
        worker.stop()


def _probe(connection: sqlite3.Connection) -> None:
    connection.execute("select 1 from sqlite_schema limit 1").fetchall()
