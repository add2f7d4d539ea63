"""``Work``: what a session does on its connection: statements in order, what they changed in objects, and whom to call at the end."""

from __future__ import annotations

import asyncio
import inspect
from asyncio import CancelledError
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, NamedTuple

from holdall.errors import HoldallError, SessionClosed, TransactionError
from holdall.query.operations import Operation, Select
from holdall.query.stream import RowStream
from holdall.record.record import Record, set_state
from holdall.record.state import State
from holdall.store import Transaction

Callback = Callable[[], object]  # a plain function, or one that returns an awaitable


class Work:
    """The executor of a session. After a statement that failed nothing goes on until a rollback, of all or to a savepoint.

    ``spawn`` runs what must outlive a cancelled task.
    """

    def __init__(self, transaction: Transaction, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._transaction = transaction
        self._spawn = spawn
        self._turn = _Turn()
        self._failed: BaseException | None = None
        self._closed = False
        self._depth = 0  # of savepoints
        self._changes: list[_Change] = []
        self._on_commit: list[Callback] = []
        self._on_rollback: list[Callback] = []

    # -- statements --------------------------------------------------------------------------------------------------------------------

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation, in its turn."""
        return await self._do(self._transaction.execute, operation)

    async def stream(self, operation: Select, batch: int) -> RowStream:
        """Start a query whose batches take their turn among the other statements."""
        return _WorkStream(self, await self._do(self._transaction.stream, operation, batch))

    async def next_batch(self, source: RowStream) -> list[Any]:
        """Read from a stream, in its turn."""
        found: list[Any] = await self._do(source.fetch)
        return found

    async def end_stream(self, source: RowStream) -> None:
        """Close a stream, in its turn; without waiting when the transaction is over."""
        if self._closed or self._failed is not None:
            source.abandon()
        else:
            await self._do(source.aclose)

    async def _do(self, method: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        await self._turn.take()
        try:
            self.check_open()
            if self._failed is not None:
                raise _failure(self._failed)
            try:
                return await method(*args)
            except BaseException as exc:
                self._failed = exc
                raise
        finally:
            self._turn.give()

    def check_open(self) -> None:
        """Raise ``SessionClosed`` after the end."""
        if self._closed:
            msg = "the session has ended; open another one with 'async with backend.session()'"
            raise SessionClosed(msg)

    def _refuse_inside_savepoint(self, what: str, remedy: str) -> None:
        self.check_open()
        if self._depth:
            msg = f"{what} inside a savepoint() block would end the savepoint's transaction; {remedy}"
            raise TransactionError(msg)

    # -- what was done -----------------------------------------------------------------------------------------------------------------

    def remember(self, record: Record, stamps: Mapping[str, Any]) -> None:
        """Note what a write is about to change in an object, so that a rollback can put it back."""
        self._changes.append(_Change(record, stamps))

    def call_on_commit(self, callback: Callback) -> None:
        """Call it after the commit."""
        self.check_open()
        self._on_commit.append(callback)

    def call_on_rollback(self, callback: Callback) -> None:
        """Call it after a rollback."""
        self.check_open()
        self._on_rollback.append(callback)

    # -- ending ------------------------------------------------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Commit, then call those who wait for it."""
        self._refuse_inside_savepoint("commit()", "leave the block first")
        if self._failed is not None:
            error = _failure(self._failed)
            await self.rollback()
            raise error
        await self._turn.take()
        try:
            await self._transaction.commit()
        except BaseException as exc:
            self._forget_all(exc)
            raise
        finally:
            self._turn.give()
        self._changes.clear()
        self._on_rollback.clear()
        callbacks, self._on_commit = self._on_commit, []
        await _call(callbacks)

    async def rollback(self) -> None:
        """Roll back, put the objects back, then call those who wait for it."""
        self._refuse_inside_savepoint("rollback()", "raise an exception to undo the block")
        await self._turn.take()
        try:
            await self._transaction.rollback()
        except BaseException:
            self._transaction.abandon()
            raise
        finally:
            self._turn.give()
            callbacks = self._forget_all(None)
        await _call(callbacks)

    def _forget_all(self, failed: BaseException | None) -> list[Callback]:
        for change in reversed(self._changes):
            change.undo()
        self._changes.clear()
        self._on_commit.clear()
        self._failed = failed
        callbacks, self._on_rollback = self._on_rollback, []
        return callbacks

    def _abandon(self) -> None:
        """Roll back without waiting: the store's own task does what takes time."""
        self._transaction.abandon()
        callbacks = self._forget_all(None)
        if callbacks:
            self._spawn(_call(callbacks))

    async def finish(self, error: BaseException | None) -> None:
        """Commit at the end of the session's block, or roll back when it raised."""
        try:
            if error is None:
                await self.commit()
            elif isinstance(error, Exception):
                await self.rollback()
            else:
                self._abandon()
        except CancelledError:
            self._abandon()
            raise
        except HoldallError:
            if error is None:
                raise
            # The block's own exception is what matters. A rollback fails when the connection is gone, and the transaction with it.
        finally:
            self._closed = True

    # -- savepoints --------------------------------------------------------------------------------------------------------------------

    async def set_savepoint(self) -> Mark:
        """Set a savepoint; return what ``end_savepoint`` needs."""
        name = f"holdall_{self._depth + 1}"
        await self._do(self._transaction.savepoint, name)
        self._depth += 1
        return Mark(name, len(self._changes), len(self._on_commit), len(self._on_rollback))

    async def end_savepoint(self, mark: Mark, error: BaseException | None) -> None:
        """Keep what was done since the savepoint, or undo it when its block raised or one of its statements failed."""
        self._depth -= 1
        if error is None and self._failed is None:
            await self._do(self._transaction.release, mark.name)
            return
        if error is not None and not isinstance(error, Exception):
            # Cancelled: nothing may be awaited here, and the transaction must not go on as if the block had been undone.
            self._failed = self._failed or error
        failed = self._failed
        if isinstance(failed, Exception | None) and not self._closed:
            await self._undo_since(mark)
        if error is None and failed is not None:
            # A database error was swallowed inside: what the block did is undone, and must not look as if it were kept.
            raise _failure(failed)

    async def _undo_since(self, mark: Mark) -> None:
        self._failed = None
        await self._do(self._transaction.rollback_to, mark.name)
        for change in reversed(self._changes[mark.changes :]):
            change.undo()
        del self._changes[mark.changes :]
        del self._on_commit[mark.on_commit :]
        callbacks = self._on_rollback[mark.on_rollback :]
        del self._on_rollback[mark.on_rollback :]
        await _call(callbacks)


class Mark(NamedTuple):
    """A savepoint's name, and how much had been noted before it."""

    name: str
    changes: int
    on_commit: int
    on_rollback: int


class _Turn:
    """Statements of a session, one after another, in the order in which they were asked for."""

    __slots__ = ("_busy", "_waiters")

    def __init__(self) -> None:
        self._busy = False
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        if not self._busy:
            self._busy = True
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give()  # the turn had come in the same moment: pass it on
            raise

    def give(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._busy = False


class _Change:
    """What an object was before a write of this session."""

    __slots__ = ("after", "before", "record", "state")

    def __init__(self, record: Record, stamps: Mapping[str, Any]) -> None:
        self.record = record
        self.state: State | None = record.__holdall_state__
        values = record.__dict__
        self.before = {name: values[name] for name in stamps if name in values}
        self.after = dict(stamps)

    def undo(self) -> None:
        """Put back the stored state and what the write had set, unless the user has edited it since."""
        set_state(self.record, self.state)
        values = vars(self.record)
        for name, value in self.before.items():
            if values.get(name) is self.after[name] or values.get(name) == self.after[name]:
                values[name] = value


class _WorkStream:
    """A stream whose batches take their turn among the session's statements."""

    def __init__(self, work: Work, source: RowStream) -> None:
        self._work = work
        self._source = source

    async def fetch(self) -> list[Any]:
        return await self._work.next_batch(self._source)

    async def aclose(self) -> None:
        await self._work.end_stream(self._source)

    def abandon(self) -> None:
        self._source.abandon()


def _failure(failed: BaseException) -> TransactionError:
    reason = f"{type(failed).__name__}: {failed}" if isinstance(failed, HoldallError) else "it was cancelled"
    error = TransactionError(
        f"the transaction failed before ({reason}) and cannot go on; "
        "roll back, or run what may fail inside 'async with session.savepoint():'"
    )
    error.__cause__ = failed
    return error


async def _call(callbacks: list[Callback]) -> None:
    """Call all, then raise what they raised."""
    errors: list[Exception] = []
    for callback in callbacks:
        try:
            result = callback()
            if inspect.isawaitable(result):
                await result
        except Exception as exc:  # noqa: BLE001  - raised below, when all have been called
            errors.append(exc)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        msg = "several callbacks of the session failed"
        raise ExceptionGroup(msg, errors)
