"""Under load, cancels, kills and deadlocks: coins keep their sum, what is acknowledged is stored once, ``run`` repeats what may be repeated."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

import pytest

import holdall
from holdall import (
    Backend,
    ConflictError,
    ConnectionLost,
    DeadlockError,
    DuplicateKeyError,
    HoldallError,
    LockNotAvailable,
    NotFoundError,
    QueryError,
    SerializationError,
    Session,
    StatementTimeout,
    TransactionError,
)
from tests.stress.bank import PROTECTIONS, Bank, Protection, Purse, Receipt
from tests.stress.conftest import Opener
from tests.stress.engines import MANY_WRITERS, SERVERS, Facts, Witness
from tests.stress.rig import check_nothing_leaked

SCALE = int(os.environ.get("HOLDALL_STRESS_ROUNDS", "1"))
TASKS = 50
MODELS = (Purse, Receipt)


async def sabotage(bank: Bank, witness: Witness, tasks: list[asyncio.Task[None]], chance: random.Random) -> None:
    """Cancel a client, then kill some connections, at moments that the clients' progress gives."""
    for number in range(12 * SCALE):
        until = len(bank.outcomes.acknowledged) + 2
        while len(bank.outcomes.acknowledged) < until and (running := [task for task in tasks if not task.done()]):
            await asyncio.wait(running, timeout=0.002, return_when=asyncio.FIRST_COMPLETED)
        chance.choice(tasks).cancel()
        if number % 3 == 0:
            await witness.kill(2)


@pytest.mark.parametrize("protection", PROTECTIONS)
async def test_transfers_under_cancels_kills_and_deadlocks(
    witness: Witness, open_backend: Opener, facts: Facts, protection: Protection
) -> None:
    chance = random.Random(protection)
    async with open_backend(pool_max_size=5, acquire_timeout=30) as backend:
        bank = Bank(backend, 3 if protection == "disorder" else 10, chance)
        await bank.open()

        async def client() -> None:
            for _ in range(3 * SCALE):
                await bank.transfer(protection)

        async with asyncio.TaskGroup() as group:  # a client that is cancelled ends alone, one that fails ends the test
            await sabotage(bank, witness, [group.create_task(client()) for _ in range(TASKS)], chance)

        assert await bank.audit() >= len(bank.outcomes.acknowledged) > TASKS
        assert bank.errors["CancelledError"] > 0
        assert bank.errors["DeadlockError, run again"] > 0 or protection != "disorder" or facts.one_writer
        await check_nothing_leaked(backend, witness, [Purse, Receipt])


# -- lost updates ------------------------------------------------------------------------------------------------------------------------


async def increment_with_version(backend: Backend) -> bool:
    purse = await backend.get(Purse, 1)
    purse.coins += 1
    try:
        await backend.save(purse)
    except ConflictError:
        return False
    return True


async def increment_with_lock(backend: Backend) -> bool:
    async with backend.session() as session:
        purse = await session.get(Purse, 1, lock=True)
        purse.coins += 1
        await session.save(purse)
    return True


@pytest.mark.parametrize("increment", [increment_with_version, increment_with_lock])
async def test_no_update_is_lost(backend: Backend, increment: Callable[[Backend], Awaitable[bool]]) -> None:
    await backend.create(Purse(id=1, coins=0))

    done = sum(await asyncio.gather(*(increment(backend) for _ in range(TASKS))))

    assert (await backend.get(Purse, 1)).coins == done > 0


# -- run ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", MANY_WRITERS, indirect=True)
async def test_run_repeats_both_sides_of_a_deadlock_until_both_are_done(witness: Witness, backend: Backend) -> None:
    bank = Bank(backend, 2, random.Random(1))
    await bank.open()
    attempts = 0
    both_hold_one = asyncio.Barrier(2)

    async def cross(session: Session, first: int, second: int) -> None:
        nonlocal attempts
        attempts += 1
        await session.get(Purse, first, lock=True)
        if attempts <= 2:
            await both_hold_one.wait()
        await session.query(Purse).filter(id=second).update(coins=attempts)

    await asyncio.gather(backend.run(cross, 0, 1), backend.run(cross, 1, 0))

    assert attempts == 3  # one of the two was the victim, and came again


@pytest.mark.parametrize("facts", MANY_WRITERS, indirect=True)
async def test_a_deadlock_has_its_name(witness: Witness, backend: Backend) -> None:
    await Bank(backend, 2, random.Random(1)).open()
    both_hold_one = asyncio.Barrier(2)

    async def cross(first: int, second: int) -> None:
        async with backend.session() as session:
            await session.get(Purse, first, lock=True)
            await both_hold_one.wait()
            await session.query(Purse).filter(id=second).update(coins=first)

    results = await asyncio.gather(cross(0, 1), cross(1, 0), return_exceptions=True)

    (error,) = [result for result in results if result is not None]
    assert isinstance(error, DeadlockError)


