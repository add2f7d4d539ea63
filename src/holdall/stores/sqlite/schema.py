"""SQLite's tables: STRICT, so that a column holds what it says, with checks for what the type does not say."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import UserDefinedType

from holdall.record.decimals import INTEGER_DIGITS
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.types import Kind
from holdall.sql.naming import quote
from holdall.sql.schema import SchemaDialect
from holdall.stores.sqlite.values import column_type, encoder


class _Type(UserDefinedType[Any]):
    """A type by its name."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        """Return the name."""
        return self.name


def _type_of(_: ModelInfo, spec: FieldSpec) -> sa.types.TypeEngine[Any]:
    name = column_type(spec.type)
    # Only SQLAlchemy's own Integer may be a generated key.
    return sa.Integer() if spec.storage.generated else _Type(name)


def _checks(spec: FieldSpec) -> Iterable[str]:
    column = quote(spec.stored_name)
    if spec.type.kind is Kind.BOOL:
        yield f"{column} IN (0, 1)"
    elif spec.type.kind is Kind.FLOAT:
        yield f"{column} BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308"
    elif spec.type.kind is Kind.UUID:
        yield f"length({column}) = 16"
    elif spec.type.kind is Kind.DECIMAL and spec.type.digits <= INTEGER_DIGITS:
        most = 10**spec.type.digits - 1
        yield f"{column} BETWEEN -{most} AND {most}"


def _literal(spec: FieldSpec, value: Any) -> str:
    if spec.type.kind is Kind.DECIMAL:
        encode = encoder(spec)
        assert encode is not None
        native = encode(value if isinstance(value, Decimal) else Decimal(str(value)))
        return f"'{native}'" if isinstance(native, str) else str(native)
    return repr(float(value)) if spec.type.kind is Kind.FLOAT else str(int(value))


SCHEMA = SchemaDialect(
    dialect=sqlite.dialect(),
    type_of=_type_of,
    checks=_checks,
    literal=_literal,
    length="length",
    table_options={"sqlite_strict": True, "sqlite_autoincrement": True},
    generated=tuple,
    nulls_last_in_index=False,
)
