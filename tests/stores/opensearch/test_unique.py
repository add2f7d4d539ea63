"""Unique fields are kept by reservations: one winner in every race, and what a writer that died has left is taken over."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any
from uuid import UUID

import pytest

import holdall
from holdall import Backend, ConfigurationError, DuplicateKeyError, F, Field, Index, Model
from holdall.record.metadata import model_info
from holdall.stores.opensearch.mapping import shape_of
from holdall.stores.opensearch.unique import Held, Reservations, claims_of
from tests.stores.opensearch.conftest import Ask


class Account(Model):
    id: int = Field(primary_key=True)
    email: str | None = Field(default=None, unique=True)
    row: int = 0
    place: UUID | None = None
    version: int = Field(default=1, version=True)

    class Meta:
        indexes = (Index("row", "place", unique=True),)


MODELS = (Account,)


@pytest.fixture
async def hasty(opensearch_url: str, backend: Backend) -> AsyncGenerator[Backend]:
    """The same indexes, with a grace of almost nothing."""
    assert backend.capabilities
    async with holdall.open(opensearch_url, unique_grace=0.05) as opened:
        yield opened


async def reserve(ask: Ask, backend: Backend, account: Account) -> None:
    """Do the first half of a create: what a process has done that died then."""
    info = model_info(Account)
    shape = shape_of(info)
    row = (account.id, account.email, account.row, account.place, account.version)
    for claim in claims_of(shape, row).values():
        body = {"owner": shape.id_of((account.id,)), "token": "lost", "at": 0}
        prefix = backend.settings.prefix  # type: ignore[attr-defined]
        await ask("PUT", f"/{prefix}account~unique/_doc/{claim.id}?refresh=true", body)


async def reservations(ask: Ask, backend: Backend) -> int:
    prefix = backend.settings.prefix  # type: ignore[attr-defined]
    await ask("POST", f"/{prefix}account~unique/_refresh")
    return int((await ask("GET", f"/{prefix}account~unique/_count"))["count"])


async def test_one_of_many_creates_at_once_wins(backend: Backend) -> None:
    for number in range(5):
        accounts = [Account(id=100 * number + place, email=f"{number}@example.org") for place in range(20)]

        results = await asyncio.gather(*map(backend.create, accounts), return_exceptions=True)

        assert sum(isinstance(result, Account) for result in results) == 1
        assert sum(isinstance(result, DuplicateKeyError) and result.fields == ("email",) for result in results) == 19
    assert await backend.query(Account).count() == 5


async def test_what_a_dead_writer_reserved_is_taken_over_by_one(hasty: Backend, ask: Ask) -> None:
    await reserve(ask, hasty, Account(id=999, email="a@example.org"))

    results = await asyncio.gather(*(hasty.create(Account(id=place, email="a@example.org")) for place in range(10)), return_exceptions=True)

    assert sum(isinstance(result, Account) for result in results) == 1
    assert [account.email for account in await hasty.query(Account)] == ["a@example.org"]


async def test_the_dead_writer_itself_may_create_again(backend: Backend, ask: Ask) -> None:
    account = Account(id=1, email="a@example.org")
    await reserve(ask, backend, account)

    await backend.create(account)

    assert await backend.get(Account, 1) == account


async def test_a_value_is_free_again_after_a_change_or_a_delete(backend: Backend, ask: Ask) -> None:
    first = await backend.create(Account(id=1, email="a"))
    with pytest.raises(DuplicateKeyError):
        await backend.create(Account(id=2, email="a"))
    first.email = "b"
    await backend.save(first)
    second = await backend.create(Account(id=2, email="a"))
    with pytest.raises(DuplicateKeyError):
        second.email = "b"
        await backend.save(second)
    await backend.delete(first)
    await backend.save(second)
    await backend.query(Account).filter(email="b").delete()
    await backend.create(Account(id=3, email="b"))
    assert await backend.delete_many([Account(id=3)]) == 1

    assert await reservations(ask, backend) == 0


async def test_a_failed_write_leaves_no_reservation(backend: Backend, ask: Ask) -> None:
    await backend.create(Account(id=1, email="a", place=UUID(int=1)))
    before = await reservations(ask, backend)

    for account in (Account(id=1, email="new"), Account(id=2, email="new", place=UUID(int=1))):
        with pytest.raises(DuplicateKeyError):
            await backend.create(account)
    with pytest.raises(DuplicateKeyError):
        await backend.create_many([Account(id=3, email="x"), Account(id=4, email="a")])
    with pytest.raises(DuplicateKeyError):
        await backend.create_many([Account(id=5, email="y"), Account(id=6, email="y")])

    assert await reservations(ask, backend) == before
    assert await backend.query(Account).count() == 1


async def test_a_create_of_a_record_that_is_there_leaves_its_values_reserved(backend: Backend) -> None:
    await backend.create(Account(id=1, email="a"))

    with pytest.raises(DuplicateKeyError) as one:
        await backend.create(Account(id=1, email="a"))
    with pytest.raises(DuplicateKeyError) as many:
        await backend.create_many([Account(id=1, email="a"), Account(id=2, email="b")])

    assert one.value.fields == many.value.fields == ("id",)
    with pytest.raises(DuplicateKeyError) as other:
        await backend.create(Account(id=2, email="a"))
    assert other.value.fields == ("email",)


async def test_creates_of_the_same_record_at_once_leave_its_values_reserved(backend: Backend) -> None:
    for number in range(10):
        account = Account(id=number, email=f"{number}@example.org")

        results = await asyncio.gather(*(backend.create(account.model_copy()) for _ in range(5)), return_exceptions=True)

        assert sum(isinstance(result, Account) for result in results) == 1
        with pytest.raises(DuplicateKeyError):
            await backend.create(Account(id=100 + number, email=account.email))


async def test_updates_of_the_same_record_at_once_leave_its_values_reserved(backend: Backend) -> None:
    await backend.create_many([Account(id=number, email=f"old {number}") for number in range(5)])
    for number in range(5):
        await asyncio.gather(
            *(backend.query(Account).filter(id=number).update(email=f"new {number}") for _ in range(4)), return_exceptions=True
        )

        assert (await backend.get(Account, number)).email == f"new {number}"
        with pytest.raises(DuplicateKeyError):
            await backend.create(Account(id=100 + number, email=f"new {number}"))
        await backend.create(Account(id=200 + number, email=f"old {number}"))


async def test_a_release_goes_on_when_its_task_is_cancelled(backend: Backend, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    await backend.create(Account(id=1, email="a"))
    before = await reservations(ask, backend)
    begun = asyncio.Event()
    release = Reservations._release

    async def told(self: Reservations, held: Sequence[Held]) -> None:
        begun.set()
        await asyncio.sleep(0)
        await release(self, held)

    monkeypatch.setattr(Reservations, "_release", told)
    task = asyncio.create_task(backend.create(Account(id=1, email="new")))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    monkeypatch.undo()

    await asyncio.wait_for(backend.create(Account(id=2, email="new")), 5)
    await backend.delete(Account(id=2, email="new"))
    assert await reservations(ask, backend) == before


async def test_get_or_create_makes_one_though_searches_lag(opensearch_url: str, backend: Backend) -> None:
    assert backend.capabilities
    async with holdall.open(opensearch_url.replace("refresh=wait_for", "refresh=")) as lagging:
        found = await asyncio.gather(
            *(lagging.get_or_create(Account, {"email": "a"}, defaults={"id": number}) for number in range(20)),
        )

    assert sum(created for _, created in found) == 1
    assert len({account.id for account, _ in found}) == 1


async def test_an_update_by_query_of_a_unique_field_is_checked(backend: Backend) -> None:
    await backend.create_many([Account(id=1, email="a"), Account(id=2, email="b")])

    with pytest.raises(DuplicateKeyError):
        await backend.query(Account).update(email="c")
    assert await backend.query(Account).filter(id=2).update(email="d") == 1

    assert (await backend.get(Account, 2)).version == 2


async def test_a_writer_slower_than_the_grace_gives_way(hasty: Backend, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks again after its write, and removes its record when another one has taken its value over meanwhile."""
    from holdall.stores.opensearch import writing  # noqa: PLC0415

    create = writing._create
    winner = Account(id=2, email="a")

    async def slow(requests: object, row: tuple[object, ...]) -> None:
        if row[0] == 1:
            await asyncio.sleep(0.1)  # past the grace: the thing that is tested
            await hasty.create(winner)
        await create(requests, row)  # type: ignore[arg-type]

    monkeypatch.setattr(writing, "_create", slow)
    with pytest.raises(DuplicateKeyError):
        await hasty.create(Account(id=1, email="a"))

    assert [account.id for account in await hasty.query(Account)] == [2]
    assert await reservations(ask, hasty) == 1


