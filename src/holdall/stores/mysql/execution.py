"""How each operation is carried out on a connection: one function each, in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from holdall.errors import DuplicateKeyError, SerializationError
from holdall.query import operations as op
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.sql.compiler import Compiler, Statement
from holdall.sql.naming import constraints
from holdall.sql.parameters import bound, positional
from holdall.sql.referred import referred_first
from holdall.stores.mysql.compiler import MysqlCompiler
from holdall.stores.mysql.connection import commit
from holdall.stores.mysql.errors import DUPLICATE, FOREIGN_ROW, REFERRED_TO, duplicate_key, number_of
from holdall.stores.mysql.literals import MARK, literal, render
from holdall.stores.mysql.values import columns_of
from holdall.stores.mysql.wire import Connection


async def _fetch(compiler: Compiler, connection: Connection, operation: op.Fetch) -> Any:
    decoder = operation.decoder
    rows = await connection.fetch(render(compiler.fetch(operation)), columns_of(decoder.fields))
    return decoder.one(rows[0]) if rows else None


async def _fetch_many(compiler: Compiler, connection: Connection, operation: op.FetchMany) -> list[Any]:
    decoder = operation.decoder
    return decoder.many(await connection.fetch(render(compiler.fetch_many(operation)), columns_of(decoder.fields)))


async def _select(compiler: Compiler, connection: Connection, operation: op.Select) -> list[Any]:
    decoder = operation.decoder
    columns = columns_of(decoder.fields)
    found: list[Any] = []
    for statement in compiler.select(operation):
        found += decoder.many(await connection.fetch(render(statement), columns))
        if operation.limit is not None and len(found) >= operation.limit:
            return found[: operation.limit]
    return found


async def _count(compiler: Compiler, connection: Connection, operation: op.Count) -> int:
    _, rows = await connection.query(render(compiler.count(operation)))
    found: int = rows[0][0]
    return found


async def _exists(compiler: Compiler, connection: Connection, operation: op.Exists) -> bool:
    _, rows = await connection.query(render(compiler.exists(operation)))
    return bool(rows)


# -- writes ----------------------------------------------------------------------------------------------------------------------------


async def _insert(compiler: Compiler, connection: Connection, operation: op.Insert) -> Any:
    await connection.execute(render(compiler.insert(operation)))
    return _generated(connection, operation.info, operation.row)


def _generated(connection: Connection, info: ModelInfo, row: tuple[Any, ...]) -> Any:
    if info.generated is None:
        return None
    given = row[info.generated.position]
    return connection.insert_id if given is None else given


async def _insert_many(compiler: Compiler, connection: Connection, operation: op.InsertMany) -> list[Any] | None:
    assert isinstance(compiler, MysqlCompiler)
    info = operation.info
    ordered = referred_first(info, operation.rows)  # a reference is checked row by row
    statements = compiler.insert_many(operation._replace(rows=ordered))
    alone = len(statements) > 1 and not connection.in_transaction
    keys: list[Any] = []
    if alone:
        await connection.execute("start transaction")
    try:
        for statement in statements:
            keys += await _insert_rows(compiler, connection, statement)
    except Exception as error:
        if number_of(error) == DUPLICATE:
            raise await _duplicate(compiler, connection, operation, str(error.args[1])) from error
        raise
    if alone:
        await commit(connection)
    return None if info.generated is None else _in_order_of(operation.rows, ordered, keys)


async def _insert_rows(compiler: MysqlCompiler, connection: Connection, statement: str) -> list[Any]:
    """Insert; return the generated keys, which a server that does not return them generates for one row at a time."""
    if compiler.flavour.returning:
        _, rows = await connection.query(statement)
        return [row[0] for row in rows]
    await connection.execute(statement)
    return [connection.insert_id]


async def _duplicate(compiler: MysqlCompiler, connection: Connection, operation: op.InsertMany, text: str) -> DuplicateKeyError:
    """Find out which row a duplicate is about: the server tells its values in a form that cannot always be read back."""
    info = operation.info
    name = duplicate_key(text, constraints(info).get) or ""
    fields = info.key if name == "PRIMARY" else constraints(info).get(name, ())
    values = [tuple(row[spec.position] for spec in fields) for row in operation.rows]
    twice = next((value for value, count in Counter(values).items() if count > 1 and None not in value), None)
    if fields and twice is None:
        twice = await _first_taken(compiler, connection, info, fields, values)
    shown = () if twice is None else tuple(spec.python(part) for spec, part in zip(fields, twice, strict=True))
    return DuplicateKeyError(info.label, tuple(spec.name for spec in fields), shown)


async def _first_taken(
    compiler: MysqlCompiler, connection: Connection, info: ModelInfo, fields: tuple[FieldSpec, ...], values: list[tuple[Any, ...]]
) -> tuple[Any, ...] | None:
    for value in values:
        if None not in value:
            _, rows = await connection.query(render(compiler.read_fields(info, (), fields, value)))
            if rows:
                return value
    return None


def _in_order_of(rows: Sequence[Any], ordered: Sequence[Any], keys: list[Any]) -> list[Any]:
    if rows is ordered:
        return keys
    by_row = {id(row): key for row, key in zip(ordered, keys, strict=True)}
    return [by_row[id(row)] for row in rows]


async def _insert_absent(compiler: Compiler, connection: Connection, operation: op.InsertAbsent) -> tuple[bool, Any]:
    assert isinstance(compiler, MysqlCompiler)
    info = operation.info
    try:
        await connection.execute(render(compiler.insert_absent(operation)))
    except Exception as error:
        if number_of(error) != DUPLICATE:
            raise
        values = [operation.row[spec.position] for spec in operation.unique]
        _, rows = await connection.query(render(compiler.read_fields(info, (), operation.unique, values)))
        if rows:
            return False, None
        if await _is_taken(compiler, connection, info, operation.unique, values):
            # Created since the snapshot, in which it cannot be read.
            raise SerializationError(f"another transaction has created the {info.label} since this one's snapshot") from error
        raise
    return True, _generated(connection, info, operation.row)


async def _is_taken(
    compiler: MysqlCompiler, connection: Connection, info: ModelInfo, fields: Sequence[FieldSpec], values: list[Any]
) -> bool:
    """Look beyond the transaction's snapshot, as a locking read does."""
    if not connection.in_transaction:
        return False
    _, rows = await connection.query(render(compiler.read_fields(info, (), fields, values)) + " LOCK IN SHARE MODE")
    return bool(rows)


