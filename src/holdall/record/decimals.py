"""Decimals as whole numbers of units of their last place, and as texts that sort as the numbers do: for stores without a decimal type."""

from __future__ import annotations

from decimal import Context, Decimal

from holdall.record.types import MAX_DIGITS

INTEGER_DIGITS = 18
"""Digits whose units fit a 64-bit integer."""

scale = Context(prec=2 * MAX_DIGITS).scaleb
"""Move the point; with digits enough for every plain value, where the caller's own context might round."""


def units_of(value: Decimal, places: int) -> int:
    """Return how many units of the last place a number is, exactly."""
    return int(scale(value, places))


def text_of(units: int, digits: int) -> str:
    """Return a text of ``digits + 1`` characters that sorts as the numbers do.

    It is ``1`` and the units, or ``0`` and their complement if negative.

    Raises:
        OverflowError: there are more digits.
    """
    if abs(units) >= 10**digits:
        msg = "the number has too many digits"
        raise OverflowError(msg)
    return f"1{units:0{digits}d}" if units >= 0 else f"0{10**digits - 1 + units:0{digits}d}"


def units_of_text(text: str, digits: int) -> int:
    """Return the units of such a text."""
    return int(text[1:]) if text[0] == "1" else int(text[1:]) - (10**digits - 1)


def decimal_of_text(text: str, digits: int, places: int) -> Decimal:
    """Return the number of such a text."""
    return decimal_of_units(units_of_text(text, digits), places)


def decimal_of_units(units: int, places: int) -> Decimal:
    """Return the number of so many units, exactly in any context."""
    return scale(Decimal(units), -places)
