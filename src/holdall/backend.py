"""``Backend``: what an application holds, one per database; and its ``Engine``, where the database speaks SQL."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple

from holdall import ambient
from holdall.capabilities import Capability, with_implied
from holdall.data_access import DataAccess, Decoders
from holdall.errors import ConfigurationError, HoldallError, LimitExceeded, PoolClosed, QueryError, is_retryable
from holdall.query.operations import Operation
from holdall.query.planner import model_needs
from holdall.raw_access import RawAccess
from holdall.record.decoder import Decoder
from holdall.record.metadata import ModelInfo, model_info
from holdall.record.record import Record
from holdall.session import Session, SessionBlock, Sessions, check_given
from holdall.settings import Settings
from holdall.store import BeginOptions, Difference, Executor, Isolation, Reindexing, Store
from holdall.wrappers import watching
from holdall.wrappers.coalescing import Coalescing
from holdall.wrappers.refusing import refuse
from holdall.write_batch import WriteBatch

Ts = TypeVarTuple("Ts")
R = TypeVar("R")
_PAUSE = 0.005
_LONGEST_PAUSE = 0.5


class Backend(DataAccess):
    """A database, opened from a URL. Every method that touches data is a coroutine.

    It opens lazily, once per event loop; ``open()`` does it at once. Within ``async with backend.session()`` its data methods use that
    session. ``sessions`` manages the ambient session by hand, for authors of frameworks.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        if settings.read_only and Capability.WRITE in store.capabilities:
            msg = f"{type(store).__name__} cannot be opened with read_only=True"
            raise ConfigurationError(msg)
        self.settings = settings
        self.use_store(store)
        self.sessions = Sessions(self)
        self._engine = Engine(self)
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def use_store(self, store: Store) -> None:
        """Send what comes from now on to another store, such as a wrapper around this one's; sessions that are open keep theirs."""
        self.store = self._store = store
        self.decoders = self._decoders = Decoders(store)
        self._outside: Executor = Coalescing(store) if self.settings.coalesce else store

    def __repr__(self) -> str:
        """Return the store's settings without secrets."""
        return f"<Backend {self.settings!r}>"

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the store promises, and what follows from it."""
        return with_implied(self._store.capabilities)

    @property
    def cursor_key(self) -> str | None:
        """The key that signs the cursors of pages."""
        return self.settings.cursor_key

    @property
    def engine(self) -> Engine:
        """The pool of connections and raw SQL; raises ``UnsupportedOperation`` on a store that is not SQL."""
        if Capability.RAW_SQL not in self._store.capabilities:
            raise refuse(self._store, "engine", "it", (Capability.RAW_SQL,))
        return self._engine

    def _executor(self) -> Executor:
        if ambient.current.get() is not None:
            entry = ambient.find(self)
            if entry is not None:
                return entry.work
        if self._closed:
            raise PoolClosed(_CLOSED)
        return self._outside if watching.watcher is None else watching.watcher.outside(self)

    def _in_session(self) -> bool:
        return ambient.current.get() is not None and ambient.find(self) is not None

    def _cache_queries(self) -> None:
        entry = ambient.find(self)
        if entry is None:
            msg = "the query cache belongs to a session, so that all(cache=True) needs one: async with backend.session() as session"
            raise QueryError(msg)
        entry.work.cache_queries(every=False)

    def _remember(self, record: Record, stamps: Mapping[str, Any]) -> None:
        if ambient.current.get() is not None:
            entry = ambient.find(self)
            if entry is not None:
                entry.work.remember(record, stamps)

    # -- opening and closing -----------------------------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Connect now, instead of at the first call; reopens a backend that was closed.

        Raises:
            ConnectionLost: the server cannot be reached.
        """
        self._closed = False
        await self._store.open()
        return self

    async def close(self, timeout: float = 10.0) -> None:
        """Close all connections of the running event loop; wait up to ``timeout`` seconds for those in use, then cut them.

        Raises:
            PoolClosed: it is closed already.
        """
        if self._closed:
            msg = "the backend is closed already"
            raise PoolClosed(msg)
        self._closed = True
        await self._store.close(timeout)

    async def __aenter__(self) -> Self:
        """Open."""
        return await self.open()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close, unless that was done."""
        if not self._closed:
            await self.close()

    async def ping(self) -> None:
        """Make one round trip to the server; raises ``ConnectionLost`` when it cannot be reached."""
        self._check_open()
        await self._store.ping()

    def _check_open(self) -> None:
        if self._closed:
            raise PoolClosed(_CLOSED)

    def _check_writable(self, what: str) -> None:
        if Capability.WRITE not in self._store.capabilities:
            raise refuse(self._store, what, "it", (Capability.WRITE,))

    # -- schema ------------------------------------------------------------------------------------------------------------------------

    async def initialize(self, *models: type[Record]) -> None:
        """Create the tables, indexes and constraints that are missing; never drop or alter any. Safe to run twice, and by many at once.

        Models that these refer to come with them.

        Raises:
            UnsupportedOperation: the store cannot keep what a model asks for, such as unique fields.
            ConfigurationError: a model cannot be stored, two have the same stored name, or they refer to each other in a circle.
            LimitExceeded: a stored name is too long.
        """
        self._check_open()
        self._check_writable("initialize()")
        infos = _with_referenced([model_info(model) for model in models])
        check_models(self._store, infos)
        await self._store.prepare(infos)

    async def check(self, *models: type[Record]) -> list[Difference]:
        """Return how the database differs from what ``initialize`` would make of the models, and of those that they refer to.

        It changes nothing and sees what is committed. An empty list says that they agree; ``str()`` of a difference is one line to read.

        Raises:
            MissingDriverError: a package that compares schemas is not installed; the text says which extra brings it.
            UnsupportedOperation: the store cannot compare.
        """
        self._check_open()
        infos = _with_referenced([model_info(model) for model in models])
        check_models(self._store, infos)
        if Capability.SCHEMA_CHECK not in self._store.capabilities:
            raise refuse(self._store, "check()", "it", (Capability.SCHEMA_CHECK,))
        return await self._store.compare(infos)

    async def reindex(self, model: type[Record]) -> None:
        """Build the index of a model anew, by what the model says now, while the old one serves; then put it in the old one's place.

        Others may go on reading and writing; writes wait for the moment of the exchange.

        Raises:
            UnsupportedOperation: the store keeps no such indexes.
        """
        self._check_open()
        self._check_writable("reindex()")
        info = model_info(model)
        if Capability.REINDEX not in self._store.capabilities or not isinstance(self._store, Reindexing):
            raise refuse(self._store, "reindex()", "it", (Capability.REINDEX,))
        check_models(self._store, [info])
        await self._store.reindex(info)

    async def drop(self, *models: type[Record]) -> None:
        """Remove the tables of models with all their records, if they exist."""
        self._check_open()
        self._check_writable("drop()")
        await self._store.drop(list(reversed(_in_order([model_info(model) for model in models]))))

    async def clear(self, *models: type[Record]) -> None:
        """Remove all records of models."""
        for info in reversed(_in_order([model_info(model) for model in models])):
            await self.query(info.model).allow_scan().delete()

    # -- sessions ----------------------------------------------------------------------------------------------------------------------

    def session(
        self,
        session: Session | None = None,
        /,
        *,
        isolation: Isolation | None = None,
        read_only: bool = False,
        timeout: float | None = None,
        query_cache: bool = False,
    ) -> SessionBlock:
        """Return a block that is one transaction: ``async with backend.session() as session``.

        Args:
            session: use this one, and leave its end to its owner; None opens one.
            isolation: "read committed" (the default), "repeatable read" or "serializable". At the default, protect from lost updates by a
                version field or ``lock=True``.
            read_only: the store refuses writes.
            timeout: seconds that each statement may take (``StatementTimeout``).
            query_cache: the same query asked again gives the same objects without asking the database, until a write, raw SQL or the end of
                the transaction may have changed its answer. Writes of others stay unseen meanwhile.

        Raises:
            UnsupportedOperation: the store has no such transactions.
        """
        options = BeginOptions(isolation, read_only, timeout)
        check_given(self, session, options, query_cache=query_cache)
        options = BeginOptions(isolation, read_only or self.settings.read_only, timeout)
        missing = _session_needs(options) - self._store.capabilities
        if missing:
            raise refuse(self._store, "session()", "it", missing)
        if timeout is not None and not timeout > 0:
            msg = f"timeout is a number of seconds above 0, not {timeout!r}"
            raise ConfigurationError(msg)
        self._check_open()
        return SessionBlock(self, session, options, query_cache=query_cache)

    def write_batch(self) -> WriteBatch:
        """Return a block that collects writes of single records and sends them at its end as one, all or nothing.

        ``async with backend.write_batch() as batch: batch.create(order); batch.save(customer)``. Nothing is sent when the block raises.
        On a store with sessions it is a transaction, and a part of the session that the task is in.

        Raises:
            UnsupportedOperation: the store cannot write several records as one.
        """
        missing = {Capability.WRITE, Capability.WRITE_BATCH} - self._store.capabilities
        if missing:
            raise refuse(self._store, "write_batch()", "it", missing)
        self._check_open()
        return WriteBatch(self, self._batch_session if Capability.SESSIONS in self._store.capabilities else None)

    def _batch_session(self) -> AbstractAsyncContextManager[Session]:
        entry = ambient.find(self)
        if entry is None:
            return self.session()
        assert isinstance(entry.session, Session)
        return entry.session.savepoint()

    async def run(
        self,
        function: Callable[[Session, *Ts], Awaitable[R]],
        /,
        *args: *Ts,
        retries: int = 3,
        isolation: Isolation | None = None,
        timeout: float | None = None,
    ) -> R:
        """Call ``function(session, *args)`` in a session; call it again in a new one after serialization failures and deadlocks.

        Args:
            retries: how often again, with jittered pauses between. Keyword arguments of the function go by ``functools.partial``.

        Raises:
            SerializationError, DeadlockError: every attempt failed.
        """
        for attempt in range(retries + 1):
            try:
                async with self.session(isolation=isolation, timeout=timeout) as session:
                    return await function(session, *args)
            except HoldallError as exc:
                if attempt == retries or not is_retryable(exc):
                    raise
            await asyncio.sleep(random.uniform(0.5, 1.5) * min(_LONGEST_PAUSE, _PAUSE * 2**attempt))
        raise AssertionError  # the last attempt returns or raises

    def spawn(self, coroutine: Coroutine[Any, Any, None], /) -> None:
        """Run something in the background that outlives its task, and inherits no session and no cancel scope."""
        task = asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Engine(RawAccess):
    """The engine of a backend: ``backend.engine``. Raw statements join the ambient session, else run on their own."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def session(
        self,
        session: Session | None = None,
        /,
        *,
        isolation: Isolation | None = None,
        read_only: bool = False,
        timeout: float | None = None,
        query_cache: bool = False,
    ) -> SessionBlock:
        """Return the same as ``backend.session``."""
        return self._backend.session(session, isolation=isolation, read_only=read_only, timeout=timeout, query_cache=query_cache)

    def stats(self) -> Mapping[str, Any]:
        """Return figures of the pool of the running event loop, such as ``size``, ``idle``, ``in_use`` and ``waiting``."""
        return self._backend.store.stats()

    async def run_operation(self, operation: Operation) -> Any:
        """Check that the store keeps the promise, then carry out the operation."""
        return await self._backend.run_operation(operation)

    def decoder(self, info: ModelInfo, names: tuple[str, ...] | None = None, shape: Any = None) -> Decoder:
        """Return what turns rows into objects."""
        return self._backend.decoder(info, names, shape)


