"""What SQL stores with a pool of connections share: a statement by itself, and transactions that hold a connection from first to last."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Generic, NoReturn, Protocol, TypeVar

from holdall.capabilities import Capability
from holdall.errors import CommitUnknownError, ConnectionLost, DeadlockError, HoldallError, StatementTimeout, TransactionError
from holdall.pool import Connector, PerLoop, Pool, PoolOptions, Slot, SlotState
from holdall.query.operations import Insert, InsertAbsent, Operation, Raw, Update, Upsert
from holdall.record.metadata import ModelInfo
from holdall.settings import PoolSettings
from holdall.sql.compiler import Compiler
from holdall.sql.naming import constraints
from holdall.store import BeginOptions

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)
S = TypeVar("S", bound=PoolSettings)
_DEADLOCKS = 6
_DEADLOCK_PAUSE = 0.002
Run = Callable[[Compiler, Any, Any], Awaitable[Any]]


class Wire(Protocol[C_contra]):
    """How one driver begins, ends and fails: the part of a pooled store that is the database's own.

    ``rollback_to`` is the text that undoes what was done since the savepoint ``{0}``.
    """

    rollback_to: str

    def is_broken(self, connection: C_contra, error: BaseException) -> bool:
        """Tell whether the connection is of no use after this error."""
        ...

    def needs_rescue(self, connection: C_contra, /) -> bool:
        """Tell whether the server may still be at work for a connection that is of no use here, and has to be told."""
        ...

    def never_sent(self, error: BaseException, /) -> bool:
        """Tell whether the statement that failed so has not been carried out, for certain."""
        ...

    def ends_transaction(self, error: BaseException, /) -> bool:
        """Tell whether the server has rolled the whole transaction back with this error."""
        ...

    def is_in_transaction(self, connection: C_contra, /) -> bool:
        """Tell whether a transaction is open on the connection."""
        ...

    def is_idle(self, connection: C_contra, /) -> bool:
        """Tell whether the connection is at nothing, and in no transaction."""
        ...

    async def begin(self, connection: C_contra, options: BeginOptions) -> None:
        """Begin a transaction."""
        ...

    async def commit(self, connection: C_contra, constraint: Callable[[str], tuple[str, tuple[str, ...]] | None]) -> None:
        """Commit; raises errors of holdall's tree."""
        ...

    async def command(self, connection: C_contra, text: str) -> None:
        """Run a statement that gives nothing."""
        ...


