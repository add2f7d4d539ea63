"""Ranges of a sort key: what one key condition can say, and the one item that it lets in too many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any, NamedTuple
from uuid import UUID

from holdall.query.planner import Test, next_text
from holdall.record.metadata import FieldSpec
from holdall.record.types import FieldType, Kind
from holdall.stores.dynamodb.layout import Key
from holdall.stores.dynamodb.values import AttributeValue, codec_of

_EXACT = Context(prec=100)
_MICROSECOND = timedelta(microseconds=1)


class Range(NamedTuple):
    """Bounds of plain values: (value, whether it is included), or None."""

    low: tuple[Any, bool] | None
    high: tuple[Any, bool] | None


class SortCondition(NamedTuple):
    """A condition of a sort key.

    Attributes:
        operator: ``= < <= > >= BETWEEN begins_with``.
        values: its operands.
        surplus: the key of an item that it lets in and that is not meant.
    """

    operator: str
    values: tuple[AttributeValue, ...]
    surplus: AttributeValue | None = None


NOTHING = Range(None, None)


def range_of(tests: Sequence[Test]) -> Range:
    """Return the bounds that all comparisons of one field set together."""
    low: tuple[Any, bool] | None = None
    high: tuple[Any, bool] | None = None
    for test in tests:
        bound = (test.value, test.operator in ("gte", "lte"))
        if test.operator in ("gt", "gte"):
            if low is None or bound[0] > low[0] or (bound[0] == low[0] and not bound[1]):
                low = bound
        elif high is None or bound[0] < high[0] or (bound[0] == high[0] and not bound[1]):
            high = bound
    return Range(low, high)


def is_empty(found: Range) -> bool:
    """Tell whether no value is within."""
    if found.low is None or found.high is None:
        return False
    (low, with_low), (high, with_high) = found.low, found.high
    return bool(low > high or (low == high and not (with_low and with_high)))


# -- native keys -----------------------------------------------------------------------------------------------------------------------


def _moved_decimal(kind: FieldType, value: Decimal, by: int) -> Decimal:
    return _EXACT.add(value, Decimal(by).scaleb(-kind.places))


def _moved_time(_: FieldType, value: time, by: int) -> time:
    day = date(2000, 1, 2)
    moved = datetime.combine(day, value) + by * _MICROSECOND
    if moved.date() != day:
        raise OverflowError
    return moved.time()


def _moved_bool(_: FieldType, value: bool, by: int) -> bool:  # noqa: FBT001
    if int(value) + by not in (0, 1):
        raise OverflowError
    return not value


# The next value of the types that have one.
_MOVED: Mapping[Kind, Callable[[FieldType, Any, int], Any]] = {
    Kind.BOOL: _moved_bool,
    Kind.INT: lambda _, value, by: value + by,
    Kind.DECIMAL: _moved_decimal,
    Kind.UUID: lambda _, value, by: UUID(int=value.int + by),
    Kind.DATE: lambda _, value, by: value + timedelta(days=by),
    Kind.DATETIME: lambda _, value, by: (value + by * _MICROSECOND).astimezone(UTC),
    Kind.TIME: _moved_time,
    Kind.TIMEDELTA: lambda _, value, by: value + by * _MICROSECOND,
}


def native(key: Key, found: Range) -> SortCondition | None:
    """Return the condition of a native sort key; None when nothing can be within."""
    spec = key.specs[0]
    write = codec_of(spec).value
    if found.low is None or found.high is None:
        bound = found.low or found.high
        assert bound is not None
        operator = (">" if found.low else "<") + ("=" if bound[1] else "")
        return SortCondition(operator, (key.checked(write(bound[0])),))
    if spec.type.kind in (Kind.STR, Kind.BYTES):
        return _native_text(key, found.low, found.high)
    try:
        low = _included(spec, found.low, 1)
        high = _included(spec, found.high, -1)
    except (OverflowError, ValueError):
        return None
    return SortCondition("BETWEEN", (write(low), write(high))) if low <= high else None


def _included(spec: FieldSpec, bound: tuple[Any, bool], by: int) -> Any:
    return bound[0] if bound[1] else _MOVED[spec.type.kind](spec.type, bound[0], by)


def _native_text(key: Key, low: tuple[Any, bool], high: tuple[Any, bool]) -> SortCondition:
    """Text has a next value, and none before; what stands at an excluded end is left out when it comes."""
    codec = codec_of(key.specs[0])
    if isinstance(low[0], str) and low[0] and low[1] and not high[1] and next_text(low[0]) == high[0]:
        return SortCondition("begins_with", (key.checked(codec.value(low[0])),))
    first, last = codec.value(low[0]), codec.value(high[0])
    if not low[1]:  # the next text; where the empty one is U+0000, so that it has a next one, too
        first = {"S": first["S"] + "\0"} if isinstance(low[0], str) else codec.value(low[0] + b"\0")
    return SortCondition("BETWEEN", (key.checked(first), key.checked(last)), None if high[1] else last)


# -- composed keys ---------------------------------------------------------------------------------------------------------------------


def composed(key: Key, bound: Sequence[str], found: Range, nulls: bool | None) -> SortCondition | None:  # noqa: FBT001  - three truths
    """Return the condition of a composed sort key whose first parts are given as texts; None when there is none to make.

    Args:
        found: the bounds of the part behind them.
        nulls: whether that part is to be None (True) or not (False); None for either.
    """
    style = key.style
    assert style is not None
    before = "".join(text + style.separator for text in bound)
    if len(bound) == len(key.parts):
        return SortCondition("=", (key.checked({"S": style.separator.join(bound)}),))
    part = key.parts[len(bound)]
    mark = "0" if key.marked else ""
    if nulls or (found == NOTHING and (nulls is None or not key.marked)):
        begin = before + ("1" if nulls else "")
        return SortCondition("begins_with", (key.checked({"S": begin}),)) if begin else None
    low, high, surplus = before + mark, before + "1" if key.marked else before[:-1] + style.above, None
    if found.low is not None:
        low = before + key.part(part, found.low[0]) + ("" if found.low[1] else style.above)
    if found.high is not None:
        high = before + key.part(part, found.high[0])
        if found.high[1]:
            high += style.above
        elif len(bound) + 1 == len(key.parts):
            surplus = {"S": high}
    if not before and not key.marked and (found.low is None or found.high is None):
        operator, end = (">=", low) if found.high is None else ("<=", high)
        return SortCondition(operator, (key.checked({"S": end}),), surplus)
    return SortCondition("BETWEEN", (key.checked({"S": low}), key.checked({"S": high})), surplus)
