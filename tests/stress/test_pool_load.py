"""A thousand tasks on five connections: served in turn, each answered once, nothing left behind; also when the backend is closed under them."""

from __future__ import annotations

import asyncio
import os
import random

import anyio.lowlevel
import pytest

import holdall
from holdall import Backend, ConnectionLost, F, Field, HoldallError, Model, PoolClosed
from tests.stress.conftest import Opener
from tests.stress.engines import Facts, Witness
from tests.stress.rig import check_nothing_leaked, pool_of

TASKS = 1000 * int(os.environ.get("HOLDALL_STRESS_ROUNDS", "1"))
CONNECTIONS = 5


class Seat(Model):
    id: int = Field(primary_key=True)
    taken: int = 0

    class Meta:
        name = "pool_seat"


MODELS = (Seat,)


async def visit(backend: Backend, number: int, served: list[int]) -> None:
    """Hold a connection for two statements; note when the first was answered."""
    async with backend.session(isolation="repeatable read", read_only=True) as session:
        await session.get(Seat, number % 10)
        served.append(number)
        await session.query(Seat).filter(id=number % 10).exists()


def most_passed_by(served: list[int]) -> int:
    """Return how many that had come before somebody were still to be answered when that one was, at most.

    In a queue they can only be those who have the other connections, however long their statements take.
    """
    waiting = sorted(served)
    most = 0
    for number in served:
        most = max(most, waiting.index(number))
        waiting.remove(number)
    return most


async def test_a_thousand_tasks_on_five_connections_are_served_in_turn(witness: Witness, open_backend: Opener) -> None:
    served: list[int] = []
    async with open_backend(pool_max_size=CONNECTIONS, acquire_timeout=50) as backend:
        await backend.create_many([Seat(id=number) for number in range(10)])
        await asyncio.gather(*(visit(backend, number, served) for number in range(TASKS)))
        stats = pool_of(backend).stats()

        assert sorted(served) == list(range(TASKS))
        assert most_passed_by(served) < CONNECTIONS
        assert stats.size <= CONNECTIONS
        assert (stats.timeouts, stats.in_use, stats.waiting) == (0, 0, 0)
        await check_nothing_leaked(backend, witness, MODELS)


async def test_those_who_give_up_leave_the_others_in_their_order(witness: Witness, open_backend: Opener) -> None:
    """Some are cancelled while they wait, some in the turn in which they have won a connection."""
    served: list[int] = []
    left: set[int] = set()
    chance = random.Random(5)
    async with open_backend(pool_max_size=CONNECTIONS, acquire_timeout=50) as backend:
        await backend.create_many([Seat(id=number) for number in range(10)])
        pool = pool_of(backend)

        async def visit_and_cancel_the_next(number: int) -> None:
            await visit(backend, number, served)
            if number % 3 == 0:  # its connection has just been given to whoever came after
                winners = {numbers[slot.holder] for slot in pool._slots if slot.holder in numbers} - left
                leave(max(winners, default=number))

        def leave(number: int) -> None:
            if not tasks[number].done():
                left.add(number)
                tasks[number].cancel()

        tasks = [asyncio.create_task(visit_and_cancel_the_next(number)) for number in range(TASKS)]
        numbers = {task: number for number, task in enumerate(tasks)}
        for number in chance.sample(range(TASKS), TASKS // 4):
            await anyio.lowlevel.checkpoint()
            leave(number)
        await asyncio.gather(*tasks, return_exceptions=True)

        stayed = [number for number in served if number not in left]
        assert sorted(stayed) == sorted(set(range(TASKS)) - left)
        assert most_passed_by(stayed) < CONNECTIONS
        assert len(left) > TASKS // 4
        await check_nothing_leaked(backend, witness, MODELS)


async def test_a_thousand_tasks_of_every_kind_get_their_own_answers(witness: Witness, open_backend: Opener) -> None:
    async with open_backend(pool_max_size=CONNECTIONS, acquire_timeout=50) as backend:
        await backend.create_many([Seat(id=number) for number in range(10)])

        async def work(number: int) -> object:
            key = number % 10
            match number % 6:
                case 0:
                    return (await backend.get(Seat, key)).id == key
                case 1:
                    return await backend.query(Seat).filter(id=key).update(taken=F("taken") + 1) == 1
                case 2:
                    return await backend.engine.fetch_value("select :number as n", number=str(number)) == str(number)
                case 3:
                    return [seat.id async for seat in backend.query(Seat).filter(id__lt=10).order_by("id").stream(batch=3)] == [*range(10)]
                case 4:
                    return (await backend.create(Seat(id=1000 + number))).id == 1000 + number
                case _:
                    async with backend.session() as session:
                        seat = await session.get(Seat, key, lock=True)
                        seat.taken += 1
                        return await session.save(seat) is seat

        assert all(await asyncio.gather(*(work(number) for number in range(TASKS))))
        writes = sum(number % 6 in (1, 5) for number in range(TASKS))
        assert sum(seat.taken for seat in await backend.query(Seat).filter(id__lt=10)) == writes
        assert await backend.query(Seat).filter(id__gte=1000).count() == sum(number % 6 == 4 for number in range(TASKS))
        await check_nothing_leaked(backend, witness, MODELS)


@pytest.mark.parametrize("patience", [20, 0])
async def test_closing_under_load_answers_everybody_and_keeps_what_it_acknowledged(
    url: str, witness: Witness, open_backend: Opener, facts: Facts, patience: float
) -> None:
    acknowledged: set[int] = set()
    refused: set[int] = set()

    async def work(number: int) -> None:
        try:
            async with backend.session() as session:
                await session.create(Seat(id=number))
                await session.query(Seat).filter(id=number).exists()
        except (PoolClosed, ConnectionLost):
            refused.add(number)
        except HoldallError:
            pass  # its connection was closed while it committed, or it was told in other words: it may be there or not
        else:
            acknowledged.add(number)

    async with open_backend():
        backend = await holdall.open(url, pool_max_size=CONNECTIONS, acquire_timeout=50, **facts.options).open()
        tasks = [asyncio.create_task(work(number)) for number in range(300)]
        while len(acknowledged) < 20:
            await asyncio.wait({task for task in tasks if not task.done()}, timeout=0.005, return_when=asyncio.FIRST_COMPLETED)
        await backend.close(timeout=patience)
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks)
        stored = {number for (number,) in await witness.rows("select id from pool_seat")}

    assert acknowledged <= stored
    assert not refused & stored
    assert refused, "everybody was done before it closed"
    async with asyncio.timeout(10):
        while await witness.sessions():
            await anyio.lowlevel.checkpoint()
