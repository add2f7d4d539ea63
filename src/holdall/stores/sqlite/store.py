"""The SQLite store: operations onto the engine of the running event loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import anyio.to_thread

from holdall.capabilities import WRITING
from holdall.errors import BackendError, DuplicateKeyError, ForeignKeyError, HoldallError, TransactionError, ValidationError
from holdall.pool import PerLoop, PoolOptions
from holdall.query import operations as op
from holdall.query.operations import Operation, Select
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.sql.compiler import Compiler
from holdall.store import BeginOptions, Difference, not_initialised
from holdall.stores.sqlite import execution, functions
from holdall.stores.sqlite.capabilities import CAPABILITIES, LIMITS
from holdall.stores.sqlite.compiler import DIALECT
from holdall.stores.sqlite.connection import EngineOptions
from holdall.stores.sqlite.engine import Engine
from holdall.stores.sqlite.errors import EXPLAINED, error_name
from holdall.stores.sqlite.settings import SqliteSettings
from holdall.stores.sqlite.temporary import TemporaryDatabase, temporary_database
from holdall.stores.sqlite.transaction import SqliteStream, SqliteTransaction
from holdall.stores.sqlite.values import decode, decoded_upsert


class SqliteStore:
    """One database file; an engine per event loop."""

    limits = LIMITS
    values = staticmethod(decode)

    def __init__(self, settings: SqliteSettings, lender: SqliteStore | None = None) -> None:
        self.settings = settings
        self.capabilities = CAPABILITIES - WRITING if settings.read_only else CAPABILITIES
        self._lender = lender  # of a private database
        self.compiler = Compiler(DIALECT)
        self._tables: dict[str, ModelInfo] = {}
        self._temporary: TemporaryDatabase | None = None
        self._engines: PerLoop[Engine] = PerLoop(self._make_engine, Engine.terminate)

    def _make_engine(self) -> Engine:
        settings = self.settings
        return Engine(
            EngineOptions(
                path=self._path(),
                read_only=settings.read_only,
                synchronous="off" if settings.path is None else settings.synchronous,
                busy_timeout=settings.busy_timeout,
                statement_timeout=settings.statement_timeout,
                cache_kib=settings.cache_kib,
                pool=PoolOptions(
                    min_size=settings.pool_min_size,
                    max_size=settings.pool_max_size,
                    acquire_timeout=settings.acquire_timeout,
                    connect_timeout=settings.connect_timeout,
                    max_idle=settings.max_idle,
                    max_lifetime=settings.max_lifetime,
                ),
                setup=functions.register,
                lookup=self._named,
            )
        )

    def _path(self) -> str:
        if self.settings.path is not None:
            return self.settings.path
        if self._lender is not None:
            return self._lender._path()  # noqa: SLF001  - the class's own
        if self._temporary is None:
            self._temporary = temporary_database()
        return self._temporary.path

    def share(self, settings: SqliteSettings) -> SqliteStore:
        """Return a store of the same file, a private one included."""
        return SqliteStore(settings, self)

    def _named(self, table: str, columns: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
        info = self._tables.get(table)
        if info is None:
            return None
        names = {spec.stored_name: spec.name for spec in info.fields}
        if any("." in column and column not in names for column in columns):
            return None  # the dot belongs to the name of another table
        return info.label, tuple(names.get(column, column) for column in columns)

    @property
    def engine(self) -> Engine:
        """The engine of the running event loop."""
        return self._engines.get()

    async def open(self) -> None:
        """Open the file."""
        self._engines.reopen()
        await self.engine.open()

    async def close(self, timeout: float) -> None:
        """Close the engine of the running event loop, and end those of others."""
        self._engines.shut()
        engine = self._engines.pop()
        try:
            if engine is not None:
                await engine.close(timeout)
        finally:
            self._engines.terminate_all()
            temporary, self._temporary = self._temporary, None
            if temporary is not None:
                temporary.remove()

    async def ping(self) -> None:
        """Ask the file."""
        await self.engine.read(execution.fetch_row, "select 1 from sqlite_schema limit 1", ())

    # -- operations --------------------------------------------------------------------------------------------------------------------

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation by itself."""
        kind = type(operation)
        if kind is op.Fetch:
            statement = self.compiler.fetch(operation)  # type: ignore[arg-type]
            try:
                row = await self.engine.read(execution.fetch_row, statement.text, statement.values)
            except BackendError as exc:
                raise self.explained(operation, exc) from exc.__cause__
            return None if row is None else operation.decoder.one(row)  # type: ignore[union-attr]
        if kind is op.Raw:
            return await self._raw(operation)  # type: ignore[arg-type]
        try:
            if kind in execution.READS:
                run, args = execution.READS[kind](self.compiler, operation)
                result = await self.engine.select(run, *args)  # pyright: ignore[reportArgumentType]  - the table pairs functions and arguments
            else:
                run, args, groupable = self.write_of(operation, alone=True)
                result = await self.engine.write(run, *args, groupable=groupable)  # pyright: ignore[reportArgumentType]
        except EXPLAINED as exc:
            raise self.explained(operation, exc) from exc.__cause__
        return self.result_of(operation, result)

    async def _raw(self, operation: op.Raw) -> Any:
        if self.settings.read_only:
            return await self._raw_read_only(operation)
        return await reading_first(
            lambda: self.engine.select(execution.raw, operation),
            lambda: self.engine.write(execution.raw, operation, groupable=False),
            operation,
        )

    async def _raw_read_only(self, operation: op.Raw) -> Any:
        try:
            return await self.engine.select(execution.raw, operation)
        except TypeError as exc:
            raise _unbindable(operation) from exc
        except BackendError as exc:
            if exc.__cause__ is None or error_name(exc.__cause__) != "SQLITE_READONLY":
                raise
            raise TransactionError("the backend is read-only") from exc.__cause__

    def write_of(self, operation: Any, *, alone: bool) -> tuple[Callable[..., Any], tuple[Any, ...], bool]:
        """Return the function of a write, its arguments, and whether it may share a commit."""
        info: ModelInfo = operation.info
        self._tables.setdefault(info.name, info)  # for errors, which name tables
        if isinstance(operation, op.InsertMany):
            return execution.insert_many, (self.compiler, operation, alone), False
        kind: type[Any] = operation.__class__
        groupable = kind in execution.WRITES
        run, args = (execution.WRITES if groupable else execution.LONG_WRITES)[kind](self.compiler, operation)
        return run, args, groupable

    def result_of(self, operation: Operation, result: Any) -> Any:
        """Return an operation's result from what the worker gave."""
        if isinstance(operation, op.Upsert):
            return decoded_upsert(operation, result)
        convert = execution.RESULTS.get(type(operation))
        return result if convert is None else convert(operation, result)

    def explained(self, operation: Any, error: HoldallError) -> HoldallError:
        """Return the error of an operation with what SQLite does not say."""
        if isinstance(error, BackendError):
            return not_initialised(operation.info.label) if str(error.__cause__).startswith("no such table") else error
        if isinstance(error, DuplicateKeyError):
            values = _written(operation, error.__cause__)
            if not values or error.values:
                return error
            return DuplicateKeyError(error.model, error.fields, [values[name] for name in error.fields if name in values])
        if isinstance(error, ForeignKeyError):
            return ForeignKeyError(*self._referring(operation))
        return ValidationError(str(error), model=operation.info.label)

    def _referring(self, operation: Any) -> tuple[str, tuple[str, ...]]:
        """Return the model and field whose reference failed, where there is only one that it can be."""
        info: ModelInfo = operation.info
        removes = isinstance(operation, op.Delete | op.DeleteMany | op.DeleteWhere)
        candidates = restricting(info, self._tables.values()) if removes else [(info, spec) for spec, _ in enforced(info)]
        if len({other.label for other, _ in candidates}) != 1:
            return info.label, ()
        return candidates[0][0].label, (candidates[0][1].name,) if len(candidates) == 1 else ()

    async def stream(self, operation: Select, batch: int) -> SqliteStream:
        """Start a query on a connection of its own."""
        return await SqliteStream.start(self, await self.engine.session(), operation, batch, owned=True)

    def begin(self, options: BeginOptions) -> SqliteTransaction:
        """Return a transaction that begins with its first statement."""
        return SqliteTransaction(self, options)

    def explain(self, operation: Operation) -> str:
        """Return the statement, without values."""
        return self.compiler.compile(operation).text

    def stats(self) -> Mapping[str, Any]:
        """Return figures of the pool and the engine of the running event loop."""
        return {**asdict(self.engine.pool.stats()), **asdict(self.engine.stats())}

    # -- schema ------------------------------------------------------------------------------------------------------------------------

    async def prepare(self, models: Sequence[ModelInfo]) -> None:
        """Create what is missing, in one transaction."""
        known, statements = await anyio.to_thread.run_sync(_creation, models)
        for info in known:
            self._tables[info.name] = info
        await self.engine.write(_define, statements, groupable=False)

    async def drop(self, models: Sequence[ModelInfo]) -> None:
        """Drop the tables."""
        await self.engine.write(_define, await anyio.to_thread.run_sync(_removal, models), groupable=False)
        for info in models:
            self._tables.pop(info.name, None)

    async def compare(self, models: Sequence[ModelInfo]) -> list[Difference]:
        """Compare what is defined in the file with what ``prepare`` would define."""
        return await anyio.to_thread.run_sync(_differences, models, await self.engine.select(_definitions))


