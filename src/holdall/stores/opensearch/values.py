"""How OpenSearch keeps each kind of value: the type in the mapping, the conversions, and the shadow fields that lookups need beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from holdall.errors import LimitExceeded
from holdall.record.decimals import INTEGER_DIGITS, decimal_of_text, decimal_of_units, scale, text_of, units_of
from holdall.record.decoder import Expression
from holdall.record.metadata import FieldSpec
from holdall.record.types import FieldType, Kind
from holdall.stores.opensearch.tokens import tokens

KEYWORD_BYTES = 32_766
SAFE_CHARACTERS = 4096  # casefolding makes at most six bytes of a character
_MOST_INDEXED = KEYWORD_BYTES // 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MIDNIGHT = timedelta()

TYPES: Mapping[Kind, str] = {
    Kind.BOOL: "boolean",
    Kind.INT: "long",
    Kind.FLOAT: "double",
    Kind.STR: "keyword",
    Kind.BYTES: "keyword",
    Kind.UUID: "keyword",
    Kind.DATE: "long",
    Kind.DATETIME: "long",
    Kind.TIME: "long",
    Kind.TIMEDELTA: "long",
    Kind.DOCUMENT: "keyword",
}


def type_of(kind: FieldType) -> str:
    """Return the type in the mapping."""
    if kind.kind is Kind.DECIMAL:
        return "long" if kind.digits <= INTEGER_DIGITS else "keyword"
    return TYPES[kind.kind]


def is_long_text(spec: FieldSpec) -> bool:
    """Tell whether a text may be longer than what can be indexed, by its declared ``max_length``: it is stored, and not filtered by."""
    return spec.type.kind is Kind.STR and any(bound.operator == "max_length" and bound.value > _MOST_INDEXED for bound in spec.bounds)


# -- plain to native -------------------------------------------------------------------------------------------------------------------


def microseconds(value: datetime) -> int:
    """Return the microseconds since 1970; an OpenSearch date has milliseconds."""
    span = value - _EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def _time(value: time) -> int:
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond


_NATIVE: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.BYTES: bytes.hex,
    Kind.UUID: str,
    Kind.DATE: date.toordinal,
    Kind.DATETIME: microseconds,
    Kind.TIME: _time,
    Kind.TIMEDELTA: lambda value: value // _MICROSECOND,
}


def native_of(spec: FieldSpec) -> Callable[[Any], Any] | None:
    """Return the function from plain to native values; None where they are the same."""
    kind = spec.type
    if kind.kind is not Kind.DECIMAL:
        return _NATIVE.get(kind.kind)
    digits, places = kind.digits, kind.places
    if digits <= INTEGER_DIGITS:
        return lambda value: units_of(value, places)
    return lambda value: text_of(units_of(value, places), digits)


def checked_text(label: str, spec: FieldSpec) -> Callable[[str], str]:
    """Return the function that gives back a text, unless it is too long to be indexed."""

    def check(value: str) -> str:
        size = max(len(value.encode()), len(value.casefold().encode()))
        if size > KEYWORD_BYTES:
            what = f"{label}.{spec.name}: the text in bytes; declare max_length above {_MOST_INDEXED} to store longer texts without filters"
            raise LimitExceeded(what, limit=KEYWORD_BYTES, value=size)
        return value

    return check


def checked_tokens(label: str, spec: FieldSpec) -> Callable[[str], list[str]]:
    """Return the function from a document's JSON text to its tokens."""

    def check(text: str) -> list[str]:
        found = tokens(text)
        if len(text) > SAFE_CHARACTERS:
            longest = max((len(token.encode()) for token in found), default=0)
            if longest > KEYWORD_BYTES:
                raise LimitExceeded(f"{label}.{spec.name}: a text in the document in bytes", limit=KEYWORD_BYTES, value=longest)
        return found

    return check


# -- shadow fields ---------------------------------------------------------------------------------------------------------------------

Shadow = tuple[str, str, str]
"""Suffix, type in the mapping, and the source text of its value, of ``{v}``, which is not None, and of ``{n}``, what is stored for it."""

