"""How each operation is carried out on a connection: one function each, in one table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from holdall.errors import DuplicateKeyError
from holdall.query import operations as op
from holdall.sql.compiler import Compiler
from holdall.sql.naming import quote
from holdall.sql.parameters import bound, positional
from holdall.stores.postgres.connection import AsyncpgConnection, commit

Connection = AsyncpgConnection


async def _fetch(compiler: Compiler, connection: Connection, operation: op.Fetch) -> Any:
    statement = compiler.fetch(operation)
    # Not fetchrow(), whose limit of one row leaves a suspended portal behind: a fifth slower.
    rows = await connection.fetch(statement.text, *statement.values)
    return operation.decoder.one(rows[0]) if rows else None


async def _fetch_many(compiler: Compiler, connection: Connection, operation: op.FetchMany) -> list[Any]:
    statement = compiler.fetch_many(operation)
    return operation.decoder.many(await connection.fetch(statement.text, *statement.values))


async def _select(compiler: Compiler, connection: Connection, operation: op.Select) -> list[Any]:
    statements = compiler.select(operation)
    found: list[Any] = []
    for statement in statements:
        found += operation.decoder.many(await connection.fetch(statement.text, *statement.values))
        if operation.limit is not None and len(found) >= operation.limit:
            return found[: operation.limit]
    return found


async def _count(compiler: Compiler, connection: Connection, operation: op.Count) -> int:
    statement = compiler.count(operation)
    found: int = await connection.fetchval(statement.text, *statement.values)
    return found


async def _exists(compiler: Compiler, connection: Connection, operation: op.Exists) -> bool:
    statement = compiler.exists(operation)
    return await connection.fetchrow(statement.text, *statement.values) is not None


async def _insert(compiler: Compiler, connection: Connection, operation: op.Insert) -> Any:
    statement = compiler.insert(operation)
    if operation.info.generated is None:
        await connection.execute(statement.text, *statement.values)
        return None
    key = await connection.fetchval(statement.text, *statement.values)
    if operation.row[operation.info.generated.position] is not None:
        await _advance(connection, operation.info, key)
    return key


async def _advance(connection: Connection, info: Any, key: int) -> None:
    """Let generated keys go on above a key that was given."""
    await connection.execute(
        "select setval(s, greatest($3::bigint, nextval(s))) from (select pg_get_serial_sequence($1, $2)::regclass as s) as sequence",
        quote(info.name),
        info.generated.stored_name,
        key,
    )


async def _insert_many(_: Compiler, connection: Connection, operation: op.InsertMany) -> list[Any] | None:
    info = operation.info
    rows = operation.rows
    keys: list[Any] | None = None
    generated = info.generated
    if generated is not None:
        # RETURNING promises no order; keys that are reserved first do.
        given = [row[generated.position] for row in rows]
        if any(key is not None for key in given):
            await _advance(connection, info, max(key for key in given if key is not None))
        reserved = iter(await _reserve(connection, info, given.count(None)))
        keys = [next(reserved) if key is None else key for key in given]
        place = generated.position
        rows = [(*row[:place], key, *row[place + 1 :]) for row, key in zip(rows, keys, strict=True)]
    columns = [spec.stored_name for spec in info.fields]
    await connection.copy_records_to_table(info.name, records=rows, columns=columns)
    return keys


async def _reserve(connection: Connection, info: Any, count: int) -> list[int]:
    rows = await connection.fetch(
        "select nextval(pg_get_serial_sequence($1, $2)) from generate_series(1, $3::bigint)",
        quote(info.name),
        info.generated.stored_name,
        count,
    )
    return [row[0] for row in rows]


async def _insert_absent(compiler: Compiler, connection: Connection, operation: op.InsertAbsent) -> tuple[bool, Any]:
    statement = compiler.insert_absent(operation)
    row = await connection.fetchrow(statement.text, *statement.values)
    if row is None:
        return False, None
    return True, row[0] if operation.info.generated is not None else None


async def _upsert(compiler: Compiler, connection: Connection, operation: op.Upsert) -> list[Any]:
    statement = compiler.upsert(operation)
    row = await connection.fetchrow(statement.text, *statement.values)
    assert row is not None
    return list(row)[: len(operation.returning)]


async def _affected(compiler: Compiler, connection: Connection, operation: Any) -> int:
    statement = compiler.compile(operation)
    return affected(await connection.execute(statement.text, *statement.values))


async def _one_affected(compiler: Compiler, connection: Connection, operation: Any) -> bool:
    return await _affected(compiler, connection, operation) == 1


def affected(tag: str) -> int:
    """Return the number of rows that a command tag names: ``UPDATE 3``."""
    count = tag.rpartition(" ")[2]
    return int(count) if count.isdigit() else 0


async def _raw(_: Compiler, connection: Connection, operation: op.Raw) -> Any:
    text, names = positional(operation.sql, "$")
    if operation.mode == "execute_many":
        return await _execute_many(connection, text, [bound(names, item, item.__getitem__) for item in operation.many])
    values = bound(names, operation.parameters, operation.parameters.__getitem__)
    if operation.mode == "execute":
        return affected(await connection.execute(text, *values))
    rows = await connection.fetch(text, *values)
    return list(rows[0].keys()) if rows else [], rows


async def _execute_many(connection: Connection, text: str, items: list[list[object]]) -> int:
    # Not asyncpg's transaction(): it would await a ROLLBACK in a cancelled task, and call a COMMIT that was cut off a lost connection.
    # After an error the pool rolls back what is open.
    alone = not connection.is_in_transaction()
    if alone:
        await connection.execute("begin")
    count = sum([affected(await connection.execute(text, *values)) for values in items])
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
    op.Delete: _one_affected,
    op.DeleteMany: _affected,
    op.DeleteWhere: _affected,
    op.Raw: _raw,
}


def duplicate_values(operation: op.InsertMany, error: DuplicateKeyError) -> tuple[Any, ...]:
    """Return the values of the row that a duplicate is about, which the server tells as text; the text where no row reads so."""
    specs = [operation.info.by_name[name] for name in error.fields]
    for row in operation.rows:
        if [str(row[spec.position]) for spec in specs] == list(error.values):
            return tuple(spec.python(row[spec.position]) for spec in specs)
    return error.values