class PooledStore(Generic[S, C]):
    """One database; a pool of connections per event loop.

    Attributes:
        runs: how each operation is carried out on a connection. ``reads``: the operations that may be asked again.
        constraints: the model's label and the fields of each constraint, by its name in the database.
        client_timeout: seconds after which the client ends a statement outside sessions, where the server knows no timeout.
    """

    runs: ClassVar[Mapping[type[Any], Run]]
    reads: ClassVar[frozenset[type[Any]]]

    def __init__(self, settings: S, connector: Connector[C], wire: Wire[C], compiler: Compiler) -> None:
        self.settings = settings
        self.wire = wire
        self.compiler = compiler
        self.constraints: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.client_timeout: float | None = None
        self.capabilities: frozenset[Capability] = frozenset()
        self._known: set[ModelInfo] = set()
        self._pools: PerLoop[Pool[C]] = PerLoop(lambda: Pool(connector, _pool_options(settings)), Pool[C].terminate)

    def _translated(self, error: Exception, operation: Operation | None, timeout: float | None) -> BaseException:
        """Return our error for a driver's; the error itself where it is none."""
        raise NotImplementedError

    @property
    def pool(self) -> Pool[C]:
        """The pool of the running event loop."""
        return self._pools.get()

    async def open(self) -> None:
        """Connect once, so that a wrong URL is found out."""
        self._pools.reopen()
        pool = self.pool
        await pool.open()
        pool.give(pool.take() or await pool.acquire())

    async def close(self, timeout: float) -> None:
        """Close the connections of the running event loop, and end those of others."""
        self._pools.shut()
        pool = self._pools.pop()
        try:
            if pool is not None:
                await pool.close(timeout)
        finally:
            self._pools.terminate_all()

    async def ping(self) -> None:
        """Make one round trip; another one where the connection was stale, which says nothing of the server."""
        try:
            await self.alone(lambda connection: self.wire.command(connection, "select 1"))
        except ConnectionLost:
            await self.alone(lambda connection: self.wire.command(connection, "select 1"))

    # -- statements outside sessions ---------------------------------------------------------------------------------------------------

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation by itself: one statement, one round trip."""
        run = self.runs[type(operation)]
        for attempt in range(_DEADLOCKS):
            try:
                return await self.alone(lambda connection: run(self.compiler, connection, operation), operation)
            except ConnectionLost as error:
                # The connection was stale; what reads, or was never carried out, can be asked again.
                sent = error.__cause__ is None or not self.wire.never_sent(error.__cause__)
                if attempt or (sent and type(operation) not in self.reads):
                    raise
            except DeadlockError:
                # The server has undone all that there was: this one statement.
                if attempt == _DEADLOCKS - 1 or isinstance(operation, Raw):
                    raise
                await asyncio.sleep(random.uniform(0, _DEADLOCK_PAUSE * 2**attempt))
        raise AssertionError  # the last attempt returns or raises

    async def alone(self, run: Callable[[C], Awaitable[Any]], operation: Operation | None = None) -> Any:
        """Run something on a connection of its own."""
        pool = self._pools.get()
        slot = pool.take()
        if slot is None:
            slot = await pool.acquire()
        if isinstance(operation, Raw):
            slot.dirty = True
        try:
            if self.client_timeout is None:
                result = await run(slot.connection)
            else:
                async with asyncio.timeout(self.client_timeout):
                    result = await run(slot.connection)
        except BaseException as error:  # noqa: BLE001 - raised by fail()
            self.give_up(pool, slot, error)
            self.fail(error, operation)
        pool.give(slot)
        return result

    def give_up(self, pool: Pool[C], slot: Slot[C], error: BaseException) -> None:
        """End a lease after an error, without waiting."""
        wire = self.wire
        if wire.is_broken(slot.connection, error):
            self.discard(pool, slot)
        elif isinstance(error, Exception) and not isinstance(error, TimeoutError) and wire.is_idle(slot.connection):
            pool.give(slot)
        else:
            # Cancelled or timed out: the server is still at it, and has to be told.
            pool.hand_off(slot)

    def discard(self, pool: Pool[C], slot: Slot[C]) -> None:
        """End a lease of a connection that is of no use; the server is told where it may still be at work."""
        if self.wire.needs_rescue(slot.connection):
            pool.hand_off(slot, "being stopped on the server", broken=True)
        else:
            pool.discard(slot)

    def fail(self, error: BaseException, operation: Operation | None, timeout: float | None = None) -> NoReturn:
        """Raise our error for a driver's, or the error itself."""
        known = self.translated(error, operation, timeout)
        if known is error:
            raise error
        raise known from error

    def translated(self, error: BaseException, operation: Operation | None, timeout: float | None = None) -> BaseException:
        """Return our error for a driver's; others are returned as they are."""
        if isinstance(error, HoldallError) or not isinstance(error, Exception):
            return error
        if isinstance(error, TimeoutError) and self.client_timeout is not None:
            return StatementTimeout(self.client_timeout)
        info = getattr(operation, "info", None)
        if info is not None:
            self.know(info)
        return self._translated(error, operation, timeout or self.settings.statement_timeout)

    def know(self, info: ModelInfo) -> None:
        """Remember the constraints of a model, by which the server names what was broken."""
        if info not in self._known:
            self._known.add(info)
            for name, fields in constraints(info).items():
                self.constraints[name] = info.label, tuple(spec.name for spec in fields)

    def explain(self, operation: Operation) -> str:
        """Return the statement, without values."""
        return self.compiler.compile(operation).text

    def stats(self) -> Mapping[str, Any]:
        """Return figures of the pool of the running event loop."""
        return asdict(self.pool.stats())


