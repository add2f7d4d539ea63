"""One writer at a time: a FIFO queue of single writes and of sessions that want to write.

SQLite has one write lock. Inside the process nobody fights for it: whoever is at the head of this queue has it. Single writes that wait
together share one transaction, so one ``fsync``.
"""

from __future__ import annotations

import asyncio
import sqlite3
import traceback
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from holdall.errors import HoldallError, LockNotAvailable, PoolClosed
from holdall.stores.sqlite.connection import begin_immediate, roll_back
from holdall.stores.sqlite.worker import CLOSED, Operation, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP_SIZE = 200


class Write(Operation):
    """A write outside a session: one statement when ``groupable``, anything otherwise."""

    __slots__ = ("deadline", "group", "groupable")

    def __init__(
        self, future: asyncio.Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], *, groupable: bool, deadline: float
    ) -> None:
        super().__init__(future, fn, args)
        self.groupable = groupable
        self.deadline = deadline  # of its wait in the queue, in the loop's time
        self.group: Group | None = None

    @property
    def interruptible(self) -> bool:
        """Tell whether it may be stopped once it runs."""
        return not self.groupable  # an interrupt would roll back its neighbours

    @property
    def job(self) -> Group | None:
        """Give the group that it was sent in."""
        return self.group

    def run_in(self, connection: sqlite3.Connection) -> None:
        """Run inside an open transaction."""
        try:
            self.result = self.fn(connection, *self.args)
        except BaseException as error:  # noqa: BLE001 (raised where the result is awaited)
            self.fail(error)

    def claim(self, worker: Worker) -> bool:
        """Begin, unless it was cancelled or told "out of time before it began": then it must not."""
        with worker.lock:
            return self.started or self.begin()

    def run_alone(self, connection: sqlite3.Connection, worker: Worker, deadline: float) -> None:
        """Run in a transaction of its own."""
        self.error = None
        try:
            begin_immediate(connection, deadline, lambda: self.future.done() or self.stopped is not None)
            if not self.claim(worker):
                return
            self.result = self.fn(connection, *self.args)
            if self.interruptible and (self.future.done() or self.stopped is not None):
                self.error = self.stopped
            else:
                connection.execute("commit")
        except BaseException as error:  # noqa: BLE001 (raised where the result is awaited)
            self.fail(error)
        finally:
            roll_back(connection)


class Group:
    """Writes that are run together: what the writer's thread takes."""

    connection: sqlite3.Connection | None = None

    def __init__(self, writer: Writer, members: list[Write]) -> None:
        self._writer = writer
        self._members = members
        for member in members:
            member.group = self

    def begin(self) -> bool:
        """Tell that it is wanted; its members are asked one by one."""
        return True

    def stop(self, reason: HoldallError) -> None:
        """Note why its members are about to be interrupted."""
        for member in self._members:
            member.stop(reason)

    def refuse(self, error: BaseException) -> None:
        """Fail without having run."""
        for member in self._members:
            member.refuse(error)

    def deliver(self) -> None:
        """Answer the members and let the next one write."""
        for member in self._members:
            member.deliver()
        self._writer.release(self)

    def perform(self, connection: sqlite3.Connection, worker: Worker) -> None:
        """Run the members in one transaction, or each in its own."""
        deadline = monotonic() + worker.patience
        if len(self._members) > 1 and self._together(connection, worker, deadline):
            return
        for member in self._members:
            member.run_alone(connection, worker, deadline)

    def _together(self, connection: sqlite3.Connection, worker: Worker, deadline: float) -> bool:
        """Run all in one transaction. False: nothing of it was kept, so each must be run alone."""
        try:
            begin_immediate(connection, deadline, lambda: all(member.future.done() for member in self._members))
        except sqlite3.Error as error:
            for member in self._members:
                member.fail(error)
            return True
        kept = all(_keeps_neighbours(member, connection) for member in self._members if member.claim(worker))
        if kept:
            try:
                connection.execute("commit")
            except sqlite3.Error as error:  # a deferred foreign key, a full disk: whose fault it was shows when each runs alone
                traceback.clear_frames(error.__traceback__)
                kept = False
        roll_back(connection)
        return kept


def _keeps_neighbours(member: Write, connection: sqlite3.Connection) -> bool:
    """Run a write of a group; tell whether the group's transaction is as it was, but for what the write did if it succeeded.

    A broken constraint undoes its own statement alone. A full disk or an I/O error undoes the transaction, and a function that fails after
    its statement leaves that statement's work behind.
    """
    before = connection.total_changes
    member.run_in(connection)
    return connection.in_transaction and (member.error is None or connection.total_changes == before)


class Ticket:
    """A session's place in the queue, and its right to write once ``future`` is done."""

    __slots__ = ("deadline", "future", "label")

    def __init__(self, future: asyncio.Future[None], label: str, deadline: float) -> None:
        self.future = future
        self.label = label
        self.deadline = deadline

    def __repr__(self) -> str:
        return f"session of {self.label}"


