"""How SQLite keeps each kind of value: the column's type, and the conversions both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from holdall.record.decimals import INTEGER_DIGITS, decimal_of_text, text_of, units_of
from holdall.record.decoder import Expression
from holdall.record.metadata import FieldSpec
from holdall.record.types import FieldType, Kind
from holdall.sql.uuids import uuid_from_bytes

_MICROSECOND = timedelta(microseconds=1)

TYPES: Mapping[Kind, str] = {
    Kind.BOOL: "INTEGER",
    Kind.INT: "INTEGER",
    Kind.FLOAT: "REAL",
    Kind.STR: "TEXT",
    Kind.BYTES: "BLOB",
    Kind.UUID: "BLOB",
    Kind.DATE: "TEXT",
    Kind.DATETIME: "TEXT",
    Kind.TIME: "TEXT",
    Kind.TIMEDELTA: "INTEGER",
    Kind.DOCUMENT: "TEXT",
}


def column_type(kind: FieldType) -> str:
    """Return the type of a column of a STRICT table."""
    if kind.kind is Kind.DECIMAL:
        return "INTEGER" if kind.digits <= INTEGER_DIGITS else "TEXT"
    return TYPES[kind.kind]


# -- Decimal as a scaled integer, or as a text that sorts as the numbers do ------------------------------------------------------------


def _decimal_encoder(kind: FieldType) -> Callable[[Decimal], Any]:
    digits, places = kind.digits, kind.places
    if digits <= INTEGER_DIGITS:
        return lambda value: units_of(value, places)
    return lambda value: text_of(units_of(value, places), digits)


def _decimal_expression(kind: FieldType) -> Expression:
    if kind.digits <= INTEGER_DIGITS:
        # At most 18 digits, so that the multiplication is exact in any context with the default precision of 28.
        return Expression("{decimal}({v}) * {unit}", {"decimal": Decimal, "unit": Decimal((0, (1,), -kind.places))})
    return Expression("{read}({v}, {digits}, {places})", {"read": decimal_of_text, "digits": kind.digits, "places": kind.places})


# -- tables ----------------------------------------------------------------------------------------------------------------------------


def _datetime_text(value: datetime) -> str:
    return value.isoformat("T", "microseconds")


_ENCODERS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.BOOL: int,
    Kind.UUID: lambda value: value.bytes,
    Kind.DATE: date.isoformat,
    Kind.DATETIME: _datetime_text,
    Kind.TIME: lambda value: value.isoformat("microseconds"),
    Kind.TIMEDELTA: lambda value: value // _MICROSECOND,
}
_EXPRESSIONS: Mapping[Kind, Expression] = {
    Kind.BOOL: Expression("({v} == 1)"),
    Kind.UUID: Expression("{read}({v})", {"read": uuid_from_bytes}),
    Kind.DATE: Expression("{read}({v})", {"read": date.fromisoformat}),
    Kind.DATETIME: Expression("{read}({v})", {"read": datetime.fromisoformat}),
    Kind.TIME: Expression("{read}({v})", {"read": time.fromisoformat}),
    Kind.TIMEDELTA: Expression("{delta}(microseconds={v})", {"delta": timedelta}),
}


def encoder(spec: FieldSpec) -> Callable[[Any], Any] | None:
    """Return the function from plain to native values; None where they are the same."""
    return _decimal_encoder(spec.type) if spec.type.kind is Kind.DECIMAL else _ENCODERS.get(spec.type.kind)


def decode(spec: FieldSpec) -> Expression | None:
    """Return what makes a column's value plain; None where it is already."""
    return _decimal_expression(spec.type) if spec.type.kind is Kind.DECIMAL else _EXPRESSIONS.get(spec.type.kind)


def native(value: Any) -> Any:
    """Return the native value of a parameter of raw SQL, by its Python type.

    Raises:
        TypeError: it has none, such as a Decimal, whose form depends on the column.
    """
    if value is None or isinstance(value, int | float | str | bytes):
        return value
    for kind, python in ((Kind.UUID, UUID), (Kind.DATETIME, datetime), (Kind.DATE, date), (Kind.TIME, time), (Kind.TIMEDELTA, timedelta)):
        if isinstance(value, python):
            return _ENCODERS[kind](value)
    raise TypeError


def decoded_upsert(operation: Any, row: Any) -> list[Any]:
    """Return the plain values of what an upsert returned: times and versions."""
    found: list[Any] = []
    for spec, value in zip(operation.returning, row, strict=False):
        found.append(datetime.fromisoformat(value) if spec.type.kind is Kind.DATETIME and value is not None else value)
    return found
