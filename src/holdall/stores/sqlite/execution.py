"""How each operation is carried out on a connection, in a worker thread: plain functions, in two tables."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from holdall.query import operations as op
from holdall.record.metadata import ModelInfo
from holdall.sql.compiler import Compiler, Statement
from holdall.sql.parameters import bound, positional
from holdall.sql.referred import referred_first
from holdall.stores.sqlite.values import native

Connection = sqlite3.Connection


def fetch_row(connection: Connection, text: str, values: Sequence[Any]) -> Any:
    """Return the first row, or None."""
    return connection.execute(text, values).fetchone()


def fetch_rows(connection: Connection, statements: list[Statement], operation: Any) -> list[Any]:
    """Return the objects of one or several statements; decoding them here keeps the event loop free."""
    found: list[Any] = []
    for statement in statements:
        found += operation.decoder.many(connection.execute(statement.text, statement.values).fetchall())
        limit = getattr(operation, "limit", None)
        if limit is not None and len(found) >= limit:
            return found[:limit]
    return found


def affected(connection: Connection, statement: Statement) -> int:
    """Run a statement and return how many rows it affected."""
    return max(0, connection.execute(statement.text, statement.values).rowcount)


def returned(connection: Connection, statement: Statement) -> Any:
    """Run a statement that returns at most one row, and return it."""
    rows = connection.execute(statement.text, statement.values).fetchall()
    return rows[0] if rows else None


def insert_many(connection: Connection, compiler: Compiler, operation: op.InsertMany, alone: bool) -> list[Any] | None:  # noqa: FBT001
    """Insert rows by one prepared statement; references among them are checked at the end."""
    info = operation.info
    keys: list[Any] | None = None
    rows: Sequence[tuple[Any, ...]] = operation.rows
    if info.generated is not None:
        keys = _reserve(connection, info, [row[info.generated.position] for row in rows])
        place = info.generated.position
        rows = [(*row[:place], key, *row[place + 1 :]) for row, key in zip(rows, keys, strict=True)]
    if alone:
        # Until the commit of this very transaction: rows may refer to later ones.
        connection.execute("pragma defer_foreign_keys=on")
    else:
        rows = referred_first(info, rows)
    encode = compiler.texts(info).encode_row
    tracked = _Tracked(rows)
    try:
        connection.executemany(compiler.insert_text(info, info.fields), tracked if encode is None else map(encode, tracked))
    except sqlite3.IntegrityError as exc:
        exc.holdall_row = tracked.current  # type: ignore[attr-defined]  # tells the caller which row it was
        raise
    return keys


class _Tracked:
    """Iterates over rows, and knows the current one."""

    def __init__(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._rows = rows
        self.current: tuple[Any, ...] | None = None

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Iterate."""
        for row in self._rows:
            self.current = row
            yield row


def _reserve(connection: Connection, info: ModelInfo, given: list[Any]) -> list[Any]:
    """Return the keys of rows: those given, else new ones above all that ever were. The transaction holds the right to write."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (info.name,)).fetchone()
    last = max([0 if row is None else row[0], *(key for key in given if key is not None)])
    free = itertools.count(last + 1)
    return [next(free) if key is None else key for key in given]


def raw(connection: Connection, operation: op.Raw) -> Any:
    """Run raw SQL."""
    text, names = positional(operation.sql, "?")
    if operation.mode == "execute_many":
        return sum(_raw_affected(connection, text, _bound(names, item)) for item in operation.many)
    values = _bound(names, operation.parameters)
    if operation.mode == "execute":
        return _raw_affected(connection, text, values)
    cursor = connection.execute(text, values)
    rows = cursor.fetchall()
    return [column[0] for column in cursor.description or ()], rows


def _raw_affected(connection: Connection, text: str, values: list[Any]) -> int:
    cursor = connection.execute(text, values)
    cursor.fetchall()  # a statement with RETURNING is done only when it is read
    return max(0, cursor.rowcount)


def _bound(names: tuple[str, ...], given: Mapping[str, Any]) -> list[Any]:
    return bound(names, given, lambda name: native(given[name]))


# -- tables ------------------------------------------------------------------------------------------------------------------------------

Run = Callable[[Compiler, Any], tuple[Callable[..., Any], tuple[Any, ...]]]
"""From an operation to the function for the worker thread and its arguments after the connection."""

READS: Mapping[type[Any], Run] = {
    op.FetchMany: lambda compiler, operation: (fetch_rows, ([compiler.fetch_many(operation)], operation)),
    op.Select: lambda compiler, operation: (fetch_rows, (compiler.select(operation), operation)),
    op.Count: lambda compiler, operation: (fetch_row, tuple(compiler.count(operation))),
    op.Exists: lambda compiler, operation: (fetch_row, tuple(compiler.exists(operation))),
    op.Fetch: lambda compiler, operation: (fetch_row, tuple(compiler.fetch(operation))),
}
# Single statements by key, which may share a commit with others.
WRITES: Mapping[type[Any], Run] = {
    op.Insert: lambda compiler, operation: (returned, (compiler.insert(operation),)),
    op.InsertAbsent: lambda compiler, operation: (returned, (compiler.insert_absent(operation),)),
    op.Upsert: lambda compiler, operation: (returned, (compiler.upsert(operation),)),
    op.Update: lambda compiler, operation: (affected, (compiler.update(operation),)),
    op.Delete: lambda compiler, operation: (affected, (compiler.delete(operation),)),
}
LONG_WRITES: Mapping[type[Any], Run] = {
    op.UpdateWhere: lambda compiler, operation: (affected, (compiler.update_where(operation),)),
    op.DeleteWhere: lambda compiler, operation: (affected, (compiler.delete_where(operation),)),
    op.DeleteMany: lambda compiler, operation: (affected, (compiler.delete_many(operation),)),
}
RESULTS: Mapping[type[Any], Callable[[Any, Any], Any]] = {
    op.Fetch: lambda operation, row: None if row is None else operation.decoder.one(row),
    op.Count: lambda _, row: row[0],
    op.Exists: lambda _, row: row is not None,
    op.Insert: lambda operation, row: row[0] if operation.info.generated is not None else None,
    op.InsertAbsent: lambda operation, row: (row is not None, row[0] if row is not None and operation.info.generated is not None else None),
    op.Update: lambda _, count: count == 1,
    op.Delete: lambda _, count: count == 1,
}
