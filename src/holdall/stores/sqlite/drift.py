"""Schema drift on SQLite. A schema is its text here: what is in the file is made again in memory, where it can be looked at in peace."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing

import sqlalchemy as sa

from holdall.record.metadata import ModelInfo
from holdall.sql import schema
from holdall.sql.drift import Changes, Definitions, Part, changed_columns, compare
from holdall.sql.naming import quote
from holdall.store import Difference
from holdall.stores.sqlite import functions
from holdall.stores.sqlite.ddl import definitions
from holdall.stores.sqlite.schema import SCHEMA

Row = tuple[str, str, str, str]
"""Of ``sqlite_schema``: type, name, table and statement."""


def differences(models: Sequence[ModelInfo], rows: Iterable[Row]) -> list[Difference]:
    """Return the differences between models and the rows of a file's ``sqlite_schema``. Takes some 10 ms; belongs in a thread."""
    metadata, tables = schema.build(models, SCHEMA)
    names = {info.name.lower(): info.name for info in tables}
    wanted = _own(_schema_of(schema.create_statements(tables, tables, SCHEMA)), names)
    found = _own(rows, names)
    there = definitions(found)
    return compare(definitions(wanted), there, _changed(metadata, there))


def _own(rows: Iterable[Row], names: Mapping[str, str]) -> list[Row]:
    return [(kind, name, names[table.lower()], text) for kind, name, table, text in rows if table.lower() in names]


def _schema_of(statements: Iterable[str]) -> list[Row]:
    with closing(_database(statements)) as connection:
        return connection.execute("select type, name, tbl_name, sql from sqlite_schema where sql is not null").fetchall()


def _changed(metadata: sa.MetaData, there: Definitions) -> Changes:
    with closing(_database(_columns_of(table, parts) for table, parts in there.items())) as copy:
        engine = sa.create_engine("sqlite://", creator=lambda: copy, poolclass=sa.StaticPool)
        with engine.connect() as connection:
            return changed_columns(connection, metadata)


def _columns_of(table: str, parts: Mapping[Part, str]) -> str:
    """Return a statement that makes a table without its constraints: reflection trips over those whose names need quotes."""
    columns = ", ".join(f"{quote(name)} {text}" for (kind, name), text in parts.items() if kind == "column")
    return f"create table {quote(table)} ({columns})"


def _database(statements: Iterable[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    functions.register(connection)
    for statement in statements:
        connection.execute(statement)
    return connection