async def _upsert(compiler: Compiler, connection: Connection, operation: op.Upsert) -> list[Any]:
    assert isinstance(compiler, MysqlCompiler)
    info = operation.info
    statement = render(compiler.upsert(operation))
    own = bool(operation.returning) and not compiler.flavour.returning and not connection.in_transaction
    if own:
        await connection.execute("start transaction")
    rows: list[tuple[Any, ...]] = []
    try:
        _, rows = await connection.query(statement)
    except Exception as error:
        if number_of(error) != FOREIGN_ROW:
            raise
        # Another row has one of the unique values: the server names which when it is asked to insert.
        await connection.execute(render(Statement(compiler.insert_text(info, info.fields), operation.row)))
    if operation.returning and not rows:
        key = [operation.row[spec.position] for spec in info.key]
        _, rows = await connection.query(render(compiler.read_fields(info, operation.returning, info.key, key)))
    if own:
        await commit(connection)
    return list(rows[0]) if operation.returning else []


async def _affected(compiler: Compiler, connection: Connection, operation: Any) -> int:
    return await connection.execute(render(compiler.compile(operation)))


async def _delete(compiler: Compiler, connection: Connection, operation: op.Delete | op.DeleteMany | op.DeleteWhere) -> int:
    statement = render(compiler.compile(operation))
    try:
        return await connection.execute(statement)
    except Exception as error:
        if number_of(error) != REFERRED_TO or all(target is not operation.info for _, target in operation.info.references):
            raise
    return await _delete_in_rounds(compiler, connection, operation.info, statement)


