"""Batches beside sessions: within one they are a part of it, and elsewhere they are one."""

import pytest

import holdall
from holdall import Backend, DuplicateKeyError, Field, Model, QueryError, UnsupportedOperation
from holdall.testing import pinned


class Item(Model):
    id: int = Field(primary_key=True)
    name: str = Field(default="", max_length=5)
    version: int = Field(default=1, version=True)

    class Meta:
        name = "batch_item"


class Ticket(Model):
    id: int | None = Field(default=None, primary_key=True, generated=True)

    class Meta:
        name = "batch_ticket"


MODELS = (Item, Ticket)


class _Undone(Exception):
    """The user's own error."""


async def test_a_batch_in_a_session_is_rolled_back_with_it(backend: Backend) -> None:
    item = Item(id=1)
    with pytest.raises(_Undone):
        async with backend.session():
            async with backend.write_batch() as batch:
                batch.create(item)
            assert await backend.get_or_none(Item, 1) is not None
            raise _Undone

    assert await backend.get_or_none(Item, 1) is None
    assert not holdall.is_stored(item)


async def test_a_batch_that_fails_in_a_session_leaves_the_rest_of_it(backend: Backend) -> None:
    await backend.create(Item(id=2))
    first, second = Item(id=1), Item(id=2)

    async with backend.session() as session:
        await session.create(Item(id=3))
        with pytest.raises(DuplicateKeyError):
            async with backend.write_batch() as batch:
                batch.create(first)
                batch.create(second)
        await session.create(Item(id=4))

    assert sorted(found.id for found in await backend.query(Item)) == [2, 3, 4]
    assert not holdall.is_stored(first)


async def test_generated_keys_are_filled_when_the_batch_is_sent(backend: Backend) -> None:
    one, two = Ticket(), Ticket()
    async with backend.write_batch() as batch:
        batch.create(one)
        batch.create(two)
        before = (one.id, two.id)

    assert before == (None, None)
    assert isinstance(one.id, int)
    assert {ticket.id for ticket in await backend.query(Ticket)} == {one.id, two.id}


async def test_a_block_is_entered_once(backend: Backend) -> None:
    block = backend.write_batch()
    with pytest.raises(QueryError, match="inside its block"):
        block.create(Item(id=1))
    async with block:
        pass
    with pytest.raises(QueryError, match="entered before"):
        async with block:
            pass


async def test_a_batch_on_a_pinned_connection_is_rolled_back_at_the_end_of_the_test(backend: Backend, backend_url: str) -> None:
    if backend_url == "memory://":
        pytest.skip("another backend sees another memory")
    async with pinned(holdall.open(backend_url), *MODELS) as other:
        async with other.write_batch() as batch:
            batch.create(Item(id=1))
        assert (await other.get(Item, 1)).id == 1
        with pytest.raises(DuplicateKeyError):
            async with other.write_batch() as batch:
                batch.create(Item(id=2))
                batch.create(Item(id=1, name="again"))
        assert await other.get_or_none(Item, 2) is None

    assert await backend.get_or_none(Item, 1) is None


async def test_a_read_only_backend_refuses_a_batch(backend_url: str) -> None:
    with pytest.raises(UnsupportedOperation, match="read_only"):
        holdall.open(backend_url, read_only=True).write_batch()
