"""Writes: conditions, unique values in the same transaction, bulk, batches, and what several tasks do to one another."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

import pytest

import holdall
from holdall import (
    Backend,
    ConfigurationError,
    ConflictError,
    DuplicateKeyError,
    F,
    Field,
    HoldallError,
    Index,
    Model,
    NotFoundError,
    SerializationError,
    UnsupportedOperation,
    ValidationError,
)
from holdall.query.operations import Delete
from holdall.record.metadata import model_info
from holdall.stores.dynamodb import DESCRIPTOR
from holdall.stores.dynamodb.keys import moment_text
from holdall.stores.dynamodb.schema import names_of
from tests.stores.dynamodb.conftest import OpenBackend
from tests.stores.dynamodb.service import gives, service


class Account(Model):
    id: int = Field(primary_key=True)
    email: str | None = Field(default=None, unique=True)
    balance: Decimal = Field(default=Decimal(0), max_digits=8, decimal_places=2)
    limit: int = Field(default=0, le=10)
    city: str = ""
    stars: int | None = None
    version: int = Field(default=1, version=True)

    class Meta:
        indexes = (Index("city", "stars"),)


class Loose(Model):
    id: int = Field(primary_key=True)
    email: str | None = Field(default=None, unique=True)
    city: str = ""
    stars: int | None = None

    class Meta:
        indexes = (Index("city", "stars"),)


class Exact(Model):
    id: int = Field(primary_key=True)
    amount: Decimal = Decimal(0)


class Pass(Model):
    id: int = Field(primary_key=True)
    code: str | None = Field(default=None, unique=True)
    until: datetime | None = Field(default=None, expires=True)


MODELS = (Account, Loose, Exact, Pass)


async def reservations(backend: Backend) -> dict[str, int]:
    """Return who holds which unique value of ``Loose``."""
    store: Any = backend.store
    link = store._links.get()
    items = (await link.transport.call("Scan", {"TableName": "loose.unique", "ConsistentRead": True}))["Items"]
    return {item["u"]["S"].rpartition("\x01")[2]: int(item["k"]["M"]["id"]["N"]) for item in items}


async def test_unique_values_stay_right_under_writers_that_race(backend: Backend) -> None:
    """Creates, changes, deletes and creates anew, by records that were read before."""
    emails = ["a", "b", "c", None]

    async def work(seed: int) -> None:
        random = Random(seed)
        held: dict[int, Loose] = {}
        for _ in range(25):
            number = random.randrange(4)
            try:
                if number in held and random.random() < 0.6:
                    held[number].email = random.choice(emails)
                    await backend.save(held[number])
                elif number in held:
                    await backend.delete(held.pop(number))
                elif random.random() < 0.5:
                    held[number] = await backend.create(Loose(id=number, email=random.choice(emails)))
                else:
                    held[number] = await backend.get(Loose, number)
            except (DuplicateKeyError, NotFoundError):
                held.pop(number, None)

    await asyncio.gather(*(work(seed) for seed in range(8)))

    records = await backend.query(Loose).allow_scan()
    assert await reservations(backend) == {record.email: record.id for record in records if record.email is not None}


async def check_expiries(backend: Backend) -> None:
    """Compare the unique values of ``Pass`` with its records, the time from which both are free included."""
    store: Any = backend.store
    items = (await store._links.get().transport.call("Scan", {"TableName": "pass.unique", "ConsistentRead": True}))["Items"]
    now = datetime.now(UTC)
    held = {(item["u"]["S"][-1], item["k"]["M"]["id"]["N"], item.get("x", {"S": None})["S"]) for item in items}
    records = await backend.query(Pass).allow_scan()
    wanted = {(found.code, str(found.id), found.until and moment_text(found.until)) for found in records if found.code is not None}
    assert {each for each in held if each[2] is None or each[2] > moment_text(now)} == wanted


async def test_a_unique_value_is_free_when_its_record_expires_whatever_a_stale_object_believes(backend: Backend) -> None:
    stale = await backend.create(Pass(id=1, code="a"))
    await backend.query(Pass).filter(id=1).update(until=datetime(2100, 1, 1, tzinfo=UTC))
    stale.code = "b"
    await backend.save(stale)
    await check_expiries(backend)


async def test_unique_values_of_records_that_expire_stay_right_under_writers_that_race(backend: Backend) -> None:
    moments = [None, datetime(2001, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)]

    async def work(seed: int) -> None:
        random = Random(seed)
        for _ in range(25):
            made = Pass(id=random.randrange(3), code=random.choice(["a", "b", None]), until=random.choice(moments))
            query = backend.query(Pass).filter(id=made.id)
            writes: list[Callable[[], Awaitable[Any]]] = [
                partial(backend.create, made),
                partial(backend.upsert, made),
                partial(query.update, code=made.code),
                partial(query.update, until=made.until),
                query.delete,
            ]
            with contextlib.suppress(DuplicateKeyError, SerializationError):
                await random.choice(writes)()

    await asyncio.gather(*(work(seed) for seed in range(8)))
    await check_expiries(backend)


async def test_of_many_creators_of_one_record_one_wins(backend: Backend) -> None:
    found = await asyncio.gather(*(backend.get_or_create(Account, {"id": 1}, defaults={"stars": number}) for number in range(12)))

    assert sum(created for _, created in found) == 1
    assert len({account.stars for account, _ in found}) == 1


async def test_a_counter_is_counted_up_by_one_request_and_loses_nothing(backend: Backend) -> None:
    await backend.create(Account(id=1, balance=Decimal("0.10")))
    query = backend.query(Account).filter(id=1)
    before = backend.store.stats()["requests"]

    assert await query.update(balance=F("balance") + Decimal("0.20")) == 1

    assert backend.store.stats()["requests"] - before == 1
    await asyncio.gather(*(query.update(balance=F("balance") + 1) for _ in range(20)))
    account = await backend.get(Account, 1)
    assert (account.balance, account.version) == (Decimal("20.30"), 22)


async def test_a_computed_value_keeps_the_rules_of_its_field(backend: Backend) -> None:
    await backend.create(Account(id=1, balance=Decimal("999999.99"), limit=10))
    query = backend.query(Account).filter(id=1)

    for values in ({"balance": F("balance") + Decimal("0.01")}, {"limit": F("limit") + 1}):
        with pytest.raises(ValidationError):
            await query.update(**values)
    assert await query.filter(city="x").update(limit=F("limit") + 1) == 0
    assert await query.update(stars=F("stars") + 1) == 1  # None stays None
    account = await backend.get(Account, 1)
    assert (account.balance, account.limit, account.stars, account.version) == (Decimal("999999.99"), 10, None, 2)


async def test_numbers_of_34_digits_are_taken_away_exactly(backend: Backend) -> None:
    large = Decimal("1111111111111111111111.111111111111")
    await backend.create(Exact(id=1, amount=large))
    query = backend.query(Exact).filter(id=1)
    for values, wanted in (
        ({"amount": F("amount") - large}, 0),
        ({"amount": F("amount") - large}, large.copy_negate()),
        ({"amount": F("amount") + large}, 0),
    ):
        assert await query.update(**values) == 1
        assert (await backend.get(Exact, 1)).amount == wanted


async def test_a_record_that_an_index_shows_twice_is_counted_up_once() -> None:
    """Its key in the index has moved between two pages."""
    item = {"id": {"N": "1"}, "city": {"S": "x"}, "stars": {"N": "1"}}
    pages = [gives({"Items": [item], "Count": 1, "LastEvaluatedKey": item}), gives({"Items": [item], "Count": 1})]
    async with service(gives({}), *pages) as made, holdall.open(made.url()) as backend:
        assert await backend.query(Loose).filter(city="x").update(stars=F("stars") * 1 + 1) == 1
        assert [request.target for request in made.requests[1:]] == ["Query", "Query", "UpdateItem"]


async def test_updates_by_query_of_racing_writers_lose_nothing(backend: Backend) -> None:
    await backend.create_many([Account(id=number, city="x", stars=0) for number in range(5)])
    query = backend.query(Account).filter(city="x")

    counts = await asyncio.gather(*(query.update(stars=F("stars") * 1 + 1) for _ in range(6)))

    assert counts == [5] * 6
    assert [account.stars for account in await query.filter(stars=6)] == [6] * 5


async def test_create_many_says_what_was_written(backend: Backend) -> None:
    await backend.create(Account(id=150))
    records = [Account(id=number) for number in range(250)]

    with pytest.raises(DuplicateKeyError) as failed:
        await backend.create_many(records)

    assert list(failed.value.written) == list(range(100))
    assert [holdall.is_stored(record) for record in records] == [number < 100 for number in range(250)]
    assert await backend.query(Account).allow_scan().count() == 101


async def test_create_many_refuses_what_repeats_before_it_writes(backend: Backend) -> None:
    for records in ([Account(id=1), Account(id=1)], [Account(id=1, email="x"), Account(id=2, email="x")]):
        with pytest.raises(DuplicateKeyError):
            await backend.create_many(records)
    assert await backend.query(Account).allow_scan().count() == 0
    await backend.create_many([Account(id=number, email=f"{number}" if number % 2 else None) for number in range(120)])
    assert await backend.query(Account).allow_scan().count() == 120


async def test_a_stale_object_without_version_moves_the_right_index_entry(backend: Backend) -> None:
    """What it believes of the other field of the index is out of date."""
    record = await backend.create(Loose(id=1, city="London", stars=1))
    other = await backend.get(Loose, 1)
    other.city = "Paris"
    await backend.save(other)

    record.stars = 5
    await backend.save(record)

    assert [(found.city, found.stars) for found in await backend.query(Loose).filter(city="Paris", stars=5)] == [("Paris", 5)]
    assert await backend.query(Loose).filter(city="London").count() == 0


async def test_a_reservation_is_not_lost_to_a_record_that_was_made_anew(backend: Backend) -> None:
    """Both are at version 1, so that the version alone would not tell."""
    old = await backend.create(Account(id=1, email="old"))
    await backend.delete(await backend.get(Account, 1))
    await backend.create(Account(id=1, email="new"))

    old.email = "third"
    await backend.save(old)

    assert (await backend.get(Account, 1)).email == "third"
    await backend.create(Account(id=2, email="new"))
    await backend.create(Account(id=3, email="old"))
    with pytest.raises(DuplicateKeyError):
        await backend.create(Account(id=4, email="third"))


async def test_clear_and_delete_by_query_give_up_unique_values(backend: Backend) -> None:
    await backend.create_many([Loose(id=number, email=str(number), city="x") for number in range(3)])
    assert await backend.query(Loose).filter(city="x", id__lt=2).delete() == 2
    assert await reservations(backend) == {"2": 2}
    await backend.clear(Loose)
    assert await reservations(backend) == {}


async def test_a_batch_tells_the_reason_of_each_write(backend: Backend) -> None:
    await backend.create(Account(id=1, email="x"))
    stale = await backend.get(Account, 1)
    await backend.query(Account).filter(id=1).update(city="y")
    stale.city = "z"

    with pytest.raises(DuplicateKeyError) as failed:
        async with backend.write_batch() as batch:
            batch.create(Account(id=2))
            batch.create(Account(id=3, email="x"))
            batch.save(stale)

    assert [type(reason) for reason in failed.value.reasons] == [type(None), DuplicateKeyError, ConflictError]
    assert failed.value.fields == ("email",)
    assert await backend.get_or_none(Account, 2) is None


async def test_unique_values_are_swapped_in_a_batch(backend: Backend) -> None:
    one, two = await backend.create_many([Loose(id=1, email="a"), Loose(id=2, email="b")])
    async with backend.write_batch() as batch:
        one.email, two.email = "b", "a"
        batch.save(one)
        batch.save(two)
    assert await reservations(backend) == {"b": 1, "a": 2}
    assert [found and found.email for found in await backend.get_many(Loose, [1, 2])] == ["b", "a"]


async def test_two_writes_of_a_batch_that_take_one_unique_value_are_refused(backend: Backend) -> None:
    giver, other = await backend.create_many([Loose(id=1, email="a"), Loose(id=2, email="b")])
    giver.email, other.email = "c", "a"
    before = backend.store.stats()["requests"]

    with pytest.raises(DuplicateKeyError) as failed:
        async with backend.write_batch() as batch:
            batch.save(giver)
            batch.save(other)
            batch.create(Loose(id=3, email="a"))

    assert backend.store.stats()["requests"] == before
    assert [type(reason) for reason in failed.value.reasons] == [type(None), type(None), DuplicateKeyError]
    assert (failed.value.fields, failed.value.values) == (("email",), ("a",))
    assert await reservations(backend) == {"a": 1, "b": 2}
    for write in ("create", "upsert"):
        with pytest.raises(DuplicateKeyError):
            async with backend.write_batch() as batch:
                getattr(batch, write)(Loose(id=4, email="d"))
                getattr(batch, write)(Loose(id=5, email="d"))
    giver.email = other.email = "d"
    with pytest.raises(DuplicateKeyError):
        async with backend.write_batch() as batch:
            batch.save(giver)
            batch.save(other)
    assert await backend.query(Loose).allow_scan().count() == 2


async def test_a_batch_knows_at_last_what_its_upserts_give_up(backend: Backend) -> None:
    """That the first record is there, and holds the value that the second takes, is known only after the first attempt."""
    _, two = await backend.create_many([Loose(id=1, email="a"), Loose(id=2, email="b")])
    two.email = "a"
    async with backend.write_batch() as batch:
        batch.upsert(Loose(id=1, email="c"))
        batch.save(two)
    assert await reservations(backend) == {"c": 1, "a": 2}


async def test_two_records_of_a_batch_that_believe_to_hold_one_value_are_removed(backend: Backend) -> None:
    stale = await backend.create(Loose(id=1, email="a"))
    await backend.query(Loose).filter(id=1).update(email="b")
    holder = await backend.create(Loose(id=2, email="a"))
    async with backend.write_batch() as batch:
        batch.delete(stale)
        batch.delete(holder)
        batch.create(Loose(id=3, email="a"))
    assert await reservations(backend) == {"a": 3}
    assert [found.id for found in await backend.query(Loose).allow_scan()] == [3]


@pytest.mark.parametrize("what", ["delete", "update"])
async def test_a_batch_that_read_too_soon_leaves_no_unique_value_behind(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The record comes into being after the batch has looked for it."""
    store: Any = backend.store
    transport = await store._links.get().open()
    real = transport.call

    async def call(target: str, body: dict[str, Any]) -> Any:
        answer = await real(target, body)
        if target == "GetItem":
            monkeypatch.setattr(transport, "call", real)
            await backend.create(Loose(id=1, email="a"))
        return answer

    monkeypatch.setattr(transport, "call", call)
    async with backend.write_batch() as batch:
        getattr(batch, what)(Loose(id=1, email=None))

    assert await reservations(backend) == {}
    assert [found.email for found in await backend.query(Loose).allow_scan()] == ([] if what == "delete" else [None])