async def test_an_update_slower_than_the_grace_gives_way(hasty: Backend, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks again after its write, and puts the record back as it was."""
    account = await hasty.create(Account(id=1, email="old", place=UUID(int=1)))
    before = await hasty.get(Account, 1)
    owned = Reservations.owned

    async def slow(self: Reservations, pairs: Any) -> list[Held]:
        monkeypatch.setattr(Reservations, "owned", owned)
        found = await owned(self, pairs)
        await asyncio.sleep(0.1)  # past the grace: the thing that is tested
        await hasty.create(Account(id=2, email="new"))
        return found

    monkeypatch.setattr(Reservations, "owned", slow)
    account.email = "new"
    account.place = UUID(int=2)
    with pytest.raises(DuplicateKeyError) as raised:
        await hasty.save(account)

    assert raised.value.fields == ("email",)
    assert await hasty.get(Account, 1) == before
    assert await reservations(ask, hasty) == 3
    for taken in (Account(id=3, email="old"), Account(id=3, place=UUID(int=1))):
        with pytest.raises(DuplicateKeyError):
            await hasty.create(taken)
    await hasty.create(Account(id=3, place=UUID(int=2)))


class Before(Model):
    """The same records, before anything was unique."""

    id: int = Field(primary_key=True)
    email: str | None = None
    row: int = 0
    place: UUID | None = None
    version: int = Field(default=1, version=True)

    class Meta:
        name = "account"


async def test_records_that_were_there_before_their_fields_became_unique_are_reserved(backend: Backend, ask: Ask) -> None:
    await backend.drop(Account)
    await backend.initialize(Before)
    await backend.create_many([Before(id=number, email=f"{number}", place=UUID(int=number)) for number in range(1500)])
    assert [difference.kind for difference in await backend.check(Account)] == ["table"]

    await asyncio.gather(*(backend.initialize(Account) for _ in range(3)))

    assert await backend.check(Account) == []
    assert await reservations(ask, backend) == 3000
    for taken in (Account(id=2000, email="7"), Account(id=2000, place=UUID(int=1400))):
        with pytest.raises(DuplicateKeyError):
            await backend.create(taken)


async def test_records_that_are_equal_cannot_become_unique(hasty: Backend) -> None:
    await hasty.create_many([Account(id=1, email="a"), Account(id=2, email="b")])
    await hasty.initialize(Before)
    await hasty.query(Before).filter(id=2).update(email="a")
    assert [difference.kind for difference in await hasty.check(Account)] == ["constraint", "constraint"]

    with pytest.raises(ConfigurationError, match=r"email.*'a'.*change one"):
        await hasty.initialize(Account)

    await hasty.query(Before).filter(id=1).update(email="c")
    await hasty.initialize(Account)
    assert await hasty.check(Account) == []
    for taken in ("a", "c"):
        with pytest.raises(DuplicateKeyError):
            await hasty.create(Account(id=3, email=taken))
    await hasty.create(Account(id=3, email="b"))


async def test_updates_by_query_of_unique_fields_are_exact_while_others_write(backend: Backend) -> None:
    await backend.create_many([Account(id=number, row=0, place=UUID(int=number)) for number in range(3)])

    changed = await asyncio.gather(*(backend.query(Account).filter(row__lt=9).update(row=F("row") + 1) for _ in range(12)))

    assert [(account.row, account.version) for account in await backend.query(Account)] == [(9, 10)] * 3
    assert sum(changed) == 27
