"""What is stored: one model of nine columns, its rows, and the shapes that queries fill."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count, cycle
from random import Random
from typing import Any, NamedTuple

import msgspec

from holdall import Field, Model

PEOPLE = 20_000
CROWD = 100_000
HELD = 1000  # loaded objects, to change and save
COLUMNS = ("id", "email", "name", "age", "score", "active", "created", "balance", "tag")
_START = datetime(2024, 1, 1, tzinfo=UTC)
_SEED = 7


class Person(Model):
    """A row as many services have it."""

    id: int = Field(primary_key=True)
    email: str
    name: str
    age: int
    score: float
    active: bool
    created: datetime
    balance: Decimal = Field(max_digits=12, decimal_places=2)
    tag: str | None = None

    class Meta:  # noqa: D106 - options
        name = "people"


class Newcomer(Person):
    """The same, in a table that begins empty."""

    class Meta(Person.Meta):  # noqa: D106 - options
        name = "newcomers"


class Passerby(Person):
    """The same, in a table to stream from."""

    class Meta(Person.Meta):  # noqa: D106 - options
        name = "crowd"


class PersonStruct(msgspec.Struct):
    """All columns, as a struct."""

    id: int
    email: str
    name: str
    age: int
    score: float
    active: bool
    created: datetime
    balance: Decimal
    tag: str | None


class PersonTuple(NamedTuple):
    """All columns, as a tuple."""

    id: int
    email: str
    name: str
    age: int
    score: float
    active: bool
    created: datetime
    balance: Decimal
    tag: str | None


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


def newcomer(number: int) -> Newcomer:
    """Return a person who is not stored."""
    return Newcomer(**dict(zip(COLUMNS, values_of(number), strict=True)))


def known_numbers(margin: int = 0) -> Iterator[int]:
    """Return the keys of stored people in an order that looks random and is always the same; ``margin`` keys follow each."""
    keys = list(range(1, PEOPLE + 1 - margin))
    Random(_SEED).shuffle(keys)
    return cycle(keys)


def new_numbers(step: int = 1) -> Iterator[int]:
    """Return keys that no sample has used; each stands for ``step`` of them."""
    return count(PEOPLE + 1, step)
