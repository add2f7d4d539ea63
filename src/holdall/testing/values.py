"""Values for the fields of made-up records: the n-th value of a field, valid, and different for each n where the type has room."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pydantic
from pydantic.fields import FieldInfo

from holdall.record.fields import StorageOption
from holdall.record.types import FieldType, Kind, analyse

_DAY = 86_400
_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
_ROOM = 10  # characters for a space and a decimal number; with less, numbers are of base 36, and never of both
_FEW = 100  # values; with fewer, numbers use all their places
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class NoValueError(Exception):
    """No valid value is known; the text says why, without naming the field."""


class Wanted:
    """A field, or a part of a document, that wants its n-th value.

    Attributes:
        name: of the field; texts begin with it.
        kind: what is stored.
        rules: the constraints, by attribute: ``ge``, ``max_length``, ``multiple_of``, ``pattern`` …
        unique: no value may come back.
    """

    def __init__(self, name: str, kind: FieldType, metadata: tuple[Any, ...], *, unique: bool = False) -> None:
        self.name = name
        self.kind = kind
        self.unique = unique
        self.rules = {rule: getattr(item, rule) for item in metadata for rule in _RULES if getattr(item, rule, None) is not None}

    @classmethod
    def of_field(cls, name: str, info: FieldInfo, *, unique: bool = False) -> Wanted:
        """Return what a field of a model, or of a nested one, wants."""
        metadata = tuple(item for item in info.metadata if not isinstance(item, StorageOption))
        return cls(name, analyse(info.annotation, metadata, inside=True), metadata, unique=unique)

    def value(self, n: int) -> Any:
        """Return the n-th value, from 1; raises ``NoValueError``."""
        if self.kind.enum is not None and not self.kind.choices:
            return self._nth(list(self.kind.enum), n)
        if self.kind.choices:
            return self._nth([choice for choice in self.kind.choices if choice is not None], n)
        return _MAKERS[self.kind.kind](self, n)

    def _nth(self, values: list[Any], n: int) -> Any:
        return values[self.within(n - 1, len(values))]

    def within(self, place: int, count: int) -> int:
        """Return a place among so many; they come back from the start unless the field is unique."""
        if self.unique and place >= count:
            raise NoValueError(f"it is unique and there are only {count} values for it")
        return place % count


_RULES = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")


def _bool(wanted: Wanted, n: int) -> bool:
    return bool(wanted.within(n - 1, 2))


def _number(wanted: Wanted, n: int, step: Fraction, finest: Fraction, limit: Fraction) -> Fraction:
    """Return the n-th multiple of a step within the bounds; of the finest step, where the other leaves few."""
    rules = wanted.rules
    high = min((Fraction(rules[name]) for name in ("le", "lt") if name in rules), default=limit)
    # Without a lower bound values begin above zero, if there is room.
    least = finest if high > 0 else max(-limit, high - 1_000_000 * step)
    low = max((Fraction(rules[name]) for name in ("ge", "gt") if name in rules), default=least)
    if "multiple_of" in rules:
        step = finest = Fraction(rules["multiple_of"])
    first, count = _multiples(low, high, step, rules)
    if count < _FEW:
        step = finest
        first, count = _multiples(low, high, step, rules)
    if count < 1:
        raise NoValueError("its bounds leave no value")
    return (first + wanted.within(n - 1, count)) * step


def _multiples(low: Fraction, high: Fraction, step: Fraction, rules: Mapping[str, Any]) -> tuple[int, int]:
    """Return (the first factor, how many there are)."""
    first, last = math.ceil(low / step), math.floor(high / step)
    first += "gt" in rules and first * step <= Fraction(rules["gt"])
    last -= "lt" in rules and last * step >= Fraction(rules["lt"])
    return first, last - first + 1


def _int(wanted: Wanted, n: int) -> int:
    return int(_number(wanted, n, Fraction(1), Fraction(1), Fraction(2**63 - 1)))


def _float(wanted: Wanted, n: int) -> float:
    return float(_number(wanted, n, Fraction(1), Fraction(1, 4096), Fraction(2**53)))


def _decimal(wanted: Wanted, n: int) -> Decimal:
    kind = wanted.kind
    unit = Fraction(1, 10**kind.places)
    limit = Fraction(10 ** (kind.digits - kind.places)) - unit
    number = _number(wanted, n, min(Fraction(1), limit), unit, limit)
    scaled = number * 10**kind.places
    if scaled.denominator != 1:
        raise NoValueError(f"its values have more than {kind.places} places")
    return Decimal(scaled.numerator).scaleb(-kind.places)


def _str(wanted: Wanted, n: int) -> str:
    if "pattern" in wanted.rules:
        raise NoValueError(f"it has a pattern, {getattr(wanted.rules['pattern'], 'pattern', wanted.rules['pattern'])!r}")
    least, most = wanted.rules.get("min_length", 0), wanted.rules.get("max_length")
    if most is None or most >= len(wanted.name) + _ROOM:
        return f"{wanted.name} {n}".ljust(least, ".")
    number = _base36(n)
    if len(number) + 2 <= most:
        return f"{wanted.name[: most - len(number) - 1]} {number}".ljust(least, ".")
    if len(number) > most and wanted.unique:
        raise NoValueError(f"it is unique and {most} characters are too few for value {n}")
    return number.rjust(most, "0")[-most:] if most else ""


def _base36(n: int) -> str:
    digits = ""
    while n:
        n, rest = divmod(n, 36)
        digits = _DIGITS[rest] + digits
    return digits


def _bytes(wanted: Wanted, n: int) -> bytes:
    return _str(wanted, n).encode()


def _document(wanted: Wanted, n: int) -> Any:
    structure = wanted.kind.structure
    assert structure is not None
    if structure.form == "opaque":
        raise NoValueError(f"nothing is known of the type {wanted.kind}")
    least = wanted.rules.get("min_length", 0)
    if structure.form == "list":
        assert structure.item is not None
        item = Wanted(wanted.name, structure.item, ())
        return [item.value((n - 1) * least + place) for place in range(1, least + 1)]
    if structure.form == "object":
        assert structure.cls is not None
        return _object(structure.cls, structure.members, n)
    if least:
        raise NoValueError(f"it wants {least} items")
    return {}


def _object(cls: type[Any], members: Mapping[str, FieldType], n: int) -> Any:
    if issubclass(cls, pydantic.BaseModel):
        fields = {name: info for name, info in cls.model_fields.items() if info.is_required()}
        return cls(**{argument(name, info): Wanted.of_field(name, info).value(n) for name, info in fields.items()})
    required: frozenset[str] = getattr(cls, "__required_keys__", frozenset(members))
    return {name: Wanted(name, kind, ()).value(n) for name, kind in members.items() if name in required}


def argument(name: str, info: FieldInfo) -> str:
    """Return by which name a model's constructor takes a field."""
    return info.validation_alias if isinstance(info.validation_alias, str) else name


_MAKERS: Mapping[Kind, Callable[[Wanted, int], Any]] = {
    Kind.BOOL: _bool,
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.STR: _str,
    Kind.BYTES: _bytes,
    Kind.DECIMAL: _decimal,
    Kind.UUID: lambda wanted, n: uuid5(NAMESPACE_OID, f"{wanted.name} {n}"),
    Kind.DATE: lambda _, n: date(2024, 1, 1) + timedelta(days=n - 1),
    Kind.DATETIME: lambda _, n: _EPOCH + timedelta(hours=n - 1),
    Kind.TIME: lambda wanted, n: (_EPOCH + timedelta(seconds=wanted.within(n - 1, _DAY))).time(),
    Kind.TIMEDELTA: lambda _, n: timedelta(seconds=n),
    Kind.DOCUMENT: _document,
}
