"""Piccolo: tables, ``objects`` and ``select`` queries, a started connection pool."""

# pyright: basic, reportPrivateUsage=false
# Its own types are incomplete.

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from piccolo.columns import BigInt, Boolean, DoublePrecision, Numeric, Text, Timestamptz
from piccolo.engine.postgres import PostgresEngine
from piccolo.table import Table

from benchmarks.peer import Peer, Place, Way
from benchmarks.people import HELD, dict_of
from benchmarks.work import Kind, Rename


class Person(Table, tablename="people"):
    """A stored person."""

    id = BigInt(primary_key=True)
    email = Text()
    name = Text()
    age = BigInt()
    score = DoublePrecision()
    active = Boolean()
    created = Timestamptz()
    balance = Numeric(digits=(12, 2))
    tag = Text(null=True)


class Newcomer(Person, tablename="newcomers"):
    """The same, in a table that begins empty."""


class Work:
    """The work, on one engine."""

    def __init__(self, engine: PostgresEngine, held: list[Person]) -> None:
        self._engine = engine
        self._held = held

    async def get(self, number: int) -> Any:
        return await Person.objects().get(Person.id == number)

    async def objects(self, keys: range) -> Any:
        return await Person.objects().where((Person.id >= keys.start) & (Person.id < keys.stop))

    async def dicts(self, keys: range) -> Any:
        return await Person.select().where((Person.id >= keys.start) & (Person.id < keys.stop))

    async def create(self, number: int) -> None:
        await Newcomer.objects().create(**dict_of(number))

    async def save(self, change: Rename) -> None:
        person = self._held[change.number - 1]
        person.name = change.name
        await person.save(columns=[Person.name])

    async def change(self, number: int) -> None:
        async with self._engine.transaction():
            person = await Person.objects().get(Person.id == number)
            assert person is not None
            person.age += 1
            await person.save(columns=[Person.age])

    async def create_many(self, people: list[Newcomer]) -> None:
        await Newcomer.insert(*people)

    async def stream(self, batch: int) -> int:
        total = 0
        batches: Any  # declared as dicts, though these are objects
        async with await Person.objects().batch(batch_size=batch) as batches:
            async for people in batches:
                total += sum(person.id for person in people)
        return total

    def ways(self) -> Sequence[Way]:
        """Return the ways; there are no tuples of several columns."""
        return (
            Way(Kind.GET, self.get),
            Way(Kind.OBJECTS, self.objects),
            Way(Kind.DICTS, self.dicts),
            Way(Kind.CREATE, self.create),
            Way(Kind.SAVE, self.save),
            Way(Kind.CHANGE, self.change),
            Way(Kind.CREATE_MANY, self.create_many, "insert", lambda keys: [Newcomer(**dict_of(number)) for number in keys]),
            Way(Kind.STREAM, self.stream),
        )


@asynccontextmanager
async def opened(place: Place) -> AsyncGenerator[Sequence[Way]]:
    """Start a pool and bind the tables to it."""
    url = urlsplit(place.url)
    config = {"host": url.hostname, "port": url.port, "user": url.username, "database": url.path[1:]}
    engine = await asyncio.to_thread(partial(PostgresEngine, config=config))  # it asks the server for its version, and blocks
    for table in (Person, Newcomer):
        table._meta.db = engine  # noqa: SLF001 - the documented way is a configuration module for the whole process
    await engine.start_connection_pool(min_size=place.pool_size, max_size=place.pool_size)
    try:
        held = await Person.objects().where(Person.id <= HELD).order_by(Person.id)
        yield Work(engine, held).ways()
    finally:
        await engine.close_connection_pool()


PICCOLO = Peer("Piccolo", opened)