_CLOSED = "the backend is closed; open it by 'async with backend:' or 'await backend.open()'"
_ISOLATION_NEEDS: Mapping[str | None, frozenset[Capability]] = {
    None: frozenset(),
    "read committed": frozenset(),
    "repeatable read": frozenset({Capability.REPEATABLE_READ}),
    "serializable": frozenset({Capability.SERIALIZABLE}),
}


def _session_needs(options: BeginOptions) -> frozenset[Capability]:
    wanted = _ISOLATION_NEEDS.get(options.isolation)
    if wanted is None:
        msg = f"isolation={options.isolation!r} is not one of 'read committed', 'repeatable read', 'serializable'"
        raise ConfigurationError(msg)
    more = {Capability.SESSIONS}
    if options.read_only:
        more.add(Capability.READ_ONLY)
    if options.timeout is not None:
        more.add(Capability.STATEMENT_TIMEOUT)
    return wanted | more


def _with_referenced(infos: list[ModelInfo]) -> list[ModelInfo]:
    """Return the models and those that they refer to, which come first.

    Raises:
        ConfigurationError: they refer to each other in a circle.
    """
    found: dict[ModelInfo, None] = {}
    path: list[ModelInfo] = []

    def visit(info: ModelInfo) -> None:
        if info in path:
            names = " → ".join(other.label for other in (*path[path.index(info) :], info))
            msg = f"the models refer to each other in a circle ({names}); declare one of the references with enforce=False"
            raise ConfigurationError(msg)
        if info in found:
            return
        path.append(info)
        for spec, target in info.references:
            if target is not info and spec.reference is not None and spec.reference.enforce:
                visit(target)
        path.pop()
        found[info] = None

    for info in infos:
        visit(info)
    return list(found)


