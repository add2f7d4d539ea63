"""Tortoise ORM: models, querysets and ``in_transaction``."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from tortoise import Tortoise, fields
from tortoise.models import Model
from tortoise.transactions import in_transaction

from benchmarks.peer import Peer, Place, Way
from benchmarks.people import COLUMNS, HELD, dict_of
from benchmarks.work import Kind, Rename


class Columns(Model):
    """The nine columns."""

    id = fields.BigIntField(primary_key=True, generated=False)
    email = fields.TextField()
    name = fields.TextField()
    age = fields.BigIntField()
    score = fields.FloatField()
    active = fields.BooleanField()
    created = fields.DatetimeField()
    balance = fields.DecimalField(max_digits=12, decimal_places=2)
    tag = fields.TextField(null=True)

    class Meta:  # pyright: ignore[reportIncompatibleVariableOverride]  # noqa: D106 - options, as the documentation writes them
        abstract = True


class Person(Columns):
    """A stored person."""

    class Meta:  # pyright: ignore[reportIncompatibleVariableOverride]  # noqa: D106 - options, as the documentation writes them
        table = "people"


class Newcomer(Columns):
    """The same, in a table that begins empty."""

    class Meta:  # pyright: ignore[reportIncompatibleVariableOverride]  # noqa: D106 - options, as the documentation writes them
        table = "newcomers"


class Work:
    """The work, on the connection that the models are bound to."""

    def __init__(self, held: list[Person]) -> None:
        self._held = held

    def query(self, keys: range) -> Any:
        return Person.filter(id__gte=keys.start, id__lt=keys.stop)

    async def get(self, number: int) -> Any:
        return await Person.get(id=number)

    async def objects(self, keys: range) -> Any:
        return await self.query(keys)

    async def dicts(self, keys: range) -> Any:
        return await self.query(keys).values(*COLUMNS)

    async def tuples(self, keys: range) -> Any:
        return await self.query(keys).values_list(*COLUMNS)

    async def create(self, number: int) -> None:
        await Newcomer.create(**dict_of(number))

    async def save(self, change: Rename) -> None:
        person = self._held[change.number - 1]
        person.name = change.name
        await person.save(update_fields=["name"])

    async def change(self, number: int) -> None:
        async with in_transaction() as connection:
            person: Any = await Person.get(id=number, using_db=connection)
            person.age += 1
            await person.save(using_db=connection, update_fields=["age"])

    async def stream(self, _: int) -> int:
        total = 0
        person: Any
        async for person in Person.all():  # there is no other way, though it loads all of them first
            total += person.id
        return total

    def ways(self) -> Sequence[Way]:
        """Return the ways."""
        return (
            Way(Kind.GET, self.get),
            Way(Kind.OBJECTS, self.objects),
            Way(Kind.DICTS, self.dicts),
            Way(Kind.TUPLES, self.tuples),
            Way(Kind.CREATE, self.create),
            Way(Kind.SAVE, self.save),
            Way(Kind.CHANGE, self.change),
            Way(Kind.CREATE_MANY, Newcomer.bulk_create, "bulk_create", newcomers),
            Way(Kind.STREAM, self.stream, "loads all"),
        )


def newcomers(keys: range) -> list[Newcomer]:
    """Return people who are not stored."""
    return [Newcomer(**dict_of(number)) for number in keys]


def _postgresql(place: Place) -> str:
    return f"{place.url.replace('postgresql', 'asyncpg', 1)}?minsize={place.pool_size}&maxsize={place.pool_size}"


def _mysql(place: Place) -> str:
    return f"{place.url}?minsize={place.pool_size}&maxsize={place.pool_size}"


def _sqlite(place: Place) -> str:
    return place.url.replace("sqlite:///", "sqlite://", 1)


URLS = {"postgresql": _postgresql, "sqlite": _sqlite, "mysql": _mysql}


@asynccontextmanager
async def opened(place: Place) -> AsyncGenerator[Sequence[Way]]:
    """Connect; the pool has the size of the others' where there is one."""
    # A connection by another name for each database: statements are kept by that name, in the dialect of the first.
    name = urlsplit(place.url).scheme
    apps = {"models": {"models": [__name__], "default_connection": name}}
    await Tortoise.init(config={"connections": {name: URLS[name](place)}, "apps": apps, "use_tz": True, "timezone": "UTC"})
    try:
        if place.is_empty:
            await Tortoise.generate_schemas()
            await Person.bulk_create([Person(**dict_of(number)) for number in range(1, place.people + 1)])
        yield Work(await Person.filter(id__lte=HELD).order_by("id")).ways()
    finally:
        await Tortoise.close_connections()


def from_texts(row: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a row that has texts for its time and its amount, as on SQLite."""
    created = row[6] if isinstance(row[6], datetime) else datetime.fromisoformat(row[6])
    return (*row[:5], bool(row[5]), created, Decimal(row[7]), row[8])


TORTOISE = Peer("Tortoise", opened, stored=from_texts)