async def _delete_in_rounds(compiler: Compiler, connection: Connection, info: ModelInfo, statement: str) -> int:
    """Delete rows that refer to one another: InnoDB looks at each row at once, and not at the end of the statement.

    IGNORE leaves the rows that others refer to, in the next round fewer; keys made later refer to earlier ones most of the time.
    """
    alone = not connection.in_transaction
    if alone:
        await connection.execute("start transaction")
    key = compiler.texts(info).key[0]  # of several fields nobody can refer to it
    leaves = f"DELETE IGNORE{statement.removeprefix('DELETE')} ORDER BY {key} DESC"
    removed = await _until_none(connection, leaves)
    removed += await _delete_what_refers_to_itself(compiler, connection, info, statement)
    removed += await _until_none(connection, leaves)
    removed += await connection.execute(statement)  # what is still referred to raises
    if alone:
        await commit(connection)
    return removed


async def _until_none(connection: Connection, statement: str) -> int:
    removed = 0
    while count := await connection.execute(statement):
        removed += count
    return removed


async def _delete_what_refers_to_itself(compiler: Compiler, connection: Connection, info: ModelInfo, statement: str) -> int:
    """Delete the rows that refer to nobody but themselves, whose reference InnoDB has to lose first."""
    texts = compiler.texts(info)
    key = texts.key[0]
    own = [texts.columns[spec] for spec, target in info.references if target is info and spec.nullable]
    rest = statement.removeprefix(f"DELETE FROM {texts.table}").removeprefix(" WHERE ")
    removed = 0
    for column in own:
        condition = f"({rest}) AND {column} = {key}" if rest else f"{column} = {key}"
        _, rows = await connection.query(f"SELECT {key} FROM {texts.table} WHERE {condition} FOR UPDATE")
        if rows:
            those = f"WHERE {key} IN ({', '.join(literal(found) for (found,) in rows)})"
            await connection.execute(f"UPDATE {texts.table} SET {column} = NULL {those}")
            removed += await connection.execute(f"DELETE IGNORE FROM {texts.table} {those}")
    return removed


async def _deleted(compiler: Compiler, connection: Connection, operation: op.Delete) -> bool:
    return await _delete(compiler, connection, operation) == 1


async def _one_affected(compiler: Compiler, connection: Connection, operation: Any) -> bool:
    return await _affected(compiler, connection, operation) == 1


# -- raw SQL ---------------------------------------------------------------------------------------------------------------------------


def _raw_text(sql: str, parameters: Mapping[str, Any]) -> str:
    text, names = positional(sql, MARK)
    return render(Statement(text, bound(names, parameters, parameters.__getitem__)))


async def _raw(_: Compiler, connection: Connection, operation: op.Raw) -> Any:
    if operation.mode == "execute_many":
        return await _execute_many(connection, [_raw_text(operation.sql, item) for item in operation.many])
    text = _raw_text(operation.sql, operation.parameters)
    return await (connection.query(text) if operation.mode == "fetch" else connection.execute(text))


async def _execute_many(connection: Connection, texts: list[str]) -> int:
    alone = not connection.in_transaction
    if alone:
        await connection.execute("start transaction")
    count = sum([await connection.execute(text) for text in texts])
    if alone:
        await commit(connection)
    return count


READS = frozenset({op.Fetch, op.FetchMany, op.Select, op.Count, op.Exists})
RUN: Mapping[type[Any], Callable[[Compiler, Connection, Any], Awaitable[Any]]] = {
    op.Fetch: _fetch,
    op.FetchMany: _fetch_many,
    op.Select: _select,
    op.Count: _count,
    op.Exists: _exists,
    op.Insert: _insert,
    op.InsertMany: _insert_many,
    op.InsertAbsent: _insert_absent,
    op.Upsert: _upsert,
    op.Update: _one_affected,
    op.UpdateWhere: _affected,
    op.Delete: _deleted,
    op.DeleteMany: _delete,
    op.DeleteWhere: _delete,
    op.Raw: _raw,
}
