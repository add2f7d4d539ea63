"""The PostgreSQL store: the only I/O. Raw asyncpg connections in our own pool, one round trip for a single statement."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

import anyio.to_thread
import asyncpg

from holdall.capabilities import WRITING, Capability
from holdall.errors import CommitUnknownError, ConnectionLost, DuplicateKeyError, HoldallError, StatementTimeout, TransactionError
from holdall.pool import PerLoop, Pool, PoolOptions, Slot, SlotState
from holdall.query.operations import InsertMany, Operation, Raw, Select
from holdall.record.metadata import ModelInfo
from holdall.sql.compiler import Compiler
from holdall.sql.naming import constraints
from holdall.store import BeginOptions, Difference, not_initialised
from holdall.stores.postgres import casefold, execution
from holdall.stores.postgres.capabilities import CAPABILITIES, LIMITS
from holdall.stores.postgres.compiler import DIALECT
from holdall.stores.postgres.connection import AsyncpgConnection, PostgresConnector, PostgresOptions, begin_statement, commit
from holdall.stores.postgres.cursors import declared, portal
from holdall.stores.postgres.errors import ErrorContext, leaves_broken, never_sent, translate
from holdall.stores.postgres.settings import PostgresSettings
from holdall.stores.postgres.values import decode

_SCHEMA_LOCK = 0x686F6C64616C6C  # "holdall": one initialize at a time in a database
Connection = AsyncpgConnection


class PostgresStore:
    """One database; a pool of connections per event loop."""

    limits = LIMITS
    values = staticmethod(decode)

    def __init__(self, settings: PostgresSettings) -> None:
        self.settings = settings
        self.capabilities: frozenset[Capability] = CAPABILITIES - WRITING if settings.read_only else CAPABILITIES
        self.compiler = Compiler(DIALECT)
        self.constraints: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._known: set[ModelInfo] = set()
        self._connector = PostgresConnector(_connection_options(settings))
        self._pools: PerLoop[Pool[Connection]] = PerLoop(self._make_pool, Pool[Connection].terminate)
        # Behind a pooler the server knows no timeout of ours, so that the client keeps it.
        self._client_timeout = settings.statement_timeout if settings.pooler is not None else None
        # Nor does it know there that it must not write, but by each transaction.
        self._begins_read_only = settings.read_only and settings.pooler is not None

    def _make_pool(self) -> Pool[Connection]:
        return Pool(self._connector, _pool_options(self.settings))

    @property
    def pool(self) -> Pool[Connection]:
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
        """Make one round trip."""
        await self._alone(lambda connection: connection.execute("select 1"))

    # -- operations --------------------------------------------------------------------------------------------------------------------

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation by itself: one statement, one round trip."""
        run = execution.RUN[type(operation)]
        reads = type(operation) in execution.READS
        if self._begins_read_only and type(operation) is Raw:
            return await self._read_only(operation)
        try:
            return await self._alone(lambda connection: run(self.compiler, connection, operation), operation)
        except ConnectionLost as error:
            if not (reads or (error.__cause__ is not None and never_sent(error.__cause__))):
                raise
        # The connection was stale; what reads, or was never sent, can be asked again.
        return await self._alone(lambda connection: run(self.compiler, connection, operation), operation)

    async def _read_only(self, operation: Operation) -> Any:
        transaction = PostgresTransaction(self, BeginOptions(read_only=True))
        try:
            result = await transaction.execute(operation)
            await transaction.commit()
        except Exception:
            await transaction.rollback()
            raise
        except BaseException:
            transaction.abandon()
            raise
        return result

    async def _alone(self, run: Callable[[Connection], Awaitable[Any]], operation: Operation | None = None) -> Any:
        pool = self._pools.get()
        slot = pool.take()
        if slot is None:
            slot = await pool.acquire()
        if isinstance(operation, Raw):
            slot.dirty = True
        try:
            if self._client_timeout is None:
                result = await run(slot.connection)
            else:
                async with asyncio.timeout(self._client_timeout):
                    result = await run(slot.connection)
        except BaseException as error:  # noqa: BLE001 - raised by fail()
            self.give_up(pool, slot, error)
            self.fail(error, operation)
        pool.give(slot)
        return result

    def give_up(self, pool: Pool[Connection], slot: Slot[Connection], error: BaseException) -> None:
        """End a lease after an error, without waiting."""
        if slot.connection.is_closed() or leaves_broken(error):
            pool.discard(slot)
        elif isinstance(error, Exception) and not isinstance(error, TimeoutError) and not slot.connection.is_in_transaction():
            pool.give(slot)
        else:
            # Cancelled or timed out: the server is still at it, and has to be told.
            pool.hand_off(slot)

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
        if isinstance(error, TimeoutError) and self._client_timeout is not None:
            return StatementTimeout(self._client_timeout)
        info = getattr(operation, "info", None)
        if info is not None:
            self.know(info)
            if isinstance(error, asyncpg.UndefinedTableError):
                return not_initialised(info.label)
        context = ErrorContext(
            constraint=self.constraints.get,
            model=None if info is None else info.label,
            values=execution.written_values(operation),
            timeout=timeout or self.settings.statement_timeout,
        )
        found = translate(error, context) or error
        if isinstance(found, DuplicateKeyError) and isinstance(operation, InsertMany):
            return DuplicateKeyError(found.model, found.fields, execution.duplicate_values(operation, found))
        return found

    def know(self, info: ModelInfo) -> None:
        """Remember the constraints of a model, by which the server names what was broken."""
        if info not in self._known:
            self._known.add(info)
            for name, fields in constraints(info).items():
                self.constraints[name] = info.label, tuple(spec.name for spec in fields)

    async def stream(self, operation: Select, batch: int) -> PostgresStream:
        """Start a query on a connection of its own."""
        transaction = PostgresTransaction(self, BeginOptions(read_only=True))
        return await transaction.stream(operation, batch, owned=True)

    def begin(self, options: BeginOptions) -> PostgresTransaction:
        """Return a transaction that begins with its first statement."""
        return PostgresTransaction(self, options)

    def explain(self, operation: Operation) -> str:
        """Return the statement, without values."""
        return self.compiler.compile(operation).text

    def stats(self) -> Mapping[str, Any]:
        """Return figures of the pool of the running event loop."""
        return asdict(self.pool.stats())

    # -- schema ------------------------------------------------------------------------------------------------------------------------

    async def prepare(self, models: Sequence[ModelInfo]) -> None:
        """Create what is missing, one initialize at a time."""
        known, statements = await anyio.to_thread.run_sync(_creation, models)
        for info in known:
            self.know(info)
        await self._define([*casefold.statements(), *statements])

    async def drop(self, models: Sequence[ModelInfo]) -> None:
        """Drop the tables."""
        await self._define(await anyio.to_thread.run_sync(_removal, models))

    async def compare(self, models: Sequence[ModelInfo]) -> list[Difference]:
        """Compare the tables with those that ``prepare`` would make, on a connection of its own."""
        differences = await anyio.to_thread.run_sync(_drift)
        try:
            return await differences(models, self._connector.open)
        except Exception as error:
            translated = self.translated(error, None)
            if translated is error:
                raise
            raise translated from error

    async def _define(self, statements: Sequence[str]) -> None:
        text = ";\n".join([f"select pg_advisory_xact_lock({_SCHEMA_LOCK})", "set local client_min_messages = warning", *statements])
        transaction = PostgresTransaction(self, BeginOptions())
        try:
            await transaction.run(lambda connection: connection.execute(text), None)
            await transaction.commit()
        except CancelledError:
            transaction.abandon()
            raise
        except BaseException:
            await transaction.rollback()
            raise


