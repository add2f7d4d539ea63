"""Texts for composed keys: injective, and in the order of the values.

Parts are joined by a separator that sorts below every character of an encoded part, which is why characters up to the mark are escaped.
Where a key is made for the index alone, the separator is U+0001; in the templates of a single-table design it is ``#``, which people can
read.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any

from holdall.record.types import FieldType, Kind

_MICROSECOND = timedelta(microseconds=1)
_FLOAT, _BITS = struct.Struct(">d"), struct.Struct(">Q")
_EXACT = Context(prec=100)  # Python's own would round to 28 digits
_ALL_BITS, _SIGN = 0xFFFFFFFFFFFFFFFF, 1 << 63


class Style:
    """How the parts of a key are joined.

    Attributes:
        separator: stands between parts, and sorts below every character in them.
        above: the next character; the text of a part and this sorts above every key whose part is just that text.
    """

    def __init__(self, separator: str, shift: int) -> None:
        self.separator = separator
        self.above = chr(ord(separator) + 1)
        # Every character up to ``above``, which is the mark of an escape, is written as the mark and another character.
        self._escapes = {code: self.above + chr(code + shift) for code in range(1, ord(self.above) + 1)}
        self._escaped = re.compile(f"[\x01-{re.escape(self.above)}]")

    def escape(self, text: str) -> str:
        """Return the text without separators, in the order of the texts."""
        return text.translate(self._escapes) if self._escaped.search(text) else text


PLAIN = Style("\x01", 1)
READABLE = Style("#", 0x30)


def float_text(value: float) -> str:
    """Return 16 hexadecimal digits in the order of the values."""
    (bits,) = _BITS.unpack(_FLOAT.pack(value))
    return f"{bits ^ _ALL_BITS if bits & _SIGN else bits | _SIGN:016x}"


def read_float(text: str) -> float:
    """Return the value of ``float_text``."""
    bits = int(text, 16)
    (value,) = _FLOAT.unpack(_BITS.pack(bits & ~_SIGN if bits & _SIGN else bits ^ _ALL_BITS))
    return float(value)


def moment_text(value: datetime) -> str:
    """Return 27 characters of a datetime in UTC, in the order of the moments."""
    return value.isoformat(timespec="microseconds")[:26] + "Z"


def clock_text(value: time) -> str:
    """Return 15 characters of a time, in the order of the values."""
    return value.isoformat(timespec="microseconds")


def decimal_text(value: Decimal) -> str:
    """Return the canonical text of a number, as the service gives it back."""
    text = format(value, "f")
    return text.rstrip("0").removesuffix(".") if "." in text else text


def microseconds(value: timedelta) -> int:
    """Return all of a timedelta in microseconds."""
    return value // _MICROSECOND


def _int(_: FieldType, value: int) -> str:
    return f"{value + _SIGN:020d}"


def _decimal(kind: FieldType, value: Decimal) -> str:
    number = int(_EXACT.scaleb(value, kind.places))
    return f"1{number:0{kind.digits}d}" if number >= 0 else f"0{10**kind.digits + number:0{kind.digits}d}"


# What a value is in a composed key, before a text is escaped.
_TEXTS: Mapping[Kind, Callable[[FieldType, Any], str]] = {
    Kind.BOOL: lambda _, value: "1" if value else "0",
    Kind.INT: _int,
    Kind.FLOAT: lambda _, value: float_text(value),
    Kind.BYTES: lambda _, value: bytes.hex(value),
    Kind.DECIMAL: _decimal,
    Kind.UUID: lambda _, value: str(value),
    Kind.DATE: lambda _, value: date.isoformat(value),
    Kind.DATETIME: lambda _, value: moment_text(value),
    Kind.TIME: lambda _, value: clock_text(value),
    Kind.TIMEDELTA: lambda kind, value: _int(kind, microseconds(value)),
}


def part_text(kind: FieldType, value: Any, style: Style) -> str:
    """Return the text of a plain value, which is not None, as a part of a composed key."""
    write = _TEXTS.get(kind.kind)
    # Only text can hold a separator, and those of times and numbers are of fixed width.
    return style.escape(value) if write is None else write(kind, value)
