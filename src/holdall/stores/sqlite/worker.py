"""A thread that runs operations on SQLite connections, takes all that wait at once, and answers them with one wake-up."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import traceback
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from holdall.errors import ConfigurationError, HoldallError, PoolClosed, StatementTimeout
from holdall.stores.sqlite.connection import Connections, EngineOptions, patiently, roll_back
from holdall.stores.sqlite.errors import is_busy, is_interrupt, is_translatable, translate

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdall.stores.sqlite.mailbox import Mailbox

R = TypeVar("R")

FLUSH_SECONDS = 0.001  # a finished result waits at most this long for the rest of its batch
FORKED = "this backend was opened before a fork and its threads are in the parent; open one in the child process"
CLOSED = "the backend is closed"
IDLE_SECONDS = 5.0  # an idle thread looks this often whether its event loop was closed without closing the engine
INTERRUPT_AGAIN_SECONDS = 0.005  # an interrupt between two statements of one function is lost, so it is repeated


class Job(Protocol):
    """What a worker takes: one operation, or a group of writes."""

    connection: sqlite3.Connection | None
    """Where it runs; None for the worker's own connection."""

    def begin(self) -> bool:
        """Tell whether it is still wanted; called under the worker's lock."""
        ...

    def perform(self, connection: sqlite3.Connection, worker: Worker) -> None:
        """Run in the thread; raises nothing."""
        ...

    def stop(self, reason: HoldallError) -> None:
        """Note why it is about to be interrupted."""
        ...

    def refuse(self, error: BaseException) -> None:
        """Fail without having run."""
        ...

    def deliver(self) -> None:
        """Answer, on the event loop."""
        ...


class Operation:
    """One function to run on a connection, and the future of its result."""

    __slots__ = ("args", "connection", "error", "fn", "future", "result", "started", "stopped")

    def __init__(
        self, future: asyncio.Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], connection: sqlite3.Connection | None = None
    ) -> None:
        self.future = future
        self.fn = fn
        self.args = args
        self.connection = connection
        self.result: Any = None
        self.error: BaseException | None = None
        self.started = False
        self.stopped: HoldallError | None = None  # why it is being interrupted; None too when its task was cancelled

    @property
    def interruptible(self) -> bool:
        """Tell whether it may be stopped once it runs."""
        return True

    @property
    def job(self) -> Job | None:
        """What the worker runs for this operation, and what an interrupt is meant for; None while it has not come to a worker."""
        return self

    def begin(self) -> bool:
        """Tell whether it is still wanted."""
        if self.future.done():  # cancelled, or out of time, before it began
            return False
        if self.stopped is not None:  # the connection was given back by another task while this waited for the thread
            self.error = self.stopped
            return False
        self.started = True
        return True

    def perform(self, connection: sqlite3.Connection, worker: Worker) -> None:
        """Run in the thread, again while the database is busy."""
        try:
            try:
                self.result = self.fn(connection, *self.args)
            except sqlite3.OperationalError as error:
                if not is_busy(error) or self.hopeless(connection):
                    raise
                deadline = monotonic() + worker.patience
                self.result = patiently(lambda: self.fn(connection, *self.args), deadline, lambda: self.hopeless(connection))
        except BaseException as error:  # noqa: BLE001 (it is raised where the result is awaited)
            self.fail(error)

    def hopeless(self, connection: sqlite3.Connection) -> bool:
        """Tell whether a busy database is not worth another try: nobody waits, or a transaction is open that may hold half of the work."""
        return self.future.done() or self.stopped is not None or connection.in_transaction

    def fail(self, error: BaseException) -> None:
        """Note what it raised."""
        self.error = error
        self.result = None
        # A cursor that hangs in the traceback would keep its snapshot, and later reads on the connection would see it.
        traceback.clear_frames(error.__traceback__)

    def stop(self, reason: HoldallError) -> None:
        """Note why it is about to be interrupted."""
        self.stopped = reason

    def refuse(self, error: BaseException) -> None:
        """Fail without having run."""
        self.error = error

    def deliver(self) -> None:
        """Give the result to the task that waits for it."""
        future = self.future
        if future.done():
            return
        if self.error is None:
            future.set_result(self.result)
        elif isinstance(self.error, StopIteration):  # a future refuses it
            future.set_exception(RuntimeError("the function raised StopIteration"))
        else:
            future.set_exception(self.error)