# In a thread: the import of SQLAlchemy, for schemas only, takes a fifth of a second.
def _creation(models: Sequence[ModelInfo]) -> tuple[list[ModelInfo], list[str]]:
    from holdall.sql import schema  # noqa: PLC0415
    from holdall.stores.postgres.schema import SCHEMA  # noqa: PLC0415

    _, tables = schema.build(models, SCHEMA)
    return list(tables), schema.create_statements(tables, models, SCHEMA)


def _drift() -> Callable[..., Awaitable[list[Difference]]]:
    from holdall.stores.postgres.drift import differences  # noqa: PLC0415

    return differences


def _removal(models: Sequence[ModelInfo]) -> list[str]:
    from holdall.sql import schema  # noqa: PLC0415
    from holdall.stores.postgres.schema import SCHEMA  # noqa: PLC0415

    _, tables = schema.build(models, SCHEMA)
    return schema.drop_statements(tables, models, SCHEMA)


class PostgresTransaction:
    """One transaction after another, each on a connection that it holds from its first statement to its end."""

    def __init__(self, store: PostgresStore, options: BeginOptions) -> None:
        self._store = store
        self._options = options
        self._slot: Slot[Connection] | None = None
        self._pool: Pool[Connection] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open now."""
        return self._slot is not None

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation."""
        run = execution.RUN[type(operation)]
        return await self.run(lambda connection: run(self._store.compiler, connection, operation), operation)

    async def run(self, run: Callable[[Connection], Awaitable[Any]], operation: Operation | None) -> Any:
        """Run something on the transaction's connection, and translate its errors."""
        slot = self._leased() or await self._begin()
        if isinstance(operation, Raw):
            slot.dirty = True
        try:
            result = await run(slot.connection)
        except Exception as error:  # noqa: BLE001 - raised by fail()
            if slot.connection.is_closed() or leaves_broken(error):
                self._release_broken()
            self._store.fail(error, operation, self._options.timeout)
        except BaseException:
            self.abandon()
            raise
        if slot.dirty and not slot.connection.is_in_transaction():
            self.abandon()
            msg = "raw SQL has ended the session's transaction; use session.commit() and session.rollback()"
            raise TransactionError(msg)
        return result

    def _leased(self) -> Slot[Connection] | None:
        slot = self._slot
        if slot is not None and slot.state is SlotState.GONE:
            self._slot = None
            msg = "the session's connection is gone: the backend was closed, or this process was forked from the one that opened it"
            raise ConnectionLost(msg)
        return slot

    async def _begin(self) -> Slot[Connection]:
        try:
            return await self._begin_once()
        except ConnectionLost:
            return await self._begin_once()  # the connection was stale, and nothing had been done on it

    async def _begin_once(self) -> Slot[Connection]:
        pool = self._store.pool
        slot = pool.take() or await pool.acquire()
        options = self._options
        timeout = options.timeout or (self._store.settings.statement_timeout if self._store.settings.pooler is not None else None)
        try:
            text = begin_statement(options.isolation or "read committed", read_only=options.read_only, timeout_seconds=timeout)
            await slot.connection.execute(text)
        except BaseException as error:  # noqa: BLE001 - raised by fail()
            self._store.give_up(pool, slot, error)
            self._store.fail(error, None)
        self._pool, self._slot = pool, slot
        return slot

    async def stream(self, operation: Select, batch: int, *, owned: bool = False) -> PostgresStream:
        """Start a query whose portal lives until it is read to the end, or the transaction ends."""
        statement = self._store.compiler.select(operation)[0]
        try:
            pooled = self._store.settings.pooler is not None
            cursor = await self.run(lambda connection: (declared if pooled else portal)(connection, statement), operation)
        except BaseException:
            if owned:
                self.abandon()
            raise
        return PostgresStream(self, cursor, operation, batch, owned=owned)

    async def commit(self) -> None:
        """Commit and give the connection back."""
        slot, pool = self._leased(), self._pool
        if slot is None or pool is None:
            return
        self._slot = None
        try:
            await commit(slot.connection, ErrorContext(constraint=self._store.constraints.get))
        except BaseException as error:
            if isinstance(error, CommitUnknownError) or (error.__cause__ is not None and leaves_broken(error.__cause__)):
                pool.discard(slot)
            else:
                self._store.give_up(pool, slot, error)
            raise
        pool.give(slot)

    async def rollback(self) -> None:
        """Roll back and give the connection back."""
        slot, pool = self._leased(), self._pool
        if slot is None or pool is None:
            return
        self._slot = None
        try:
            await slot.connection.execute("rollback")
        except BaseException as error:  # noqa: BLE001 - raised by fail()
            self._store.give_up(pool, slot, error)
            self._store.fail(error, None)
        pool.give(slot)

    def abandon(self) -> None:
        """Leave stopping and rolling back to the pool."""
        slot, self._slot = self._slot, None
        if slot is not None and self._pool is not None:
            if slot.connection.is_closed():
                self._pool.discard(slot)
            else:
                self._pool.hand_off(slot)

    def _release_broken(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None and self._pool is not None:
            self._pool.discard(slot)

    async def savepoint(self, name: str) -> None:
        """Set a savepoint."""
        await self.run(lambda connection: connection.execute(f"savepoint {name}"), None)

    async def release(self, name: str) -> None:
        """Give up a savepoint."""
        await self.run(lambda connection: connection.execute(f"release savepoint {name}"), None)

    async def rollback_to(self, name: str) -> None:
        """Undo what was done since a savepoint, and remove it."""
        await self.run(lambda connection: connection.execute(f"rollback to savepoint {name}; release savepoint {name}"), None)


class PostgresStream:
    """A portal, read batch by batch."""

    def __init__(self, transaction: PostgresTransaction, cursor: Any, operation: Select, batch: int, *, owned: bool) -> None:
        self._transaction = transaction
        self._cursor = cursor
        self._operation = operation
        self._batch = batch
        self._owned = owned

    async def fetch(self) -> list[Any]:
        """Return the next batch of objects."""
        cursor: Any = self._cursor
        rows = await self._transaction.run(lambda _: cursor.fetch(self._batch), self._operation)
        found: list[Any] = self._operation.decoder.many(rows)
        return found

    async def aclose(self) -> None:
        """End the query; one outside a session ends its transaction, too."""
        self._cursor = None
        if self._owned:
            await self._transaction.rollback()

    def abandon(self) -> None:
        """End the query without waiting."""
        self._cursor = None
        if self._owned:
            self._transaction.abandon()


def _connection_options(settings: PostgresSettings) -> PostgresOptions:
    return PostgresOptions(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password,
        database=settings.database,
        ssl=settings.sslmode,
        connect_timeout=settings.connect_timeout,
        statement_timeout=settings.statement_timeout,
        pooler=settings.pooler,
        application_name=settings.application_name,
        server_settings={"default_transaction_read_only": "on"} if settings.read_only and settings.pooler is None else {},
    )


def _pool_options(settings: PostgresSettings) -> PoolOptions:
    return PoolOptions(
        min_size=settings.pool_min_size,
        max_size=settings.pool_max_size,
        acquire_timeout=settings.acquire_timeout,
        connect_timeout=settings.connect_timeout,
        max_idle=settings.max_idle,
        max_lifetime=settings.max_lifetime,
    )
