"""Random schedules of leases, cancels, losses and refusals: never a leak, a wait without an end, or a connection shared by two."""

import asyncio
import random

import pytest

from holdall.errors import ConnectionLost, PoolTimeout
from holdall.pool import Pool, PoolOptions
from tests.unit.pool_connections import Wire, Wires


class Lost(Exception):
    """The server went away in the middle of a statement."""


async def turns(random_: random.Random) -> None:
    for _ in range(random_.randrange(4)):
        await asyncio.sleep(0)


async def visit(pool: Pool[Wire], random_: random.Random) -> str:
    """Use a connection the way a store does."""
    try:
        slot = pool.take() or await pool.acquire()
    except (PoolTimeout, ConnectionLost) as error:
        return type(error).__name__
    try:
        await slot.connection.work(turns(random_))
        slot.connection.state_left_behind = slot.dirty = random_.random() < 0.2
        if random_.random() < 0.1:
            slot.connection.closed = True
            raise Lost  # noqa: TRY301 - where a statement would raise it
    except asyncio.CancelledError:
        pool.hand_off(slot)
        raise
    except Lost:
        pool.discard(slot)
        return "lost"
    pool.give(slot)
    return "done"


@pytest.mark.parametrize("seed", range(60))
async def test_no_schedule_leaks_a_connection(seed: int) -> None:
    random_ = random.Random(seed)
    wires = Wires()
    options = PoolOptions(min_size=random_.randrange(3), max_size=random_.randrange(3, 6), max_lifetime=random_.choice([None, 0.02]))
    pool = Pool(wires, options)
    tasks: list[asyncio.Task[str]] = []
    for _ in range(150):
        tasks.append(asyncio.create_task(visit(pool, random_)))
        if random_.random() < 0.3:
            random_.choice(tasks).cancel()
        if random_.random() < 0.05:
            wires.refusals.append(ConnectionLost("refused"))
        wires.recover_fails = random_.random() < 0.05
        assert pool.stats().size <= options.max_size
        assert wires.alive <= options.max_size
        await turns(random_)

    wires.recover_fails = False
    async with asyncio.timeout(10):
        results = await asyncio.gather(*tasks, return_exceptions=True)
        wires.refusals.clear()
        pool.give(await pool.acquire())
    assert not [result for result in results if isinstance(result, Exception)]
    assert "done" in results
    assert pool.stats().in_use == pool.stats().waiting == 0
    assert pool.stats().opened - pool.stats().closed == wires.alive

    await pool.close()
    assert wires.alive == 0
    assert pool.stats().size == 0