PRESENT: Shadow = ("#p", "boolean", "True")
FOLDED: Shadow = ("#i", "keyword", "casefold({v})")
MONTH: Shadow = ("#m", "byte", "{v}.month")
DAY: Shadow = ("#d", "byte", "{v}.day")
MILLISECONDS: Shadow = ("#t", "date", "{n} // 1000")
MILLISECONDS_OF_DAY: Shadow = ("#t", "date", "({n} - 719163) * 86400000")  # ordinals count from the first of January of year 1
WHOLE: Shadow = ("#c", "keyword", "whole({v})")
TOKENS: Shadow = ("#j", "keyword", "{tokens}({v})")


def shadows_of(spec: FieldSpec) -> tuple[Shadow, ...]:
    """Return the fields beside a field.

    ``#p`` marks what is not None, because a missing ``long`` sorts as the extreme one; ``#i`` is the casefolded text; ``#m``, ``#d`` and
    ``#t`` are month, day and milliseconds; ``#c`` stands for a whole document, ``#j`` for its parts.
    """
    kind = spec.type.kind
    if kind is Kind.DOCUMENT:
        return (WHOLE, TOKENS)
    found: list[Shadow] = []
    if kind is Kind.STR and not is_long_text(spec):
        found.append(FOLDED)
    if kind in (Kind.DATE, Kind.DATETIME):
        found += [MONTH, DAY, MILLISECONDS if kind is Kind.DATETIME else MILLISECONDS_OF_DAY]
    if spec.nullable and (type_of(spec.type) == "long" or is_long_text(spec)):
        found.append(PRESENT)
    return tuple(found)


# -- native to plain -------------------------------------------------------------------------------------------------------------------


def _datetime(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


def _clock(value: int) -> time:
    return (datetime.min + timedelta(microseconds=value)).time()  # noqa: DTZ901  - a time of day has no zone


_EXPRESSIONS: Mapping[Kind, Expression] = {
    # A script on the server may have written 1.0 as 1.
    Kind.FLOAT: Expression("({v} if {v}.__class__ is {float} else {float}({v}))", {"float": float}),
    Kind.BYTES: Expression("{read}({v})", {"read": bytes.fromhex}),
    Kind.UUID: Expression("{uuid}({v})", {"uuid": UUID}),
    Kind.DATE: Expression("{read}({v})", {"read": date.fromordinal}),
    Kind.DATETIME: Expression("{epoch} + {delta}(0, 0, {v})", {"epoch": _EPOCH, "delta": timedelta}),
    Kind.TIME: Expression("{read}({v})", {"read": _clock}),
    Kind.TIMEDELTA: Expression("{delta}(0, 0, {v})", {"delta": timedelta}),
}


def decode(spec: FieldSpec) -> Expression | None:
    """Return what makes a stored value plain; None where it is already."""
    kind = spec.type
    if kind.kind is not Kind.DECIMAL:
        return _EXPRESSIONS.get(kind.kind)
    if kind.digits <= INTEGER_DIGITS:
        return Expression("{scale}({decimal}({v}), {places})", {"scale": scale, "decimal": Decimal, "places": -kind.places})
    return Expression("{read}({v}, {digits}, {places})", {"read": decimal_of_text, "digits": kind.digits, "places": kind.places})


_PLAIN: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.FLOAT: float,
    Kind.BYTES: bytes.fromhex,
    Kind.UUID: UUID,
    Kind.DATE: date.fromordinal,
    Kind.DATETIME: _datetime,
    Kind.TIME: _clock,
    Kind.TIMEDELTA: lambda value: timedelta(microseconds=value),
}


def plain_of(spec: FieldSpec, value: Any) -> Any:
    """Return the plain value of a stored one."""
    if value is None:
        return None
    kind = spec.type
    if kind.kind is Kind.DECIMAL:
        return _decimal(kind, value)
    read = _PLAIN.get(kind.kind)
    return value if read is None else read(value)


def _decimal(kind: FieldType, value: Any) -> Decimal:
    return decimal_of_units(value, kind.places) if kind.digits <= INTEGER_DIGITS else decimal_of_text(value, kind.digits, kind.places)