class Writer:
    """The queue; belongs to the loop's thread."""

    def __init__(self, worker: Worker, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        self._worker = worker
        self._loop = loop
        self._patience = patience
        self._queue: deque[Write | Ticket] = deque()
        self._holder: Group | Ticket | None = None  # while it is set, nobody else is given the right to write
        self._planned = False  # _dispatch is on its way
        self._sweeper: asyncio.TimerHandle | None = None
        self.groups = 0
        self.grouped = 0

    async def write(self, fn: Callable[..., Any], args: tuple[Any, ...], *, groupable: bool, timeout: float | None) -> Any:
        """Queue a single write and wait until it is committed."""
        loop = self._loop
        write = Write(loop.create_future(), fn, args, groupable=groupable, deadline=loop.time() + self._patience)
        self._enqueue(write)
        return await self._worker.wait(write, timeout)

    async def take(self, timeout: float | None = None) -> Ticket:
        """Wait for the right to write; give it back with ``release``.

        Raises:
            LockNotAvailable: somebody else held it for ``timeout`` seconds.
        """
        ticket = self._ticket(self._patience if timeout is None else timeout)
        if self.is_free:
            self._holder = ticket
            return ticket
        self._enqueue(ticket)
        try:
            await ticket.future
        except asyncio.CancelledError:
            self.release(ticket)  # granted and cancelled in one turn; otherwise this does nothing
            raise
        return ticket

    def take_nowait(self) -> Ticket:
        """Take the right to write, or raise ``LockNotAvailable``."""
        if not self.is_free:
            raise self._refusal()
        ticket = self._holder = self._ticket(0)
        return ticket

    def release(self, holder: Group | Ticket) -> None:
        """Let the next one write. Doing it twice does no harm."""
        if self._holder is holder:
            self._holder = None
            self._plan()

    @property
    def is_free(self) -> bool:
        """Tell whether a newcomer may write at once."""
        return self._holder is None and not self._queue

    def refuse_rest(self) -> None:
        """Fail what is queued, because the engine closes."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        while self._queue:
            entry = self._queue.popleft()
            if not entry.future.done():
                entry.future.set_exception(PoolClosed(CLOSED))

    def waiting(self) -> int:
        """Count those who wait."""
        return sum(not entry.future.done() for entry in self._queue)

    def _ticket(self, timeout: float) -> Ticket:
        task = asyncio.current_task()
        return Ticket(self._loop.create_future(), task.get_name() if task else "no task", self._loop.time() + timeout)

    def _enqueue(self, entry: Write | Ticket) -> None:
        self._queue.append(entry)
        self._plan()
        if self._sweeper is None or entry.deadline < self._sweeper.when():
            self._sweep_at(entry.deadline)

    def _plan(self) -> None:
        # Not at once: whoever is woken by the same delivery, or starts in the same turn of the loop, may join the group.
        if self._holder is None and self._queue and not self._planned and not self._loop.is_closed():
            self._planned = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._planned = False
        queue = self._queue
        while queue and self._holder is None:
            entry = queue.popleft()
            if entry.future.done():
                continue
            if isinstance(entry, Ticket):
                self._holder = entry
                entry.future.set_result(None)
            else:
                self._send(self._gather(entry))

    def _gather(self, first: Write) -> list[Write]:
        members = [first]
        queue = self._queue
        while first.groupable and queue and len(members) < GROUP_SIZE:
            entry = queue[0]
            if not isinstance(entry, Write) or not entry.groupable:
                break
            queue.popleft()
            if not entry.future.done():
                members.append(entry)
        return members

    def _send(self, members: list[Write]) -> None:
        group = self._holder = Group(self, members)
        self.groups += 1
        self.grouped += len(members)
        try:
            self._worker.submit(group)
        except HoldallError as error:
            group.refuse(error)
            group.deliver()

    def _sweep_at(self, when: float) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sweeper = self._loop.call_at(when, self._sweep)

    def _sweep(self) -> None:
        """Fail those who have waited too long; one timer serves the whole queue."""
        self._sweeper = None
        now = self._loop.time()
        for entry in self._queue:
            if entry.deadline <= now and not entry.future.done():
                entry.future.set_exception(self._refusal())
        self._queue = deque(entry for entry in self._queue if not entry.future.done())
        if self._queue:
            self._sweep_at(min(entry.deadline for entry in self._queue))

    def _refusal(self) -> LockNotAvailable:
        holder = f"the {self._holder!r}" if isinstance(self._holder, Ticket) else "other writes"
        return LockNotAvailable(
            f"the right to write is held by {holder}, and {self.waiting()} wait for it; keep transactions shorter, or raise busy_timeout"
        )
