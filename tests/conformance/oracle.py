"""What queries mean, a second time: written from the documented rules alone, over plain instances, without anything of ``holdall.query``.

A condition is described once and turned both into what a user would write and into a predicate. A mistake that the library's own evaluator shares with
a store shows only here.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Values of any type are told apart by isinstance here, and what is inside a list or dict then counts as unknown.

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import reduce
from typing import Any

from pydantic import BaseModel

from holdall import Column, Condition, Model, Q

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Check:
    """One comparison: a field, where in it, a lookup's name and a value."""

    field: str
    path: Path
    operator: str
    value: Any
    by_lookup: bool = False

    def __str__(self) -> str:
        inside = "".join(f"[{part!r}]" for part in self.path)
        return f"{self.field}{inside} {self.operator} {self.value!r}"


@dataclass(frozen=True)
class Both:
    items: tuple[Described, ...]

    def __str__(self) -> str:
        return "(" + " & ".join(map(str, self.items)) + ")"


@dataclass(frozen=True)
class Either:
    items: tuple[Described, ...]

    def __str__(self) -> str:
        return "(" + " | ".join(map(str, self.items)) + ")"


@dataclass(frozen=True)
class Opposite:
    item: Described

    def __str__(self) -> str:
        return f"~{self.item}"


Described = Check | Both | Either | Opposite


@dataclass(frozen=True)
class Term:
    """One term of an order."""

    field: str
    descending: bool = False
    nulls_first: bool = False


@dataclass(frozen=True)
class Asked:
    where: Described | None
    order: tuple[Term, ...] = ()
    limit: int | None = None
    offset: int | None = None
    exclude: bool = field(default=False)


# -- what a user would write -----------------------------------------------------------------------------------------------------------


def condition(model: type[Model], described: Described) -> Condition:
    """Return the condition as a user would write it."""
    if isinstance(described, Opposite):
        return ~condition(model, described.item)
    if isinstance(described, Both):
        return reduce(lambda left, right: left & right, [condition(model, item) for item in described.items])
    if isinstance(described, Either):
        return reduce(lambda left, right: left | right, [condition(model, item) for item in described.items])
    if described.by_lookup and _has_lookup(described):
        return Q(**{"__".join((described.field, *map(str, described.path), described.operator)): described.value})
    column: Column[Any] = getattr(model, described.field)
    for part in described.path:
        column = column[part]
    return _WRITTEN[described.operator](column, described.value)


def _has_lookup(check: Check) -> bool:
    return all(isinstance(part, str) and "__" not in part and part not in _WRITTEN and part for part in check.path)


_WRITTEN: Mapping[str, Callable[[Column[Any], Any], Condition]] = {
    "eq": lambda column, value: column == value,
    "ne": lambda column, value: column != value,
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
    "in": lambda column, value: column.in_(value),
    "not_in": lambda column, value: column.not_in(value),
    "between": lambda column, value: column.between(*value),
    "is_null": lambda column, value: column.is_null(value),
    "contains": lambda column, value: column.contains(value),
    "icontains": lambda column, value: column.icontains(value),
    "startswith": lambda column, value: column.startswith(value),
    "istartswith": lambda column, value: column.istartswith(value),
    "endswith": lambda column, value: column.endswith(value),
    "iendswith": lambda column, value: column.iendswith(value),
    "iexact": lambda column, value: column.iexact(value),
    "has": lambda column, value: column.has(value),
    "has_any": lambda column, value: column.has_any(value),
    "has_all": lambda column, value: column.has_all(value),
    "year": lambda column, value: column.year(value),
    "month": lambda column, value: column.month(value),
    "day": lambda column, value: column.day(value),
}


# -- what it means ---------------------------------------------------------------------------------------------------------------------


def holds(described: Described, instance: Model) -> bool:
    """Tell whether the instance matches (R1: two truth values, and ``~`` is the complement)."""
    if isinstance(described, Opposite):
        return not holds(described.item, instance)
    if isinstance(described, Both):
        return all(holds(item, instance) for item in described.items)
    if isinstance(described, Either):
        return any(holds(item, instance) for item in described.items)
    value = at(getattr(instance, described.field), described.path)
    return _MEANT[described.operator](value, described.value)


