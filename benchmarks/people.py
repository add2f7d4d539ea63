"""What is stored: rows of nine columns, as many services have them, made of their number alone."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

HELD = 1000  # the first rows are loaded beforehand, to be changed and saved; nothing else reads them
COLUMNS = ("id", "email", "name", "age", "score", "active", "created", "balance", "tag")
_START = datetime(2024, 1, 1, tzinfo=UTC)


def values_of(number: int) -> tuple[Any, ...]:
    """Return the values of a person, in the order of ``COLUMNS``."""
    return (
        number,
        f"person{number}@example.org",
        f"Person {number}",
        number % 90,
        number / 7,
        number % 3 == 0,
        _START + timedelta(seconds=number),
        Decimal(number * 37 % 1_000_000).scaleb(-2),
        None if number % 4 == 0 else f"tag{number % 10}",
    )


def dict_of(number: int) -> dict[str, Any]:
    """Return the values of a person by column."""
    return dict(zip(COLUMNS, values_of(number), strict=True))


def columns_of(item: Any) -> tuple[Any, ...]:
    """Return the values of a mapping, a row or an object with attributes, in the order of ``COLUMNS``."""
    if hasattr(item, "keys"):
        return tuple(item[name] for name in COLUMNS)
    if hasattr(item, "__len__"):
        return tuple(item)
    return tuple(getattr(item, name) for name in COLUMNS)
