"""``get_or_create``, ``upsert`` and ``create`` of one key by many tasks make one record."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

import holdall
from holdall import (
    Backend,
    ConflictError,
    DuplicateKeyError,
    Field,
    Index,
    Model,
    QueryError,
)
from tests.conformance.models import Customer


class Seat(Model):
    hall: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    guest: str | None = Field(default=None, unique=True)
    row: int = 0
    place: int | None = None

    class Meta:
        indexes = [Index("row", "place", unique=True)]


class Plain(Model):
    id: int = Field(primary_key=True)
    name: str = ""
    number: int = 0


MODELS = (Customer, Seat, Plain)


def ada(**values: object) -> Customer:
    return Customer.model_validate({"email": "ada@example.org", "name": "Ada", **values})


async def test_get_or_create_creates_once(backend: Backend) -> None:
    record, created = await backend.get_or_create(Customer, {"email": "x@y.z"}, defaults={"name": "X"})
    again, created_again = await backend.get_or_create(Customer, {"email": "x@y.z"}, defaults={"name": "other"})

    assert (created, created_again) == (True, False)
    assert (again, again.name) == (record, "X")
    assert holdall.is_stored(record)
    assert holdall.is_stored(again)
    by_key, created = await backend.get_or_create(Seat, {"number": 1, "hall": "a"})
    assert (by_key.hall, by_key.number, created) == ("a", 1, True)
    assert (await backend.get_or_create(Seat, {"row": 3, "place": 4}, defaults={"hall": "b", "number": 2}))[1]
    assert not (await backend.get_or_create(Seat, {"place": 4, "row": 3}, defaults={"hall": "c", "number": 2}))[1]


@pytest.mark.parametrize("lookup", [{"name": "x"}, {"email": "x", "name": "y"}, {}, {"email__eq": "x"}, {"nothing": 1}], ids=repr)
async def test_get_or_create_wants_a_key_or_a_unique_field(backend: Backend, lookup: dict[str, str]) -> None:
    with pytest.raises(QueryError):
        await backend.get_or_create(Customer, lookup, defaults={"name": "X"})


async def test_get_or_create_refuses_none_and_what_another_record_holds(backend: Backend) -> None:
    with pytest.raises(QueryError):
        await backend.get_or_create(Seat, {"guest": None}, defaults={"hall": "a", "number": 1})
    await backend.create(Seat(hall="a", number=1, guest="x"))

    with pytest.raises(DuplicateKeyError) as caught:
        await backend.get_or_create(Seat, {"guest": "y"}, defaults={"hall": "a", "number": 1})

    assert caught.value.fields == ("hall", "number")


async def test_tasks_that_race_for_one_key_make_one_record(backend: Backend) -> None:
    async def get_or_create(number: int) -> bool:
        return (await backend.get_or_create(Customer, {"email": "x@y.z"}, defaults={"name": str(number)}))[1]

    async def create(number: int) -> bool:
        try:
            await backend.create(Plain(id=1, number=number))
        except DuplicateKeyError:
            return False
        return True

    assert sum(await asyncio.gather(*map(get_or_create, range(50)))) == 1
    assert sum(await asyncio.gather(*map(create, range(50)))) == 1
    await asyncio.gather(*(backend.upsert(Plain(id=2, number=number)) for number in range(50)))
    key = uuid4()
    upserted = await asyncio.gather(*(backend.upsert(ada(id=key, email="u@y.z", name=str(number))) for number in range(50)))
    assert sorted(record.version for record in upserted) == list(range(1, 51))
    assert await backend.query(Customer).filter(email="x@y.z").count() == 1
    assert await backend.query(Plain).count() == 2
    assert (await backend.get(Customer, key)).version == 50


async def test_concurrent_saves_of_one_version_let_one_win(backend: Backend) -> None:
    record = await backend.create(ada())

    async def rename(number: int) -> bool:
        mine = await backend.get(Customer, record.id)
        mine.version = 1
        mine.name = str(number)
        try:
            await backend.save(mine)
        except ConflictError:
            return False
        return True

    assert sum(await asyncio.gather(*map(rename, range(20)))) == 1
    assert (await backend.get(Customer, record.id)).version == 2
