"""Rows of the text protocol into tuples, by one generated function for the types of the columns.

A packet is three bytes of length, a number, and the payload: for each value its length, and its text. A length of one byte is below 251;
251 is NULL; 252, 253 and 254 stand before lengths of 2, 3 and 8 bytes. Rows are short nearly always, and take a way that does not compare
each length; any other one takes the general way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

Decode = Callable[[bytes, str, int, int, Callable[[Any], None]], tuple[int, int]]
"""From (the bytes, the same as latin-1 text, where to begin, where they end, what takes a row) to (where it stopped, why)."""

MORE, LAST, HUGE = 0, 1, 2
"""Why decoding stopped: at the end of the bytes; at a packet that is no row; at one that is continued in the next packet."""

_FULL = 0xFFFFFF
_SHORT = 250


class Column(NamedTuple):
    """What is known of a column: how its values read, and whether NULL is expected (it may come all the same)."""

    kind: str
    nullable: bool


def timedelta_of(text: str) -> timedelta:
    """Return the value of a TIME: ``-838:59:59.000000``."""
    hours, minutes, seconds = text.lstrip("-").split(":")
    found = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds[:2]), microseconds=int(f"{seconds[3:]:0<6}"))
    return -found if text[0] == "-" else found


# How a value reads: over the text t and the bytes b, from s to p.
_READ = {
    "bool": "t[s:p] == '1'",
    "int": "int(t[s:p])",
    "float": "float(t[s:p])",
    "decimal": "Decimal(t[s:p])",
    "bytes": "b[s:p]",
    "datetime": "datetime_of(t[s:p] + '+00:00')",
    "date": "date_of(t[s:p])",
    "time": "timedelta_of(t[s:p])",
}
_NAMES = {
    "Decimal": Decimal,
    "datetime_of": datetime.fromisoformat,
    "date_of": date.fromisoformat,
    "timedelta_of": timedelta_of,
}


def _value(kind: str, name: str) -> list[str]:
    if kind == "str":
        return [f"{name} = t[s:p]", f"if not {name}.isascii(): {name} = b[s:p].decode()"]
    return [f"{name} = {_READ[kind]}"]


@lru_cache(maxsize=512)
def decoder(columns: tuple[Column, ...]) -> Decode:
    """Return the function that decodes the rows of these columns."""
    names: dict[str, Any] = dict(_NAMES)
    exec("\n".join([*_general(columns), *_quick(columns)]), names)  # noqa: S102 - generated from kinds and positions alone
    found: Decode = names["decode"]
    return found


def _tuple(columns: Sequence[Column]) -> str:
    return f"({''.join(f'v{position},' for position in range(len(columns)))})"


def _general(columns: Sequence[Column]) -> list[str]:
    """Return the source that reads one row whatever the lengths of its values."""
    lines = ["def general(b, t, p):"]
    for position, column in enumerate(columns):
        lines += [
            " s = p + 1; l = b[p]",
            " if l < 251: p = s + l",
            f" elif l == 251: p = s; v{position} = None",
            " elif l == 252: s = p + 3; p = s + (b[p+1] | b[p+2] << 8)",
            " elif l == 253: s = p + 4; p = s + (b[p+1] | b[p+2] << 8 | b[p+3] << 16)",
            " else: s = p + 9; p = s + int.from_bytes(b[p+1:p+9], 'little')",
            " if l != 251:",
            *(f"  {line}" for line in _value(column.kind, f"v{position}")),
        ]
    return [*lines, f" return {_tuple(columns)}"]


def _quick(columns: Sequence[Column]) -> list[str]:
    """Return the source that reads all rows that the bytes hold whole.

    No value of a row of 250 bytes has a length of more than one, so that only a NULL that was not expected leads astray: beyond the row's
    end, which is noticed there, or on the way.
    """
    lines = [
        "def decode(b, t, pos, end, add):",
        " limit = end - 5",
        " while pos <= limit:",
        "  p = pos + 4",
        "  stop = p + (b[pos] | b[pos+1] << 8 | b[pos+2] << 16)",
        f"  if stop > end: return pos, {MORE}",
        "  if b[p] >= 254:",
        f"   if b[p] == 255 or stop - p < 9: return pos, {LAST}",
        f"  if stop - p > {_SHORT}:",
        f"   if stop - p == {_FULL}: return pos, {HUGE}",
        "   add(general(b, t, p)); pos = stop; continue",
        "  try:",
    ]
    for position, column in enumerate(columns):
        indent = "   "
        if column.nullable:
            lines += [f"   if b[p] == 251: v{position} = None; p += 1", "   else:"]
            indent = "    "
        lines.append(f"{indent}s = p + 1; p = s + b[p]")
        lines += [indent + line for line in _value(column.kind, f"v{position}")]
    return [
        *lines,
        f"   if p == stop: add({_tuple(columns)}); pos = stop; continue",
        "  except (ArithmeticError, LookupError, ValueError): pass",
        "  add(general(b, t, pos + 4)); pos = stop",
        f" return pos, {MORE}",
    ]


@lru_cache(maxsize=512)
def row_decoder(columns: tuple[Column, ...]) -> Callable[[bytes], tuple[Any, ...]]:
    """Return the function that decodes the payload of one row, put together of several packets."""
    names: dict[str, Any] = dict(_NAMES)
    exec("\n".join(_general(columns)), names)  # noqa: S102 - generated from kinds and positions alone
    general = names["general"]

    def decode(payload: bytes) -> tuple[Any, ...]:
        found: tuple[Any, ...] = general(payload, payload.decode("latin-1"), 0)
        return found

    return decode


# -- definitions of columns ------------------------------------------------------------------------------------------------------------

_BINARY = 63  # the character set of what is no text
_KIND_OF_TYPE = {
    **dict.fromkeys((1, 2, 3, 8, 9, 13), "int"),
    **dict.fromkeys((4, 5), "float"),
    **dict.fromkeys((0, 246), "decimal"),
    **dict.fromkeys((7, 12), "datetime"),
    10: "date",
    11: "time",
    **dict.fromkeys((16, 255), "bytes"),
}


def column_of(definition: bytes) -> tuple[str, Column]:
    """Return the name and the type of a column from the payload of its definition."""
    at = 0
    texts: list[bytes] = []
    for _ in range(6):  # catalogue, schema, table, original table, name, original name
        size, at = length(definition, at)
        texts.append(definition[at : at + size])
        at += size
    size, at = length(definition, at)
    charset = definition[at] | definition[at + 1] << 8
    kind = _KIND_OF_TYPE.get(definition[at + 6])
    if kind is None:
        kind = "bytes" if charset == _BINARY and definition[at + 6] != 245 else "str"
    return texts[4].decode(), Column(kind, nullable=True)


def length(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of one to nine bytes, and where it ends."""
    first = data[at]
    if first < 251:
        return first, at + 1
    size = {252: 2, 253: 3, 254: 8}[first]
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size
