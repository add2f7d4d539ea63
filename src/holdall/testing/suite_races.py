"""Many at once: races for one key have one winner, and a cancelled call leaves all or nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import ConflictError, DuplicateKeyError
from holdall.query.expressions import F
from holdall.testing.suite_checks import Checks
from holdall.testing.suite_models import Member, Plain, Ticket, Versioned

C = Capability
CHECKS = Checks()
RUNNERS = 20


async def count_winners(attempts: list[Awaitable[object]], *losing: type[BaseException]) -> int:
    """Return how many attempts succeeded; the others must fail in the ways given."""
    results = await asyncio.gather(*attempts, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, losing):
            raise result
    return sum(not isinstance(result, BaseException) for result in results)


@CHECKS.of(Plain)
async def test_creates_that_race_for_one_key_have_one_winner(backend: Backend) -> None:
    """The others are told."""
    attempts: list[Awaitable[object]] = [backend.create(Plain(id=1, number=number)) for number in range(RUNNERS)]

    assert await count_winners(attempts, DuplicateKeyError) == 1
    assert len(await backend.query(Plain)) == 1


@CHECKS.of(Member)
async def test_creates_that_race_for_one_unique_value_have_one_winner(backend: Backend) -> None:
    """R15."""
    attempts: list[Awaitable[object]] = [backend.create(Member(id=number, email="x", row=number)) for number in range(RUNNERS)]

    assert await count_winners(attempts, DuplicateKeyError) == 1
    assert len(await backend.query(Member)) == 1


@CHECKS.of(Member, needs=(C.FILTER, C.ORDER))
async def test_get_or_create_makes_one_record_under_load(backend: Backend) -> None:
    """And everybody gets it."""
    calls = [backend.get_or_create(Member, {"email": "x"}, defaults={"id": number, "row": number}) for number in range(RUNNERS)]
    results = await asyncio.gather(*calls)

    assert sum(made for _, made in results) == 1
    assert len({found.id for found, _ in results}) == 1


@CHECKS.of(Versioned)
async def test_upserts_that_race_all_count(backend: Backend) -> None:
    """Each version is given once."""
    records = await asyncio.gather(*(backend.upsert(Versioned(id=1, number=number)) for number in range(RUNNERS)))

    assert sorted(record.version for record in records) == list(range(1, RUNNERS + 1))
    stored = await backend.get(Versioned, 1)
    assert stored.version == RUNNERS
    assert stored.number == next(record.number for record in records if record.version == RUNNERS)


@CHECKS.of(Versioned, needs=(C.FILTER, C.COUNT))
async def test_saves_of_one_version_have_one_winner(backend: Backend) -> None:
    """R19."""
    await backend.create(Versioned(id=1))
    copies = [await backend.get(Versioned, 1) for _ in range(RUNNERS)]
    for number, record in enumerate(copies, 1):
        record.number = number

    assert await count_winners([backend.save(record) for record in copies], ConflictError) == 1
    assert (await backend.get(Versioned, 1)).version == 2


@CHECKS.of(Plain, needs=(C.UPDATE_WHERE, C.EXPRESSIONS))
async def test_computed_updates_lose_nothing(backend: Backend) -> None:
    """Each adds to what the one before has left."""
    await backend.create(Plain(id=1))

    assert await asyncio.gather(*(backend.query(Plain).update(number=F("number") + 1) for _ in range(RUNNERS))) == [1] * RUNNERS
    assert (await backend.get(Plain, 1)).number == RUNNERS


@CHECKS.of(Ticket)
async def test_generated_keys_are_distinct_under_load(backend: Backend) -> None:
    """Each belongs to its record."""
    records = await asyncio.gather(*(backend.create(Ticket(title=str(number))) for number in range(RUNNERS)))

    assert len({record.id for record in records}) == RUNNERS
    for record in records:
        assert (await backend.get(Ticket, record.id)).title == record.title


@CHECKS.of(Plain)
async def test_reads_at_once_are_each_ones_own(backend: Backend) -> None:
    """However they are sent."""
    await backend.create_many([Plain(id=number, number=number) for number in range(5)])
    found = await asyncio.gather(*(backend.get_or_none(Plain, number % 6) for number in range(60)))

    assert [record and record.number for record in found] == [None if number % 6 == 5 else number % 6 for number in range(60)]
    assert len({id(record) for record in found if record is not None}) == 50


@CHECKS.of(Plain)
async def test_a_cancelled_write_is_whole_or_not_there(backend: Backend) -> None:
    """And the backend goes on."""
    for steps in range(12):
        task = asyncio.create_task(backend.create_many([Plain(id=steps * 2), Plain(id=steps * 2 + 1)]))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await backend.upsert(Plain(id=1000, number=steps))

    found = {record.id for record in await backend.query(Plain)} - {1000}
    assert all((number ^ 1) in found for number in found), f"half of a cancelled write is stored: {sorted(found)}"
    assert (await backend.get(Plain, 1000)).number == 11
