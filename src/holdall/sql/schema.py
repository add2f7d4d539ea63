"""Models into tables, through SQLAlchemy Core: types, indexes and the dialects' DDL are its business. Imported by ``initialize`` only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.sql.naming import constraint_name, index_name, quote

_ON_DELETE = {"restrict": None, "cascade": "CASCADE", "set_null": "SET NULL"}


@dataclass(frozen=True, slots=True)
class SchemaDialect:
    """What differs between databases in the definition of a table.

    Attributes:
        dialect: SQLAlchemy's.
        type_of: from a model and its field to SQLAlchemy's type.
        checks: from a field to the conditions that it must keep, in SQL, beyond its type and bounds.
        literal: from a bound's value to SQL text.
        length: the function that counts code points.
        table_options: keyword arguments of ``Table``. ``generated``: what makes a column generate its value.
        prefixes: of the fields of an index, those of which it takes the first characters only, with how many.
        digest: an expression of the column ``{0}`` by which a unique index tells apart what it takes the first characters of; without one
            the database sees to that by itself.
        index_if_not_exists: CREATE INDEX knows IF NOT EXISTS; else the store takes no offence at an index that is there.
    """

    dialect: sa.Dialect
    type_of: Callable[[ModelInfo, FieldSpec], sa.types.TypeEngine[Any]]
    checks: Callable[[FieldSpec], Iterable[str]]
    literal: Callable[[FieldSpec, Any], str]
    length: str
    table_options: dict[str, Any]
    generated: Callable[[], Sequence[Any]]
    nulls_last_in_index: bool
    prefixes: Callable[[ModelInfo, Sequence[FieldSpec]], Mapping[FieldSpec, int]] = lambda _info, _fields: {}
    digest: str | None = None
    index_if_not_exists: bool = True


def build(infos: Iterable[ModelInfo], dialect: SchemaDialect) -> tuple[sa.MetaData, dict[ModelInfo, sa.Table]]:
    """Return SQLAlchemy's tables of the models, and of those that they refer to."""
    metadata = sa.MetaData()
    tables: dict[ModelInfo, sa.Table] = {}

    def add(info: ModelInfo) -> None:
        if info not in tables:
            for spec, target in info.references:
                if target is not info and spec.reference is not None and spec.reference.enforce:
                    add(target)
            tables[info] = _table(metadata, tables, info, dialect)

    for info in infos:
        add(info)
    return metadata, tables


def create_statements(tables: dict[ModelInfo, sa.Table], infos: Iterable[ModelInfo], dialect: SchemaDialect) -> list[str]:
    """Return the statements that create what is missing."""
    found: list[str] = []
    for info in infos:
        table = tables[info]
        found.append(str(CreateTable(table, if_not_exists=True).compile(dialect=dialect.dialect)))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        found += [str(CreateIndex(index, if_not_exists=dialect.index_if_not_exists).compile(dialect=dialect.dialect)) for index in indexes]
    return found


def drop_statements(tables: dict[ModelInfo, sa.Table], infos: Iterable[ModelInfo], dialect: SchemaDialect) -> list[str]:
    """Return the statements that drop the tables, if they exist."""
    return [str(DropTable(tables[info], if_exists=True).compile(dialect=dialect.dialect)) for info in infos]


def _table(metadata: sa.MetaData, tables: dict[ModelInfo, sa.Table], info: ModelInfo, dialect: SchemaDialect) -> sa.Table:
    columns = {spec: _column(info, spec, dialect) for spec in info.fields}
    parts: list[sa.schema.SchemaItem] = [
        *columns.values(),
        sa.PrimaryKeyConstraint(*(_name(spec) for spec in info.key), name=constraint_name("pk", info, info.key)),
    ]
    uniques = [spec for spec in info.fields if spec.storage.unique]
    digested = [spec for spec in uniques if dialect.digest is not None and dialect.prefixes(info, (spec,))]
    parts += [sa.UniqueConstraint(_name(spec), name=constraint_name("uq", info, (spec,))) for spec in uniques if spec not in digested]
    parts += [_check(info, spec, dialect) for spec in info.fields if any(_conditions(spec, dialect))]
    for spec, target in info.references:
        if spec.reference is not None and spec.reference.enforce:
            key = columns[target.key[0]] if target is info else tables[target].c[target.key[0].stored_name]
            parts.append(_foreign_key(info, spec, key))
    table = sa.Table(_quoted(info.name), metadata, *parts, **dialect.table_options)
    for spec in digested:
        _add_index(table, constraint_name("uq", info, (spec,)), _terms(info, table, ((spec, False),), dialect, whole=True), unique=True)
    for spec in info.fields:
        # A unique constraint of the whole of a long text is served by a hash, which nobody can look up by.
        if (spec.storage.index and not spec.storage.unique) or (spec.storage.unique and dialect.prefixes(info, (spec,))):
            _add_index(table, constraint_name("ix", info, (spec,)), _terms(info, table, ((spec, False),), dialect), unique=False)
    for index in info.indexes:
        _index(info, table, index, dialect)
    return table