def at(value: Any, path: Path) -> Any:
    """Return what is at the path; what is missing is None (R2)."""
    for part in path:
        if isinstance(value, BaseModel):
            value = getattr(value, str(part))
        elif isinstance(value, dict):
            value = value.get(part) if isinstance(part, str) else None
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part] if part < len(value) else None
        else:
            return None
    return value


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal: exactly, typed, numbers by value, and a bool is no number (R4, R6, R11, R17)."""
    if isinstance(one, BaseModel) or isinstance(other, BaseModel):
        return type(one) is type(other) and same(dict(one), dict(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(item, other[key]) for key, item in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return family(one) == family(other) and bool(one == other)


def family(value: Any) -> str:
    """Return the name of the types that a value compares with."""
    if isinstance(value, Enum):
        return family(value.value)
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float | Decimal):
        return "number"
    return "datetime" if isinstance(value, datetime) else type(value).__name__


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, other: value is not None and family(value) == family(other) and test(sortable(value), sortable(other))


def sortable(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _text(test: Callable[[str, str], bool], *, fold: bool = False) -> Callable[[Any, Any], bool]:
    def check(value: Any, other: str) -> bool:
        value = sortable(value)
        if not isinstance(value, str):
            return False
        return test(value.casefold(), other.casefold()) if fold else test(value, other)

    return check


def _inside(value: Any, wanted: Any) -> bool:
    return any(same(item, wanted) for item in value)


def _utc(value: date) -> date:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


_MEANT: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": same,
    "ne": lambda value, other: not same(value, other),
    "gt": _ordered(lambda value, other: value > other),
    "gte": _ordered(lambda value, other: value >= other),
    "lt": _ordered(lambda value, other: value < other),
    "lte": _ordered(lambda value, other: value <= other),
    "between": lambda value, pair: _MEANT["gte"](value, pair[0]) and _MEANT["lte"](value, pair[1]),
    "in": lambda value, others: any(same(value, other) for other in others),
    "not_in": lambda value, others: not any(same(value, other) for other in others),
    "is_null": lambda value, wanted: (value is None) == wanted,
    "contains": _text(lambda value, other: other in value),
    "icontains": _text(lambda value, other: other in value, fold=True),
    "startswith": _text(lambda value, other: value[: len(other)] == other),
    "istartswith": _text(lambda value, other: value[: len(other)] == other, fold=True),
    "endswith": _text(lambda value, other: value[max(0, len(value) - len(other)) :] == other),
    "iendswith": _text(lambda value, other: value[max(0, len(value) - len(other)) :] == other, fold=True),
    "iexact": _text(lambda value, other: value == other, fold=True),
    "has": lambda value, wanted: isinstance(value, list) and _inside(value, wanted),
    "has_any": lambda value, wanted: isinstance(value, list) and any(_inside(value, item) for item in wanted),
    "has_all": lambda value, wanted: isinstance(value, list) and all(_inside(value, item) for item in wanted),
    "year": lambda value, wanted: value is not None and _utc(value).year == wanted,
    "month": lambda value, wanted: value is not None and _utc(value).month == wanted,
    "day": lambda value, wanted: value is not None and _utc(value).day == wanted,
}


def ordered(rows: Iterable[Any], order: Sequence[Term], key: Sequence[str]) -> list[Any]:
    """Return the rows in order: None last unless asked first, the key behind, in the direction of the last term (R5)."""
    named = {term.field for term in order}
    descending = bool(order) and order[-1].descending
    found = list(rows)
    for term in reversed((*order, *(Term(name, descending) for name in key if name not in named))):
        nulls = [row for row in found if getattr(row, term.field) is None]
        others = [row for row in found if getattr(row, term.field) is not None]
        others.sort(key=lambda row: sortable(getattr(row, term.field)), reverse=term.descending)
        found = nulls + others if term.nulls_first else others + nulls
    return found


def answer(query: Asked, rows: Iterable[Any], key: Sequence[str] = ("id",)) -> list[Any]:
    """Return what the query gives, in order."""
    where = query.where
    found = [row for row in rows if where is None or holds(where, row) != query.exclude]
    found = ordered(found, query.order, key)
    start = query.offset or 0
    return found[start:] if query.limit is None else found[start : start + query.limit]
