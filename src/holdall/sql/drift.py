"""How a database differs from the models.

Alembic compares the columns: their types, whether they may be null, defaults and generated keys. It knows no checks, no collations and, on
some databases, neither directions of indexes nor names that need quotes. So every definition is also compared as a text, the server's own,
with that of an empty database made by the same statements as ``initialize`` runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import sqlalchemy as sa

from holdall.errors import MissingDriverError
from holdall.store import Difference

try:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext
except ImportError as exc:
    raise MissingDriverError("alembic", "schema") from exc

Kind: TypeAlias = Literal["table", "column", "constraint", "index", "function"]
Part: TypeAlias = tuple[Kind, str]
"""What a table consists of: a kind and a name."""

Definitions: TypeAlias = Mapping[str, Mapping[Part, str]]
"""For each table that exists the text of each of its parts, written alike on both sides. Functions are parts of the table ``""``."""

Changes: TypeAlias = Mapping[tuple[str, str], tuple[str, str]]
"""For a table and column what is wanted and what is there."""

_ORDER = {kind: position for position, kind in enumerate(get_args(Kind))}


def changed_columns(connection: sa.Connection, metadata: sa.MetaData) -> Changes:
    """Return what Alembic finds changed in columns that are there. The metadata loses its indexes."""
    names = {str(table.name) for table in metadata.tables.values()}
    if any('"' in name for name in names):
        return {}  # SQLAlchemy 2.0 cannot read references to such tables; their texts are compared all the same
    for table in metadata.tables.values():
        table.indexes.clear()  # Alembic would warn of those that it cannot compare

    def is_wanted(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or name in names

    def is_compared(_: object, _name: str | None, kind: str, *_others: object) -> bool:
        return kind in ("table", "column")

    # Alembic leaves its own table out of the comparison, and any name may be a model's.
    options = {"include_name": is_wanted, "include_object": is_compared, "version_table": ""}
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True, **options})
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for change, _, table_name, column, _, there, wanted in _changes(compare_metadata(context, metadata)):
        what = change.removeprefix("modify_")
        found[table_name, column] = f"{what} {_shown(wanted, connection)}", f"{what} {_shown(there, connection)}"
    return found


def _changes(compared: list[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the changes of columns: of one column they are a list, and all else is a tuple."""
    for changes in compared:
        if isinstance(changes, list):
            yield from changes


def _shown(value: Any, connection: sa.Connection) -> str:
    return value.compile(dialect=connection.dialect) if isinstance(value, sa.types.TypeEngine) else str(getattr(value, "arg", value))


def compare(wanted: Definitions, there: Definitions, changes: Changes) -> list[Difference]:
    """Return the differences, one for each object that is not as it should be."""
    found: list[Difference] = []
    for table, parts in wanted.items():
        if table in there:
            changed = {("column", column): texts for (name, column), texts in changes.items() if name == table}
            found += _Table(table, parts, there[table], changed).differences()
        else:
            columns = ", ".join(name for kind, name in parts if kind == "column")
            found.append(Difference("table", table, table, columns, None))
    return found


@dataclass(frozen=True, slots=True)
class _Table:
    """One table on both sides."""

    name: str
    wanted: Mapping[Part, str]
    there: Mapping[Part, str]
    changes: Mapping[Any, tuple[str, str]]

    def differences(self) -> list[Difference]:
        found = {part: (self.wanted.get(part), self.there.get(part)) for part in {*self.wanted, *self.there}}
        found = {part: texts if texts[0] != texts[1] else self.changes.get(part, texts) for part, texts in found.items()}
        found = {part: texts for part, texts in found.items() if texts[0] != texts[1]}
        for part in [part for part, texts in found.items() if self._follows(part, texts, found)]:
            del found[part]
        for missing, extra in _renamed(found):
            del found[extra]
            found[missing] = f"named {missing[1]}", f"named {extra[1]}"
        ordered = sorted(found, key=lambda part: (_ORDER[part[0]], part[1]))
        return [Difference(part[0], self.name, part[1], *found[part]) for part in ordered]

    def _follows(self, part: Part, texts: tuple[str | None, str | None], found: Mapping[Part, Any]) -> bool:
        """Tell whether a constraint or index differs only because a column of it does not exist on one side."""
        if part[0] not in ("constraint", "index"):
            return False
        absent = {name for kind, name in found if kind == "column" and (kind, name) not in self.there}
        alone = {name for kind, name in found if kind == "column" and (kind, name) not in self.wanted}
        return _mentions(texts[0], absent) or _mentions(texts[1], alone)


def _renamed(found: Mapping[Part, tuple[str | None, str | None]]) -> list[tuple[Part, Part]]:
    """Pair what is missing with what the database alone has, where it is the same under another name, and it cannot be two others."""
    pairs: list[tuple[Part, Part]] = []
    for part, (wanted, there) in found.items():
        extras = [other for other, texts in found.items() if other[0] == part[0] and texts == (None, wanted)]
        rivals = [other for other, texts in found.items() if other[0] == part[0] and texts == (wanted, None)]
        if there is None and len(extras) == len(rivals) == 1:
            pairs.append((part, extras[0]))
    return pairs


_NAME = re.compile(r"""'(?:[^']|'')*'|"((?:[^"]|"")*)"|(\w+)""")


def _mentions(text: str | None, columns: set[str]) -> bool:
    if text is None or not columns:
        return False
    own = re.split(r"\breferences\b", text, maxsplit=1, flags=re.IGNORECASE)[0]  # the rest names columns of another table
    names = {(match[1] or match[2] or "").replace('""', '"').lower() for match in _NAME.finditer(own)}
    return not names.isdisjoint(name.lower() for name in columns)
