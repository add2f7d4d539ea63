"""``Work``: what a session does on its connection: statements in order, what they changed in objects, and whom to call at the end."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from asyncio import CancelledError
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, NamedTuple, Protocol

from holdall.errors import CommitUnknownError, HoldallError, SessionClosed, TransactionError
from holdall.query.operations import Operation, Select
from holdall.query.stream import RowStream
from holdall.record.record import Record, set_state
from holdall.record.state import State
from holdall.store import Transaction
from holdall.wrappers import watching
from holdall.wrappers.query_cache import QueryCache

Callback = Callable[[], object]  # a plain function, or one that returns an awaitable


class Owner(watching.Watched, Protocol):
    """The backend whose work it is."""

    def spawn(self, coroutine: Coroutine[Any, Any, None], /) -> None:
        """Run what must outlive a cancelled task."""
        ...


class Work:
    """The executor of a session. After a statement that failed nothing goes on until a rollback, of all or to a savepoint."""

    def __init__(self, transaction: Transaction, owner: Owner) -> None:
        self._transaction = transaction
        self._owner = owner
        self._cache: QueryCache | None = None
        self._turn = _Turn()
        self._failed: BaseException | None = None
        self._lost = False  # what failed has taken the whole transaction with it: no savepoint can bring it back
        self._closed = False
        self._savepoints: list[Mark] = []
        self._numbers = itertools.count(1)  # of savepoints
        self._streams: set[_WorkStream] = set()
        self._due: list[Callback] = []  # to be called, because the transaction has ended their way
        self._changes: list[_Change] = []
        self._on_commit: list[Callback] = []
        self._on_rollback: list[Callback] = []

    def cache_queries(self, *, every: bool) -> None:
        """Keep the answers of queries until the transaction ends: of every one, or of those that ask for it."""
        # A statement that waits for its turn goes by without the cache, and is over before the first answer is kept.
        if self._cache is None:
            self._cache = QueryCache(self._watched, every=every)

    # -- statements --------------------------------------------------------------------------------------------------------------------

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation, in its turn."""
        return await self._do(self._way().execute, operation)

    async def stream(self, operation: Select, batch: int) -> RowStream:
        """Start a query whose batches take their turn among the other statements."""
        stream = _WorkStream(self, await self._do(self._way().stream, operation, batch))
        self._streams.add(stream)
        return stream

    async def next_batch(self, stream: _WorkStream) -> list[Any]:
        """Read from a stream, in its turn."""
        self.check_open()
        self.check_stream(stream)
        found: list[Any] = await self._do(stream.fetch_now)
        return found

    def check_stream(self, stream: _WorkStream) -> None:
        """Raise when the transaction of the stream has ended."""
        if stream not in self._streams:
            msg = "the transaction in which the stream began has ended; read it to its end before commit() and rollback()"
            raise TransactionError(msg)

    async def end_stream(self, stream: _WorkStream) -> None:
        """Close a stream, in its turn; without waiting when the transaction is over."""
        if stream not in self._streams or self._failed is not None:
            self.abandon_stream(stream)
        else:
            self._streams.discard(stream)
            await self._do(stream.source.aclose)

    def abandon_stream(self, stream: _WorkStream) -> None:
        """Close a stream without waiting."""
        self._streams.discard(stream)
        stream.source.abandon()

    def _way(self) -> Transaction:
        """Return what the next statement is given to: the query cache, where there is one, watchers, and the store's transaction."""
        return self._watched() if self._cache is None else self._cache

    def _watched(self) -> Transaction:
        watcher = watching.watcher
        return self._transaction if watcher is None else watcher.inside(self._owner, self._transaction)

    async def _do(self, method: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        await self._turn.take()
        try:
            self.check_open()
            if self._failed is not None:
                raise _failure(self._failed)
            was_open = self._transaction.is_open
            try:
                return await method(*args)
            except BaseException as exc:
                # A lost connection, or a deadlock on some servers: its savepoints are gone, and the next statement would begin anew.
                self._fail(exc, lost=was_open and not self._transaction.is_open)
                raise
        finally:
            self._turn.give()

    def _fail(self, error: BaseException, *, lost: bool = False) -> None:
        self._failed = self._failed or error
        # After a cancel nothing may be awaited, and the store has given the transaction up.
        self._lost = self._lost or lost or not isinstance(error, Exception)

    def check_open(self) -> None:
        """Raise ``SessionClosed`` after the end."""
        if self._closed:
            msg = "the session has ended; open another one with 'async with backend.session()'"
            raise SessionClosed(msg)

    def _refuse_inside_savepoint(self, what: str, remedy: str) -> None:
        self.check_open()
        if self._savepoints:
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
        await self._then_call(self._commit())

    async def rollback(self) -> None:
        """Roll back, put the objects back, then call those who wait for it."""
        self._refuse_inside_savepoint("rollback()", "raise an exception to undo the block")
        await self._then_call(self._rollback())

    async def finish(self, error: BaseException | None) -> None:
        """Commit at the end of the session's block, or roll back when it raised; then call those who wait for it."""
        await self._then_call(self._finish(error))

    async def _then_call(self, ending: Coroutine[Any, Any, None]) -> None:
        try:
            await ending
        except Exception:
            await _call(self._take_due())
            raise
        await _call(self._take_due())

    def _take_due(self) -> list[Callback]:
        callbacks, self._due = self._due, []
        return callbacks

    async def _commit(self) -> None:
        await self._turn.take()
        try:
            self.check_open()
            if self._failed is None:
                self._end_streams()
                await self._way().commit()
        except BaseException as exc:
            if self._failed is None:
                self._undo_all(is_known=isinstance(exc, Exception) and not isinstance(exc, CommitUnknownError))
                self._fail(exc)
            raise
        finally:
            self._turn.give()
        if self._failed is not None:
            error = _failure(self._failed)
            await self._rollback()
            raise error
        self._changes.clear()
        self._on_rollback.clear()
        self._due += self._on_commit
        self._on_commit.clear()

    async def _rollback(self) -> None:
        await self._turn.take()
        try:
            self.check_open()
            self._end_streams()
            await self._way().rollback()
        except SessionClosed:
            raise
        except BaseException:
            self._transaction.abandon()
            raise
        finally:
            self._turn.give()
            self._undo_all(is_known=True)

    def _end_streams(self) -> None:
        for stream in list(self._streams):
            self.abandon_stream(stream)

    def _undo_all(self, *, is_known: bool) -> None:
        """Put the objects back; the callbacks of a rollback are due when it is known that there was one."""
        for change in reversed(self._changes):
            change.undo()
        self._changes.clear()
        if self._cache is not None:
            self._cache.forget()
        if is_known:
            self._due += self._on_rollback
        self._on_commit.clear()
        self._on_rollback.clear()
        self._failed, self._lost = None, False

    def _abandon(self) -> None:
        """Roll back without waiting: the store's own task does what takes time."""
        self._end_streams()
        self._transaction.abandon()
        self._undo_all(is_known=True)
        callbacks = self._take_due()
        if callbacks:
            self._owner.spawn(_call(callbacks))

    async def _finish(self, error: BaseException | None) -> None:
        inside = bool(self._savepoints)
        self._savepoints.clear()
        try:
            if error is None and not inside:
                await self._commit()
            elif isinstance(error, Exception | None):
                await self._rollback()
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
        if error is None and inside:
            msg = "the session's block has ended while another task was inside a savepoint; it was rolled back: await the task first"
            raise TransactionError(msg)

    # -- savepoints --------------------------------------------------------------------------------------------------------------------

    async def set_savepoint(self) -> Mark:
        """Set a savepoint; return what ``end_savepoint`` needs."""
        name = f"holdall_{next(self._numbers)}"
        await self._do(self._way().savepoint, name)
        mark = Mark(name, len(self._changes), len(self._on_commit), len(self._on_rollback))
        self._savepoints.append(mark)
        return mark

    async def end_savepoint(self, mark: Mark, error: BaseException | None) -> None:
        """Keep what was done since the savepoint, or undo it when its block raised or one of its statements failed."""
        self._leave_savepoint(mark)
        if error is None and self._failed is None:
            await self._do(self._way().release, mark.name)
            return
        if error is not None and not isinstance(error, Exception):
            # Cancelled: nothing may be awaited here, and the transaction must not go on as if the block had been undone.
            self._fail(error)
        failed = self._failed
        if not self._lost and not self._closed:
            await self._undo_since(mark)
        if error is None and failed is not None:
            # A database error was swallowed inside: what the block did is undone, and must not look as if it were kept.
            raise _failure(failed)

    def _leave_savepoint(self, mark: Mark) -> None:
        if self._closed:
            return
        if not self._savepoints or self._savepoints[-1] is not mark:
            # Whatever becomes of the outer one takes the inner one with it, whose task would not notice.
            error = TransactionError("savepoints of two tasks that share the session overlap; let one task at a time have one")
            self._fail(error, lost=True)
        self._savepoints = [other for other in self._savepoints if other is not mark]

    async def _undo_since(self, mark: Mark) -> None:
        self._failed = None
        await self._do(self._way().rollback_to, mark.name)
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
    """A stream whose batches take their turn among the session's statements; it ends with the transaction."""

    def __init__(self, work: Work, source: RowStream) -> None:
        self._work = work
        self.source = source

    async def fetch(self) -> list[Any]:
        return await self._work.next_batch(self)

    async def fetch_now(self) -> list[Any]:
        self._work.check_stream(self)  # it may have ended while this task waited for its turn
        return await self.source.fetch()

    async def aclose(self) -> None:
        await self._work.end_stream(self)

    def abandon(self) -> None:
        self._work.abandon_stream(self)


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
