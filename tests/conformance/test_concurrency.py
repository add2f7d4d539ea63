"""Many tasks at once: nothing is lost, made twice, mixed up or kept waiting for ever."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncGenerator
from enum import Enum
from typing import Any

import pytest

import holdall
from holdall import (
    Backend,
    Capability,
    ConflictError,
    CorruptRecordError,
    DuplicateKeyError,
    F,
    Field,
    Model,
    NotFoundError,
    PoolTimeout,
    Session,
)
from holdall.errors import LockNotAvailable

SCALE = int(os.environ.get("HOLDALL_CONCURRENCY_ROUNDS", "1"))
TASKS = 50


class Counter(Model):
    id: int = Field(primary_key=True)
    value: int = 0
    version: int = Field(default=1, version=True)


class Member(Model):
    id: int | None = Field(default=None, primary_key=True, generated=True)
    email: str = Field(unique=True)
    visits: int = 0


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Choosy(Model):
    id: int = Field(primary_key=True)
    color: Color = Color.RED


MODELS = (Counter, Member, Choosy)
sql_only = pytest.mark.parametrize("backend_url", ["sqlite", "postgres", "mysql"], indirect=True)


@pytest.fixture
async def one(backend: Backend) -> Counter:
    return await backend.create(Counter(id=1))


async def value(backend: Backend, key: int = 1) -> int:
    return (await backend.get(Counter, key)).value


# -- one key ------------------------------------------------------------------------------------------------------------------------------


async def test_fifty_tasks_racing_to_get_or_create_make_one(backend: Backend) -> None:
    found = await asyncio.gather(*(backend.get_or_create(Member, {"email": "a@x"}, defaults={"visits": n}) for n in range(TASKS)))

    assert sum(created for _, created in found) == 1
    assert len({member.id for member, _ in found}) == 1
    assert await backend.query(Member).count() == 1


async def test_the_same_race_in_sessions_makes_one(backend: Backend) -> None:
    async def work() -> bool:
        async def once(session: Session) -> bool:
            _, created = await session.get_or_create(Member, {"email": "a@x"})
            return created

        return await backend.run(once)

    assert sum(await asyncio.gather(*(work() for _ in range(20)))) == 1
    assert await backend.query(Member).count() == 1


async def test_fifty_tasks_racing_to_upsert_make_one(backend: Backend) -> None:
    await asyncio.gather(*(backend.upsert(Counter(id=7, value=number)) for number in range(TASKS)))

    found = await backend.get(Counter, 7)
    assert await backend.query(Counter).count() == 1
    assert found.version == TASKS


async def test_fifty_tasks_racing_to_create_make_one(backend: Backend) -> None:
    results = await asyncio.gather(*(backend.create(Member(email="a@x")) for _ in range(TASKS)), return_exceptions=True)

    assert sum(isinstance(result, Member) for result in results) == 1
    assert sum(isinstance(result, DuplicateKeyError) for result in results) == TASKS - 1


async def test_generated_keys_are_never_given_twice(backend: Backend) -> None:
    members: list[Member] = []

    async def single(number: int) -> None:
        members.append(await backend.create(Member(email=f"s{number}")))

    async def bulk(number: int) -> None:
        members.extend(await backend.create_many([Member(email=f"b{number}-{place}") for place in range(20)]))

    await asyncio.gather(*(single(number) for number in range(TASKS)), *(bulk(number) for number in range(5)))

    assert len({member.id for member in members}) == TASKS + 100
    stored = {member.email: member.id for member in await backend.query(Member)}
    assert stored == {member.email: member.id for member in members}


async def test_counting_up_by_query_loses_nothing(backend: Backend, one: Counter) -> None:
    counts = await asyncio.gather(*(backend.query(Counter).filter(id=1).update(value=F("value") + 1) for _ in range(TASKS)))

    assert counts == [1] * TASKS
    assert await value(backend) == TASKS


async def test_stale_versions_are_refused_one_by_one(backend: Backend, one: Counter) -> None:
    copies = [await backend.get(Counter, 1) for _ in range(TASKS)]
    for copy in copies:
        copy.value += 1
    results = await asyncio.gather(*(backend.save(copy) for copy in copies), return_exceptions=True)

    assert sum(isinstance(result, Counter) for result in results) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == TASKS - 1
    assert await value(backend) == 1


async def test_optimistic_retries_lose_nothing(backend: Backend, one: Counter) -> None:
    async def add() -> None:
        while True:
            counter = await backend.get(Counter, 1)
            counter.value += 1
            try:
                await backend.save(counter)
            except ConflictError:
                continue
            return

    await asyncio.gather(*(add() for _ in range(15)))
    assert await value(backend) == 15


@pytest.mark.parametrize("isolation", [None, "repeatable read", "serializable"])
async def test_transfers_keep_their_sum_with_random_cancels(backend: Backend, isolation: Any) -> None:
    accounts = 6 if isolation is None else TASKS  # a conflict is a retry after a pause there
    await backend.create_many([Counter(id=number, value=100) for number in range(accounts)])
    chance = random.Random(7)

    async def transfer(session: Session, source: int, target: int, amount: int) -> None:
        for key in sorted((source, target)):
            await session.get(Counter, key, lock=isolation is None)
        await session.query(Counter).filter(id=source).update(value=F("value") - amount)
        await asyncio.sleep(0)
        await session.query(Counter).filter(id=target).update(value=F("value") + amount)

    async def client() -> None:
        for _ in range(3 * SCALE):
            source, target = chance.sample(range(accounts), 2)
            await backend.run(transfer, source, target, chance.randrange(50), isolation=isolation, retries=100)

    tasks = [asyncio.create_task(client()) for _ in range(TASKS)]
    for _ in range(15):
        await backend.query(Counter).count()
        chance.choice(tasks).cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
    assert sum(counter.value for counter in await backend.query(Counter)) == 100 * accounts
    if Capability.RAW_SQL in backend.capabilities:
        assert backend.engine.stats()["in_use"] == 0


async def test_readers_never_see_half_a_transaction(backend: Backend) -> None:
    await backend.create_many([Counter(id=1, value=50), Counter(id=2, value=50)])
    done = asyncio.Event()

    async def write() -> None:
        for number in range(20):
            async with backend.session() as session:
                await session.query(Counter).filter(id=1).update(value=50 - number)
                await asyncio.sleep(0)
                await session.query(Counter).filter(id=2).update(value=50 + number)
        done.set()

    async def read() -> int:
        reads = 0
        while not done.is_set():
            assert sum(counter.value for counter in await backend.query(Counter)) == 100
            reads += 1
            await asyncio.sleep(0)
        return reads

    reads, *_ = await asyncio.gather(read(), write())
    assert reads


# -- coalesced reads ------------------------------------------------------------------------------------------------------------------------


async def test_reads_of_one_turn_get_each_their_own(backend: Backend) -> None:
    await backend.create_many([Counter(id=number, value=number * 10) for number in range(20)])
    wanted = [random.Random(3).randrange(30) for _ in range(200)]
    found = await asyncio.gather(*(backend.get_or_none(Counter, key) for key in wanted))

    assert [None if item is None else item.value for item in found] == [key * 10 if key < 20 else None for key in wanted]
    same = await asyncio.gather(*(backend.get(Counter, 3) for _ in range(3)))
    same[0].value = -1
    assert [item.value for item in same] == [-1, 30, 30]
    assert holdall.changes(same[0]) == {"value": (30, -1)}
    assert holdall.changes(same[1]) == {}


async def test_a_missing_record_is_missing_for_its_own_reader_alone(backend: Backend, one: Counter) -> None:
    results = await asyncio.gather(*(backend.get(Counter, key) for key in (1, 99, 1, 98)), return_exceptions=True)

    assert [type(result) for result in results] == [Counter, NotFoundError, Counter, NotFoundError]
    assert [result.key for result in results if isinstance(result, NotFoundError)] == [99, 98]


async def test_a_cancelled_reader_takes_nobody_with_it(backend: Backend) -> None:
    await backend.create_many([Counter(id=number) for number in range(10)])
    for when in range(4):
        tasks = [asyncio.create_task(backend.get(Counter, number % 10)) for number in range(20)]
        for _ in range(when):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [result.id for result in results[1::2] if isinstance(result, Counter)] == [number % 10 for number in range(1, 20, 2)]
        for task in (tasks := [asyncio.create_task(backend.get(Counter, 1)) for _ in range(3)]):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait(tasks)
    assert (await backend.get(Counter, 1)).id == 1


@sql_only
async def test_a_corrupt_record_is_corrupt_for_its_own_reader_alone(backend: Backend) -> None:
    await backend.create_many([Choosy(id=number) for number in range(4)])
    await backend.engine.execute("update choosy set color = 'mauve' where id = 2")

    results = await asyncio.gather(*(backend.get(Choosy, number) for number in range(4)), return_exceptions=True)

    assert [type(result) for result in results] == [Choosy, Choosy, CorruptRecordError, Choosy]


async def test_an_error_is_each_readers_own(backend: Backend) -> None:
    await backend.drop(Counter)
    results = await asyncio.gather(*(backend.get(Counter, number % 3) for number in range(6)), return_exceptions=True)
    await backend.initialize(Counter)

    assert all(isinstance(result, holdall.HoldallError) for result in results)
    assert len({id(result) for result in results}) == 6


async def test_a_read_begun_after_a_write_sees_it(backend: Backend, one: Counter) -> None:
    for number in range(20):
        early = asyncio.create_task(backend.get(Counter, 1))
        await backend.query(Counter).filter(id=1).update(value=number)
        assert await value(backend) == number
        await early


async def test_reads_in_a_session_are_not_shared_with_others(backend: Backend, one: Counter) -> None:
    async with backend.session() as session:
        await session.query(Counter).update(value=5)
        with holdall.detach():
            reads = [asyncio.create_task(backend.get(Counter, 1)) for _ in range(3)]
        inside = await session.get(Counter, 1)
        outside = await asyncio.gather(*reads)
    assert inside.value == 5
    assert [counter.value for counter in outside] == [0, 0, 0]


# -- waiting --------------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def small(backend: Backend, backend_url: str, one: Counter) -> AsyncGenerator[Backend]:
    async with holdall.open(backend_url, pool_max_size=2, acquire_timeout=0.05) as small:
        yield small


@sql_only
async def test_a_pool_timeout_names_who_holds_the_connections(small: Backend) -> None:
    async def hold() -> None:
        async with small.session(isolation="repeatable read") as session:
            await session.get(Counter, 1)
            held.release()
            await finish.wait()

    held, finish = asyncio.Semaphore(0), asyncio.Event()
    tasks = [asyncio.create_task(hold(), name=f"request-{number}") for number in (1, 2)]
    for _ in tasks:
        await held.acquire()
    with pytest.raises(PoolTimeout) as caught:
        async with small.session(isolation="repeatable read") as session:
            await session.get(Counter, 1)
    finish.set()
    await asyncio.gather(*tasks)

    assert isinstance(caught.value, TimeoutError)
    assert sorted(line.split()[0] for line in caught.value.holders) == ["request-1", "request-2"]
    assert all("test_concurrency.py:" in line and "in hold for" in line for line in caught.value.holders)
    async with small.session(isolation="repeatable read") as session:
        await session.get(Counter, 1)


async def test_a_wait_for_the_right_to_write_ends(backend_url: str) -> None:
    if not backend_url.startswith("sqlite"):
        return
    async with holdall.open(backend_url, busy_timeout=0.05) as backend:
        await backend.initialize(Counter)
        await backend.create(Counter(id=1))
        async with backend.session() as session:
            await session.query(Counter).update(value=1)
            with holdall.detach(), pytest.raises(LockNotAvailable, match="held by"):
                await backend.query(Counter).update(value=2)
        await backend.query(Counter).update(value=3)
        assert await value(backend) == 3


@sql_only
async def test_a_session_that_has_committed_pins_nothing(small: Backend) -> None:
    async with small.session() as first:
        await first.query(Counter).update(value=1)
        await first.commit()
        with holdall.detach():
            async with small.session() as second:
                await second.query(Counter).update(value=2)
                await second.commit()
                with holdall.detach():
                    async with small.session() as third:
                        await third.query(Counter).update(value=3)
    assert await value(small) == 3


async def test_a_thousand_tasks_of_everything(backend: Backend) -> None:
    await backend.create_many([Counter(id=number) for number in range(20)])

    async def work(number: int) -> None:
        key = number % 20
        match number % 5:
            case 0:
                await backend.get(Counter, key)
            case 1:
                await backend.query(Counter).filter(id=key).update(value=F("value") + 1)
            case 2:
                assert await backend.query(Counter).count() == 20
            case 3:
                await backend.run(_add, key)
            case _:
                await backend.create(Member(email=str(number)))

    await asyncio.gather(*(work(number) for number in range(400 * SCALE)))
    assert sum(counter.value for counter in await backend.query(Counter)) == 160 * SCALE
    assert await backend.query(Member).count() == 80 * SCALE


async def _add(session: Session, key: int) -> None:
    counter = await session.get(Counter, key, lock=True)
    counter.value += 1
    await session.save(counter)


async def test_ten_tasks_initialize_at_once(backend: Backend, backend_url: str) -> None:
    await backend.drop(Counter, Member)
    async with holdall.open(backend_url) as other:
        others = other if not backend_url.startswith("memory") else backend
        await asyncio.gather(*((backend if number % 2 else others).initialize(Counter, Member) for number in range(10)))
    await backend.create(Counter(id=1))
