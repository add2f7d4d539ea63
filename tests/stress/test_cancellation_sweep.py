"""Cancel every public operation at every suspension, in every way, and look at what is left behind.

The operation runs under a driver that counts its suspensions and cancels at the k-th, for k = 1 … n, without sleeping. Afterwards the census of the
pool equals the server's, no transaction or lock is left, every record is whole, and each connection gives back the literal that was asked for.
``HOLDALL_SWEEP_ROUNDS`` repeats it.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import holdall
import holdall.testing
from holdall import Backend, F
from holdall.backend import Engine
from holdall.query.builder import QueryBuilder
from holdall.query.stream import Stream
from tests.stress import operations
from tests.stress.engines import ENGINES, OTHER_DRIVERS, Facts
from tests.stress.operations import OF_A_BACKEND, OPERATIONS, SESSIONS, Account, Entry, Scrap, inside
from tests.stress.rig import LIMIT, POOL_SIZE, ROUNDS, Rig, open_rig
from tests.stress.ways import WAYS, Way


@pytest.fixture(params=[*ENGINES, *OTHER_DRIVERS])
def facts(request: pytest.FixtureRequest) -> Facts:
    """Every engine in turn, over each of its drivers."""
    return {**ENGINES, **OTHER_DRIVERS}[str(request.param)]


@pytest.fixture
async def rig(url: str, facts: Facts) -> AsyncGenerator[Rig]:
    async with open_rig(url, facts) as rig:
        yield rig


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_cancelled_operation_outside_sessions_harms_nothing(rig: Rig, name: str) -> None:
    async def after() -> None:
        balance, entries = await rig.state()
        assert balance in (100, 101)
        assert entries in (0, 1, 5, 300)

    assert await rig.sweep(lambda: OPERATIONS[name](rig.backend), after) >= 1


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_cancelled_operation_inside_a_session_is_never_applied(rig: Rig, name: str) -> None:
    async def after() -> None:
        assert await rig.state() == (100, 0)

    assert await rig.sweep(lambda: inside(OPERATIONS[name])(rig.backend), after) >= 1


@pytest.mark.parametrize("name", OF_A_BACKEND)
async def test_a_cancelled_operation_on_the_backend_harms_nothing(rig: Rig, name: str) -> None:
    assert await rig.sweep(lambda: OF_A_BACKEND[name](rig.backend)) >= 1
    await rig.backend.drop(Scrap)


async def test_a_cancelled_check_leaves_no_connection_of_its_own(rig: Rig) -> None:
    """It runs over SQLAlchemy's connection, outside the pool, which it drops without a word: the server takes a moment to notice."""
    for way in WAYS[:3]:
        k = 1
        while await way(rig.backend.check(Account), k):
            k += 11
            async with asyncio.timeout(5):
                while await rig.witness.sessions() not in (rig.pool.stats().size, None):
                    await anyio.lowlevel.checkpoint()
    await rig.verify()


def test_the_sweep_has_every_public_operation() -> None:
    text = inspect.getsource(operations) + inspect.getsource(sys.modules[__name__])
    public = {
        name
        for kind in (Backend, holdall.Session, Engine, QueryBuilder, Stream)
        for name, _ in inspect.getmembers(kind, inspect.iscoroutinefunction)
        # What other parts of the library call, and what no store with sessions promises: its own tests cancel that.
        if not name.startswith("_") and name not in {"run_operation", "open_stream", "reindex"}
    }

    assert {name for name in public if not re.search(rf"\.{name}\(", text)} == set()


@pytest.mark.parametrize("name", SESSIONS)
async def test_a_cancelled_session_is_all_or_nothing(rig: Rig, name: str) -> None:
    async def after() -> None:
        assert await rig.state() in ((100, 0), (101, 1))

    assert await rig.sweep(lambda: SESSIONS[name](rig.backend), after) >= 2


@pytest.mark.parametrize("way", WAYS)
async def test_a_cancelled_wait_for_a_connection_harms_nobody(rig: Rig, way: Way) -> None:
    async def session() -> None:
        async with rig.backend.session(isolation="repeatable read") as session:
            await session.get(Account, 1)

    slots = [await rig.pool.acquire() for _ in range(POOL_SIZE)]
    assert await way(session(), 1)
    assert rig.pool.stats().waiting == 0
    others = [asyncio.create_task(session()) for _ in range(3)]
    await asyncio.sleep(0)
    assert rig.pool.stats().waiting == 3
    others[0].cancel()
    for slot in slots:
        rig.pool.give(slot)
    others[1].cancel()  # it has just won a connection
    await asyncio.wait(others)
    assert others[2].exception() is None or isinstance(others[2].exception(), holdall.NotFoundError)
    await rig.verify()


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await anyio.lowlevel.checkpoint()