def _in_order(infos: list[ModelInfo]) -> list[ModelInfo]:
    """Return the models so that what is referred to comes before what refers."""
    return [info for info in _with_referenced(infos) if info in infos]


def check_models(store: Store, infos: list[ModelInfo]) -> None:
    """Refuse models that the store cannot keep, before any I/O."""
    names: dict[str, ModelInfo] = {}
    named: dict[object, ModelInfo] = {}  # by an index's own name, which is one for all tables
    for info in infos:
        missing = model_needs(info) - store.capabilities
        if missing:
            raise refuse(store, info.label, "the model", missing)
        other = names.setdefault(info.name, info)
        if other is not info:
            raise ConfigurationError(f"{other.label} and {info.label} have the same stored name {info.name!r}; set Meta.name of one")
        for index in info.indexes:
            owner = named.setdefault(index.name or object(), info)
            if owner is not info:
                raise ConfigurationError(
                    f"{owner.label} and {info.label} have an index of the same name {index.name!r}; leave the name out"
                )
        limit = store.limits.name_bytes
        for name in (info.name, *(spec.stored_name for spec in info.fields)):
            if limit is not None and len(name.encode()) > limit:
                raise LimitExceeded(f"{info.label}: the stored name {name!r} in bytes", limit=limit, value=len(name.encode()))
