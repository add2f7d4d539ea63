"""SQL functions that every connection has: what SQLite cannot do by itself, done by the library's own rules."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import orjson

from holdall.query.oracle import holds_in_document
from holdall.query.planner import Test
from holdall.record.decimals import text_of, units_of_text


def casefold(value: Any) -> Any:
    """Return the casefolded text; NULL of NULL."""
    return None if value is None else value.casefold()


def describe_test(test: Test) -> str:
    """Return a test of a document as the text that ``holdall_document`` takes."""
    return orjson.dumps([test.operator, list(test.path), test.value]).decode()


@lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    operator, path, value = orjson.loads(text)
    value = tuple(value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return SimpleNamespace(operator=operator, path=tuple(path), value=value)


def document(text: str | None, test: str) -> int:
    """Tell whether a document, as JSON text, passes a test: exactly as the rules of queries say, because their own code answers."""
    return int(holds_in_document(_parsed(test), text))


def decimal(left: str | int | None, right: str | int | None, operator: str, digits: int) -> str | None:
    """Compute with Decimals in their sortable texts; one side of ``*`` is a whole number. NULL of NULL."""
    if left is None or right is None:
        return None
    return text_of(_OPERATORS[operator](_units(left, digits), _units(right, digits)), digits)


def _units(value: str | int, digits: int) -> int:
    return units_of_text(value, digits) if isinstance(value, str) else value


_OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
}


def register(connection: sqlite3.Connection) -> None:
    """Give a connection the functions."""
    connection.create_function("holdall_casefold", 1, casefold, deterministic=True)
    connection.create_function("holdall_document", 2, document, deterministic=True)
    connection.create_function("holdall_decimal", 4, decimal, deterministic=True)
    connection.create_function("holdall_bytes", 1, bytes.fromhex, deterministic=True)
    connection.create_function("holdall_real", 1, float.fromhex, deterministic=True)