def _name(spec: FieldSpec) -> str:
    return spec.stored_name


def _quoted(name: str) -> sa.sql.quoted_name:
    return sa.sql.quoted_name(name, quote=True)


def _column(info: ModelInfo, spec: FieldSpec, dialect: SchemaDialect) -> sa.Column[Any]:
    extra: Sequence[Any] = dialect.generated() if spec is info.generated else ()
    return sa.Column(
        _quoted(spec.stored_name),
        dialect.type_of(info, spec),
        *extra,
        nullable=spec.nullable,
        autoincrement=spec is info.generated,
        key=spec.stored_name,
    )


def _check(info: ModelInfo, spec: FieldSpec, dialect: SchemaDialect) -> sa.CheckConstraint:
    # SQLAlchemy reads ":name" as a parameter, also in a quoted name.
    text = " AND ".join(_conditions(spec, dialect)).replace(":", "\\:")
    return sa.CheckConstraint(sa.text(text), name=constraint_name("ck", info, (spec,)))


def _conditions(spec: FieldSpec, dialect: SchemaDialect) -> list[str]:
    column = quote(spec.stored_name)
    found = list(dialect.checks(spec))
    for bound in spec.bounds:
        if bound.operator in ("max_length", "min_length"):
            found.append(f"{dialect.length}({column}) {'<=' if bound.operator == 'max_length' else '>='} {int(bound.value)}")
        else:
            found.append(f"{column} {bound.operator} {dialect.literal(spec, bound.value)}")
    return found


def _foreign_key(info: ModelInfo, spec: FieldSpec, key: sa.Column[Any]) -> sa.ForeignKeyConstraint:
    assert spec.reference is not None
    # The column itself and not its name: SQLAlchemy would divide a name at its dots.
    return sa.ForeignKeyConstraint(
        [spec.stored_name], [key], name=constraint_name("fk", info, (spec,)), ondelete=_ON_DELETE[spec.reference.on_delete]
    )


def _index(info: ModelInfo, table: sa.Table, index: Any, dialect: SchemaDialect) -> None:
    fields = [(info.by_name[name.removeprefix("-")], name.startswith("-")) for name in index.fields]
    _add_index(table, index_name(info, index), _terms(info, table, fields, dialect, whole=index.unique), unique=index.unique)


def _add_index(table: sa.Table, name: str, terms: Sequence[Any], *, unique: bool) -> None:
    sa.Index(_quoted(name), *terms, unique=unique, _table=table)


def _terms(
    info: ModelInfo, table: sa.Table, fields: Sequence[tuple[FieldSpec, bool]], dialect: SchemaDialect, *, whole: bool = False
) -> list[Any]:
    """Return what an index is made of: fields, and whether they descend."""
    prefixes = dialect.prefixes(info, [spec for spec, _ in fields])
    return [_term(table, spec, dialect, descending=descending, prefix=prefixes.get(spec), whole=whole) for spec, descending in fields]


def _term(table: sa.Table, spec: FieldSpec, dialect: SchemaDialect, *, descending: bool, prefix: int | None, whole: bool) -> Any:
    name = quote(spec.stored_name)
    text: str | None = None
    if prefix is not None and whole:
        text = None if dialect.digest is None else f"({dialect.digest.format(name)})"
    elif prefix is not None:
        text = f"{name}({prefix:d})"
    if text is not None:
        # SQLAlchemy reads ":name" as a parameter, also in a quoted name.
        return sa.text(f"{text}{' DESC' if descending else ''}".replace(":", "\\:"))
    column: Any = table.c[spec.stored_name]
    if not descending:
        return column
    # Queries order None last, also descending.
    return column.desc().nulls_last() if spec.nullable and dialect.nulls_last_in_index else column.desc()