class PooledTransaction(Generic[C]):
    """One transaction after another, each on a connection that it holds from its first statement to its end."""

    def __init__(self, store: PooledStore[Any, C], options: BeginOptions) -> None:
        self._store = store
        self._options = options
        self._slot: Slot[C] | None = None
        self._pool: Pool[C] | None = None
        self._ended: BaseException | None = None  # the error with which the server has rolled all back

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open now."""
        return self._slot is not None

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation."""
        run = self._store.runs[type(operation)]
        return await self.run(lambda connection: run(self._store.compiler, connection, operation), operation)

    async def run(self, run: Callable[[C], Awaitable[Any]], operation: Operation | None) -> Any:
        """Run something on the transaction's connection, and translate its errors."""
        if self._ended is not None:
            raise self._ended
        slot = self._leased() or await self._begin()
        if isinstance(operation, Raw):
            slot.dirty = True
        try:
            result = await run(slot.connection)
        except Exception as error:
            known = self._store.translated(error, operation, self._options.timeout)
            self._after(slot, error, known)
            if known is error:
                raise
            raise known from error
        except BaseException:  # a cancel: the exchange is broken off, and the connection with it
            self.abandon()
            raise
        if slot.dirty and not self._store.wire.is_in_transaction(slot.connection):
            self.abandon()
            msg = "raw SQL has ended the session's transaction; use session.commit() and session.rollback()"
            raise TransactionError(msg)
        return result

    def _after(self, slot: Slot[C], error: Exception, known: BaseException) -> None:
        """Give the connection up where the error has ended it, or the transaction."""
        wire = self._store.wire
        if wire.is_broken(slot.connection, error):
            self._ended = known
            self._release(self._store.discard)
        elif wire.ends_transaction(error) or wire.needs_rescue(slot.connection):
            # What comes next on this connection would be committed by itself.
            self._ended = known
            self._release(Pool[C].hand_off)

    def _leased(self) -> Slot[C] | None:
        slot = self._slot
        if slot is not None and slot.state is SlotState.GONE:
            self._slot = None
            msg = "the session's connection is gone: the backend was closed, or this process was forked from the one that opened it"
            raise ConnectionLost(msg)
        return slot

    async def _begin(self) -> Slot[C]:
        try:
            return await self._begin_once()
        except ConnectionLost:
            return await self._begin_once()  # the connection was stale, and nothing had been done on it

    async def _begin_once(self) -> Slot[C]:
        pool = self._store.pool
        slot = pool.take() or await pool.acquire()
        try:
            await self._store.wire.begin(slot.connection, self._options)
        except BaseException as error:  # noqa: BLE001 - raised by fail()
            self._store.give_up(pool, slot, error)
            self._store.fail(error, None)
        self._pool, self._slot = pool, slot
        return slot

    async def commit(self) -> None:
        """Commit and give the connection back."""
        slot, pool = self._leased(), self._pool
        if slot is None or pool is None:
            return
        self._slot = None
        try:
            await self._store.wire.commit(slot.connection, self._store.constraints.get)
        except BaseException as error:
            cause = error.__cause__
            if isinstance(error, CommitUnknownError) or (cause is not None and self._store.wire.is_broken(slot.connection, cause)):
                self._store.discard(pool, slot)
            else:
                self._store.give_up(pool, slot, error)
            raise
        pool.give(slot)

    async def rollback(self) -> None:
        """Roll back and give the connection back."""
        self._ended = None
        slot, pool = self._leased(), self._pool
        if slot is None or pool is None:
            return
        self._slot = None
        try:
            await self._store.wire.command(slot.connection, "rollback")
        except BaseException as error:  # noqa: BLE001 - raised by fail()
            self._store.give_up(pool, slot, error)
            self._store.fail(error, None)
        pool.give(slot)

    def abandon(self) -> None:
        """Leave stopping and rolling back to the pool."""
        self._ended = None
        slot = self._slot
        if slot is not None:
            gone = self._store.wire.is_broken(slot.connection, asyncio.CancelledError())
            self._release(self._store.discard if gone else Pool[C].hand_off)

    def _release(self, give: Callable[[Pool[C], Slot[C]], None]) -> None:
        slot, self._slot = self._slot, None
        if slot is not None and self._pool is not None:
            give(self._pool, slot)

    async def savepoint(self, name: str) -> None:
        """Set a savepoint."""
        await self._command(f"savepoint {name}")

    async def release(self, name: str) -> None:
        """Give up a savepoint."""
        await self._command(f"release savepoint {name}")

    async def rollback_to(self, name: str) -> None:
        """Undo what was done since a savepoint, and remove it."""
        await self._command(self._store.wire.rollback_to.format(name))

    async def _command(self, text: str) -> None:
        await self.run(lambda connection: self._store.wire.command(connection, text), None)


def written_values(operation: Operation | None) -> Mapping[str, Any]:
    """Return the values that an operation writes, by field, for errors."""
    if isinstance(operation, Insert | InsertAbsent | Upsert):
        return {spec.name: spec.python(operation.row[spec.position]) for spec in operation.info.fields}
    if isinstance(operation, Update):
        return {spec.name: spec.python(value) for spec, value in zip(operation.fields, operation.values, strict=True)}
    return {}


def _pool_options(settings: PoolSettings) -> PoolOptions:
    return PoolOptions(
        min_size=settings.pool_min_size,
        max_size=settings.pool_max_size,
        acquire_timeout=settings.acquire_timeout,
        connect_timeout=settings.connect_timeout,
        max_idle=settings.max_idle,
        max_lifetime=settings.max_lifetime,
    )