async def test_batches_that_race_apply_all_or_nothing(backend: Backend) -> None:
    await backend.create_many([Account(id=number, balance=Decimal(100)) for number in range(4)])

    async def transfer(seed: int) -> None:
        random = Random(seed)
        for _ in range(8):
            one, two = random.sample(range(4), 2)
            giver, taker = await backend.get(Account, one), await backend.get(Account, two)
            giver.balance -= 10
            taker.balance += 10
            try:
                async with backend.write_batch() as batch:
                    batch.save(giver)
                    batch.save(taker)
            except (ConflictError, SerializationError):
                continue

    await asyncio.gather(*(transfer(seed) for seed in range(6)))

    accounts = await backend.query(Account).allow_scan()
    assert sum(account.balance for account in accounts) == 400
    assert sum(account.version - 1 for account in accounts) % 2 == 0


async def test_a_read_only_backend_refuses_writes_of_every_kind(opened: OpenBackend, dynamodb_url: str) -> None:
    async with opened(Account) as writer, holdall.open(dynamodb_url, read_only=True) as reader:
        await writer.create(Account(id=2))
        for write in (reader.create(Account(id=1)), reader.query(Account).filter(id=1).delete(), reader.initialize(Account)):
            with pytest.raises(HoldallError, match="read_only"):
                await write
        with pytest.raises(HoldallError, match="read_only"):
            reader.write_batch()
        assert await reader.get_or_none(Account, 1) is None
        with pytest.raises(UnsupportedOperation, match="read_only"):
            await reader.store.execute(Delete(model_info(Account), (2,), None))


