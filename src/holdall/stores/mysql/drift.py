"""Schema drift on MariaDB and MySQL: temporary tables hide the real ones, and show how the server writes what the models want.

A temporary table has no foreign keys, so that those are written as the server would.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from anyio import to_thread

from holdall.record.metadata import ModelInfo
from holdall.sql import schema
from holdall.sql.drift import Part, compare
from holdall.sql.naming import quote
from holdall.store import Difference
from holdall.stores.mysql.errors import NO_TABLE, number_of
from holdall.stores.mysql.flavours import Flavour
from holdall.stores.mysql.schema import schema_of
from holdall.stores.mysql.wire import Connection

_NAME = r'"((?:[^"]|"")*)"'  # as sessions with ANSI_QUOTES are shown them
_LINES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("column", re.compile(rf"{_NAME} (.*)")),
    ("constraint", re.compile(rf"CONSTRAINT {_NAME} (.*)")),
    ("constraint", re.compile(r"(PRIMARY) (KEY .*)")),
    ("index", re.compile(rf"(?:UNIQUE |FULLTEXT |SPATIAL )?KEY {_NAME} (.*)")),
)


async def differences(models: Sequence[ModelInfo], connection: Connection, flavour: Flavour) -> list[Difference]:
    """Return the differences between models and a database. It needs the right to make temporary tables, and leaves the session dirty."""
    tables, statements = await to_thread.run_sync(_wanted, models, flavour)
    there = {name: parts for name in tables if (parts := await _definition(connection, name)) is not None}
    await connection.execute("set session transaction read write")  # temporary tables are writes to the server
    for name, creation in statements.items():
        await connection.execute(creation)
    wanted: dict[str, dict[Part, str]] = {}
    for name, references in tables.items():
        made = await _definition(connection, name)
        assert made is not None
        wanted[name] = {**made, **references, **_implicit_indexes(made, references)}
    for name in tables:
        await connection.execute(f"drop temporary table {quote(name)}")
    return compare(wanted, there, {})


def _wanted(models: Sequence[ModelInfo], flavour: Flavour) -> tuple[dict[str, dict[Part, str]], dict[str, str]]:
    """Return, for each table, its foreign keys as the server writes them, and the statements that make temporary tables without them."""
    dialect = schema_of(flavour)
    _, tables = schema.build(models, dialect)
    references: dict[str, dict[Part, str]] = {}
    creations: dict[str, str] = {}
    for info, table in tables.items():
        keys = [item for item in table.constraints if isinstance(item, sa.ForeignKeyConstraint)]
        references[info.name] = {("constraint", str(key.name)): _foreign_key(key) for key in keys}
        for key in keys:
            table.constraints.remove(key)
        create, *indexes = schema.create_statements({info: table}, [info], dialect)
        creations[info.name] = create.replace("CREATE TABLE IF NOT EXISTS", "CREATE TEMPORARY TABLE", 1)
        creations.update({f"{info.name} {number}": text for number, text in enumerate(indexes)})
    return references, creations


def _foreign_key(key: sa.ForeignKeyConstraint) -> str:
    (element,) = key.elements
    action = f" ON DELETE {key.ondelete}" if key.ondelete else ""
    column, target = quote(element.parent.name), element.column
    return f"FOREIGN KEY ({column}) REFERENCES {quote(str(target.table.name))} ({quote(target.name)}){action}"


def _implicit_indexes(made: Mapping[Part, str], references: Mapping[Part, str]) -> dict[Part, str]:
    """Return the indexes that the server makes for foreign keys whose column begins no other index."""
    found: dict[Part, str] = {}
    for (_, name), text in references.items():
        column = text.removeprefix("FOREIGN KEY (").partition(") REFERENCES ")[0]
        heads = [definition.partition("KEY (")[2] for definition in made.values()]
        if not any(head.startswith((f"{column},", f"{column})", f"{column} ")) for head in heads):
            found["index", name] = f"KEY ({column})"
    return found


async def _definition(connection: Connection, name: str) -> dict[Part, str] | None:
    """Return the parts of a table as the server writes them; None where there is none."""
    try:
        _, rows = await connection.query(f"show create table {quote(name)}")
    except connection.errors as error:
        if number_of(error) == NO_TABLE:
            return None
        raise
    found: dict[Part, str] = {("table", name): name}
    for line in rows[0][1].split("\n  ")[1:]:
        part = _part(line.partition("\n) ")[0].rstrip(","))
        if part is not None:
            found[part[0]] = part[1]
    return found


def _part(line: str) -> tuple[Part, str] | None:
    for kind, form in _LINES:
        match = form.fullmatch(line)
        if match is not None:
            name = match[1].replace('""', '"')
            text = line.replace(f" {quote(name)}", "", 1) if kind == "index" else match[2]
            return (kind, name), text  # type: ignore[return-value]  # the kinds of _LINES are kinds
    return None
