"""Tables in memory: plain rows by key, with their unique values and references. Rows and published tables are never changed in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from holdall.errors import DuplicateKeyError, ForeignKeyError
from holdall.query import oracle
from holdall.record.metadata import FieldSpec, ModelInfo

Row = tuple[Any, ...]
Key = tuple[Any, ...]


class Table:
    """The records of one model."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        self.rows: dict[Key, Row] = {}
        self.uniques: list[dict[Key, Key]] = [{} for _ in info.uniques]
        self.next_key = 1

    def copy(self) -> Table:
        """Return a table that can be changed without this one."""
        made = Table(self.info)
        made.rows = dict(self.rows)
        made.uniques = [dict(values) for values in self.uniques]
        made.next_key = self.next_key
        return made

    def key_of(self, row: Row) -> Key:
        """Return the key of a row."""
        return tuple([row[spec.position] for spec in self.info.key])

    def put(self, row: Row) -> None:
        """Store a row in place of the one with its key.

        Raises:
            DuplicateKeyError: another row has the same unique values.
        """
        key = self.key_of(row)
        before = self.rows.get(key)
        for fields, values in zip(self.info.uniques, self.uniques, strict=True):
            found = _values(fields, row)
            owner = None if found is None else values.get(found)
            if owner is not None and owner != key:
                raise DuplicateKeyError(self.info.label, [spec.name for spec in fields], _shown(fields, row))
        if before is not None:
            self._forget(before, key)
        for fields, values in zip(self.info.uniques, self.uniques, strict=True):
            found = _values(fields, row)
            if found is not None:
                values[found] = key
        self.rows[key] = row

    def remove(self, key: Key) -> Row | None:
        """Remove the row with this key and return it."""
        row = self.rows.pop(key, None)
        if row is not None:
            self._forget(row, key)
        return row

    def _forget(self, row: Row, key: Key) -> None:
        for fields, values in zip(self.info.uniques, self.uniques, strict=True):
            found = _values(fields, row)
            if found is not None and values.get(found) == key:
                del values[found]


def _values(fields: Iterable[FieldSpec], row: Row) -> Key | None:
    found = tuple([row[spec.position] for spec in fields])
    return None if None in found else found


def _shown(fields: Iterable[FieldSpec], row: Row) -> list[Any]:
    return [spec.python(row[spec.position]) for spec in fields]


class Tables:
    """All tables at one moment; a change makes another ``Tables`` that shares what did not change.

    ``own`` holds the names of the tables that this one may change in place, because nobody else can see them.
    """

    def __init__(self, tables: Mapping[str, Table], own: Iterable[str] = ()) -> None:
        self._tables = dict(tables)
        self._own = set(own)

    def fork(self) -> Tables:
        """Return another that starts out the same; neither changes the other."""
        self._own.clear()
        return Tables(self._tables)

    def __iter__(self) -> Iterator[Table]:
        """Iterate over the tables."""
        return iter(self._tables.values())

    def table(self, info: ModelInfo) -> Table:
        """Return the table of a model, to read."""
        found = self._tables.get(info.name)
        return Table(info) if found is None else found

    def writable(self, info: ModelInfo) -> Table:
        """Return the table of a model, to change."""
        if info.name not in self._own:
            found = self._tables.get(info.name)
            self._tables[info.name] = Table(info) if found is None else found.copy()
            self._own.add(info.name)
        return self._tables[info.name]

    def add(self, info: ModelInfo) -> None:
        """Make the table of a model, unless there is one."""
        if info.name not in self._tables:
            self.writable(info)

    def drop(self, info: ModelInfo) -> None:
        """Remove the table of a model."""
        self._tables.pop(info.name, None)
        self._own.discard(info.name)

    # -- references --------------------------------------------------------------------------------------------------------------------

    def check_references(self, info: ModelInfo, rows: Iterable[Row]) -> None:
        """Check that what the rows refer to exists; raises ``ForeignKeyError``."""
        for spec, target in _enforced(info):
            keys = self.table(target).rows
            for row in rows:
                value = row[spec.position]
                if value is not None and (value,) not in keys:
                    shown = spec.python(value)
                    raise ForeignKeyError(info.label, [spec.name], f"there is no {target.label} with key {shown!r}")

    def remove(self, info: ModelInfo, keys: Iterable[Key]) -> int:
        """Remove rows and do what the references to them say; raises ``ForeignKeyError``.

        As in SQL, references are checked when all is done, so that a record and those that refer to it can go together.
        """
        table = self.writable(info)
        removed = [key for key in keys if table.remove(key) is not None]
        if removed:
            self._follow(info, {key[0] for key in removed} if len(info.key) == 1 else set())
        return len(removed)

    def _follow(self, target: ModelInfo, removed: set[Any]) -> None:
        for info in [table.info for table in self]:
            for spec in [spec for spec, other in _enforced(info) if other is target]:
                table = self._tables[info.name]
                referring = [row for row in table.rows.values() if row[spec.position] in removed]
                if referring:
                    self._on_delete(table, spec, referring, target)

    def _on_delete(self, table: Table, spec: FieldSpec, referring: list[Row], target: ModelInfo) -> None:
        assert spec.reference is not None
        if spec.reference.on_delete == "restrict":
            raise ForeignKeyError(table.info.label, [spec.name], f"a {target.label} is still referred to")
        if spec.reference.on_delete == "cascade":
            self.remove(table.info, [table.key_of(row) for row in referring])
            return
        changed = self.writable(table.info)
        for row in referring:
            changed.put((*row[: spec.position], None, *row[spec.position + 1 :]))


def _enforced(info: ModelInfo) -> list[tuple[FieldSpec, ModelInfo]]:
    return [(spec, target) for spec, target in info.references if spec.reference is not None and spec.reference.enforce]


def selected(table: Table, select: Any) -> list[Row]:
    """Return the rows that a query gives."""
    return [tuple(row) for row in oracle.select(select, table.rows.values())]