# In a thread: the import of SQLAlchemy, for schemas only, takes a fifth of a second.
def _creation(models: Sequence[ModelInfo]) -> tuple[list[ModelInfo], list[str]]:
    from holdall.sql import schema  # noqa: PLC0415
    from holdall.stores.sqlite.schema import SCHEMA  # noqa: PLC0415

    _, tables = schema.build(models, SCHEMA)
    return list(tables), schema.create_statements(tables, models, SCHEMA)


def _removal(models: Sequence[ModelInfo]) -> list[str]:
    from holdall.sql import schema  # noqa: PLC0415
    from holdall.stores.sqlite.schema import SCHEMA  # noqa: PLC0415

    _, tables = schema.build(models, SCHEMA)
    return schema.drop_statements(tables, models, SCHEMA)


def _definitions(connection: execution.Connection) -> list[tuple[str, str, str, str]]:
    return connection.execute("select type, name, tbl_name, sql from sqlite_schema where sql is not null").fetchall()


def _differences(models: Sequence[ModelInfo], found: list[tuple[str, str, str, str]]) -> list[Difference]:
    from holdall.stores.sqlite.drift import differences  # noqa: PLC0415

    return differences(models, found)


def _define(connection: execution.Connection, statements: list[str]) -> None:
    for statement in statements:
        connection.execute(statement)


