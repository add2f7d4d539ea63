"""Connections for sessions and streams, as the pool opens, mends and closes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from holdall.errors import PoolClosed, SessionClosed
from holdall.stores.sqlite.connection import Connections, roll_back
from holdall.stores.sqlite.worker import Operation, Worker

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from holdall.stores.sqlite.writer import Ticket, Writer


Opened: TypeAlias = "Callable[[sqlite3.Connection], None]"


class PooledConnection:
    """What the pool keeps: a connection, what runs on it, what is open on it, and the right to write that it holds."""

    __slots__ = ("_idle", "closed", "current", "opened", "raw", "ticket")

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw
        self.closed = False
        self.current: SessionOperation | None = None
        self.ticket: Ticket | None = None
        self.opened: list[Opened] = []
        """Close the cursors that are open: one that somebody still refers to keeps its snapshot, though its connection is closed."""
        self._idle: asyncio.Future[None] | None = None

    def ended(self) -> None:
        """Note that nothing runs on it any more."""
        self.current = None
        if self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    async def wait_idle(self) -> None:
        """Wait until nothing runs on it: a cancelled operation ends a little later than its task."""
        while self.current is not None:
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._idle])  # several may wait, and one that is cancelled must not cancel the future of the others

    def interrupt(self) -> None:
        """Stop what runs on it, if that may be stopped."""
        operation = self.current
        if operation is not None and operation.interruptible:
            operation.stop(SessionClosed("the connection was given back while a statement ran on it"))
            operation.worker.interrupt(operation)


class SessionOperation(Operation):
    """An operation on a pooled connection, which runs one at a time."""

    __slots__ = ("_interruptible", "_pooled", "worker")

    def __init__(
        self, pooled: PooledConnection, worker: Worker, fn: Callable[..., Any], args: tuple[Any, ...] = (), *, interruptible: bool = True
    ) -> None:
        super().__init__(worker.loop.create_future(), fn, args, pooled.raw)
        self.worker = worker
        self._pooled = pooled
        self._interruptible = interruptible

    @property
    def interruptible(self) -> bool:
        """Tell whether it may be stopped once it runs."""
        return self._interruptible

    async def run(self, timeout: float | None = None) -> Any:
        """Run it, and wait for its result."""
        self.worker.submit(self)
        self._pooled.current = self
        return await self.worker.wait(self, timeout)

    def deliver(self) -> None:
        """Answer, and let the next operation onto the connection."""
        self._pooled.ended()
        super().deliver()


class _Opening(Operation):
    """Opens a connection that is not the worker's own."""

    __slots__ = ("_unwanted",)

    def __init__(self, worker: Worker, unwanted: Callable[[sqlite3.Connection], None]) -> None:
        super().__init__(worker.loop.create_future(), _nothing, ())
        self._unwanted = unwanted

    def perform(self, connection: sqlite3.Connection, worker: Worker) -> None:
        worker.give_away()
        self.result = connection

    def deliver(self) -> None:
        if self.future.done():
            self.discard()
        super().deliver()

    def discard(self) -> None:
        """Close what was opened for nobody."""
        if self.result is not None:
            self._unwanted(self.result)


class _Closing(Operation):
    """Closes a connection after all that was queued for it; nobody waits for it."""

    __slots__ = ("_then",)

    def __init__(
        self, worker: Worker, connections: Connections, raw: sqlite3.Connection, opened: Sequence[Opened], then: Callable[[], None]
    ) -> None:
        super().__init__(worker.loop.create_future(), _close, (connections, opened), raw)
        self._then = then

    def deliver(self) -> None:
        self._then()


class Connector:
    """Opens, mends and closes the pool's connections in the sessions' thread."""

    def __init__(self, connections: Connections, worker: Worker, writer: Writer) -> None:
        self._connections = connections
        self._worker = worker
        self._writer = writer

    async def open(self) -> PooledConnection:
        """Open one connection."""
        return PooledConnection(await self._open())

    async def _open(self) -> sqlite3.Connection:
        opening = _Opening(self._worker, lambda raw: self._close_later(raw, self._worker))
        try:
            raw: sqlite3.Connection = await self._worker.call(opening, None)
        except asyncio.CancelledError:
            if not opening.future.cancelled():  # opened and cancelled in one turn
                opening.discard()
            raise
        return raw

    def is_closed(self, connection: PooledConnection) -> bool:
        """Tell whether the pool must forget it."""
        return connection.closed

    async def recover(self, connection: PooledConnection, dirty: bool) -> None:  # noqa: ARG002, FBT001 (the pool's protocol)
        """Make a connection that was left in the middle of its work as good as new, and let the next one write."""
        connection.interrupt()
        await connection.wait_idle()
        await SessionOperation(connection, self._worker, _tidy, (connection.opened,), interruptible=False).run()
        connection.opened = []
        self.release(connection)
        # A cursor that its reader forgot would keep its snapshot, and the next lease would read from it: only a new connection is sure.
        old, connection.raw = connection.raw, await self._open()
        self._close_later(old, self._worker)

    def release(self, connection: PooledConnection) -> None:
        """Give the connection's right to write, if it has it, to the next one."""
        ticket, connection.ticket = connection.ticket, None
        if ticket is not None:
            self._writer.release(ticket)

    async def close(self, connection: PooledConnection) -> None:
        """Close a connection that is not used."""
        if not connection.closed:
            connection.closed = True
            closing = Operation(self._worker.loop.create_future(), _close, (self._connections, ()), connection.raw)
            await self._worker.call(closing, None)

    def terminate(self, connection: PooledConnection) -> None:
        """Stop what runs on a connection and close it as soon as that has ended; the next one may write only then."""
        if connection.closed:
            return
        connection.closed = True
        connection.interrupt()
        worker = connection.current.worker if connection.current is not None else self._worker
        self._close_later(connection.raw, worker, connection.opened, lambda: self.release(connection))

    def _close_later(
        self, raw: sqlite3.Connection, worker: Worker, opened: Sequence[Opened] = (), then: Callable[[], None] | None = None
    ) -> None:
        closing = _Closing(worker, self._connections, raw, opened, then or _nothing)
        try:
            worker.submit(closing)
        except PoolClosed:  # the last thread closes what is open
            closing.deliver()


def _nothing(*_: object) -> None:
    return None


def _tidy(connection: sqlite3.Connection, opened: Sequence[Opened]) -> None:
    for close in opened:
        close(connection)
    roll_back(connection)


def _close(connection: sqlite3.Connection, connections: Connections, opened: Sequence[Opened]) -> None:
    _tidy(connection, opened)  # an unfinished cursor keeps a closed connection alive, and its locks
    connections.close(connection)
