"""The data methods that ``Backend`` and ``Session`` share: records by key, bulk writes and the way to a query."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from holdall.capabilities import Capability
from holdall.errors import ConflictError, DuplicateKeyError, HoldallError, NotFoundError, QueryError, UnsupportedOperation, ValidationError
from holdall.query.builder import QueryBuilder, validate_again
from holdall.query.operations import (
    Batch,
    Delete,
    DeleteMany,
    Exists,
    Fetch,
    FetchMany,
    Insert,
    InsertAbsent,
    InsertMany,
    Lock,
    Operation,
    Raw,
    Select,
    Update,
    Upsert,
)
from holdall.query.planner import index_serves, is_empty, missing, needs
from holdall.query.predicates import TRUE, And, Leaf, Predicate
from holdall.query.runner import Explanation
from holdall.query.stream import RowStream
from holdall.record.decoder import Decoder
from holdall.record.encoder import encode
from holdall.record.generators import utc_now
from holdall.record.metadata import FieldSpec, ModelInfo, model_info
from holdall.record.record import Record, set_state
from holdall.record.state import PlainRow, plain_state
from holdall.store import Executor, Store
from holdall.wrappers.refusing import refuse

M = TypeVar("M", bound=Record)
_LOCK = Lock()
_ATTEMPTS = 10


class Decoders:
    """The decoders of one store, each made once per model, fields and shape."""

    def __init__(self, store: Store) -> None:
        self._table = store.values
        self._models: dict[type[Record], tuple[ModelInfo, Decoder]] = {}
        self._others: dict[Any, Decoder] = {}

    def of_model(self, model: type[Record]) -> tuple[ModelInfo, Decoder]:
        """Return what the model says, and what makes its rows into objects."""
        try:
            found = self._models.get(model)
        except TypeError:  # not hashable, so no class
            found = None
        if found is None:
            info = model_info(_checked(model))
            found = self._models[model] = info, Decoder(info, info.fields, self._table)
        return found

    def of_shape(self, info: ModelInfo, names: tuple[str, ...], shape: Any) -> Decoder:
        """Return what makes rows of these fields into the shape."""
        key = (info, names, shape)
        found = self._others.get(key)
        if found is None:
            if len(self._others) > 1000:
                self._others.clear()  # shapes made on the fly must not pile up
            found = self._others[key] = Decoder(info, [info.by_name[name] for name in names], self._table, shape)
        return found


def _label(operation: Operation) -> str:
    if isinstance(operation, Raw):
        return "raw SQL"
    return "write_batch()" if isinstance(operation, Batch) else operation.info.label


def _checked(model: object) -> type[Record]:
    if not (isinstance(model, type) and issubclass(model, Record)):
        msg = f"{model!r} is not a Model"
        raise QueryError(msg)
    return model


class DataAccess:
    """Reads and writes of records. A subclass says where operations go."""

    _store: Store
    _decoders: Decoders

    @property
    def cursor_key(self) -> str | None:
        """The key that signs the cursors of pages."""
        raise NotImplementedError

    def _executor(self) -> Executor:
        """Return what carries out the next operation."""
        raise NotImplementedError

    def _in_session(self) -> bool:
        raise NotImplementedError

    def _cache_queries(self) -> None:
        """Let the session keep answers; raise ``QueryError`` outside one."""
        raise NotImplementedError

    def _remember(self, record: Record, stamps: Mapping[str, Any]) -> None:
        """Note what a write is about to change in the object, so that a rollback can put it back."""
        raise NotImplementedError

    # -- the way of an operation -----------------------------------------------------------------------------------------------------

    async def run_operation(self, operation: Operation) -> Any:
        """Check that the store keeps the promise, then carry out the operation.

        Raises:
            UnsupportedOperation: the store does not declare what the operation needs.
        """
        executor = self._check(operation)
        return await executor.execute(operation)

    async def open_stream(self, operation: Select, batch: int) -> RowStream:
        """Check that the store keeps the promise, then start the query."""
        if Capability.STREAM not in self._store.capabilities:
            raise refuse(self._store, operation.info.label, "stream()", (Capability.STREAM,))
        return await self._check(operation).stream(operation, batch)

    def _check(self, operation: Operation) -> Executor:
        lacking = missing(operation, self._store.capabilities)
        if lacking:
            raise refuse(self._store, _label(operation), type(operation).__name__.lower(), lacking)
        lock: Lock | None = getattr(operation, "lock", None)
        if lock is not None and not self._in_session():
            msg = "a lock ends with its transaction, so that lock=True and for_update() need one: async with backend.session() as session"
            raise QueryError(msg)
        if isinstance(operation, Select) and operation.cache:
            self._cache_queries()
        return self._executor()

    def decoder(self, info: ModelInfo, names: tuple[str, ...] | None = None, shape: Any = None) -> Decoder:
        """Return what turns rows of these fields (None: all) into objects of the shape (None: the model)."""
        return self._decoders.of_model(info.model)[1] if names is None else self._decoders.of_shape(info, names, shape)

    def explain_operation(self, operation: Operation) -> Explanation:
        """Say, without I/O, what would be sent and what it needs."""
        wanted = needs(operation)
        lacking = missing(operation, self._store.capabilities)
        nothing = isinstance(operation, Select) and is_empty(operation)
        notes: list[str] = []
        sorts = Capability.ORDER in self._store.capabilities  # else the store has found an index, or refuses
        if sorts and isinstance(operation, Select) and operation.order and not index_serves(operation.info, operation.order):
            fields = ", ".join(repr(("-" if term.descending else "") + term.field.name) for term in operation.order)
            notes.append(f"no declared index serves this order; Index({fields}) would")
        statement = None
        if not nothing and not lacking:
            try:
                statement = self._store.explain(operation)
            except UnsupportedOperation as exc:  # the store has found no way; running the query raises the same
                lacking, notes = exc.missing, [str(exc)]
        needed, refused = (tuple(sorted(item.value for item in found)) for found in (wanted, lacking))
        return Explanation(statement, needed, refused, tuple(notes))

    # -- reading by key --------------------------------------------------------------------------------------------------------------

    async def get(self, model: type[M], key: Any, *, lock: bool = False, strict: bool = False) -> M:
        """Return the record with this key: the bare value, or a tuple for a composite key.

        Args:
            lock: lock it until the session's transaction ends.
            strict: validate it again; raises ``CorruptRecordError``.

        Raises:
            NotFoundError: there is none.
            QueryError: the key is not of the model's type.
        """
        found: M | None = await self._fetch(model, key, lock=lock)
        if found is None:
            raise NotFoundError(model.__name__, key)
        if strict:
            validate_again(model_info(model), found)
        return found

    async def get_or_none(self, model: type[M], key: Any, *, lock: bool = False, strict: bool = False) -> M | None:
        """Return the record with this key, or None; otherwise as ``get``."""
        found: M | None = await self._fetch(model, key, lock=lock)
        if strict and found is not None:
            validate_again(model_info(model), found)
        return found

    def _fetch(self, model: type[Record], key: Any, *, lock: bool) -> Awaitable[Any]:
        info, decoder = self._decoders.of_model(model)
        operation = Fetch(info, info.plain_key(key), decoder, _LOCK if lock else None)
        executor = self._check(operation) if lock else self._executor()
        return executor.execute(operation)

    async def get_many(self, model: type[M], keys: Iterable[Any]) -> list[M | None]:
        """Return the records with these keys, in their order, None where there is none. Keys may repeat."""
        info, decoder = self._decoders.of_model(model)
        wanted = [info.plain_key(key) for key in keys]
        if not wanted:
            return []
        found: list[M] = await self.run_operation(FetchMany(info, list(dict.fromkeys(wanted)), decoder))
        by_key = {info.key_of(record.__dict__): record for record in found}
        return [by_key.get(key) for key in wanted]

    async def refresh(self, record: M) -> M:
        """Read the record again into the same object; raises ``NotFoundError`` when it is gone. Edits of fields are lost."""
        model = type(record)
        info, decoder = self._decoders.of_model(model)
        key = key_of_record(info, record, plain_state(record))
        found: M | None = await self._executor().execute(Fetch(info, key, decoder))
        if found is None:
            raise NotFoundError(info.label, bare(key))
        self._remember(record, found.__dict__)
        vars(record).update(vars(found))
        set_state(record, found.__holdall_state__)
        return record

    def query(self, model: type[M]) -> QueryBuilder[M]:
        """Return a query of all records of the model."""
        info, _ = self._decoders.of_model(model)
        return QueryBuilder(self, info)

    # -- writing one -----------------------------------------------------------------------------------------------------------------

    async def create(self, record: M) -> M:
        """Store a new record; return it with its generated values.

        Raises:
            DuplicateKeyError: its key or a unique field is taken.
            ForeignKeyError: a reference points to nothing.
            ValidationError: a value that no store may keep.
        """
        info = self._info_of(record)
        stamps = stamps_of(info, created=True)
        row = row_of(info, record, stamps)
        generated = await self.run_operation(Insert(info, row))
        self._written(info, record, row, stamps, generated)
        return record

    async def save(self, record: M) -> M:
        """Store a new record, or write the fields that changed; does nothing when none did.

        Raises:
            ConflictError: it was changed by somebody else since it was read (models with a version).
            NotFoundError: it was stored, and is gone.
        """
        stored = plain_state(record)
        if stored is None:
            return await self.create(record)
        info = self._info_of(record)
        now = encode(info, record.__dict__)
        changed = [spec for spec in info.fields if now[spec.position] != stored[spec.position]]
        if not any(spec is not info.version and not spec.storage.auto_now for spec in changed):
            return record
        return await self._update(info, record, now, changed, stored)

    async def update(self, record: M) -> M:
        """Write all fields of a record that is stored.

        Raises:
            ConflictError: as ``save``.
            NotFoundError: it is gone.
        """
        info = self._info_of(record)
        return await self._update(info, record, encode(info, record.__dict__), info.fields, plain_state(record))

    async def _update(self, info: ModelInfo, record: M, row: PlainRow, changed: Iterable[FieldSpec], stored: PlainRow | None) -> M:
        operation, row, stamps = update_of(info, record, row, changed, stored)
        key, version = operation.key, operation.version
        if operation.fields and not await self.run_operation(operation):
            await self._raise_missing(info, key, version)
        elif not operation.fields and not await self.run_operation(Exists(info, key_predicate(info, key))):
            raise NotFoundError(info.label, bare(key))
        self._written(info, record, row, stamps, None)
        return record

    async def upsert(self, record: M) -> M:
        """Store a record, or overwrite the one with the same key, whatever its version.

        An existing record keeps its ``auto_now_add`` times, and its version is counted up. Another record with the same unique value raises
        ``DuplicateKeyError``.
        """
        info = self._info_of(record)
        if info.generated is not None and getattr(record, info.generated.name) is None:
            return await self.create(record)
        operation, stamps = upsert_of(info, record)
        values = await self._upserted(operation)
        row, stamps = upserted(operation, stamps, values)
        self._written(info, record, row, stamps, None)
        return record

    async def _upserted(self, operation: Upsert) -> Any:
        """Carry out an upsert, again when another task has just created the same record, whose other unique values collide with ours."""
        info = operation.info
        key = key_predicate(info, tuple([operation.row[spec.position] for spec in info.key]))
        for last in (False, False, True):
            try:
                return await self.run_operation(operation)
            except DuplicateKeyError:
                # In a session the failure has ended the transaction.
                if last or self._in_session() or not await self.run_operation(Exists(info, key)):
                    raise
        raise AssertionError  # the last attempt returns or raises

    async def delete(self, record: Record) -> bool:
        """Remove the record; True, or False when it was gone already. It then counts as not stored, so that ``save`` creates it anew.

        Raises:
            ConflictError: it was changed by somebody else since it was read (models with a version).
            ForeignKeyError: others still refer to it.
        """
        info = self._info_of(record)
        operation = delete_of(info, record)
        key, version = operation.key, operation.version
        removed: bool = await self.run_operation(operation)
        if not removed and version is not None and await self.run_operation(Exists(info, key_predicate(info, key))):
            raise ConflictError(info.label, bare(key), version)
        self._remember(record, {})
        set_state(record, None)
        return removed

    async def get_or_create(
        self, model: type[M], lookup: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None
    ) -> tuple[M, bool]:
        """Return (the record with these values, False), or (a new one made of them and the defaults, True). Atomic.

        Raises:
            QueryError: the lookup is neither the key nor a unique field or index.
        """
        info, _ = self._decoders.of_model(model)
        fields = _unique_lookup(info, lookup)
        for _ in range(_ATTEMPTS):
            found = await self.query(model).filter(**lookup).first()
            if found is not None:
                return found, False
            record = model(**{**(defaults or {}), **lookup})
            stamps = stamps_of(info, created=True)
            row = row_of(info, record, stamps)
            created, generated = await self.run_operation(InsertAbsent(info, row, fields))
            if created:
                self._written(info, record, row, stamps, generated)
                return record, True
        raise ConflictError(info.label, tuple(lookup.values()))

    # -- writing many ----------------------------------------------------------------------------------------------------------------

    async def create_many(self, records: Iterable[M]) -> list[M]:
        """Store new records of one model; return them. With ``ATOMIC_BULK`` all or nothing, else errors tell what is ``written``."""
        found = list(records)
        if not found:
            return found
        info = self._info_of_all(found)
        stamps = stamps_of(info, created=True)
        rows = [row_of(info, record, stamps) for record in found]
        try:
            generated = await self.run_operation(InsertMany(info, rows))
        except HoldallError as exc:
            for position in exc.written:  # a store that divides the work has stored these
                self._written(info, found[position], rows[position], stamps, None)
            raise
        for position, (record, row) in enumerate(zip(found, rows, strict=True)):
            self._written(info, record, row, stamps, None if generated is None else generated[position])
        return found

    async def delete_many(self, records: Iterable[Record]) -> int:
        """Remove records of one model by key, whatever their versions; return how many there were. With ``ATOMIC_BULK`` all or nothing."""
        found = list(records)
        if not found:
            return 0
        info = self._info_of_all(found)
        keys = list(dict.fromkeys(key_of_record(info, record, plain_state(record)) for record in found))
        removed: int = await self.run_operation(DeleteMany(info, keys))
        for record in found:
            self._remember(record, {})
            set_state(record, None)
        return removed

    # -- what writing does to the object -----------------------------------------------------------------------------------------------

    def _written(self, info: ModelInfo, record: Record, row: tuple[Any, ...], stamps: Mapping[str, Any], generated: Any) -> None:
        if generated is not None and info.generated is not None:
            stamps = {**stamps, info.generated.name: generated}
            row = stamped_row(info, row, stamps)
        self._remember(record, stamps)
        if stamps:
            vars(record).update(stamps)
            record.__pydantic_fields_set__.update(stamps)
        set_state(record, (None, row))

    async def _raise_missing(self, info: ModelInfo, key: tuple[Any, ...], version: int | None) -> None:
        if version is not None and await self.run_operation(Exists(info, key_predicate(info, key))):
            raise ConflictError(info.label, bare(key), version)
        raise NotFoundError(info.label, bare(key))

    def _info_of(self, record: Record) -> ModelInfo:
        return self._decoders.of_model(type(record))[0]

    def _info_of_all(self, records: Sequence[Record]) -> ModelInfo:
        models = {type(record) for record in records}
        if len(models) > 1:
            names = ", ".join(sorted(model.__name__ for model in models))
            msg = f"bulk writes take records of one model, not of {names}; call once for each"
            raise QueryError(msg)
        return self._info_of(records[0])


def key_of_record(info: ModelInfo, record: Record, stored: PlainRow | None) -> tuple[Any, ...]:
    """Return the key of a record whose stored row is this one; raises ``ValidationError`` when it was changed."""
    key = info.key_of(record.__dict__)
    if stored is not None and any(stored[spec.position] != part for spec, part in zip(info.key, key, strict=True)):
        msg = f"the key of a stored record cannot change (it is {info.bare_key(stored)!r}); delete it and create another"
        raise ValidationError(msg, model=info.label, field=info.key[0].name, value=bare(key))
    return key


def update_of(
    info: ModelInfo, record: Record, row: PlainRow, changed: Iterable[FieldSpec], stored: PlainRow | None
) -> tuple[Update, PlainRow, Mapping[str, Any]]:
    """Return the operation that writes the changed fields of a row, the row that is stored then, and what the write sets by itself."""
    key = key_of_record(info, record, stored)
    version = None if info.version is None else row[info.version.position]
    stamps = stamps_of(info, version=version)
    fields = tuple(spec for spec in changed if not spec.storage.primary_key and spec.name not in stamps)
    fields += tuple(info.by_name[name] for name in stamps)
    row = stamped_row(info, row, stamps)
    operation = Update(info, key, fields, tuple([row[spec.position] for spec in fields]), version, stored)
    return operation, row, stamps


def upsert_of(info: ModelInfo, record: Record) -> tuple[Upsert, Mapping[str, Any]]:
    """Return the operation that stores the record or overwrites one, and what the write sets by itself."""
    stamps = stamps_of(info, created=True)
    returning = (*info.auto_now_add, *((info.version,) if info.version is not None else ()))
    return Upsert(info, row_of(info, record, stamps), info.auto_now_add, returning), stamps


def upserted(operation: Upsert, stamps: Mapping[str, Any], values: Iterable[Any]) -> tuple[PlainRow, Mapping[str, Any]]:
    """Return the row that an upsert has stored, and what it has set by itself, from the values that it has given."""
    stamps = {**stamps, **{spec.name: value for spec, value in zip(operation.returning, values, strict=True)}}
    return stamped_row(operation.info, operation.row, stamps), stamps


def delete_of(info: ModelInfo, record: Record) -> Delete:
    """Return the operation that removes the record."""
    stored = plain_state(record)
    key = key_of_record(info, record, stored)
    version = info.version.plain(record.__dict__[info.version.name]) if info.version is not None and stored is not None else None
    return Delete(info, key, version, stored)


def bare(key: tuple[Any, ...]) -> Any:
    """Return a key as users see it."""
    return key[0] if len(key) == 1 else key


def key_predicate(info: ModelInfo, key: tuple[Any, ...]) -> Predicate:
    """Return the condition that a key is this one."""
    return And(tuple(Leaf(spec, (), spec.type, "eq", value) for spec, value in zip(info.key, key, strict=True))) if key else TRUE


def stamps_of(info: ModelInfo, *, created: bool = False, version: int | None = None) -> dict[str, Any]:
    """Return what a write sets by itself: times, and the next version."""
    found: dict[str, Any] = {}
    specs = (*info.auto_now, *info.auto_now_add) if created else info.auto_now
    if specs:
        now = utc_now()
        found = dict.fromkeys([spec.name for spec in specs], now)
    if version is not None and info.version is not None:
        found[info.version.name] = version + 1
    return found


def row_of(info: ModelInfo, record: Record, stamps: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the plain row of a record with what its write sets by itself."""
    return encode(info, {**record.__dict__, **stamps} if stamps else record.__dict__)


def stamped_row(info: ModelInfo, row: tuple[Any, ...], stamps: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a plain row with what its write sets by itself."""
    if not stamps:
        return row
    return tuple([stamps.get(spec.name, value) for spec, value in zip(info.fields, row, strict=True)])


def _unique_lookup(info: ModelInfo, lookup: Mapping[str, Any]) -> tuple[FieldSpec, ...]:
    names = set(lookup)
    for fields in (info.key, *info.uniques):
        if {spec.name for spec in fields} == names:
            if any(lookup[name] is None for name in names):
                msg = f"get_or_create() needs values: None may repeat in {', '.join(sorted(names))}"
                raise QueryError(msg)
            return fields
    choices = " or ".join("(" + ", ".join(spec.name for spec in fields) + ")" for fields in (info.key, *info.uniques))
    msg = f"get_or_create() of {info.label} needs a lookup by its key or a unique field: {choices}, not ({', '.join(sorted(names))})"
    raise QueryError(msg)
