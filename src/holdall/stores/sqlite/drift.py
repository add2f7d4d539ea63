"""Schema drift on SQLite. A schema is its text here: what is in the file is made again in memory, where it can be looked at in peace."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing

import sqlalchemy as sa

from holdall.record.metadata import ModelInfo
from holdall.sql import schema
from holdall.sql.drift import Changes, changed_columns, compare
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
    return compare(definitions(wanted), definitions(found), _changed(metadata, [text for kind, _, _, text in found if kind == "table"]))


def _own(rows: Iterable[Row], names: Mapping[str, str]) -> list[Row]:
    return [(kind, name, names[table.lower()], text) for kind, name, table, text in rows if table.lower() in names]


def _schema_of(statements: Iterable[str]) -> list[Row]:
    with closing(_database(statements)) as connection:
        return connection.execute("select type, name, tbl_name, sql from sqlite_schema where sql is not null").fetchall()


def _changed(metadata: sa.MetaData, statements: Iterable[str]) -> Changes:
    with closing(_database(statements)) as copy:
        engine = sa.create_engine("sqlite://", creator=lambda: copy, poolclass=sa.StaticPool)
        with engine.connect() as connection:
            return changed_columns(connection, metadata)


def _database(statements: Iterable[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    functions.register(connection)
    for statement in statements:
        connection.execute(statement)
    return connection
