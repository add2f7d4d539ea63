"""The PostgreSQL store: the only I/O. Raw asyncpg connections in our own pool, one round trip for a single statement."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio.to_thread
import asyncpg

from holdall.capabilities import WRITING
from holdall.errors import DuplicateKeyError
from holdall.query.operations import InsertMany, Operation, Raw, Select
from holdall.record.metadata import ModelInfo
from holdall.sql.compiler import Compiler
from holdall.sql.pooled import PooledStore, PooledTransaction, written_values
from holdall.store import BeginOptions, Difference, not_initialised
from holdall.stores.postgres import casefold, execution
from holdall.stores.postgres.capabilities import CAPABILITIES, LIMITS
from holdall.stores.postgres.compiler import DIALECT
from holdall.stores.postgres.connection import AsyncpgConnection, PostgresConnector, PostgresOptions, begin_statement, commit
from holdall.stores.postgres.cursors import declared, portal
from holdall.stores.postgres.errors import ConstraintLookup, ErrorContext, leaves_broken, never_sent, translate
from holdall.stores.postgres.settings import PostgresSettings
from holdall.stores.postgres.values import decode

_SCHEMA_LOCK = 0x686F6C64616C6C  # "holdall": one initialize at a time in a database
Connection = AsyncpgConnection


class PostgresWire:
    """How a connection of asyncpg begins, ends and fails."""

    rollback_to = "rollback to savepoint {0}; release savepoint {0}"

    def __init__(self, settings: PostgresSettings) -> None:
        # Behind a pooler the server keeps no timeout of ours between transactions.
        self._timeout = settings.statement_timeout if settings.pooler is not None else None

    def is_broken(self, connection: Connection, error: BaseException) -> bool:
        """Tell whether the connection is of no use after this error."""
        return connection.is_closed() or leaves_broken(error)

    def needs_rescue(self, _connection: Connection) -> bool:
        """Return False: the server looks by itself whether its client is gone."""
        return False

    def never_sent(self, error: BaseException) -> bool:
        """Tell whether the statement has not left this machine."""
        return never_sent(error)

    def ends_transaction(self, _error: BaseException) -> bool:
        """Return False: a failed transaction stays, and refuses everything until it is rolled back."""
        return False

    def is_in_transaction(self, connection: Connection) -> bool:
        """Tell whether a transaction is open on the connection."""
        return connection.is_in_transaction()

    def is_idle(self, connection: Connection) -> bool:
        """Tell whether the connection is in no transaction."""
        return not connection.is_in_transaction()

    async def begin(self, connection: Connection, options: BeginOptions) -> None:
        """Begin with all settings in one round trip."""
        timeout = options.timeout or self._timeout
        text = begin_statement(options.isolation or "read committed", read_only=options.read_only, timeout_seconds=timeout)
        await connection.execute(text)

    async def commit(self, connection: Connection, constraint: ConstraintLookup) -> None:
        """Commit."""
        await commit(connection, ErrorContext(constraint=constraint))

    async def command(self, connection: Connection, text: str) -> None:
        """Run a statement that gives nothing."""
        await connection.execute(text)


class PostgresStore(PooledStore[PostgresSettings, Connection]):
    """One database; a pool of connections per event loop."""

    limits = LIMITS
    values = staticmethod(decode)
    runs = execution.RUN
    reads = execution.READS

    def __init__(self, settings: PostgresSettings) -> None:
        self._connector = PostgresConnector(_connection_options(settings))
        super().__init__(settings, self._connector, PostgresWire(settings), Compiler(DIALECT))
        self.capabilities = CAPABILITIES - WRITING if settings.read_only else CAPABILITIES
        # Behind a pooler the server knows no timeout of ours, so that the client keeps it.
        self.client_timeout = settings.statement_timeout if settings.pooler is not None else None
        # Nor does it know there that it must not write, but by each transaction.
        self._begins_read_only = settings.read_only and settings.pooler is not None

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation by itself: one statement, one round trip."""
        if self._begins_read_only and type(operation) is Raw:
            return await self._read_only(operation)
        return await super().execute(operation)

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

    def _translated(self, error: Exception, operation: Operation | None, timeout: float | None) -> BaseException:
        info = getattr(operation, "info", None)
        if info is not None and isinstance(error, asyncpg.UndefinedTableError):
            return not_initialised(info.label)
        context = ErrorContext(
            constraint=self.constraints.get,
            model=None if info is None else info.label,
            values=written_values(operation),
            timeout=timeout,
        )
        found = translate(error, context) or error
        if isinstance(found, DuplicateKeyError) and isinstance(operation, InsertMany):
            return DuplicateKeyError(found.model, found.fields, execution.duplicate_values(operation, found))
        return found

    async def stream(self, operation: Select, batch: int) -> PostgresStream:
        """Start a query on a connection of its own."""
        transaction = PostgresTransaction(self, BeginOptions(read_only=True))
        return await transaction.stream(operation, batch, owned=True)

    def begin(self, options: BeginOptions) -> PostgresTransaction:
        """Return a transaction that begins with its first statement."""
        return PostgresTransaction(self, options)

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


class PostgresTransaction(PooledTransaction[Connection]):
    """A transaction whose streams are portals of the server."""

    _store: PostgresStore

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
