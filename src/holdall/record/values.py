"""Plain values: the one neutral form in which values travel between models and stores.

A plain value is immutable and canonical: ``None``, ``bool``, ``int`` (64 bit), ``float`` (finite, no ``-0.0``), ``str`` (no U+0000, no lone
surrogate), ``bytes``, ``Decimal`` (within its declared digits), ``UUID``, ``date``, ``datetime`` (UTC), ``time`` (naive), ``timedelta`` (64
bit of microseconds); a document is its canonical JSON text (see ``documents``). Members of an enum are their values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, InvalidOperation, Rounded
from enum import Enum
from typing import Any
from uuid import UUID

from holdall.errors import ValidationError
from holdall.record.types import FieldType, Kind

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
_DAYS = 106_751_991  # whole days whose microseconds fit 64 bits


class WrongTypeError(TypeError):
    """A value is not of its field's type. The caller says what that means: a bad query or a bad record."""


def plain_scalar(kind: FieldType, value: Any) -> Any:
    """Return the plain value of a scalar that is not None.

    Raises:
        WrongTypeError: the value is not of the field's type.
        ValidationError: no store may keep the value.
    """
    if kind.enum is not None:
        value = _member_value(kind, value)
    return _CHECKS[kind.kind](kind, value)


def _member_value(kind: FieldType, value: Any) -> Any:
    assert kind.enum is not None
    if isinstance(value, kind.enum):
        return value.value
    # With pydantic's use_enum_values the model holds the values themselves.
    if not isinstance(value, Enum) and any(type(value) is type(member.value) and value == member.value for member in kind.enum):
        return value
    raise WrongTypeError


def _bool(_: FieldType, value: Any) -> bool:
    if value is True or value is False:
        return value
    raise WrongTypeError


def _int(_: FieldType, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongTypeError
    if INT_MIN <= value <= INT_MAX:
        return int(value)
    msg = f"{value} does not fit 64 bits"
    raise ValidationError(msg, value=value)


def _float(_: FieldType, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongTypeError
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if number - number == 0.0:
        return number + 0.0  # -0.0 becomes 0.0
    msg = f"{value!r} is not a finite number"
    raise ValidationError(msg, value=value)


def check_text(value: str) -> str:
    """Return the text, or raise ``ValidationError`` when it holds U+0000 or a lone surrogate."""
    if "\0" in value:
        msg = f"text must not hold U+0000: {value!r}"
        raise ValidationError(msg, value=value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            msg = f"text must not hold lone surrogates: {value!r}"
            raise ValidationError(msg, value=value) from exc
    return value


def _str(_: FieldType, value: Any) -> str:
    if not isinstance(value, str) or isinstance(value, Enum):
        raise WrongTypeError
    return check_text(value if type(value) is str else str.__str__(value))


def _bytes(_: FieldType, value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise WrongTypeError
    return bytes(value)


def _decimal(kind: FieldType, value: Any) -> Decimal:
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise WrongTypeError
    number: Decimal = value
    sign, digits, exponent = number.as_tuple()
    if isinstance(exponent, str):
        msg = f"{value} is not a finite number"
        raise ValidationError(msg, value=value)
    if -exponent > kind.places or len(digits) + exponent > kind.digits - kind.places:
        # Trailing and leading zeros do not count.
        digits = Decimal((sign, digits, 0)).as_tuple().digits
        text = "".join(map(str, digits)).lstrip("0")
        significant = text.rstrip("0")
        exponent += len(text) - len(significant)
        if significant and (-exponent > kind.places or len(significant) + exponent > kind.digits - kind.places):
            msg = f"{value} has more than {kind.digits} digits with {kind.places} places"
            raise ValidationError(msg, value=value)
        number = Decimal((sign, tuple(map(int, significant)), exponent if significant else 0))
    return number or abs(number)


def decimal_test(kind: FieldType) -> Callable[[Any], bool]:
    """Return the quick test whether a value is a plain ``Decimal`` of this type; False says that it needs a closer look."""
    quantize = Context(prec=kind.digits, traps=[Rounded, InvalidOperation]).quantize
    unit = Decimal((0, (1,), -kind.places))

    def fits(value: Any) -> bool:
        if type(value) is not Decimal or not value.is_finite() or not value:
            return False
        try:
            quantize(value, unit)  # signals more digits, or more places, than there may be
        except (Rounded, InvalidOperation):
            return False
        return True

    return fits


def _uuid(_: FieldType, value: Any) -> UUID:
    if isinstance(value, UUID):
        return value
    raise WrongTypeError


def _datetime(_: FieldType, value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise WrongTypeError
    if value.tzinfo is None or value.utcoffset() is None:
        msg = f"{value!r} has no time zone; datetimes must be aware, such as holdall.utc_now()"
        raise ValidationError(msg, value=value)
    try:
        return value.astimezone(UTC)
    except OverflowError as exc:
        msg = f"{value!r} is out of range in UTC"
        raise ValidationError(msg, value=value) from exc


def _date(_: FieldType, value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise WrongTypeError


def _time(_: FieldType, value: Any) -> time:
    if not isinstance(value, time):
        raise WrongTypeError
    if value.tzinfo is None:
        return value.replace(fold=0)
    msg = f"{value!r} has a time zone; a time must have none"
    raise ValidationError(msg, value=value)


def _timedelta(_: FieldType, value: Any) -> timedelta:
    if not isinstance(value, timedelta):
        raise WrongTypeError
    if -_DAYS <= value.days < _DAYS:
        return value
    msg = f"{value!r} does not fit 64 bits of microseconds"
    raise ValidationError(msg, value=value)


_CHECKS: Mapping[Kind, Callable[[FieldType, Any], Any]] = {
    Kind.BOOL: _bool,
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.STR: _str,
    Kind.BYTES: _bytes,
    Kind.DECIMAL: _decimal,
    Kind.UUID: _uuid,
    Kind.DATE: _date,
    Kind.DATETIME: _datetime,
    Kind.TIME: _time,
    Kind.TIMEDELTA: _timedelta,
}