async def _cancelled(work: Coroutine[Any, Any, None], reached: Callable[[], Awaitable[object]], how: str) -> None:
    async def when_reached(cancel: Callable[[], object]) -> None:
        while not await reached():
            await anyio.lowlevel.checkpoint()
        cancel()

    if how == "scope":
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(when_reached, scope.cancel)
                await work
        assert scope.cancelled_caught
        return
    if how == "timeout":
        async with asyncio.TaskGroup() as tasks:
            deadline = asyncio.timeout(None)
            tasks.create_task(when_reached(lambda: deadline.reschedule(0)))
            with pytest.raises(TimeoutError):
                async with deadline:
                    await work
        return
    task = asyncio.create_task(work)

    def cancel() -> None:
        for _ in range(2 if how == "twice" else 1):
            task.cancel()

    await when_reached(cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize("how", ["once", "twice", "timeout", "scope"])
async def test_a_write_cancelled_while_it_waits_for_a_row_lock_is_never_applied(rig: Rig, how: str, inside: bool) -> None:
    async def write() -> None:
        await rig.backend.query(Account).filter(id=1).update(balance=F("balance") + 1)

    async def in_session() -> None:
        async with rig.backend.session() as session:
            await session.query(Account).filter(id=1).update(balance=F("balance") + 1)
            await session.create(Entry(text="1"))

    async def hold() -> None:
        async with rig.backend.session() as session:
            await session.get(Account, 1, lock=True)
            locked.set()
            await cancelled.wait()

    await rig.reset()
    locked, cancelled = asyncio.Event(), asyncio.Event()
    holding = asyncio.create_task(hold())
    await locked.wait()
    await _cancelled(in_session() if inside else write(), lambda: rig.witness.waiting(rig.backend), how)
    if not inside:  # the lock is held until the server has heard of it
        await _until(lambda: rig.pool.stats().recovering == 0)
    cancelled.set()
    await holding
    await rig.verify()
    assert await rig.state() == (100, 0)


@pytest.mark.parametrize("way", WAYS)
async def test_a_write_cancelled_while_another_process_holds_the_lock_is_never_applied(rig: Rig, facts: Facts, way: Way) -> None:
    await rig.reset()
    async with rig.witness.locked("select * from account where id = 1"):
        for work in (OPERATIONS["update by query"], inside(OPERATIONS["update by query"]), OPERATIONS["create_many"]):
            if work is OPERATIONS["create_many"] and not facts.one_writer:
                continue  # only the row is locked there
            assert await way(work(rig.backend), 1)
        while rig.pool.stats().recovering:  # the server is told while the lock is still held
            await anyio.lowlevel.checkpoint()
    await rig.verify()
    assert await rig.state() == (100, 0)


async def test_a_session_cancelled_while_another_task_runs_a_statement_on_it_leaves_nothing(rig: Rig, facts: Facts) -> None:
    """The statement belongs to a task that nobody has cancelled."""
    await rig.reset()
    running = asyncio.Event()

    async def sharer(session: holdall.Session) -> None:
        running.set()
        await session.fetch(facts.slow)

    children: list[asyncio.Task[None]] = []

    async def owner() -> None:
        async with rig.backend.session() as session:
            await session.query(Account).update(balance=0)
            children.append(asyncio.create_task(sharer(session)))
            await running.wait()
            await asyncio.sleep(0)
            await asyncio.Event().wait()

    task = asyncio.create_task(owner())
    await running.wait()
    for _ in range(3):
        await rig.state()  # the statement is on its way
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        with pytest.raises(holdall.HoldallError):
            await children[0]
        await rig.verify()
    assert await rig.state() == (100, 0)


async def test_a_cancelled_close_leaves_nothing(rig: Rig) -> None:
    for way in WAYS:
        for k in range(1, LIMIT):
            await rig.backend.query(Account).count()
            async with rig.backend.session() as session:
                await session.query(Account).update(balance=1)
            reached = await way(rig.backend.close(), k)
            await rig.backend.open()
            await rig.backend.query(Account).count()
            if not reached:
                break
    await rig.verify()


@pytest.mark.parametrize("way", WAYS)
async def test_one_of_many_coalesced_readers_is_cancelled_and_the_others_get_their_records(rig: Rig, way: Way) -> None:
    """Others ask in the same turn as the one that is cancelled, before it and after it."""

    async def read(key: int) -> int | None:
        account = await rig.backend.get_or_none(Account, key)
        return None if account is None else account.id

    await rig.reset()
    for k in range(1, LIMIT):
        others: list[asyncio.Task[int | None]] = []
        with holdall.testing.record(rig.backend) as calls:
            victim = asyncio.create_task(way(rig.backend.get(Account, 1), k))
            for _ in range(4):
                others += [asyncio.create_task(read(key)) for key in (1, 2, 9)]
                await asyncio.sleep(0)
            reached = await victim
            found = await asyncio.gather(*others)

        assert found == [1, 2, None] * 4
        assert calls.round_trips < len(others), "they were not coalesced"
        await rig.verify()
        if not reached:
            assert k > 1
            return
    pytest.fail(f"it was suspended more than {LIMIT} times")


async def test_random_cancels_under_load_leave_nothing(rig: Rig) -> None:
    """Many tasks, each cancelled somewhere: transfers keep the sum."""
    await rig.reset()

    async def transfer(source: int, target: int) -> None:
        async with rig.backend.session() as session:
            await session.query(Account).filter(id=min(source, target)).for_update()
            await session.query(Account).filter(id=source).update(balance=F("balance") - 1)
            await session.query(Account).filter(id=target).update(balance=F("balance") + 1)

    async def cancelled(number: int) -> None:
        await WAYS[number % len(WAYS)](transfer(1 + number % 2, 2 - number % 2), 1 + number // len(WAYS) % 9)

    for _ in range(ROUNDS):
        await asyncio.gather(*(cancelled(number) for number in range(60)))

    await rig.verify()
    assert sum(account.balance for account in await rig.backend.query(Account)) == 200
