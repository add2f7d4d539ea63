"""holdall, with and without coalescing; rows also into a struct and a named tuple."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

import holdall
from benchmarks.peer import Peer, Place, Way
from benchmarks.peers.sqlite_rows import from_native
from benchmarks.people import COLUMNS, HELD, dict_of
from benchmarks.work import Kind, Rename
from holdall import Backend, Field, Model


class Person(Model):
    """A stored person."""

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


class Work:
    """The work, on one backend."""

    def __init__(self, backend: Backend, held: list[Person]) -> None:
        self._backend = backend
        self._held = held

    def query(self, keys: range) -> Any:
        return self._backend.query(Person).filter(id__gte=keys.start, id__lt=keys.stop)

    async def save(self, change: Rename) -> None:
        person = self._held[change.number - 1]
        person.name = change.name
        await self._backend.save(person)

    async def change(self, number: int) -> None:
        async with self._backend.session() as session:
            person = await session.get(Person, number)
            person.age += 1
            await session.save(person)

    async def stream(self, batch: int) -> int:
        total = 0
        async for person in self._backend.query(Person).stream(batch=batch):
            total += person.id
        return total

    def ways(self) -> Sequence[Way]:
        """Return the ways."""
        return (
            Way(Kind.GET, lambda number: self._backend.get(Person, number)),
            Way(Kind.OBJECTS, lambda keys: self.query(keys).all()),
            Way(Kind.DICTS, lambda keys: self.query(keys).values(*COLUMNS).all()),
            Way(Kind.TUPLES, lambda keys: self.query(keys).into(PersonStruct).all(), "Struct"),
            Way(Kind.TUPLES, lambda keys: self.query(keys).into(PersonTuple).all(), "NamedTuple"),
            Way(Kind.CREATE, lambda number: self._backend.create(newcomer(number))),
            Way(Kind.SAVE, self.save),
            Way(Kind.CHANGE, self.change),
            Way(Kind.CREATE_MANY, self._backend.create_many, prepare=lambda keys: [newcomer(number) for number in keys]),
            Way(Kind.STREAM, self.stream),
        )


def newcomer(number: int) -> Newcomer:
    """Return a person who is not stored."""
    return Newcomer(**dict_of(number))


@asynccontextmanager
async def opened(place: Place) -> AsyncGenerator[Sequence[Way]]:
    """Open two backends, one of which coalesces reads by key."""
    async with opened_plain(place) as ways, holdall.open(place.url, **_size(place)) as coalescing:
        yield *ways, Way(Kind.GET, lambda number: coalescing.get(Person, number), "coalescing")


@asynccontextmanager
async def opened_plain(place: Place) -> AsyncGenerator[Sequence[Way]]:
    """Open a backend that does not."""
    async with holdall.open(place.url, coalesce=False, **_size(place)) as plain:
        await plain.initialize(Person, Newcomer)
        if place.is_empty:
            await plain.create_many([Person(**dict_of(number)) for number in range(1, place.people + 1)])
        held = await plain.query(Person).filter(id__lte=HELD).order_by("id")
        yield Work(plain, held).ways()


def _size(place: Place) -> dict[str, int]:
    return {"pool_min_size": place.pool_size, "pool_max_size": place.pool_size}


HOLDALL = Peer("holdall", opened, role="ours", stored=from_native)
HOLDALL_ASYNCMY = Peer(
    "holdall on asyncmy",
    lambda place: opened_plain(replace(place, url=place.url.replace("mysql", "mysql+asyncmy", 1))),
    role="ours",
)
