"""``Session``: a unit of work on a backend, one transaction with the same data methods."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from asyncio import CancelledError
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from holdall import ambient
from holdall.capabilities import Capability
from holdall.data_access import DataAccess
from holdall.errors import ConfigurationError, HoldallError, SessionClosed, SessionConflict, TransactionError
from holdall.query.operations import Operation, Select
from holdall.query.stream import RowStream
from holdall.raw_access import RawAccess
from holdall.record.record import Record, set_state
from holdall.record.state import State
from holdall.store import BeginOptions, Executor, Transaction
from holdall.wrappers.refusing import refuse

if TYPE_CHECKING:
    from holdall.backend import Backend

Callback = Callable[[], Awaitable[None] | None]


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
        values = self.record.__dict__
        for name, value in self.before.items():
            if values.get(name) is self.after[name] or values.get(name) == self.after[name]:
                values[name] = value


class _Statements:
    """The executor of a session: it keeps the order of statements, and stops after the first that failed."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.turn = _Turn()
        self.closed = False
        self.failed: BaseException | None = None

    async def execute(self, operation: Operation) -> Any:
        return await self.do(self.transaction.execute, operation)

    async def stream(self, operation: Select, batch: int) -> RowStream:
        return _SessionStream(self, await self.do(self.transaction.stream, operation, batch))

    async def do(self, method: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        await self.turn.take()
        try:
            self.check_open()
            if self.failed is not None:
                raise self.failure()
            try:
                return await method(*args)
            except BaseException as exc:
                self.failed = exc
                raise
        finally:
            self.turn.give()

    def check_open(self) -> None:
        if self.closed:
            msg = "the session has ended; open another one with 'async with backend.session()'"
            raise SessionClosed(msg)

    def failure(self) -> TransactionError:
        failed = self.failed
        reason = f"{type(failed).__name__}: {failed}" if isinstance(failed, HoldallError) else "it was cancelled"
        error = TransactionError(
            f"the transaction failed before ({reason}) and cannot go on; roll back, or run what may fail inside 'async with session.savepoint():'"
        )
        error.__cause__ = failed
        return error


class _SessionStream:
    """A stream whose batches take their turn among the session's statements."""

    def __init__(self, statements: _Statements, source: RowStream) -> None:
        self._statements = statements
        self._source = source

    async def fetch(self) -> list[Any]:
        found: list[Any] = await self._statements.do(self._source.fetch)
        return found

    async def aclose(self) -> None:
        if self._statements.closed or self._statements.failed is not None:
            self._source.abandon()
        else:
            await self._statements.do(self._source.aclose)

    def abandon(self) -> None:
        self._source.abandon()


class Session(DataAccess, RawAccess):
    """A unit of work: it begins with its first statement, and commits at the end of its block. Any exception rolls back.

    Statements of tasks that share it run one after another.
    """

    def __init__(self, backend: Backend, options: BeginOptions) -> None:
        self.backend = backend
        self._store = backend.store
        self._decoders = backend.decoders
        self._transaction = backend.store.begin(options)
        self._statements = _Statements(self._transaction)
        self._undo: list[_Change] = []
        self._savepoints = 0
        self._on_commit: list[Callback] = []
        self._on_rollback: list[Callback] = []

    @property
    def cursor_key(self) -> str | None:
        """The key that signs the cursors of pages."""
        return self.backend.cursor_key

    def _executor(self) -> Executor:
        return self._statements

    def _in_session(self) -> bool:
        return True

    def _remember(self, record: Record, stamps: Mapping[str, Any]) -> None:
        self._undo.append(_Change(record, stamps))

    # -- ending ----------------------------------------------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Commit; the next statement begins a new transaction.

        Raises:
            TransactionError: a statement had failed; everything is rolled back.
            SerializationError, DeadlockError: run the whole session again; ``backend.run`` does.
            CommitUnknownError: the connection was lost while it committed.
        """
        self._statements.check_open()
        if self._savepoints:
            msg = "commit() inside a savepoint() block would end the savepoint's transaction; leave the block first"
            raise TransactionError(msg)
        if self._statements.failed is not None:
            error = self._statements.failure()
            await self.rollback()
            raise error
        await self._statements.turn.take()
        try:
            await self._transaction.commit()
        except BaseException as exc:
            self._rolled_back(exc)
            raise
        finally:
            self._statements.turn.give()
        self._undo.clear()
        self._on_rollback.clear()
        callbacks, self._on_commit = self._on_commit, []
        await _call(callbacks)

    async def rollback(self) -> None:
        """Roll back; objects written in the transaction get back their stored state. The next statement begins a new transaction."""
        self._statements.check_open()
        if self._savepoints:
            msg = "rollback() inside a savepoint() block would end the savepoint's transaction; raise an exception to undo the block"
            raise TransactionError(msg)
        await self._statements.turn.take()
        try:
            await self._transaction.rollback()
        except BaseException:
            self._transaction.abandon()
            raise
        finally:
            self._statements.turn.give()
            callbacks = self._rolled_back(None)
        await _call(callbacks)

    def _rolled_back(self, error: BaseException | None) -> list[Callback]:
        for change in reversed(self._undo):
            change.undo()
        self._undo.clear()
        self._on_commit.clear()
        self._statements.failed = error
        callbacks, self._on_rollback = self._on_rollback, []
        return callbacks

    def _abandon(self) -> None:
        """Roll back without waiting: the store's own task does what takes time."""
        self._transaction.abandon()
        callbacks = self._rolled_back(None)
        if callbacks:
            self.backend.spawn(_call(callbacks))

    async def _finish(self, error: BaseException | None) -> None:
        """End the session at the end of its block."""
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
            # The block's own exception is what matters; the rollback's failure means that the connection is gone, and the transaction with it.
        finally:
            self._statements.closed = True

    # -- nesting and callbacks ---------------------------------------------------------------------------------------------------------

    def savepoint(self) -> Savepoint:
        """Return a block whose exception undoes what the block did, and no more; blocks nest."""
        if Capability.SAVEPOINTS not in self._store.capabilities:
            raise refuse(self._store, "savepoint()", "it", (Capability.SAVEPOINTS,))
        return Savepoint(self)

    def on_commit(self, callback: Callback) -> None:
        """Call a function or coroutine function after the commit; not when the transaction, or the savepoint around it, is rolled back."""
        self._statements.check_open()
        self._on_commit.append(callback)

    def on_rollback(self, callback: Callback) -> None:
        """Call a function or coroutine function after a rollback of the transaction, or of the savepoint around it."""
        self._statements.check_open()
        self._on_rollback.append(callback)

    @contextmanager
    def use(self) -> Iterator[Session]:
        """Make this session the ambient one of the current task within the block."""
        self._statements.check_open()
        entry = ambient.enter(self.backend, self)
        try:
            yield self
        finally:
            ambient.leave(entry)


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


class Savepoint:
    """The block of ``session.savepoint()``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._name = ""
        self._marks = (0, 0, 0)

    async def __aenter__(self) -> Session:
        """Set the savepoint."""
        session = self._session
        self._name = f"holdall_{session._savepoints + 1}"
        await session._statements.do(session._transaction.savepoint, self._name)
        session._savepoints += 1
        self._marks = len(session._undo), len(session._on_commit), len(session._on_rollback)
        return session

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Keep the work, or undo it."""
        session = self._session
        session._savepoints -= 1
        if error is None and session._statements.failed is None:
            await session._statements.do(session._transaction.release, self._name)
            return
        if error is not None and not isinstance(error, Exception):
            # Cancelled: nothing may be awaited here, and the transaction must not go on as if the block had been undone.
            session._statements.failed = session._statements.failed or error
        failed = session._statements.failed
        if isinstance(error, Exception | None) and isinstance(failed, Exception | None) and not session._statements.closed:
            await self._undo(session)
        if error is None and failed is not None:
            # A database error was swallowed inside: what the block did is undone, and must not look as if it were kept.
            session._statements.failed = failed
            error = session._statements.failure()
            session._statements.failed = None
            raise error

    async def _undo(self, session: Session) -> None:
        session._statements.failed = None
        await session._statements.do(session._transaction.rollback_to, self._name)
        changes, commits, rollbacks = self._marks
        for change in reversed(session._undo[changes:]):
            change.undo()
        del session._undo[changes:]
        del session._on_commit[commits:]
        callbacks = session._on_rollback[rollbacks:]
        del session._on_rollback[rollbacks:]
        await _call(callbacks)


class SessionBlock:
    """The block of ``backend.session()``."""

    def __init__(self, backend: Backend, given: Session | None, options: BeginOptions) -> None:
        self._backend = backend
        self._given = given
        self._options = options
        self._session: Session | None = None
        self._entry: ambient.Entry | None = None

    async def __aenter__(self) -> Session:
        """Return the given session, or a new one, which becomes the ambient one of this task."""
        if self._given is not None:
            self._given._statements.check_open()
            return self._given
        if self._session is not None:
            msg = "this block was entered before; call backend.session() again"
            raise SessionConflict(msg)
        if ambient.find(self._backend) is not None:
            msg = "this task has a session on this backend already; nest with 'async with session.savepoint():', or pass the session on: backend.session(session)"
            raise SessionConflict(msg)
        self._session = Session(self._backend, self._options)
        self._entry = ambient.enter(self._backend, self._session)
        return self._session

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Commit, or roll back when the block raised; leave a given session alone."""
        if self._session is None or self._entry is None:
            return
        try:
            ambient.leave(self._entry)
        finally:
            await self._session._finish(error)


def check_given(backend: Backend, given: Session | None, options: BeginOptions) -> None:
    """Refuse a given session that cannot be used as asked.

    Raises:
        SessionConflict: it is another backend's. ConfigurationError: options are given beside it.
    """
    if given is None:
        return
    if given.backend is not backend:
        msg = "the session that was passed belongs to another backend"
        raise SessionConflict(msg)
    if options != BeginOptions():
        msg = "isolation, read_only and timeout belong to whoever opens the session; leave them out when passing one"
        raise ConfigurationError(msg)


def in_empty_context(coroutine: Any) -> asyncio.Task[Any]:
    """Start a task that inherits no session and no cancel scope."""
    return asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context())
