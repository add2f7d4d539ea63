"""``write_batch()``: several writes as one, on stores with sessions and on those without."""

from __future__ import annotations

import holdall
from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import ConflictError, DuplicateKeyError, HoldallError, NotFoundError, QueryError
from holdall.record.record import Record
from holdall.testing.suite_checks import Checks, expect, expect_at_once
from holdall.testing.suite_models import Member, Plain, Versioned
from holdall.testing.suite_refusals import sealed
from holdall.write_batch import WriteBatch

C = Capability
CHECKS = Checks()
NEEDS = (C.WRITE_BATCH,)


class _Changed(Exception):
    """The user's own error."""


@CHECKS.of(Plain, Versioned, needs=NEEDS)
async def test_a_batch_writes_everything_at_its_end(backend: Backend) -> None:
    """Of several models; the objects then know that they are stored."""
    kept = await backend.create(Versioned(id=1))
    gone = await backend.create(Plain(id=1))
    new = Plain(id=2, name="new")

    async with backend.write_batch() as batch:
        kept.name = "changed"
        batch.save(kept)
        batch.create(new)
        batch.delete(gone)
        assert await backend.get_or_none(Plain, 2) is None
        assert not holdall.is_stored(new)

    assert await backend.get(Versioned, 1) == kept
    assert (kept.version, kept.name) == (2, "changed")
    assert await backend.get(Plain, 2) == new
    assert (holdall.is_stored(new), holdall.is_stored(gone), holdall.changes(new)) == (True, False, {})
    assert await backend.get_or_none(Plain, 1) is None


@CHECKS.of(Plain, Versioned, needs=NEEDS)
async def test_a_batch_of_which_one_write_fails_writes_nothing(backend: Backend) -> None:
    """The error is that of the write, and says which it was."""
    stale = await backend.create(Versioned(id=1, name="a"))
    other = await backend.get(Versioned, 1)
    other.number = 5
    await backend.save(other)
    taken = await backend.create(Plain(id=1, name="first"))
    lost = await backend.create(Plain(id=9))
    await backend.delete(Plain(id=9))
    lost.name = "late"
    stale.name = "b"

    cases: list[tuple[type[HoldallError], str, object]] = [
        (DuplicateKeyError, "create", Plain(id=1, name="second")),
        (ConflictError, "save", stale),
        (ConflictError, "delete", stale),
        (NotFoundError, "save", lost),
    ]
    for kind, method, record in cases:
        new = Plain(id=2)
        error = await expect(kind, _write_both(backend.write_batch(), new, method, record))
        assert [type(reason) for reason in error.reasons] == [type(None), kind], method
        assert not holdall.is_stored(new)
        assert await backend.get_or_none(Plain, 2) is None, method
    assert await backend.get(Plain, 1) == taken
    assert (stale.version, stale.name, await backend.get(Versioned, 1)) == (1, "b", other)


async def _write_both(block: WriteBatch, new: Record, method: str, record: object) -> None:
    async with block as batch:
        batch.create(new)
        getattr(batch, method)(record)


@CHECKS.of(Plain, needs=NEEDS)
async def test_a_block_that_raises_sends_nothing(backend: Backend) -> None:
    """And an empty one does no I/O."""

    async def raise_inside() -> None:
        async with backend.write_batch() as batch:
            batch.create(Plain(id=1))
            raise _Changed

    await expect(_Changed, raise_inside())
    assert await backend.get_or_none(Plain, 1) is None
    async with sealed(backend).write_batch():
        pass


@CHECKS.of(Plain, needs=NEEDS)
async def test_a_batch_sends_the_values_of_the_moment_of_the_call(backend: Backend) -> None:
    """What is edited afterwards is a change of the object."""
    record = await backend.create(Plain(id=1, name="a"))
    async with backend.write_batch() as batch:
        record.name = "b"
        batch.save(record)
        record.name = "c"
        expect_at_once(QueryError, lambda: batch.save(record))
        expect_at_once(QueryError, lambda: batch.delete(Plain(id=1)))

    assert (await backend.get(Plain, 1)).name == "b"
    assert holdall.changes(record) == {"name": ("b", "c")}
    expect_at_once(QueryError, lambda: batch.create(Plain(id=2)))


@CHECKS.of(Plain, needs=NEEDS)
async def test_a_delete_of_what_is_gone_is_no_failure_of_a_batch(backend: Backend) -> None:
    """As it is none by itself."""
    gone = await backend.create(Plain(id=1))
    await backend.delete(Plain(id=1))

    async with backend.write_batch() as batch:
        batch.delete(gone)
        batch.create(Plain(id=2))

    assert await backend.get_or_none(Plain, 2) is not None
    assert not holdall.is_stored(gone)


@CHECKS.of(Member, needs=(C.WRITE_BATCH, C.FILTER))
async def test_unique_values_change_hands_within_a_batch(backend: Backend) -> None:
    """One record gives up what another takes; and a value that is taken is a duplicate."""
    first, second = await backend.create_many([Member(id=1, email="a", row=1, place=1), Member(id=2, row=2)])
    async with backend.write_batch() as batch:
        first.email = None
        batch.save(first)
        second.email = "a"
        batch.save(second)
    assert [found.id for found in await backend.query(Member).filter(email="a")] == [2]

    third = Member(id=3, email="a")
    error = await expect(DuplicateKeyError, _write_both(backend.write_batch(), third, "create", Member(id=4)))
    assert (error.model, error.fields) == ("Member", ("email",))
    assert await backend.get_or_none(Member, 4) is None


@CHECKS.of(Plain, Versioned, needs=NEEDS)
async def test_a_batch_takes_writes_of_every_kind(backend: Backend) -> None:
    """Awaited or not; an upsert tells the version that it has found."""
    old = await backend.create(Versioned(id=1, name="old"))
    gone = await backend.create_many([Plain(id=1), Plain(id=2)])
    over, new = Versioned(id=1, name="over"), Versioned(id=2, name="new")

    async with backend.write_batch() as batch:
        assert await batch.upsert(over) is over
        assert await batch.upsert(new) is new
        assert len(await batch.create_many([Plain(id=3), Plain(id=4)])) == 2
        await batch.delete_many(gone)
        assert await batch.update(await backend.create(Plain(id=5))) is not None

    assert (over.version, new.version, over.made) == (2, 1, old.made)
    assert [await backend.get(Versioned, key) for key in (1, 2)] == [over, new]
    found = await backend.get_many(Plain, [1, 2, 3, 4, 5])
    assert [plain and plain.id for plain in found] == [None, None, 3, 4, 5]
