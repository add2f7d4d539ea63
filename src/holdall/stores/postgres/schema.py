"""PostgreSQL's tables."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.types import Kind
from holdall.sql.schema import SchemaDialect

_TYPES: dict[Kind, Any] = {
    Kind.BOOL: sa.Boolean(),
    Kind.INT: sa.BigInteger(),
    Kind.FLOAT: postgresql.DOUBLE_PRECISION(),
    Kind.STR: sa.Text(collation="C"),
    Kind.BYTES: postgresql.BYTEA(),
    Kind.UUID: postgresql.UUID(),
    Kind.DATE: sa.Date(),
    Kind.DATETIME: postgresql.TIMESTAMP(timezone=True, precision=6),
    Kind.TIME: postgresql.TIME(precision=6),
    Kind.TIMEDELTA: postgresql.INTERVAL(precision=6),
    Kind.DOCUMENT: postgresql.JSONB(),
}


def _type_of(_: ModelInfo, spec: FieldSpec) -> sa.types.TypeEngine[Any]:
    if spec.type.kind is Kind.DECIMAL:
        return sa.Numeric(spec.type.digits, spec.type.places)
    found: sa.types.TypeEngine[Any] = _TYPES[spec.type.kind]
    return found


def _literal(_: FieldSpec, value: Any) -> str:
    if isinstance(value, float):
        return f"'{value!r}'::double precision"
    return format(value, "f") if isinstance(value, Decimal) else str(int(value))


def _generated() -> Sequence[Any]:
    return (sa.Identity(always=False),)


SCHEMA = SchemaDialect(
    # For the statements as they are sent: the default style doubles each % for a driver that takes it as a parameter.
    dialect=postgresql.dialect(paramstyle="named"),  # type: ignore[no-untyped-call]
    type_of=_type_of,
    checks=lambda _: (),
    literal=_literal,
    length="char_length",
    table_options={},
    generated=_generated,
    nulls_last_in_index=True,
)
