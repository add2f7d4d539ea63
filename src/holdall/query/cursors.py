"""Cursors of pages: opaque texts that hold a position and the query that it belongs to."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from holdall.errors import QueryError
from holdall.query.predicates import OrderTerm
from holdall.record.documents import SCALAR_TEXTS
from holdall.record.types import FieldType, Kind
from holdall.record.values import plain_scalar

_SIGNATURE_BYTES = 16


class Position(NamedTuple):
    """Where a page begins: behind these values, in the order of the query or against it."""

    values: tuple[Any, ...]
    backward: bool


def fingerprint(*parts: Any) -> str:
    """Return a short digest of what a query is, so that a cursor of another query is found out."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _scalar(kind: FieldType) -> FieldType:
    return FieldType(kind.kind, digits=kind.digits, places=kind.places)


def write(query: str, order: Sequence[OrderTerm], position: Position, key: str | None) -> str:
    """Return the cursor of a position."""
    values = [None if value is None else _write(term.field.type, value) for term, value in zip(order, position.values, strict=True)]
    body = orjson.dumps([query, position.backward, values])
    return urlsafe_b64encode(_sign(body, key) + body).decode().rstrip("=")


def _write(kind: FieldType, value: Any) -> Any:
    if kind.kind is Kind.FLOAT:
        return value.hex()
    text = SCALAR_TEXTS.get(kind.kind)
    return value if text is None else text[0](value)


def read(cursor: object, query: str, order: Sequence[OrderTerm], key: str | None) -> Position:
    """Return the position of a cursor.

    Raises:
        QueryError: it was changed, or belongs to another query.
    """
    msg = "the cursor is not one of this query; start again from the first page"
    try:
        if not isinstance(cursor, str):
            raise TypeError  # noqa: TRY301
        data = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        signature, body = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, _sign(body, key)):
            raise ValueError  # noqa: TRY301
        found, backward, texts = orjson.loads(body)
        if found != query or len(texts) != len(order):
            raise ValueError  # noqa: TRY301
        values = tuple(None if text is None else _read(term.field.type, text) for term, text in zip(order, texts, strict=True))
        return Position(values, bool(backward))
    except (ValueError, TypeError, ArithmeticError) as exc:
        raise QueryError(msg) from exc


def _read(kind: FieldType, text: Any) -> Any:
    if kind.kind is Kind.FLOAT:
        return float.fromhex(text)
    convert = SCALAR_TEXTS.get(kind.kind)
    return plain_scalar(_scalar(kind), text if convert is None else convert[1](text))


def _sign(body: bytes, key: str | None) -> bytes:
    return hashlib.blake2b(body, key=hashlib.blake2b((key or "").encode(), digest_size=32).digest(), digest_size=_SIGNATURE_BYTES).digest()
