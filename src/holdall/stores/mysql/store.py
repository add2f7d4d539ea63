"""The MariaDB and MySQL store: the only I/O. Connections of a driver in our own pool, one round trip for a single statement."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio.to_thread

from holdall.capabilities import WRITING
from holdall.errors import ConnectionLost, LockNotAvailable, StatementTimeout
from holdall.query.operations import Operation, Raw, Select
from holdall.record.metadata import ModelInfo
from holdall.sql.pooled import PooledStore, PooledTransaction, written_values
from holdall.store import BeginOptions, Difference, not_initialised
from holdall.stores.mysql import execution
from holdall.stores.mysql.capabilities import CAPABILITIES, LIMITS
from holdall.stores.mysql.compiler import MysqlCompiler
from holdall.stores.mysql.connection import MysqlConnector, MysqlWire
from holdall.stores.mysql.errors import NO_TABLE, ErrorContext, number_of, translate
from holdall.stores.mysql.flavours import DEFAULT, Flavour
from holdall.stores.mysql.limits import check_names
from holdall.stores.mysql.literals import MARKS, render
from holdall.stores.mysql.settings import MysqlSettings
from holdall.stores.mysql.streams import OwnStream, SessionStream, read_off
from holdall.stores.mysql.values import columns_of
from holdall.stores.mysql.wire import Connection, Cursor, Driver

_SCHEMA_LOCK = "left(concat('holdall ', database()), 64)"
_SCHEMA_LOCK_SECONDS = 60
_EXISTS_ALREADY = frozenset((1050, 1061, 1826))  # the table, the index, the foreign key


_DIRTY = Raw("execute", "", {})  # what is done as raw SQL is has its session reset


class MysqlStore(PooledStore[MysqlSettings, Connection]):
    """One database; a pool of connections per event loop."""

    limits = LIMITS
    runs = execution.RUN
    reads = execution.READS

    def __init__(self, settings: MysqlSettings, driver: Driver) -> None:
        self.values = driver.values
        self.driver = driver
        self.connector = MysqlConnector(settings, driver, self._learn)
        super().__init__(settings, self.connector, MysqlWire(self.connector), MysqlCompiler(DEFAULT))
        self.capabilities = CAPABILITIES - WRITING if settings.read_only else CAPABILITIES

    def _learn(self, flavour: Flavour) -> None:
        """Speak the server's dialect; called with the first connection, before anything is asked."""
        self.compiler = MysqlCompiler(flavour)
        if not flavour.statement_timeout:
            self.client_timeout = self.settings.statement_timeout

    def _translated(self, error: Exception, operation: Operation | None, timeout: float | None) -> BaseException:
        info: ModelInfo | None = getattr(operation, "info", None)
        if info is not None and number_of(error) == NO_TABLE and isinstance(error, self.driver.errors):
            return not_initialised(info.label)
        context = ErrorContext(
            constraint=self.constraints.get,
            model=None if info is None else info.label,
            key=() if info is None else tuple(spec.name for spec in info.key),
            values=written_values(operation),
            timeout=timeout,
        )
        return translate(error, self.driver.errors, context) or error

    async def stream(self, operation: Select, batch: int) -> OwnStream:
        """Start a query on a connection of its own."""
        try:
            return await self._stream(operation, batch)
        except ConnectionLost:
            return await self._stream(operation, batch)  # the connection was stale, and nothing has been given yet

    async def _stream(self, operation: Select, batch: int) -> OwnStream:
        pool = self.pool
        slot = pool.take() or await pool.acquire()
        return await OwnStream(pool, slot, self, operation, batch).start(self.compiler.select(operation)[0])

    def begin(self, options: BeginOptions) -> MysqlTransaction:
        """Return a transaction that begins with its first statement."""
        return MysqlTransaction(self, options)

    def explain(self, operation: Operation) -> str:
        """Return the statement, without values."""
        return MARKS.sub("?", super().explain(operation))

    # -- schema ------------------------------------------------------------------------------------------------------------------------

    async def prepare(self, models: Sequence[ModelInfo]) -> None:
        """Create what is missing, one initialize at a time."""
        for info in models:
            check_names(info)
        await self.ping()  # which server it is decides on the collation
        known, statements = await anyio.to_thread.run_sync(_creation, models, self.connector.flavour)
        for info in known:
            self.know(info)
        await self._define(statements)

    async def drop(self, models: Sequence[ModelInfo]) -> None:
        """Drop the tables."""
        await self._define(await anyio.to_thread.run_sync(_removal, models, self.connector.flavour))

    async def compare(self, models: Sequence[ModelInfo]) -> list[Difference]:
        """Compare the tables with those that ``prepare`` would make, on a connection of its own."""
        await self.ping()
        differences = await anyio.to_thread.run_sync(_drift)
        found: list[Difference] = await self.alone(lambda connection: differences(models, connection, self.connector.flavour), _DIRTY)
        return found

    async def _define(self, statements: Sequence[str]) -> None:
        """Run statements that define tables, each of which commits by itself, under a lock by name."""

        async def run(connection: Connection) -> None:
            _, rows = await connection.query(f"select get_lock({_SCHEMA_LOCK}, {_SCHEMA_LOCK_SECONDS})")
            if rows != [(1,)]:
                raise LockNotAvailable(f"another initialize() or drop() of this database has not ended within {_SCHEMA_LOCK_SECONDS} s")
            try:
                for statement in statements:
                    await self._define_one(connection, statement)
            finally:
                if not connection.unanswered and not connection.is_closed:
                    await connection.query(f"select release_lock({_SCHEMA_LOCK})")

        await self.alone(run)

    async def _define_one(self, connection: Connection, statement: str) -> None:
        try:
            await connection.execute(statement)
        except self.driver.errors as error:
            if number_of(error) not in _EXISTS_ALREADY:
                raise


