"""Plain values and attribute values: how each kind is written, and what makes what is read plain again.

None is an attribute that is left out; inside lists and dicts it is NULL, so that ``{"a": None}`` differs from ``{}``. Numbers of the
service reach from 1e-130 to 1e126, which is less than a float, so that fields of floats are texts in their order.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Values of any type are told apart by isinstance here, and what is inside a list or dict then counts as unknown.

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

import orjson

from holdall.errors import LimitExceeded, ValidationError
from holdall.record.decoder import Expression
from holdall.record.metadata import FieldSpec
from holdall.record.types import Kind
from holdall.record.values import INT_MAX, INT_MIN
from holdall.stores.dynamodb import keys

AttributeValue = dict[str, Any]
Item = dict[str, AttributeValue]

NULL: AttributeValue = {"NULL": True}
_DEEPEST = 31
_SMALLEST, _LARGEST = 1e-130, 1e126


@dataclass(frozen=True, slots=True)
class Codec:
    """How the values of one kind travel.

    Attributes:
        tag: the attribute's type. Empty for documents, whose type their value says.
        write: from the plain value to what stands behind the tag; for documents the whole attribute value.
        read: the expression that makes it plain again; None when it is.
        source: the text of an expression that does what ``write`` does; ``{v}`` is the variable. Empty to call ``write``.
    """

    tag: str
    write: Callable[[Any], Any]
    read: Expression | None = None
    source: str = ""

    def value(self, plain: Any) -> AttributeValue:
        """Return the attribute value of a plain value that is not None."""
        found = self.write(plain)
        return {self.tag: found} if self.tag else found


def _itself(value: Any) -> Any:
    return value


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


def _uuid(text: str) -> UUID:
    return UUID(int=int(text.replace("-", ""), 16))


def _span(text: str) -> timedelta:
    return timedelta(microseconds=int(text))


# -- keys: no empty text, no empty bytes, no bool --------------------------------------------------------------------------------------


def _key_text(value: str) -> str:
    return value or "\0"  # which no stored text holds, and which sorts below all others


def _padded(value: bytes) -> str:
    """Write bytes that are empty or all zero with one more zero, which keeps their order."""
    return _base64(value if value.strip(b"\0") else value + b"\0")


def _unpadded(text: str) -> bytes:
    value = b64decode(text)
    return value if value.strip(b"\0") else value[:-1]


# -- documents -------------------------------------------------------------------------------------------------------------------------


def json_value(value: Any, depth: int = 0) -> AttributeValue:
    """Return the attribute value of a JSON value.

    Raises:
        LimitExceeded: it nests deeper than the service permits.
        ValidationError: a number that the service cannot keep.
    """
    write = _SCALARS.get(type(value))
    if write is not None:
        return write(value)
    if depth >= _DEEPEST:
        raise LimitExceeded("the depth of a document", limit=_DEEPEST, value=depth + 1)
    if isinstance(value, list):
        return {"L": [json_value(item, depth + 1) for item in value]}
    return {"M": {name or "\0": json_value(item, depth + 1) for name, item in value.items()}}


_SCALARS: Mapping[type[Any], Callable[[Any], AttributeValue]] = {
    str: lambda value: {"S": value},
    NoneType: lambda _: NULL,
    bool: lambda value: {"BOOL": value},
    int: lambda value: {"N": str(value)},
    float: lambda value: {"N": _number(value)},
}


def _number(value: float) -> str:
    if value and not _SMALLEST <= abs(value) < _LARGEST:
        msg = f"inside a document DynamoDB keeps numbers from 1e-130 to 1e126, not {value!r}; a field of its own keeps any float"
        raise ValidationError(msg, value=value)
    return keys.decimal_text(Decimal(repr(value)))


def read_json_value(value: AttributeValue) -> Any:
    """Return the JSON value of an attribute value; raises ``KeyError`` for types that we do not write."""
    ((tag, inner),) = value.items()
    return _JSON[tag](inner)


def _read_number(text: str) -> int | float:
    if text.lstrip("-").isdigit():
        number = int(text)
        return number if INT_MIN <= number <= INT_MAX else float(text)
    return float(text)


_JSON: Mapping[str, Callable[[Any], Any]] = {
    "S": _itself,
    "N": _read_number,
    "BOOL": _itself,
    "NULL": lambda _: None,
    "L": lambda items: [read_json_value(item) for item in items],
    "M": lambda members: {("" if name == "\0" else name): read_json_value(item) for name, item in members.items()},
}


def document_value(text: str) -> AttributeValue:
    """Return the attribute value of JSON text."""
    return json_value(orjson.loads(text))


def _document_text(value: AttributeValue) -> bytes:
    return orjson.dumps(read_json_value(value))


def _named(text: str, **names: Any) -> Expression:
    return Expression(text, names)


CODECS: Mapping[Kind, Codec] = {
    Kind.BOOL: Codec("BOOL", _itself, source="{v}"),
    Kind.INT: Codec("N", str, _named("int({v})"), "str({v})"),
    Kind.FLOAT: Codec("S", keys.float_text, _named("{read}({v})", read=keys.read_float)),
    Kind.STR: Codec("S", _itself, source="{v}"),
    Kind.BYTES: Codec("B", _base64, _named("{read}({v})", read=b64decode)),
    Kind.DECIMAL: Codec("N", keys.decimal_text, _named("{read}({v})", read=Decimal)),
    Kind.UUID: Codec("S", str, _named("{read}({v})", read=_uuid), "str({v})"),
    Kind.DATE: Codec("S", date.isoformat, _named("{read}({v})", read=date.fromisoformat), "{v}.isoformat()"),
    Kind.DATETIME: Codec("S", keys.moment_text, _named("{read}({v})", read=datetime.fromisoformat)),
    Kind.TIME: Codec("S", keys.clock_text, _named("{read}({v})", read=time.fromisoformat)),
    Kind.TIMEDELTA: Codec("N", lambda value: str(keys.microseconds(value)), _named("{read}({v})", read=_span)),
    Kind.DOCUMENT: Codec("", document_value, _named("{read}({v})", read=_document_text)),
}
_KEY_CODECS: Mapping[Kind, Codec] = {
    **CODECS,
    Kind.BOOL: Codec("N", lambda value: "1" if value else "0", _named("({v} == '1')")),
    Kind.STR: Codec("S", _key_text, _named("('' if {v} == '\\0' else {v})"), "({v} or '\\0')"),
    Kind.BYTES: Codec("B", _padded, _named("{read}({v})", read=_unpadded)),
}


def value_size(value: AttributeValue) -> int:
    """Return how many bytes the service counts for a value, within a few."""
    ((tag, inner),) = value.items()
    if tag == "M":
        return 3 + sum(1 + len(name) + value_size(item) for name, item in inner.items())
    if tag == "L":
        return 3 + sum(1 + value_size(item) for item in inner)
    if tag == "S":
        return len(inner) if inner.isascii() else len(inner.encode())
    if tag == "B":
        return len(inner) * 3 // 4
    return 1 + (len(inner.strip("-").replace(".", "").strip("0")) + 1) // 2 if tag == "N" else 1


def codec_of(spec: FieldSpec) -> Codec:
    """Return how the values of a field travel."""
    return (_KEY_CODECS if spec.storage.primary_key else CODECS)[spec.type.kind]


def decode(spec: FieldSpec) -> Expression | None:
    """Return what makes a field's value plain; None where it is already."""
    return codec_of(spec).read
