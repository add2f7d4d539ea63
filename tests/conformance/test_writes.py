"""Records are written and read by key as documented, and a write that fails changes neither the store nor the object."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

import holdall
from holdall import (
    Backend,
    ConflictError,
    DuplicateKeyError,
    Field,
    ForeignKeyError,
    Index,
    Model,
    NotFoundError,
    QueryError,
    ValidationError,
    utc_now,
)
from tests.conformance.models import Customer, Order


class Ticket(Model):
    id: int | None = Field(default=None, primary_key=True, generated=True)
    title: str
    stamp: datetime = Field(default_factory=utc_now, auto_now_add=True)
    touched: datetime | None = Field(default=None, auto_now=True)


class Seat(Model):
    hall: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    guest: str | None = Field(default=None, unique=True)
    row: int = 0
    place: int | None = None

    class Meta:
        indexes = [Index("row", "place", unique=True)]


class OnlyKey(Model):
    id: int = Field(primary_key=True)


class Plain(Model):
    id: int = Field(primary_key=True)
    name: str = ""
    number: int = 0


MODELS = (Customer, Order, Ticket, Seat, OnlyKey, Plain)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ada(**values: object) -> Customer:
    return Customer.model_validate({"email": "ada@example.org", "name": "Ada", **values})


# -- create, get ---------------------------------------------------------------------------------------------------------------------


async def test_create_returns_the_object_itself_stored(backend: Backend) -> None:
    record = ada()
    before = utc_now()

    created = await backend.create(record)

    assert created is record
    assert holdall.is_stored(record)
    assert holdall.changes(record) == {}
    assert record.version == 1
    assert before <= record.updated_at <= utc_now()
    loaded = await backend.get(Customer, record.id)
    assert loaded == record
    assert loaded is not record


async def test_a_taken_key_is_a_duplicate(backend: Backend) -> None:
    first = await backend.create(ada())
    second = ada(id=first.id, email="other@example.org")
    stamp = second.updated_at

    with pytest.raises(DuplicateKeyError) as caught:
        await backend.create(second)

    assert (caught.value.model, caught.value.fields, caught.value.values) == ("Customer", ("id",), (first.id,))
    assert not holdall.is_stored(second)
    assert (second.version, second.updated_at) == (1, stamp)
    assert await backend.get(Customer, first.id) == first


async def test_a_taken_unique_value_is_a_duplicate_on_every_kind_of_write(backend: Backend) -> None:
    await backend.create(ada())
    bob = await backend.create(ada(email="bob@example.org", name="Bob"))
    stamp = bob.updated_at

    for write in (backend.create, backend.upsert, backend.save):
        stranger = ada(name="Stranger")
        with pytest.raises(DuplicateKeyError) as caught:
            await write(stranger)
        assert (caught.value.model, caught.value.fields, caught.value.values) == ("Customer", ("email",), ("ada@example.org",))
        assert not holdall.is_stored(stranger)
    bob.email = "ada@example.org"
    for write in (backend.save, backend.update, backend.upsert):
        with pytest.raises(DuplicateKeyError) as caught:
            await write(bob)
        assert caught.value.fields == ("email",)
        assert (bob.version, bob.updated_at, bob.email) == (1, stamp, "ada@example.org")
        assert holdall.changes(bob) == {"email": ("bob@example.org", "ada@example.org")}
    with pytest.raises(DuplicateKeyError) as caught:
        await backend.query(Customer).update(email="same@example.org")
    assert caught.value.fields == ("email",)
    assert {found.email for found in await backend.query(Customer)} == {"ada@example.org", "bob@example.org"}


async def test_unique_together_and_composite_keys_name_all_their_fields(backend: Backend) -> None:
    await backend.create(Seat(hall="a", number=1, row=1, place=1, guest="x"))

    with pytest.raises(DuplicateKeyError) as caught:
        await backend.create(Seat(hall="a", number=1))
    assert (caught.value.fields, caught.value.values) == (("hall", "number"), ("a", 1))
    with pytest.raises(DuplicateKeyError) as caught:
        await backend.create(Seat(hall="b", number=1, row=1, place=1))
    assert (caught.value.fields, caught.value.values) == (("row", "place"), (1, 1))
    with pytest.raises(DuplicateKeyError) as caught:
        await backend.create(Seat(hall="b", number=1, guest="x"))
    assert (caught.value.fields, caught.value.values) == (("guest",), ("x",))


async def test_unique_allows_many_none_and_is_exact_about_text(backend: Backend) -> None:
    await backend.create_many([Seat(hall="a", number=number, row=1) for number in range(3)])

    await backend.create_many(
        [Seat(hall="b", number=number, row=5, guest=guest) for number, guest in enumerate(("x", "X", "x ", "", " ", "é", "e\u0301"))]
    )

    assert await backend.query(Seat).count() == 10


async def test_get_of_what_is_not_there(backend: Backend) -> None:
    key = uuid4()

    with pytest.raises(NotFoundError) as caught:
        await backend.get(Customer, key)

    assert (caught.value.model, caught.value.key) == ("Customer", key)
    assert await backend.get_or_none(Customer, key) is None
    with pytest.raises(NotFoundError) as caught:
        await backend.get(Seat, ("a", 1))
    assert caught.value.key == ("a", 1)


async def test_get_many_keeps_order_and_repeats_and_gaps(backend: Backend) -> None:
    await backend.create_many([Plain(id=number) for number in range(5)])

    found = await backend.get_many(Plain, [3, 99, 1, 3])

    assert [record and record.id for record in found] == [3, None, 1, 3]
    assert await backend.get_many(Plain, []) == []
    await backend.create_many([Seat(hall="a", number=1), Seat(hall="a'", number=2, row=2)])
    seats = await backend.get_many(Seat, [("a'", 2), ("a'", 1), ("a", 1)])
    assert [seat and seat.number for seat in seats] == [2, None, 1]


async def test_get_many_takes_more_keys_than_a_statement_has_parameters(backend: Backend) -> None:
    await backend.create_many([Plain(id=number) for number in (5, 39_999)])

    found = await backend.get_many(Plain, range(40_000))

    assert [record.id for record in found if record is not None] == [5, 39_999]


@pytest.mark.parametrize("key", ["7", 7.0, True, None, (1,), [1], UUID(int=7), b"7"], ids=repr)
async def test_a_key_of_another_type_is_refused(backend: Backend, key: object) -> None:
    for read in (backend.get, backend.get_or_none):
        with pytest.raises(QueryError):
            await read(Plain, key)
    with pytest.raises(QueryError):
        await backend.get_many(Plain, [1, key])
    with pytest.raises(QueryError):
        await backend.query(Plain).get(key)


@pytest.mark.parametrize("key", ["a", ("a",), ("a", "1"), ("a", 1, 2), ["a", 1], (1, "a"), ("a", None)], ids=repr)
async def test_a_composite_key_is_a_tuple_of_its_types(backend: Backend, key: object) -> None:
    with pytest.raises(QueryError):
        await backend.get(Seat, key)


async def test_strict_reads_give_the_same_objects(backend: Backend) -> None:
    record = await backend.create(ada(tags=["a"], profile={"a": [1, None]}, balance=Decimal("1.50")))

    assert await backend.get(Customer, record.id, strict=True) == record
    assert await backend.get_or_none(Customer, record.id, strict=True) == record
    assert await backend.query(Customer).all(strict=True) == [record]


# -- save, update --------------------------------------------------------------------------------------------------------------------


async def test_save_of_a_new_object_creates_it(backend: Backend) -> None:
    record = await backend.save(ada())

    assert await backend.get(Customer, record.id) == record
    with pytest.raises(DuplicateKeyError):
        await backend.save(ada())


async def test_save_writes_only_what_changed(backend: Backend) -> None:
    record = await backend.create(Plain(id=1, name="a"))
    other = await backend.get(Plain, 1)
    other.number = 5
    await backend.save(other)

    record.name = "b"
    saved = await backend.save(record)

    assert saved is record
    assert await backend.get(Plain, 1) == Plain(id=1, name="b", number=5)


async def test_save_of_an_unchanged_object_does_nothing(backend: Backend) -> None:
    record = await backend.create(ada())
    stamp = record.updated_at
    await backend.query(Customer).delete()

    await backend.save(record)

    assert (record.version, record.updated_at) == (1, stamp)
    assert await backend.query(Customer).count() == 0


async def test_update_writes_all_fields(backend: Backend) -> None:
    record = await backend.create(Plain(id=1, name="a"))
    other = await backend.get(Plain, 1)
    other.number = 5
    await backend.save(other)

    await backend.update(record)

    assert await backend.get(Plain, 1) == Plain(id=1, name="a", number=0)


async def test_every_write_counts_the_version_and_sets_the_time(backend: Backend) -> None:
    record = await backend.create(ada())
    stamps = [record.updated_at]
    for number, write in enumerate((backend.save, backend.update, backend.upsert, backend.save), 2):
        record.name = f"name {number}"
        await write(record)
        stamps.append(record.updated_at)
        assert record.version == number
        assert await backend.get(Customer, record.id) == record
    assert stamps == sorted(stamps)
    assert await backend.query(Customer).update(name="z") == 1
    assert (await backend.get(Customer, record.id)).version == 6
    assert (await backend.get(Customer, record.id)).updated_at >= stamps[-1]


async def test_a_stale_version_is_a_conflict_for_save_update_and_delete(backend: Backend) -> None:
    record = await backend.create(ada())
    stale = await backend.get(Customer, record.id)
    record.city = "Paris"
    await backend.save(record)
    stale.name = "late"
    stamp = stale.updated_at

    for write in (backend.save, backend.update, backend.delete):
        with pytest.raises(ConflictError) as caught:
            await write(stale)
        assert (caught.value.model, caught.value.key, caught.value.version) == ("Customer", record.id, 1)
        assert (stale.version, stale.updated_at, stale.name) == (1, stamp, "late")
        assert holdall.changes(stale) == {"name": ("Ada", "late")}
    assert await backend.get(Customer, record.id) == record
    await backend.refresh(stale)
    assert stale == record
    stale.name = "now"
    await backend.save(stale)
    assert (stale.version, stale.city) == (3, "Paris")


async def test_writes_of_a_record_that_is_gone(backend: Backend) -> None:
    record = await backend.create(ada())
    bare = await backend.create(OnlyKey(id=1))
    await backend.query(Customer).delete()
    await backend.query(OnlyKey).delete()
    record.name = "x"

    for write in (backend.save, backend.update, backend.refresh):
        with pytest.raises(NotFoundError) as caught:
            await write(record)
        assert (caught.value.model, caught.value.key) == ("Customer", record.id)
        assert (record.version, record.name) == (1, "x")
    with pytest.raises(NotFoundError):
        await backend.update(bare)
    with pytest.raises(NotFoundError):
        await backend.update(Plain(id=1))
    assert await backend.delete(record) is False
    assert not holdall.is_stored(record)


async def test_a_model_of_its_key_alone_can_be_written(backend: Backend) -> None:
    record = await backend.create(OnlyKey(id=1))

    assert await backend.update(record) is record
    assert await backend.save(record) is record
    assert await backend.upsert(OnlyKey(id=1)) == record
    assert await backend.upsert(OnlyKey(id=2)) == OnlyKey(id=2)
    assert await backend.query(OnlyKey).count() == 2


async def test_the_key_of_a_stored_record_cannot_change(backend: Backend) -> None:
    record = await backend.create(Plain(id=1, name="a"))
    record.id = 2

    for write in (backend.save, backend.update, backend.delete, backend.refresh):
        with pytest.raises(ValidationError):
            await write(record)
    with pytest.raises(ValidationError):
        await backend.delete_many([record])
    assert [found.id for found in await backend.query(Plain)] == [1]


async def test_refresh_reads_into_the_same_object_and_drops_edits(backend: Backend) -> None:
    record = await backend.create(ada(tags=["a"]))
    other = await backend.get(Customer, record.id)
    other.city = "Rome"
    await backend.save(other)
    record.name = "edited"
    record.tags.append("b")

    refreshed = await backend.refresh(record)

    assert refreshed is record
    assert (record.name, record.tags, record.city, record.version) == ("Ada", ["a"], "Rome", 2)
    assert holdall.changes(record) == {}


# -- upsert, delete ------------------------------------------------------------------------------------------------------------------


async def test_upsert_creates_then_overwrites_whatever_the_version(backend: Backend) -> None:
    record = await backend.upsert(ada())
    assert (record.version, holdall.is_stored(record)) == (1, True)
    again = ada(id=record.id, name="Again", version=1)

    assert await backend.upsert(again) is again

    assert again.version == 2
    loaded = await backend.get(Customer, record.id)
    assert loaded == again
    record.name = "stale, and still"
    await backend.upsert(record)
    assert record.version == 3
    assert (await backend.get(Customer, record.id)).name == "stale, and still"


async def test_upsert_keeps_the_time_of_the_create(backend: Backend) -> None:
    first = await backend.create(Ticket(title="a"))
    second = Ticket(id=first.id, title="b", stamp=EPOCH)

    await backend.upsert(second)

    assert second.stamp == first.stamp
    assert await backend.get(Ticket, first.id) == second
    third = await backend.upsert(Ticket(title="new"))
    assert third.id not in (None, first.id)
    given = await backend.upsert(Ticket(id=1000, title="given"))
    assert (given.id, (await backend.get(Ticket, 1000)).title) == (1000, "given")


async def test_delete_says_whether_there_was_one_and_save_creates_anew(backend: Backend) -> None:
    record = await backend.create(ada())

    assert await backend.delete(record) is True
    assert await backend.delete(record) is False
    assert not holdall.is_stored(record)
    await backend.save(record)
    assert await backend.get(Customer, record.id) == record
    assert await backend.delete(ada(id=record.id, email="never stored")) is True


async def test_delete_many_counts_what_was_there(backend: Backend) -> None:
    records = await backend.create_many([Plain(id=number) for number in range(5)])
    await backend.delete(records[0])

    assert await backend.delete_many([*records, records[1], Plain(id=77)]) == 4
    assert await backend.delete_many([]) == 0
    assert not any(map(holdall.is_stored, records))
    assert await backend.query(Plain).count() == 0


async def test_delete_many_ignores_versions(backend: Backend) -> None:
    record = await backend.create(ada())
    await backend.query(Customer).update(name="x")

    assert await backend.delete_many([record]) == 1


# -- create_many ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 1500])
async def test_create_many_stores_all_in_order(backend: Backend, count: int) -> None:
    records = [Ticket(title=str(number)) for number in range(count)]

    created = await backend.create_many(record for record in records)

    assert created == records
    assert [found.title for found in await backend.query(Ticket).order_by("id")] == [str(number) for number in range(count)]
    assert [record.id for record in records] == sorted({record.id for record in records if record.id is not None})
    assert all(map(holdall.is_stored, records))


async def test_create_many_is_all_or_nothing(backend: Backend) -> None:
    taken = await backend.create(Plain(id=1200))
    records = [Plain(id=number) for number in range(1500)]

    with pytest.raises(DuplicateKeyError) as caught:
        await backend.create_many(records)

    assert (caught.value.model, caught.value.fields, caught.value.values) == ("Plain", ("id",), (1200,))
    assert await backend.query(Plain) == [taken]
    assert not any(map(holdall.is_stored, records))
    with pytest.raises(DuplicateKeyError):
        await backend.create_many([Plain(id=1), Plain(id=2), Plain(id=1)])
    with pytest.raises(DuplicateKeyError) as caught:
        await backend.create_many([Seat(hall="a", number=1, guest="x"), Seat(hall="a", number=2, row=2, guest="x")])
    assert caught.value.fields == ("guest",)
    assert await backend.query(Seat).count() == 0


async def test_create_many_refuses_records_of_several_models(backend: Backend) -> None:
    with pytest.raises(QueryError):
        await backend.create_many([Plain(id=1), OnlyKey(id=1)])
    with pytest.raises(QueryError):
        await backend.delete_many([Plain(id=1), OnlyKey(id=1)])


# -- references ----------------------------------------------------------------------------------------------------------------------


async def test_a_reference_to_nothing_is_refused_on_every_write(backend: Backend) -> None:
    customer = await backend.create(ada())
    order = await backend.create(Order(customer_id=customer.id, total=Decimal(1)))
    lost = Order(customer_id=uuid4(), total=Decimal(1))

    for write in (backend.create, backend.save, backend.upsert):
        with pytest.raises(ForeignKeyError) as caught:
            await write(lost)
        assert (caught.value.model, caught.value.fields) == ("Order", ("customer_id",))
        assert not holdall.is_stored(lost)
    with pytest.raises(ForeignKeyError):
        await backend.create_many([Order(customer_id=customer.id, total=Decimal(2)), lost])
    order.customer_id = lost.customer_id
    for write in (backend.save, backend.update, backend.upsert):
        with pytest.raises(ForeignKeyError):
            await write(order)
    with pytest.raises(ForeignKeyError):
        await backend.query(Order).update(customer_id=lost.customer_id)
    assert [found.customer_id for found in await backend.query(Order)] == [customer.id]


async def test_what_is_referred_to_cannot_go(backend: Backend) -> None:
    customer = await backend.create(ada())
    order = await backend.create(Order(customer_id=customer.id, total=Decimal(1)))

    for removal in (backend.delete(customer), backend.delete_many([customer]), backend.query(Customer).delete()):
        with pytest.raises(ForeignKeyError) as caught:
            await removal
        assert caught.value.model in ("Order", "Customer")
    assert holdall.is_stored(customer)
    assert await backend.get(Customer, customer.id) == customer
    await backend.delete(order)
    assert await backend.delete(customer) is True
