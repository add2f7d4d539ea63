"""Keys and names: every type of key, composite and generated ones, stored names, inheritance, references and what their removal does."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

import holdall
from holdall import Backend, DuplicateKeyError, Field, ForeignKeyError, Index, Model, QueryError, ValidationError, col, utc_now
from tests.conformance.models import Color, Level, Order
from tests.conformance.models import Customer as SharedCustomer


class TextKey(Model):
    id: str = Field(primary_key=True)
    name: str = ""


class IntKey(Model):
    id: int = Field(primary_key=True)


class BytesKey(Model):
    id: bytes = Field(primary_key=True)


class DecimalKey(Model):
    id: Decimal = Field(primary_key=True)


class DateKey(Model):
    id: date = Field(primary_key=True)


class MomentKey(Model):
    id: datetime = Field(primary_key=True)


class ClockKey(Model):
    id: time = Field(primary_key=True)


class SpanKey(Model):
    id: timedelta = Field(primary_key=True)


class BoolKey(Model):
    id: bool = Field(primary_key=True)


class ColorKey(Model):
    id: Color = Field(primary_key=True)


class LevelKey(Model):
    id: Level = Field(primary_key=True)


class UuidKey(Model):
    id: UUID = Field(primary_key=True)


class Mixed(Model):
    second: int = Field(primary_key=True)
    name: str = ""
    first: str = Field(primary_key=True)
    when: datetime = Field(primary_key=True)


class Generated(Model):
    id: int | None = Field(default=None, primary_key=True, generated=True)
    name: str = ""


class Reserved(Model):
    """Names that SQL keeps for itself, and worse."""

    select: int = Field(primary_key=True)
    order: str = Field(default="", index=True)
    group: int | None = Field(default=None, unique=True)
    quoted: str = Field(default="", name='a "quoted" name')
    spaced: int = Field(default=0, name="with  spaces", index=True)
    upper: int = Field(default=0, name="UPPER")
    size: str = Field(default="", name="Größe ☃")
    percent: int = Field(default=0, name="100%s :x $1 ?")
    ticks: int = Field(default=0, name="it's `ticked` \\ [x]")
    user: int = 0
    table: int = 0
    where: dict[str, int] = {}
    null: list[int] = []
    a__b: int = 0
    oid: int = 0
    rowid: int = 0

    class Meta:
        name = 'order "by" select; --'
        indexes = [Index("order", "-group"), Index("a__b", "user", name="an Index")]


class Stamped(BaseModel):
    created: datetime = Field(default_factory=utc_now, auto_now_add=True)
    changed: datetime = Field(default_factory=utc_now, auto_now=True, index=True)


class Animal(Stamped, Model):
    id: int = Field(primary_key=True)
    name: str
    extra: int = Field(default=0, index=True)

    class Meta:
        name = "beasts"
        indexes = [Index("name", "-extra", name="animals_by_name")]
        order_by = ["name"]


class Bird(Animal):
    wings: int = 2

    class Meta(Animal.Meta):
        pass


class Fish(Animal):
    extra: int = Field(default=7, name="fins")


class Parent(Model):
    id: int = Field(primary_key=True)
    best: int | None = Field(default=None, references="Child", enforce=False)


class Child(Model):
    id: int = Field(primary_key=True)
    parent: int = Field(references="Parent", on_delete="cascade")
    friend: int | None = Field(default=None, references=Parent, on_delete="set_null", name="a friend")


class Toy(Model):
    id: int = Field(primary_key=True)
    child: int | None = Field(default=None, references=Child, on_delete="cascade", index=True)


class Node(Model):
    id: int = Field(primary_key=True)
    above: int | None = Field(default=None, references="Node")
    inside: int | None = Field(default=None, references="self", on_delete="cascade")


class Loose(Model):
    id: int = Field(primary_key=True)
    customer: UUID = Field(references=SharedCustomer, enforce=False)


MODELS = (
    *(TextKey, IntKey, BytesKey, DecimalKey, DateKey, MomentKey, ClockKey, SpanKey, BoolKey, ColorKey, LevelKey, UuidKey),
    *(Mixed, Generated, Reserved, Animal, Bird, Fish, Parent, Child, Toy, Node, Loose, SharedCustomer, Order),
)
KEYS: list[tuple[type[Any], list[Any]]] = [
    (TextKey, ["", " ", "a", "A", "a ", "ß", "ss", "\uffff", "\U00010000", "'", '"', "\\", "%", "x" * 500]),
    (IntKey, [0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1]),
    (BytesKey, [b"", b"\x00", b"\xff", b"'"]),
    (DecimalKey, [Decimal(0), Decimal("1.10"), Decimal("-1.1"), Decimal("9999999999999999999999.999999999999")]),
    (DateKey, [date.min, date(2024, 2, 29), date.max]),
    (MomentKey, [datetime(2024, 1, 1, 0, 0, 0, microsecond, tzinfo=UTC) for microsecond in (0, 1, 999999)]),
    (ClockKey, [time.min, time(1, 2, 3, 4), time.max]),
    (SpanKey, [timedelta(0), timedelta(microseconds=-1), timedelta(days=5)]),
    (BoolKey, [False, True]),
    (ColorKey, list(Color)),
    (LevelKey, list(Level)),
    (UuidKey, [UUID(int=0), UUID(int=2**128 - 1), UUID(int=2**127)]),
]


@pytest.mark.parametrize(("model", "keys"), KEYS, ids=lambda value: getattr(value, "__name__", ""))
async def test_every_exact_scalar_is_a_key(backend: Backend, model: Any, keys: list[Any]) -> None:
    for key in keys:
        await backend.create(model(id=key))
    for key in keys:
        loaded: Any = await backend.get(model, key)
        assert loaded.id == key
        assert await backend.query(model).get(key) == loaded
        with pytest.raises(DuplicateKeyError) as caught:
            await backend.create(model(id=key))
        assert (caught.value.fields, caught.value.values) == (("id",), (key,))
        await backend.upsert(model(id=key))
    several: list[Any] = await backend.get_many(model, keys[::-1])
    assert [found.id for found in several] == keys[::-1]
    assert await backend.query(model).filter(id__in=keys).count() == len(keys)
    assert await backend.delete_many([model(id=key) for key in keys]) == len(keys)


async def test_a_composite_key_goes_by_the_order_of_declaration(backend: Backend) -> None:
    when = datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    record = await backend.create(Mixed(second=1, first="a", when=when, name="x"))
    await backend.create_many([Mixed(second=1, first="a", when=when + timedelta(microseconds=1)), Mixed(second=0, first="z", when=when)])

    assert await backend.get(Mixed, (1, "a", when)) == record
    assert [(found.second, found.first, found.when.microsecond) for found in await backend.query(Mixed).limit(9)] == [
        (0, "z", 1),
        (1, "a", 1),
        (1, "a", 2),
    ]
    record.name = "y"
    await backend.save(record)
    assert (await backend.get(Mixed, (1, "a", when))).name == "y"
    assert await backend.query(Mixed).filter(name="").count() == 2
    for key in (("a", 1, when), (1, "a"), 1, [1, "a", when], (1, "a", when.replace(tzinfo=None))):
        with pytest.raises((QueryError, ValidationError)):
            await backend.get(Mixed, key)
    assert await backend.delete(record) is True


async def test_generated_keys_are_filled_and_never_collide_with_given_ones(backend: Backend) -> None:
    first = await backend.create(Generated(name="a"))
    assert isinstance(first.id, int)
    given = await backend.create(Generated(id=first.id + 3, name="given"))

    others = [await backend.create(Generated(name=str(number))) for number in range(5)]
    many = await backend.create_many([Generated(id=first.id + 20), *(Generated() for _ in range(20))])

    ids = [record.id for record in (first, given, *others, *many)]
    assert None not in ids
    assert len(set(ids)) == len(ids) == await backend.query(Generated).count()
    for record in (first, given, *others, *many):
        assert await backend.get(Generated, record.id) == record
        assert holdall.changes(record) == {}


async def test_generated_keys_are_distinct_under_load(backend: Backend) -> None:
    records = await asyncio.gather(*(backend.create(Generated(name=str(number))) for number in range(50)))

    assert len({record.id for record in records}) == 50
    for record in records:
        assert (await backend.get(Generated, record.id)).name == record.name


async def test_a_write_that_failed_leaves_a_generated_key_unset(backend: Backend) -> None:
    taken = await backend.create(Generated())
    fresh = Generated()

    with pytest.raises(DuplicateKeyError):
        await backend.create_many([fresh, Generated(id=taken.id)])

    assert fresh.id is None
    assert not holdall.is_stored(fresh)


async def test_awkward_stored_names_work_everywhere(backend: Backend) -> None:
    values: dict[str, Any] = {
        "order": "x", "group": 1, "quoted": "q", "spaced": 2, "upper": 3, "size": "g", "percent": 4, "ticks": 5, "user": 6, "table": 7,
        "where": {"a": 1}, "null": [1], "a__b": 8, "oid": 9, "rowid": 10,
    }  # fmt: skip
    record = await backend.create(Reserved(select=1, **values))
    await backend.create_many([Reserved(select=2), Reserved(select=3, percent=1)])

    assert await backend.get(Reserved, 1) == record
    for name, value in values.items():
        assert [found.select for found in await backend.query(Reserved).filter(**{name: value})] == [1]
        assert await backend.query(Reserved).filter(select=2).update(**{name: value if name != "group" else 5}) == 1
    assert [found.select for found in await backend.query(Reserved).filter(where__a=1, null__has=1).order_by("-percent", "size")] == [1, 2]
    assert await backend.query(Reserved).order_by("-quoted", "ticks").values("quoted", "upper").limit(1) == [{"quoted": "q", "upper": 3}]
    page = await backend.query(Reserved).order_by("size", "-percent", "group").page(size=1)
    assert page.next is not None
    assert [
        found.select for found in (await backend.query(Reserved).order_by("size", "-percent", "group").page(size=5, after=page.next)).items
    ] == [1, 2]
    record.ticks = 50
    await backend.save(record)
    await backend.upsert(record)
    with pytest.raises(DuplicateKeyError) as caught:
        await backend.create(Reserved(select=9, group=1))
    assert (caught.value.fields, caught.value.values) == (("group",), (1,))
    with pytest.raises(DuplicateKeyError) as caught:
        await backend.create(Reserved(select=1))
    assert (caught.value.fields, caught.value.values) == (("select",), (1,))
    assert [number async for number in backend.query(Reserved).values("select").order_by("select").stream()] == [
        {"select": number} for number in (1, 2, 3)
    ]


# -- inheritance -----------------------------------------------------------------------------------------------------------------------


async def test_subclasses_have_tables_of_their_own(backend: Backend) -> None:
    await backend.create(Animal(id=1, name="b", extra=1))
    await backend.create_many([Bird(id=1, name="b"), Bird(id=2, name="a", wings=0)])
    await backend.create(Fish(id=1, name="f"))

    assert [found.id for found in await backend.query(Bird)] == [2, 1]
    assert [found.id for found in await backend.query(Bird).filter(col(Animal.name) == "b", col(Bird.wings) == 2)] == [1]
    assert await backend.query(Animal).count() == await backend.query(Fish).count() == 1
    assert (await backend.get(Fish, 1)).extra == 7
    assert await backend.query(Fish).filter(extra=7).count() == 1
    with pytest.raises(QueryError):
        backend.query(Animal).filter(col(Bird.wings) == 2)
    with pytest.raises(QueryError):
        backend.query(Fish).filter(col(Bird.name) == "x")
    bird = await backend.get(Bird, 1)
    created, changed = bird.created, bird.changed
    bird.name = "z"
    await backend.save(bird)
    assert bird.created == created
    assert bird.changed > changed


# -- references ------------------------------------------------------------------------------------------------------------------------


async def family(backend: Backend) -> None:
    await backend.create_many([Parent(id=number) for number in (1, 2, 3)])
    await backend.create_many([Child(id=1, parent=1, friend=2), Child(id=2, parent=1), Child(id=3, parent=2, friend=2)])
    await backend.create_many([Toy(id=1, child=1), Toy(id=2, child=3), Toy(id=3)])


async def test_removal_cascades_and_sets_null(backend: Backend) -> None:
    await family(backend)

    assert await backend.delete(await backend.get(Parent, 1)) is True
    assert [found.id for found in await backend.query(Child).order_by("id")] == [3]
    assert [found.id for found in await backend.query(Toy).order_by("id")] == [2, 3]
    await backend.create(Child(id=4, parent=3, friend=2))
    assert await backend.query(Parent).filter(id=2).delete() == 1
    assert [(found.id, found.friend) for found in await backend.query(Child)] == [(4, None)]
    assert await backend.delete_many([Parent(id=3)]) == 1
    assert await backend.query(Child).count() == 0
    assert [found.id for found in await backend.query(Toy)] == [3]


async def test_a_reference_that_is_not_enforced_may_point_to_nothing(backend: Backend) -> None:
    await backend.create(Parent(id=1, best=77))
    customer = await backend.create(SharedCustomer(email="x", name="x"))
    await backend.create(Loose(id=1, customer=customer.id))
    await backend.create(Loose(id=2, customer=UUID(int=5)))

    assert await backend.delete(customer) is True
    assert await backend.query(Loose).count() == 2


async def test_self_references_in_any_order_within_create_many(backend: Backend, backend_url: str) -> None:
    await backend.create_many([Node(id=3, above=2), Node(id=1), Node(id=2, above=1), Node(id=4, above=4, inside=5), Node(id=5, inside=1)])

    with pytest.raises(ForeignKeyError) as caught:
        await backend.create_many([Node(id=6, above=7), Node(id=8)])
    assert caught.value.model == "Node"
    assert caught.value.fields in ((), ("above",))  # SQLite does not tell which reference failed at a commit
    with pytest.raises(ForeignKeyError):
        await backend.create(Node(id=9, above=10))
    assert (await backend.create(Node(id=11, above=11))).above == 11
    with pytest.raises(ForeignKeyError):
        await backend.delete(await backend.get(Node, 1))
    with pytest.raises(ForeignKeyError):
        await backend.query(Node).filter(id=2).delete()
    assert await backend.query(Node).filter(id__in=[2, 3, 11]).delete() == 3
    if backend_url.startswith("mysql"):
        # InnoDB's cascade stops at a record that refers to itself, which it removes when it is asked for that one.
        with pytest.raises(ForeignKeyError):
            await backend.delete(await backend.get(Node, 1))
        assert await backend.delete(await backend.get(Node, 4)) is True
    assert await backend.delete(await backend.get(Node, 1)) is True
    assert await backend.query(Node).count() == 0


async def test_self_references_of_thousands_in_any_order(backend: Backend) -> None:
    count = 3000
    await backend.create_many([Node(id=number, above=number + 1 if number + 1 < count else None) for number in range(count)])

    assert await backend.query(Node).count() == count
    assert await backend.query(Node).delete() == count


async def test_clear_removes_records_of_models_that_refer_to_each_other(backend: Backend) -> None:
    await family(backend)

    await backend.clear(Parent, Child, Toy)

    assert await backend.query(Parent).count() == await backend.query(Child).count() == await backend.query(Toy).count() == 0
