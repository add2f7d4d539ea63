"""How MariaDB and MySQL keep each kind of value: what the drivers read, and what makes it plain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache

from holdall.record.decoder import Expression
from holdall.record.metadata import FieldSpec
from holdall.record.types import Kind
from holdall.sql.uuids import uuid_from_bytes
from holdall.stores.mysql.rows import Column

NAIVE_EPOCH = datetime(1, 1, 1)  # noqa: DTZ001 - a column has no time zone
EPOCH = NAIVE_EPOCH.replace(tzinfo=UTC)

# The kind of the column that keeps each kind of value, as ``rows`` names it.
_COLUMNS: Mapping[Kind, str] = {
    Kind.BOOL: "bool",
    Kind.INT: "int",
    Kind.FLOAT: "float",
    Kind.STR: "str",
    Kind.BYTES: "bytes",
    Kind.DECIMAL: "decimal",
    Kind.UUID: "bytes",
    Kind.DATE: "date",
    Kind.DATETIME: "datetime",
    Kind.TIME: "time",
    Kind.TIMEDELTA: "int",
    Kind.DOCUMENT: "str",
}


@lru_cache(maxsize=1024)
def columns_of(fields: tuple[FieldSpec, ...]) -> tuple[Column, ...]:
    """Return the columns of fields, in their order."""
    return tuple(Column(_COLUMNS[spec.type.kind], spec.nullable) for spec in fields)


def _time_of(value: timedelta) -> time:
    return (NAIVE_EPOCH + value).time()


_PLAIN: Mapping[Kind, Expression] = {
    # Raw SQL gives the column's number, which nobody knows to be a bool.
    Kind.BOOL: Expression("({v} == 1)"),
    Kind.UUID: Expression("{read}({v})", {"read": uuid_from_bytes}),
    Kind.TIME: Expression("{read}({v})", {"read": _time_of}),
    Kind.TIMEDELTA: Expression("{delta}(0, 0, {v})", {"delta": timedelta}),
}


def _table(expressions: Mapping[Kind, Expression]) -> Callable[[FieldSpec], Expression | None]:
    return lambda spec: expressions.get(spec.type.kind)


VALUES = _table(_PLAIN)
"""What makes a column's value plain, after the reader of this package."""

NAIVE_VALUES = _table(
    {
        **_PLAIN,
        # A tenth of what v.replace(tzinfo=UTC) takes. Those of raw SQL are aware already.
        Kind.DATETIME: Expression("({aware} + ({v} - {naive}) if {v}.tzinfo is None else {v})", {"aware": EPOCH, "naive": NAIVE_EPOCH}),
    }
)
"""The same after a driver that reads datetimes without a time zone; sessions are in UTC."""
