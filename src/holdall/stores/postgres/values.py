"""How PostgreSQL keeps each kind of value: the column's type, and what asyncpg gives back for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from holdall.record.decoder import Expression
from holdall.record.metadata import FieldSpec
from holdall.record.types import Kind

# asyncpg takes and gives the plain value of every kind; a document is the text of its JSON.
TYPES: Mapping[Kind, str] = {
    Kind.BOOL: "boolean",
    Kind.INT: "bigint",
    Kind.FLOAT: "double precision",
    Kind.STR: "text",
    Kind.BYTES: "bytea",
    Kind.DECIMAL: "numeric",
    Kind.UUID: "uuid",
    Kind.DATE: "date",
    Kind.DATETIME: "timestamptz",
    Kind.TIME: "time",
    Kind.TIMEDELTA: "interval",
    Kind.DOCUMENT: "jsonb",
}


# asyncpg writes the first and the last moment as PostgreSQL's infinities, and reads these without a time zone.
def _aware(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC)


_AWARE = Expression("({v} if {v}.tzinfo is not None else {aware}({v}))", {"aware": _aware})


def decode(spec: FieldSpec) -> Expression | None:
    """Return what makes a column's value plain; None where it is already."""
    return _AWARE if spec.type.kind is Kind.DATETIME else None