async def test_tables_have_names_that_the_service_takes(opened: OpenBackend) -> None:
    class Awkward(Model):
        select: int = Field(primary_key=True)
        group: int | None = Field(default=None, name="it's `a` #x", index=True)

        class Meta:
            name = "ß by"

    class Short(Model):
        id: int = Field(primary_key=True)

        class Meta:
            name = "a"

    async with opened(Awkward, Short) as backend:
        await backend.create(Awkward(select=1, group=2))
        await backend.create(Short(id=1))
        assert [found.select for found in await backend.query(Awkward).filter(group=2)] == [1]


async def test_a_scratch_is_a_prefix_of_its_own_and_leaves_nothing(dynamodb_url: str) -> None:
    settings: Any = holdall.open(dynamodb_url).settings
    scratch = await DESCRIPTOR.make_scratch(settings)
    async with Backend(DESCRIPTOR.make(scratch), scratch) as backend:
        await backend.initialize(Account, Loose)
        await backend.create(Account(id=1, email="x"))
        store: Any = backend.store
        transport = await store._links.get().open()
        assert len(await names_of(transport, scratch.table_prefix)) == 4

        await DESCRIPTOR.remove_scratch(settings, scratch)

        assert await names_of(transport, scratch.table_prefix) == []


async def test_initialize_refuses_a_table_that_is_another(opened: OpenBackend, dynamodb_url: str) -> None:
    class Keyed(Model):
        id: str = Field(primary_key=True)

        class Meta:
            name = "changed"

    class Indexed(Model):
        id: int = Field(primary_key=True)
        city: str = Field(default="", index=True)

        class Meta:
            name = "changed"

    class Plain(Model):
        id: int = Field(primary_key=True)

        class Meta:
            name = "changed"

    async with opened(Plain) as backend:
        for model, kind in ((Keyed, "table"), (Indexed, "index")):
            with pytest.raises(ConfigurationError, match="changes no table"):
                await backend.initialize(model)
            assert [difference.kind for difference in await backend.check(model)] == [kind]
        assert await backend.check(Plain) == []


async def test_a_unique_value_that_always_has_an_owner_is_always_found(backend: Backend) -> None:
    """It moves to another record between the two requests of a read."""
    one, two = await backend.create_many([Loose(id=1, email="a"), Loose(id=2, email="b")])
    ended = asyncio.Event()

    async def swap() -> None:
        for _ in range(60):
            one.email, two.email = two.email, one.email
            async with backend.write_batch() as batch:
                batch.save(one)
                batch.save(two)
        ended.set()

    async def read() -> None:
        query = backend.query(Loose).filter(email="a")
        while not ended.is_set():
            assert (await query.one()).email == "a"
            assert await query.count() == 1
            assert [found.email async for found in query.stream()] == ["a"]

    await asyncio.gather(swap(), *(read() for _ in range(6)))
