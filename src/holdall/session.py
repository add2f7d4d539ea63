"""``Session``: a unit of work on a backend, one transaction with the same data methods."""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self

from holdall import ambient
from holdall.capabilities import Capability
from holdall.data_access import DataAccess, Decoders
from holdall.errors import ConfigurationError, SessionConflict, SessionNotFound
from holdall.raw_access import RawAccess
from holdall.record.record import Record
from holdall.settings import Settings
from holdall.store import BeginOptions, Executor, Store
from holdall.work import Callback, Mark, Work
from holdall.wrappers.refusing import refuse


class Home(Protocol):
    """What a session needs of its backend."""

    store: Store
    decoders: Decoders
    settings: Settings

    @property
    def cursor_key(self) -> str | None:
        """The key that signs the cursors of pages."""
        ...

    def spawn(self, coroutine: Coroutine[Any, Any, None], /) -> None:
        """Run something in the background that outlives its task."""
        ...


class Session(DataAccess, RawAccess):
    """A unit of work: it begins with its first statement, and commits at the end of its block. Any exception rolls back.

    Statements of tasks that share it run one after another.
    """

    def __init__(self, backend: Home, work: Work) -> None:
        self.backend = backend
        self._store = backend.store
        self._decoders = backend.decoders
        self._work = work

    @property
    def cursor_key(self) -> str | None:
        """The key that signs the cursors of pages."""
        return self.backend.cursor_key

    def _executor(self) -> Executor:
        return self._work

    def _in_session(self) -> bool:
        return True

    def _cache_queries(self) -> None:
        self._work.cache_queries(every=False)

    def _remember(self, record: Record, stamps: Mapping[str, Any]) -> None:
        self._work.remember(record, stamps)

    def check_open(self) -> None:
        """Raise ``SessionClosed`` when the session has ended."""
        self._work.check_open()

    async def commit(self) -> None:
        """Commit; the next statement begins a new transaction.

        Raises:
            TransactionError: a statement had failed; everything is rolled back.
            SerializationError, DeadlockError: run the whole session again; ``backend.run`` does.
            CommitUnknownError: the connection was lost while it committed.
        """
        await self._work.commit()

    async def rollback(self) -> None:
        """Roll back; objects written in the transaction get back their stored state. The next statement begins a new transaction."""
        await self._work.rollback()

    def savepoint(self) -> Savepoint:
        """Return a block whose exception undoes what the block did, and no more; blocks nest."""
        if Capability.SAVEPOINTS not in self._store.capabilities:
            raise refuse(self._store, "savepoint()", "it", (Capability.SAVEPOINTS,))
        return Savepoint(self, self._work)

    def on_commit(self, callback: Callback) -> None:
        """Call a function or coroutine function after the commit; not when the transaction, or the savepoint around it, is rolled back."""
        self._work.call_on_commit(callback)

    def on_rollback(self, callback: Callback) -> None:
        """Call a function or coroutine function after a rollback of the transaction, or of the savepoint around it."""
        self._work.call_on_rollback(callback)

    def enter(self) -> ambient.Entry:
        """Make this session the ambient one of the current task until ``ambient.leave``; ``use`` and ``backend.sessions`` are for users."""
        return ambient.enter(self.backend, self, self._work)

    @contextmanager
    def use(self) -> Generator[Self]:
        """Make this session the ambient one of the current task within the block."""
        self.check_open()
        entry = self.enter()
        try:
            yield self
        finally:
            ambient.leave(entry)


class Savepoint:
    """The block of ``session.savepoint()``."""

    def __init__(self, session: Session, work: Work) -> None:
        self._session = session
        self._work = work
        self._mark: Mark | None = None

    async def __aenter__(self) -> Session:
        """Set the savepoint."""
        self._mark = await self._work.set_savepoint()
        return self._session

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Keep the work, or undo it."""
        assert self._mark is not None
        await self._work.end_savepoint(self._mark, error)


class SessionBlock:
    """The block of ``backend.session()``."""

    def __init__(self, backend: Home, given: Session | None, options: BeginOptions, *, query_cache: bool) -> None:
        self._backend = backend
        self._given = given
        self._options = options
        self._query_cache = query_cache
        self._work: Work | None = None
        self._entry: ambient.Entry | None = None

    async def __aenter__(self) -> Session:
        """Return the given session, or a new one, which becomes the ambient one of this task."""
        if self._given is not None:
            self._given.check_open()
            return self._given
        if self._work is not None:
            msg = "this block was entered before; call backend.session() again"
            raise SessionConflict(msg)
        if ambient.find(self._backend) is not None:
            raise SessionConflict(_NESTED)
        self._work = Work(self._backend.store.begin(self._options), self._backend)
        if self._query_cache:
            self._work.cache_queries(every=True)
        session = Session(self._backend, self._work)
        self._entry = session.enter()
        return session

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Commit, or roll back when the block raised; leave a given session alone."""
        if self._work is None or self._entry is None:
            return
        try:
            ambient.leave(self._entry)
        finally:
            await self._work.finish(error)


class Sessions:
    """The ambient session of the current task, by hand: ``backend.sessions``, for authors of frameworks."""

    def __init__(self, backend: Home) -> None:
        self._backend = backend

    def store(self, session: Session) -> None:
        """Make a session the ambient one of this task; raises ``SessionConflict`` when it has one, or the session is another backend's."""
        check_given(self._backend, session, BeginOptions())
        session.check_open()
        if ambient.find(self._backend) is not None:
            raise SessionConflict(_NESTED)
        session.enter()

    def get(self) -> Session:
        """Return the ambient session; raises ``SessionNotFound``."""
        return self._entry()[1]

    def pop(self) -> Session:
        """Take the ambient session away from this task and return it; raises ``SessionNotFound``. It stays open."""
        entry, session = self._entry()
        ambient.leave(entry)
        return session

    def remove(self) -> None:
        """Do what ``pop`` does, without returning it."""
        self.pop()

    def _entry(self) -> tuple[ambient.Entry, Session]:
        entry = ambient.find(self._backend)
        if entry is None:
            msg = "this task has no session on this backend; open one by 'async with backend.session()', or adopt one by sessions.store(…)"
            raise SessionNotFound(msg)
        assert isinstance(entry.session, Session)
        return entry, entry.session


_NESTED = (
    "this task has a session on this backend already; "
    "nest with 'async with session.savepoint():', or pass the session on: backend.session(session)"
)


def check_given(backend: Home, given: Session | None, options: BeginOptions, *, query_cache: bool = False) -> None:
    """Refuse a given session that cannot be used as asked.

    Raises:
        SessionConflict: it is another backend's. ConfigurationError: options are given beside it.
    """
    if given is None:
        return
    if given.backend is not backend:
        msg = "the session that was passed belongs to another backend"
        raise SessionConflict(msg)
    if query_cache or options != BeginOptions():
        msg = "isolation, read_only, timeout and query_cache belong to whoever opens the session; leave them out when passing one"
        raise ConfigurationError(msg)
