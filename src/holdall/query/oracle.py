"""The oracle: what a query means, in plain Python over plain rows. The memory store runs it, and every other store is compared with it.

It favours being obvious over being fast. The rules R1 to R18 stand in the documentation of queries.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Values of any type are told apart by isinstance here, and what is inside a list or dict then counts as unknown.

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Context, Inexact, InvalidOperation, localcontext
from typing import Any

from holdall.errors import ValidationError
from holdall.query.operations import Select
from holdall.query.predicates import And, Arithmetic, Leaf, Not, Or, OrderTerm, Predicate
from holdall.record.documents import canonical, loads
from holdall.record.metadata import FieldSpec

Row = Sequence[Any]


def matches(predicate: Predicate, row: Row) -> bool:
    """Tell whether a plain row matches."""
    if isinstance(predicate, And):
        return all(matches(item, row) for item in predicate.items)
    if isinstance(predicate, Or):
        return any(matches(item, row) for item in predicate.items)
    if isinstance(predicate, Not):
        return not matches(predicate.item, row)
    return _holds(predicate, row[predicate.field.position])


def _holds(leaf: Leaf, value: Any) -> bool:
    if leaf.field.document is not None:
        return holds_in_document(leaf, value)
    if leaf.operator == "is_null":
        return value is None
    if value is None:
        return leaf.operator == "in" and None in leaf.value
    return _passes(leaf, value, _itself)


def _itself(value: Any) -> Any:
    return value


def _passes(leaf: Any, value: Any, comparable: Callable[[Any], Any]) -> bool:
    """Test a value that is not None; ``comparable`` gives what equality compares: inside documents the canonical text."""
    if leaf.operator == "eq":
        return bool(comparable(value) == leaf.value)
    if leaf.operator == "in":
        return comparable(value) in leaf.value
    if leaf.operator in _ORDER:
        return _ORDER[leaf.operator](leaf, value)
    if leaf.operator in _TEXT:
        return isinstance(value, str) and _TEXT[leaf.operator](value, leaf.value)
    if leaf.operator in _LIST:
        return isinstance(value, list) and _LIST[leaf.operator](set(map(canonical, value)), leaf.value)
    return bool(getattr(value, leaf.operator) == leaf.value)  # year, month, day; datetimes are in UTC


def holds_in_document(leaf: Any, text: str | None) -> bool:
    """Tell whether a document, as JSON text, passes a test of an operator, a path and a value."""
    value = None if text is None else _at(loads(text), leaf.path)
    if leaf.operator == "is_null":
        return value is None
    if value is None:
        return leaf.operator == "in" and None in leaf.value
    return _passes(leaf, value, canonical)


def _at(value: Any, path: Sequence[str | int]) -> Any:
    """Return what is at a path, None where there is nothing."""
    for part in path:
        if isinstance(part, int) and isinstance(value, list) and part < len(value):
            value = value[part]
        elif isinstance(part, str) and isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Leaf, Any], bool]:
    return lambda leaf, value: _same_class(value, leaf.value) and test(value, leaf.value)


def _same_class(value: Any, other: Any) -> bool:
    """Tell whether two values compare by order: across types they do not (R17); numbers are one type, bools another."""
    if isinstance(value, bool) or isinstance(other, bool):
        return isinstance(value, bool) and isinstance(other, bool)
    if isinstance(value, int | float) and isinstance(other, int | float):
        return True
    return isinstance(value, type(other)) or isinstance(other, type(value))


def _between(leaf: Leaf, value: Any) -> bool:
    low, high = leaf.value
    return _same_class(value, low) and _same_class(value, high) and low <= value <= high


_ORDER: Mapping[str, Callable[[Leaf, Any], bool]] = {
    "lt": _ordered(lambda value, other: value < other),
    "lte": _ordered(lambda value, other: value <= other),
    "gt": _ordered(lambda value, other: value > other),
    "gte": _ordered(lambda value, other: value >= other),
    "between": _between,
}
_TEXT: Mapping[str, Callable[[str, str], bool]] = {
    "contains": lambda value, text: text in value,
    "startswith": lambda value, text: value.startswith(text),
    "endswith": lambda value, text: value.endswith(text),
    "icontains": lambda value, text: text.casefold() in value.casefold(),
    "istartswith": lambda value, text: value.casefold().startswith(text.casefold()),
    "iendswith": lambda value, text: value.casefold().endswith(text.casefold()),
    "iexact": lambda value, text: value.casefold() == text.casefold(),
}
_LIST: Mapping[str, Callable[[set[str], Any], bool]] = {
    "has": lambda items, wanted: wanted in items,
    "has_any": lambda items, wanted: any(item in items for item in wanted),
    "has_all": lambda items, wanted: all(item in items for item in wanted),
}


def ordered(rows: Iterable[Row], order: Sequence[OrderTerm]) -> list[Row]:
    """Return the rows in order; None stands last unless the term says first (R5)."""
    found = list(rows)
    for term in reversed(order):
        position = term.field.position
        present = [row for row in found if row[position] is not None]
        absent = [row for row in found if row[position] is None]
        # reverse=True keeps the order of equal elements, too.
        present.sort(key=lambda row: row[position], reverse=term.descending)
        found = absent + present if term.nulls_first else present + absent
    return found


def is_after(row: Row, order: Sequence[OrderTerm], after: Sequence[Any]) -> bool:
    """Tell whether a row comes after the position that a page ended at."""
    for term, other in zip(order, after, strict=True):
        value = row[term.field.position]
        if value == other:
            continue
        if value is None or other is None:
            return (value is None) != term.nulls_first
        return bool(value < other if term.descending else value > other)
    return False


def select(select: Select, rows: Iterable[Row]) -> list[Row]:
    """Return the plain rows that a query gives."""
    found = [row for row in rows if matches(select.predicate, row)]
    if select.after is not None:
        found = [row for row in found if is_after(row, select.order, select.after)]
    if select.order:
        found = ordered(found, select.order)
    start = select.offset or 0
    return found[start:] if select.limit is None else found[start : start + select.limit]


def compute(expression: Any, row: Row) -> Any:
    """Return the value that an update assigns; None stays None.

    Raises:
        ValidationError: the result does not fit the field.
    """
    if isinstance(expression, FieldSpec):
        return row[expression.position]
    if not isinstance(expression, Arithmetic):
        return expression
    left, right = compute(expression.left, row), compute(expression.right, row)
    if left is None or right is None:
        return None
    with localcontext(_EXACT):
        return _ARITHMETIC[expression.operator](left, right)


# Python's own context would round to 28 digits.
_EXACT = Context(prec=1000, traps=[Inexact, InvalidOperation])


_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
}


def check_rules(spec: FieldSpec, value: Any, label: str) -> Any:
    """Return a computed value if it keeps the rules of its field, as the stores check them.

    Raises:
        ValidationError: it does not.
    """
    try:
        plain = spec.plain(value)
    except (ValidationError, TypeError) as exc:
        raise ValidationError(str(exc) or "the value does not fit the field", model=label, field=spec.name, value=value) from exc
    if value is not None:
        for bound in spec.bounds:
            if not BOUNDS[bound.operator](value, bound.value):
                msg = f"{value!r} breaks the rule {bound.operator} {bound.value}"
                raise ValidationError(msg, model=label, field=spec.name, value=value)
    return plain


BOUNDS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": lambda value, bound: value >= bound,
    ">": lambda value, bound: value > bound,
    "<=": lambda value, bound: value <= bound,
    "<": lambda value, bound: value < bound,
    "max_length": lambda value, bound: len(value) <= bound,
    "min_length": lambda value, bound: len(value) >= bound,
}