class Worker:
    """One thread with one connection of its own; operations may bring another one. Loop-side methods belong to the loop's thread."""

    def __init__(self, name: str, mailbox: Mailbox, connections: Connections, options: EngineOptions, *, read_only: bool = False) -> None:
        self.patience = options.busy_timeout
        self.lock = threading.Lock()  # guards _current: an interrupt must hit the operation it is meant for, and no other
        self._name = name
        self.loop = loop = mailbox.loop
        self._mailbox = mailbox
        self._read_only = read_only
        self._connections = connections
        self._lookup = options.lookup
        self._inbox: SimpleQueue[Job | None] = SimpleQueue()
        self._forked = False
        self._thread: threading.Thread | None = None
        self._current: Job | None = None
        self._running_on: sqlite3.Connection | None = None
        self._own: sqlite3.Connection | None = None
        self._stopping = False
        self._refusing = False
        self.ended: asyncio.Future[None] = loop.create_future()

    def submit(self, job: Job) -> None:
        """Queue a job; raises when the thread cannot run it."""
        if self._forked:
            raise ConfigurationError(FORKED)
        if self._stopping:
            raise PoolClosed(CLOSED)
        if self._thread is None:
            self._start()
        self._inbox.put(job)

    async def call(self, operation: Operation, timeout: float | None) -> Any:
        """Run an operation and wait for its result."""
        self.submit(operation)
        return await self.wait(operation, timeout)

    async def wait(self, operation: Operation, timeout: float | None) -> Any:
        """Wait for the result of a submitted operation. When the task is cancelled, nothing more is awaited."""
        timer = None if timeout is None else self.loop.call_later(timeout, self._expire, operation, timeout)
        try:
            return await operation.future
        except asyncio.CancelledError:
            if operation.interruptible:
                self.interrupt(operation.job)
            raise
        except Exception as error:
            if not is_translatable(error):
                raise
            raise self._named(operation, error) from error
        finally:
            if timer is not None:
                timer.cancel()

    def _named(self, operation: Operation, error: Exception) -> HoldallError:
        if operation.stopped is not None and isinstance(error, sqlite3.Error) and (is_interrupt(error) or is_busy(error)):
            return operation.stopped
        return translate(error, self._lookup)

    def _expire(self, operation: Operation, timeout: float) -> None:
        with self.lock:
            if operation.future.done():
                return
            if not operation.started:
                operation.future.set_exception(StatementTimeout(timeout))
                return
        operation.stop(StatementTimeout(timeout))
        if operation.interruptible:
            self.interrupt(operation.job)

    def interrupt(self, job: Job | None) -> None:
        """Stop a job if it runs, again and again until it has ended."""
        with self.lock:
            if job is None or self._current is not job:
                return
            if self._running_on is not None:
                try:
                    self._running_on.interrupt()
                except sqlite3.ProgrammingError:  # the job has closed the connection: nothing runs on it any more
                    return
        if not self.loop.is_closed():
            self.loop.call_later(INTERRUPT_AGAIN_SECONDS, self.interrupt, job)

    def stop(self) -> None:
        """Let the thread end after what is queued; safe in any thread, and twice."""
        if self._stopping:
            return
        self._stopping = True
        if self._thread is not None and not self._forked:
            self._inbox.put(None)

    def join(self) -> None:
        """Wait for the last instructions of a thread that has said that it ends."""
        if self._thread is not None and self.ended.done():
            self._thread.join()

    def leave_to_parent(self) -> None:
        """Note that this is a forked child, where the thread does not exist."""
        self._forked = True

    def refuse_rest(self) -> None:
        """Fail what is queued and interrupt what runs, because the engine closes."""
        self._refusing = True
        current = self._current
        if current is not None:
            current.stop(PoolClosed(CLOSED))
            self.interrupt(current)

    @property
    def running(self) -> bool:
        """Tell whether the thread was started and has not ended."""
        return self._thread is not None and self._thread.is_alive()

    def waiting(self) -> int:
        """Count the queued jobs."""
        return self._inbox.qsize()

    def _start(self) -> None:
        self._connections.thread_started()
        self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
        self._thread.start()

    # What follows runs in the thread.

    def _main(self) -> None:
        job = self._next()
        while job is not None:
            more = self._drain(job)
            self._mailbox.wake()
            job = self._next() if more else None
        self._own = self._running_on = None
        self._connections.thread_ended()
        self._mailbox.put(_Ended(self.ended))
        self._mailbox.wake()

    def _next(self) -> Job | None:
        while True:
            try:
                return self._inbox.get(timeout=IDLE_SECONDS)
            except Empty:
                if self.loop.is_closed():
                    return None

    def _drain(self, job: Job | None) -> bool:
        """Run a job and all that wait behind it; False when the thread is to end."""
        get, empty, put = self._inbox.get, self._inbox.empty, self._mailbox.put
        flush_at = perf_counter() + FLUSH_SECONDS
        while job is not None:
            self._run(job)
            put(job)
            if empty():
                return True
            if perf_counter() > flush_at:
                self._mailbox.wake()
                flush_at = perf_counter() + FLUSH_SECONDS
            job = get()
        return False

    def _run(self, job: Job) -> None:
        if self._refusing:
            job.refuse(PoolClosed(CLOSED))
            return
        with self.lock:
            if not job.begin():
                return
            self._current = job
            connection = self._running_on = job.connection or self._own
        try:
            connection = connection or self._connect()
            job.perform(connection, self)
            if job.connection is None and connection.in_transaction:
                roll_back(connection)  # somebody's own BEGIN: the next one would read its snapshot
        except BaseException as error:  # noqa: BLE001 (the file cannot be opened or rolled back; raised where the result is awaited)
            job.refuse(error)
            self._disconnect()
        finally:
            with self.lock:
                self._current = None

    def _connect(self) -> sqlite3.Connection:
        connection = self._own = self._running_on = self._connections.open(read_only=self._read_only)
        return connection

    def give_away(self) -> None:
        """Leave the own connection to whoever has it now; the next job that needs one opens another."""
        self._own = None

    def _disconnect(self) -> None:
        if self._own is not None:
            with self.lock:
                own, self._own, self._running_on = self._own, None, None
            self._connections.close(own)


class _Ended:
    """The last thing that a thread delivers."""

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._future = future

    def deliver(self) -> None:
        if not self._future.done():
            self._future.set_result(None)