async def reading_first(read: Callable[[], Any], write: Callable[[], Any], operation: op.Raw) -> Any:
    """Run raw SQL as a read; when it turns out to write, as a write."""
    if operation.mode == "fetch":
        try:
            return await read()
        except TypeError as exc:
            raise _unbindable(operation) from exc
        except BackendError as exc:
            if exc.__cause__ is None or error_name(exc.__cause__) != "SQLITE_READONLY":
                raise
    try:
        return await write()
    except TypeError as exc:
        raise _unbindable(operation) from exc


def _unbindable(operation: op.Raw) -> HoldallError:
    given = list(operation.parameters.items()) or [pair for item in operation.many for pair in item.items()]
    shown = ", ".join(f":{name} ({type(value).__name__})" for name, value in given)
    return ValidationError(
        f"sqlite cannot bind one of {shown}; pass a Decimal as the number that its column holds, and documents as JSON text"
    )


def enforced(info: ModelInfo) -> list[tuple[FieldSpec, ModelInfo]]:
    """Return the references that SQLite checks, with what they refer to."""
    return [(spec, target) for spec, target in info.references if spec.reference is not None and spec.reference.enforce]


def restricting(info: ModelInfo, known: Collection[ModelInfo]) -> list[tuple[ModelInfo, FieldSpec]]:
    """Return the references that can keep a record from being removed, also from behind those that cascade."""
    found: list[tuple[ModelInfo, FieldSpec]] = []
    removed = [info]
    for target in removed:  # grows while it is read
        for other in known:
            for spec in [spec for spec, referred in enforced(other) if referred is target]:
                assert spec.reference is not None
                if spec.reference.on_delete == "restrict":
                    found.append((other, spec))
                elif spec.reference.on_delete == "cascade" and other not in removed:
                    removed.append(other)
    return found


def _written(operation: Any, cause: BaseException | None) -> dict[str, Any]:
    info: ModelInfo = operation.info
    row = getattr(cause, "holdall_row", None) or getattr(operation, "row", None)
    pairs: list[tuple[FieldSpec, Any]] = []
    if row is not None:
        pairs = [(spec, row[spec.position]) for spec in info.fields]
    elif isinstance(operation, op.Update):
        pairs = list(zip(operation.fields, operation.values, strict=True))
    return {spec.name: spec.python(value) for spec, value in pairs}