async def test_run_repeats_a_stale_snapshot(backend: Backend) -> None:
    await backend.create(Purse(id=1, coins=0))
    attempts = 0

    async def add(session: Session) -> int:
        nonlocal attempts
        attempts += 1
        purse = await session.get(Purse, 1)
        if attempts == 1:
            with holdall.detach():
                await backend.query(Purse).filter(id=1).update(coins=10)
        purse.coins += 1
        await session.save(purse)
        return purse.coins

    assert await backend.run(add, isolation="repeatable read") == 11
    assert attempts == 2


async def test_run_gives_up_after_its_retries(backend: Backend) -> None:
    await backend.create(Purse(id=1))
    attempts = 0

    async def never(session: Session) -> None:
        nonlocal attempts
        attempts += 1
        await session.get(Purse, 1)
        with holdall.detach():
            await backend.query(Purse).filter(id=1).update(coins=attempts)
        await session.query(Purse).filter(id=1).update(coins=0)

    with pytest.raises(SerializationError):
        await backend.run(never, isolation="repeatable read", retries=2)
    assert attempts == 3
    assert (await backend.get(Purse, 1)).coins == 3


async def _swallows(_: Backend, session: Session) -> None:
    with pytest.raises(DuplicateKeyError):
        await session.create(Purse(id=1))


async def _is_stale(backend: Backend, session: Session) -> None:
    purse = await session.get(Purse, 1)
    with holdall.detach():
        await increment_with_version(backend)
    purse.coins = 0
    await session.save(purse)


async def _waits_for_a_lock(backend: Backend, session: Session) -> None:
    with holdall.detach():
        async with backend.session() as other:
            await other.get(Purse, 1, lock=True)
            await session.query(Purse).for_update(nowait=True)


async def _raises(*_: object) -> None:
    raise ZeroDivisionError


NOT_REPEATED: dict[type[Exception], Callable[[Backend, Session], Awaitable[object]]] = {
    ConflictError: _is_stale,
    DuplicateKeyError: lambda _, session: session.create(Purse(id=1)),
    LockNotAvailable: _waits_for_a_lock,
    NotFoundError: lambda _, session: session.get(Purse, 99),
    QueryError: lambda _, session: session.query(Purse).filter(nothing=1).all(),
    TransactionError: _swallows,
    ZeroDivisionError: _raises,
}


@pytest.mark.parametrize("error", NOT_REPEATED, ids=lambda error: error.__name__)
async def test_run_repeats_nothing_else(backend: Backend, error: type[Exception]) -> None:
    await backend.create(Purse(id=1))
    attempts = 0

    async def work(session: Session) -> None:
        nonlocal attempts
        attempts += 1
        await NOT_REPEATED[error](backend, session)

    with pytest.raises(error) as caught:
        await backend.run(work)

    assert type(caught.value) is error
    assert attempts == 1


async def test_run_does_not_repeat_a_statement_that_took_too_long(backend: Backend) -> None:
    await backend.create(Purse(id=1))
    attempts = 0

    async def work(session: Session) -> None:
        nonlocal attempts
        attempts += 1
        await session.query(Purse).filter(id=1).update(coins=1)

    async with backend.session() as holder:
        await holder.get(Purse, 1, lock=True)
        with holdall.detach(), pytest.raises((StatementTimeout, LockNotAvailable)):
            await backend.run(work, timeout=0.05)
    assert attempts == 1


@pytest.mark.parametrize("facts", SERVERS, indirect=True)
async def test_run_does_not_repeat_a_lost_connection(backend: Backend, witness: Witness) -> None:
    await backend.create(Purse(id=1))
    attempts = 0

    async def work(session: Session) -> None:
        nonlocal attempts
        attempts += 1
        await session.query(Purse).filter(id=1).update(coins=1)
        await witness.kill(10)
        await session.query(Purse).filter(id=1).update(coins=2)

    with pytest.raises(ConnectionLost):
        await backend.run(work)
    assert attempts == 1
    assert (await backend.get(Purse, 1)).coins == 100


def test_what_is_retryable_is_what_the_database_has_undone() -> None:
    def classes(kind: type[HoldallError]) -> set[type[HoldallError]]:
        return {kind}.union(*(classes(child) for child in kind.__subclasses__()))

    retryable = {kind for kind in classes(HoldallError) if holdall.is_retryable(kind.__new__(kind))}

    assert retryable == {SerializationError, DeadlockError}
