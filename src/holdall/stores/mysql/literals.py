"""The one encoder of literals: values into the text of a statement, by their exact type.

The server's text protocol has no parameters. Sessions run with NO_BACKSLASH_ESCAPES, so that a quote is the only character of a text that
means something, and is doubled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from types import NoneType
from typing import Any
from uuid import UUID

from holdall.errors import ValidationError
from holdall.sql.compiler import Statement
from holdall.stores.mysql.values import EPOCH, NAIVE_EPOCH

MARK = "\0"
"""Stands before the number of a value in the text of a statement; nothing else can hold it."""

MARKS = re.compile(rf"{MARK}(\d+)")
_MICROSECOND = timedelta(microseconds=1)


def _text(value: str) -> str:
    return f"'{value}'" if "'" not in value else "'" + value.replace("'", "''") + "'"


def _float(value: float) -> str:
    text = repr(value)
    if "n" in text:  # nan, inf
        raise ValidationError(f"{text} is not a finite number", value=value)
    return text if "e" in text else text + "e0"  # without an exponent it would be a decimal


def _datetime(value: datetime) -> str:
    if value.tzinfo is not None:
        value = NAIVE_EPOCH + (value - EPOCH)  # half of what astimezone() and replace() take
    return f"TIMESTAMP'{value.isoformat(' ', 'microseconds')}'"


def _decimal(value: Decimal) -> str:
    text = str(value)
    if not text.strip("-.0123456789"):
        return text
    if not value.is_finite():
        raise ValidationError(f"{text} is not a finite number", value=value)
    return format(value, "f")  # without an exponent


_ENCODERS: Mapping[type, Callable[[Any], str]] = {
    NoneType: lambda _: "NULL",
    bool: lambda value: "1" if value else "0",
    int: str,
    float: _float,
    str: _text,
    bytes: lambda value: f"x'{value.hex()}'",
    Decimal: _decimal,
    UUID: lambda value: f"x'{value.hex}'",
    datetime: _datetime,
    date: lambda value: f"DATE'{value.isoformat()}'",
    time: lambda value: f"TIME'{value.isoformat('microseconds')}'",
    timedelta: lambda value: str(value // _MICROSECOND),
}


_BARE: Mapping[type, Callable[[Any], Any]] = {str: str.__str__, int: int}  # an enum's own text is its name


def _same(value: Any) -> Any:
    return value


def literal(value: Any) -> str:
    """Return the SQL of a value.

    Raises:
        ValidationError: it has none: lists and dicts, above all, are not taken apart.
    """
    encode = _ENCODERS.get(value.__class__)
    return encode(value) if encode is not None else _of_subclass(value)


def _of_subclass(value: Any) -> str:
    for kind, encode in _ENCODERS.items():
        if isinstance(value, kind):
            return encode(_BARE.get(kind, _same)(value))
    raise ValidationError(f"{type(value).__name__} has no SQL literal; pass a scalar, and documents as JSON text", value=value)


def row_literals(row: Sequence[Any]) -> str:
    """Return the literals of a row in brackets."""
    encoders = _ENCODERS
    return f"({','.join([encoders[value.__class__](value) for value in row])})"


@lru_cache(maxsize=1024)
def _pieces(text: str) -> tuple[str, tuple[tuple[int, str], ...]]:
    parts = MARKS.split(text)
    return parts[0], tuple((int(number) - 1, rest) for number, rest in zip(parts[1::2], parts[2::2], strict=True))


def render(statement: Statement) -> str:
    """Return the whole text of a statement, its values written in."""
    text, values = statement
    head, rest = _pieces(text)
    if not rest:
        return head
    encoders = _ENCODERS
    parts = [head]
    for position, after in rest:
        value = values[position]
        encode = encoders.get(value.__class__)
        parts.append(encode(value) if encode is not None else _of_subclass(value))
        parts.append(after)
    return "".join(parts)
