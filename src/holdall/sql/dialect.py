"""What differs between SQL databases in the text of a statement, as data and small functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from holdall.query.operations import Lock
from holdall.query.planner import Test
from holdall.record.metadata import FieldSpec

Encode = Callable[[Any], Any]


class Parameters:
    """The values of a statement, in the order of their placeholders."""

    __slots__ = ("_mark", "values")

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self.values: list[Any] = []

    def bind(self, value: Any) -> str:
        """Add a value and return its placeholder."""
        self.values.append(value)
        return f"{self._mark}{len(self.values)}"

    def bind_all(self, values: Sequence[Any]) -> str:
        """Add values and return their placeholders, with commas between them."""
        first = len(self.values) + 1
        self.values.extend(values)
        return _placeholders(self._mark, first, len(values))


@lru_cache(maxsize=256)
def _placeholders(mark: str, first: int, count: int) -> str:
    return ", ".join([f"{mark}{number}" for number in range(first, first + count)])


@dataclass(frozen=True, slots=True)
class Dialect:
    """One database's SQL.

    Attributes:
        mark: what stands before the number of a placeholder.
        nulls_high: NULL sorts above all values by default.
        tests: per operator of a plain field, the text and its complement; ``{c}`` is the column, ``{p}`` the bound value.
        fold: from the text of an expression to that of its casefolded value; lookups that ignore case are the others on folded values.
        folded_test: the text of such a lookup, where it is not made of ``fold``.
        encoder: from a field to the function from plain to native values; None where they are the same.
        membership: the text of ``in`` with a column and plain values.
        document_test: the text of a test of, or inside, a document.
        keys: the text of a condition that a record has one of several keys.
        lock: the text that ends a locking SELECT; None where locks are taken in another way.
        arithmetic: the text of an operator between two operands, for a field.
        nulls_clause: ORDER BY takes NULLS FIRST and NULLS LAST.
        row_values: an index serves a comparison of rows, ``(a, b) > (1, 2)``.
        no_limit: what stands for no limit before an offset; None where nothing needs to.
    """

    mark: str
    nulls_high: bool
    tests: Mapping[str, tuple[str, str]]
    fold: Callable[[str], str] | None
    encoder: Callable[[FieldSpec], Encode | None]
    membership: Callable[[Parameters, str, Test], str]
    document_test: Callable[[Parameters, str, Test], str]
    keys: Callable[[Parameters, tuple[FieldSpec, ...], list[tuple[Any, ...]]], str]
    lock: Callable[[Lock], str] | None
    arithmetic: Callable[[FieldSpec, str, str, str], str]
    folded_test: Callable[[Parameters, str, Test], str] | None = None
    nulls_clause: bool = True
    row_values: bool = True
    no_limit: str | None = None