class MysqlTransaction(PooledTransaction[Connection]):
    """A transaction whose statements make room for one another while a stream is read."""

    _store: MysqlStore

    def __init__(self, store: MysqlStore, options: BeginOptions) -> None:
        super().__init__(store, options)
        self._streams: set[SessionStream] = set()
        self._left: Cursor | None = None  # of a stream that was given up before its end

    async def run(self, run: Callable[[Connection], Awaitable[Any]], operation: Operation | None) -> Any:
        """Run something on the transaction's connection, which is made free for it."""

        async def freed(connection: Connection) -> Any:
            if connection.unanswered:
                await self._make_room(connection)
            if timeout is None or operation is None:
                return await run(connection)
            return await self._in_time(connection, run, timeout)

        timeout = self._options.timeout
        return await super().run(freed, operation)

    async def _in_time(self, connection: Connection, run: Callable[[Connection], Awaitable[Any]], timeout: float) -> Any:
        timed = self._store.connector.flavour.timed
        if timed:
            connection.prefix = timed.format(timeout)
            try:
                return await run(connection)
            finally:
                connection.prefix = ""
        try:
            async with asyncio.timeout(timeout):
                return await run(connection)
        except TimeoutError as error:
            raise StatementTimeout(timeout) from error

    # -- streams -----------------------------------------------------------------------------------------------------------------------

    async def stream(self, operation: Select, batch: int) -> SessionStream:
        """Start a query whose rows are read as they are wanted."""
        sql = render(self._store.compiler.select(operation)[0])
        columns = columns_of(operation.decoder.fields)
        cursor: Cursor = await self.run(lambda connection: connection.open_cursor(sql, columns), operation)
        stream = SessionStream(self, cursor, operation, batch)
        self._streams.add(stream)
        return stream

    async def read_cursor(self, cursor: Cursor, count: int, operation: Operation) -> list[tuple[Any, ...]]:
        """Read on in a result."""
        found: list[tuple[Any, ...]] = await super().run(lambda _: cursor.fetch(count), operation)
        return found

    def leave(self, stream: SessionStream, cursor: Cursor | None) -> None:
        """Forget a stream; what is left of its result is cleared away by the next statement."""
        self._streams.discard(stream)
        if cursor is not None and not cursor.is_done:
            self._left = cursor

    async def _make_room(self, connection: Connection) -> None:
        left, self._left = self._left, None
        if left is not None:
            await self._store.connector.stop_query(connection)
            await read_off(connection, left)
        for stream in list(self._streams):
            await stream.put_aside()

    async def _free(self) -> None:
        slot = self._slot
        if slot is None or not slot.connection.unanswered:
            return
        try:
            await self._make_room(slot.connection)
        except BaseException as error:  # noqa: BLE001 - raised by fail()
            self.abandon()
            self._store.fail(error, None)

    async def commit(self) -> None:
        """Commit and give the connection back."""
        await self._free()
        await super().commit()

    async def rollback(self) -> None:
        """Roll back and give the connection back."""
        await self._free()
        await super().rollback()


# In a thread: the import of SQLAlchemy, for schemas only, takes a fifth of a second.
def _creation(models: Sequence[ModelInfo], flavour: Flavour) -> tuple[list[ModelInfo], list[str]]:
    from holdall.sql import schema  # noqa: PLC0415
    from holdall.stores.mysql.schema import schema_of  # noqa: PLC0415

    dialect = schema_of(flavour)
    _, tables = schema.build(models, dialect)
    return list(tables), schema.create_statements(tables, models, dialect)


def _removal(models: Sequence[ModelInfo], flavour: Flavour) -> list[str]:
    from holdall.sql import schema  # noqa: PLC0415
    from holdall.stores.mysql.schema import schema_of  # noqa: PLC0415

    dialect = schema_of(flavour)
    _, tables = schema.build(models, dialect)
    return schema.drop_statements(tables, models, dialect)


def _drift() -> Callable[..., Awaitable[list[Difference]]]:
    from holdall.stores.mysql.drift import differences  # noqa: PLC0415

    return differences
