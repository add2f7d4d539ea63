"""How each operation is carried out on tables in memory: one function each, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from holdall.errors import ConflictError, DuplicateKeyError, HoldallError, NotFoundError, ValidationError
from holdall.pool import own_copy
from holdall.query import operations as op
from holdall.query import oracle
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.store import not_initialised
from holdall.stores.memory.tables import Row, Table, Tables


def _decoded(operation: Any, rows: list[Row]) -> list[Any]:
    fields = operation.decoder.fields
    if len(fields) == len(operation.info.fields) and operation.decoder.tracks:
        return operation.decoder.many(rows)  # type: ignore[no-any-return]
    return operation.decoder.many([tuple([row[spec.position] for spec in fields]) for row in rows])  # type: ignore[no-any-return]


def _fetch(tables: Tables, operation: op.Fetch) -> Any:
    row = tables.table(operation.info).rows.get(operation.key)
    return None if row is None else operation.decoder.one(row)


def _fetch_many(tables: Tables, operation: op.FetchMany) -> list[Any]:
    rows = tables.table(operation.info).rows
    return _decoded(operation, [rows[key] for key in operation.keys if key in rows])


def _select(tables: Tables, operation: op.Select) -> list[Any]:
    table = tables.table(operation.info)
    return _decoded(operation, [tuple(row) for row in oracle.select(operation, table.rows.values())])


def _matching(table: Table, operation: Any) -> list[Row]:
    return [row for row in table.rows.values() if oracle.matches(operation.predicate, row)]


def _count(tables: Tables, operation: op.Count) -> int:
    return len(_matching(tables.table(operation.info), operation))


def _exists(tables: Tables, operation: op.Exists) -> bool:
    table = tables.table(operation.info)
    return any(oracle.matches(operation.predicate, row) for row in table.rows.values())


def _generated(table: Table, row: Row) -> tuple[Row, Any]:
    """Fill the generated key of a row if it has none; later keys are above every key that was given."""
    spec = table.info.generated
    if spec is None:
        return row, None
    value = row[spec.position]
    if value is None:
        value = table.next_key
        row = (*row[: spec.position], value, *row[spec.position + 1 :])
    table.next_key = max(table.next_key, value + 1)
    return row, value


def _checked(info: ModelInfo, row: Row, fields: tuple[FieldSpec, ...] | None = None) -> None:
    """Check the rules that other stores have as constraints."""
    for spec in info.fields if fields is None else fields:
        if spec.bounds and row[spec.position] is not None:
            oracle.check_rules(spec, spec.python(row[spec.position]), info.label)


def _insert_row(table: Table, row: Row) -> tuple[Row, Any]:
    row, generated = _generated(table, row)
    _checked(table.info, row)
    if table.key_of(row) in table.rows:
        key = table.info.key
        raise DuplicateKeyError(table.info.label, [spec.name for spec in key], [spec.python(row[spec.position]) for spec in key])
    table.put(row)
    return row, generated


def _insert(tables: Tables, operation: op.Insert) -> Any:
    row, generated = _insert_row(tables.writable(operation.info), operation.row)
    tables.check_references(operation.info, (row,))
    return generated


def _insert_many(tables: Tables, operation: op.InsertMany) -> list[Any] | None:
    table = tables.writable(operation.info)
    generated = operation.info.generated
    if generated is not None:
        given = [row[generated.position] for row in operation.rows]
        table.next_key = max([table.next_key, *(key + 1 for key in given if key is not None)])
    stored = [_insert_row(table, row) for row in operation.rows]
    tables.check_references(operation.info, [row for row, _ in stored])
    return None if operation.info.generated is None else [generated for _, generated in stored]


def _insert_absent(tables: Tables, operation: op.InsertAbsent) -> tuple[bool, Any]:
    table = tables.table(operation.info)
    wanted = [operation.row[spec.position] for spec in operation.unique]
    if any([row[spec.position] for spec in operation.unique] == wanted for row in table.rows.values()):
        return False, None
    return True, _insert(tables, op.Insert(operation.info, operation.row))


def _upsert(tables: Tables, operation: op.Upsert) -> list[Any]:
    info = operation.info
    table = tables.writable(info)
    row = operation.row
    before = table.rows.get(table.key_of(row))
    if before is not None:
        kept = {spec.position: before[spec.position] for spec in operation.keep}
        if info.version is not None:
            kept[info.version.position] = before[info.version.position] + 1
        row = tuple([kept.get(position, value) for position, value in enumerate(row)])
    _checked(info, row)
    table.put(row)
    if info.generated is not None:
        _generated(table, row)
    tables.check_references(info, (row,))
    return [row[spec.position] for spec in operation.returning]


def _changed(tables: Tables, info: ModelInfo, before: Row, values: Mapping[FieldSpec, Any]) -> None:
    found = {spec.position: value for spec, value in values.items()}
    row = tuple([found.get(position, value) for position, value in enumerate(before)])
    _checked(info, row, tuple(values))
    tables.writable(info).put(row)
    tables.check_references(info, (row,))


def _update(tables: Tables, operation: op.Update) -> bool:
    info = operation.info
    before = tables.table(info).rows.get(operation.key)
    version = operation.version
    if before is None or (version is not None and info.version is not None and before[info.version.position] != version):
        return False
    _changed(tables, info, before, dict(zip(operation.fields, operation.values, strict=True)))
    return True


def _update_where(tables: Tables, operation: op.UpdateWhere) -> int:
    info = operation.info
    found = _matching(tables.table(info), operation)
    for row in found:
        values = {spec: _computed(info, spec, value, row) for spec, value in operation.assignments.items()}
        _changed(tables, info, row, values)
    return len(found)


def _computed(info: ModelInfo, spec: FieldSpec, expression: Any, row: Row) -> Any:
    value = oracle.compute(expression, row)
    if value is expression:
        return value
    if value is None and not spec.nullable:
        msg = "None in a field that cannot be None"
        raise ValidationError(msg, model=info.label, field=spec.name)
    return oracle.check_rules(spec, value, info.label)


def _delete(tables: Tables, operation: op.Delete) -> bool:
    info = operation.info
    row = tables.table(info).rows.get(operation.key)
    if row is None or (operation.version is not None and info.version is not None and row[info.version.position] != operation.version):
        return False
    return tables.remove(info, [operation.key]) == 1


def _delete_many(tables: Tables, operation: op.DeleteMany) -> int:
    return tables.remove(operation.info, operation.keys)


def _delete_where(tables: Tables, operation: op.DeleteWhere) -> int:
    table = tables.table(operation.info)
    return tables.remove(operation.info, [table.key_of(row) for row in _matching(table, operation)])


def _batch(tables: Tables, operation: op.Batch) -> list[Any]:
    """Carry out the writes; the tables are a fork, so that one that fails undoes them all."""
    found: list[Any] = []
    for place, write in enumerate(operation.writes):
        check_known(tables, write.info)
        try:
            found.append(WRITES[type(write)](tables, write))
            if found[-1] is False:
                _check_missing(tables, write)
        except HoldallError as exc:
            copy: Any = own_copy(exc)  # an error that holds itself could not be pickled
            exc.reasons = [copy if place == other else None for other in range(len(operation.writes))]
            raise
    return found


def _check_missing(tables: Tables, write: Any) -> None:
    """Raise what a write that has found no record, or another version of it, means in a batch."""
    key = write.key[0] if len(write.key) == 1 else write.key
    if write.version is not None and write.key in tables.table(write.info).rows:
        raise ConflictError(write.info.label, key, write.version)
    if isinstance(write, op.Update):
        raise NotFoundError(write.info.label, key)


READS: Mapping[type[Any], Callable[[Tables, Any], Any]] = {
    op.Fetch: _fetch,
    op.FetchMany: _fetch_many,
    op.Select: _select,
    op.Count: _count,
    op.Exists: _exists,
}
WRITES: Mapping[type[Any], Callable[[Tables, Any], Any]] = {
    op.Insert: _insert,
    op.InsertMany: _insert_many,
    op.InsertAbsent: _insert_absent,
    op.Upsert: _upsert,
    op.Update: _update,
    op.UpdateWhere: _update_where,
    op.Delete: _delete,
    op.DeleteMany: _delete_many,
    op.DeleteWhere: _delete_where,
    op.Batch: _batch,
}


def check_known(tables: Tables, info: ModelInfo) -> None:
    """Refuse a model that was not initialised, as a server without its table does."""
    if not any(table.info.name == info.name for table in tables):
        raise not_initialised(info.label)
