"""Who gets which connection, in which order, and for how long."""

import asyncio
import contextvars
import dataclasses

import pytest

from holdall.errors import ConfigurationError, ConnectionLost, PoolClosed, PoolTimeout
from holdall.pool import Pool, PoolOptions, Slot
from tests.unit.pool_connections import Wire, Wires, settle

QUICK = PoolOptions(max_size=2, acquire_timeout=5.0)


async def filled(wires: Wires, size: int = 2, **options: float | None) -> Pool[Wire]:
    """A pool with all its connections open and idle."""
    pool = Pool(wires, dataclasses.replace(PoolOptions(max_size=size), **options))  # type: ignore[arg-type]
    for slot in [await pool.acquire() for _ in range(size)]:
        pool.give(slot)
    return pool


async def test_take_gives_the_connection_that_was_used_last() -> None:
    pool = await filled(Wires())
    first, second = pool.take(), pool.take()
    assert first is not None
    assert second is not None

    pool.give(first)
    pool.give(second)

    assert pool.take() is second
    assert pool.take() is first
    assert pool.take() is None
    pool.terminate()


async def test_connections_are_opened_when_needed_and_never_above_the_maximum() -> None:
    wires = Wires()
    pool = Pool(wires, QUICK)
    assert wires.attempts == 0

    one, two = await pool.acquire(), await pool.acquire()
    third = asyncio.create_task(pool.acquire())
    await settle()

    assert wires.attempts == 2
    assert pool.stats().waiting == 1
    pool.give(one)
    assert await third is one
    pool.give(one)
    pool.give(two)
    await pool.close()
    assert wires.alive == 0


async def test_each_waiter_has_a_deadline_of_its_own_whatever_the_order() -> None:
    pool = await filled(Wires(), size=1)
    slot = await pool.acquire()

    async def wait(timeout: float) -> None:
        with pytest.raises(PoolTimeout) as caught:
            await pool.acquire(timeout)
        assert caught.value.timeout == timeout

    patient = asyncio.create_task(pool.acquire(30.0))
    await asyncio.gather(*(wait(timeout) for timeout in (0.03, 0.01, 0.02)))

    assert pool.stats().waiting == 1
    pool.give(slot)
    assert await patient is slot
    await wait(0.01)  # in a line that has been empty
    pool.give(slot)
    await pool.close()


async def test_waiters_are_served_in_order_and_newcomers_do_not_overtake() -> None:
    pool = await filled(Wires(), size=1)
    order: list[int] = []

    async def visit(number: int) -> None:
        slot = await pool.acquire()
        order.append(number)
        await asyncio.sleep(0)
        pool.give(slot)

    held = await pool.acquire()
    tasks = [asyncio.create_task(visit(number)) for number in range(20)]
    await settle(2)
    pool.give(held)
    assert pool.take() is None, "the oldest waiter has it already"
    tasks += [asyncio.create_task(visit(number)) for number in range(20, 25)]
    await asyncio.gather(*tasks)

    assert order == list(range(25))
    await pool.close()


async def test_a_waiter_that_won_and_is_cancelled_in_the_same_turn_passes_the_slot_on() -> None:
    pool = await filled(Wires(), size=1)
    held = await pool.acquire()
    first, second = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await settle(2)

    pool.give(held)
    first.cancel()

    assert await second is held
    assert first.cancelled()
    pool.give(held)
    assert pool.stats().idle == 1
    await pool.close()


async def test_cancelled_waiters_leave_the_line() -> None:
    pool = await filled(Wires(), size=1)
    held = await pool.acquire()
    tasks = [asyncio.create_task(pool.acquire()) for _ in range(5)]
    await settle(2)

    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    assert pool.stats().waiting == 0
    pool.give(held)
    assert pool.stats().idle == 1
    await pool.close()


async def test_the_deadline_names_the_holders_and_their_lines() -> None:
    pool = await filled(Wires(), size=2)
    leave = asyncio.Event()

    async def pause_here() -> None:
        await leave.wait()

    async def hold() -> None:
        slot = await pool.acquire()
        await pause_here()
        pool.give(slot)

    async def forget() -> None:
        await pool.acquire()

    holder = asyncio.create_task(hold(), name="request-17")
    forgetful = asyncio.create_task(forget(), name="careless")
    await forgetful
    line = pause_here.__code__.co_firstlineno + 1

    with pytest.raises(PoolTimeout) as caught:
        await pool.acquire(timeout=0.02)

    assert caught.value.timeout == 0.02
    assert f"request-17 at test_pool.py:{line} in pause_here for 0." in str(caught.value)
    assert "careless (finished without giving it back) for 0." in str(caught.value)
    assert pool.stats().timeouts == 1
    assert pool.stats().waiting == 0
    leave.set()
    await holder
    pool.terminate()


async def test_a_slot_that_is_not_leased_cannot_be_given_twice() -> None:
    pool = await filled(Wires(), size=1)
    slot = await pool.acquire()

    pool.give(slot)
    pool.give(slot)
    pool.discard(slot)
    pool.hand_off(slot)

    assert pool.stats() == dataclasses.replace(pool.stats(), idle=1, size=1, recovering=0)
    await pool.close()


async def test_a_handed_off_connection_is_cleaned_in_an_empty_context_and_counts_meanwhile() -> None:
    wires = Wires()
    pool = await filled(wires, size=1)
    variable: contextvars.ContextVar[str | None] = contextvars.ContextVar("variable", default=None)
    variable.set("of the request")
    seen: list[str | None] = []
    wires.on_recover = lambda: seen.append(variable.get())
    slot = await pool.acquire()
    wires.recover_gate.clear()

    pool.hand_off(slot)
    await settle()

    assert pool.stats().recovering == 1
    assert pool.stats().size == 1
    assert pool.holders()[0].startswith("being cleaned after a cancel for 0.")
    wires.recover_gate.set()
    assert await pool.acquire() is slot
    assert seen == [None]
    assert wires.recovered == [False]
    pool.give(slot)
    await pool.close()


async def test_a_dirty_connection_is_reset_before_the_next_lease() -> None:
    wires = Wires()
    pool = await filled(wires, size=1)
    slot = await pool.acquire()
    slot.dirty = slot.connection.state_left_behind = True

    pool.give(slot)
    assert pool.take() is None
    again = await pool.acquire()

    assert again is slot
    assert wires.recovered == [True]
    assert not again.dirty
    assert not again.connection.state_left_behind
    pool.give(again)
    await pool.close()


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_a_connection_that_cannot_be_cleaned_is_terminated_and_replaced(how: str) -> None:
    wires = Wires()
    pool = await filled(wires, size=1, recover_timeout=0.02)
    slot = await pool.acquire()
    wires.recover_fails = how == "fails"
    if how == "hangs":
        wires.recover_gate.clear()

    pool.hand_off(slot)
    other = await pool.acquire()

    assert slot.connection.closed
    assert wires.terminated == 1
    assert other.connection is not slot.connection
    pool.give(other)
    await pool.close()


async def test_idle_connections_are_not_trusted_after_one_was_lost() -> None:
    wires = Wires()
    pool = await filled(wires, size=2)
    broken = await pool.acquire()

    pool.discard(broken)

    assert wires.alive == 0
    fresh = await pool.acquire()
    assert fresh.connection.number == 2
    pool.give(fresh)
    await pool.close()


async def test_a_connection_that_died_while_idle_is_never_handed_out() -> None:
    wires = Wires()
    pool = await filled(wires, size=2)
    for wire in wires.made:
        wire.closed = True

    slot = await pool.acquire()

    assert not slot.connection.closed
    pool.give(slot)
    await pool.close()


async def test_a_connection_that_died_in_use_does_not_come_back() -> None:
    wires = Wires()
    pool = await filled(wires, size=1)
    slot = await pool.acquire()
    slot.connection.closed = True

    pool.give(slot)

    assert pool.take() is None
    fresh = await pool.acquire()
    assert not fresh.connection.closed
    pool.give(fresh)
    await pool.close()


async def test_when_the_server_refuses_everyone_who_waits_is_told_and_the_next_acquire_tries_again() -> None:
    wires = Wires()
    wires.refusals = [ConnectionLost("refused") for _ in range(2)]
    pool = Pool(wires, QUICK)

    results = await asyncio.gather(*(pool.acquire() for _ in range(6)), return_exceptions=True)

    assert [type(result) for result in results] == [ConnectionLost] * 6
    assert len({id(result) for result in results}) == 6, "each has a traceback of its own"
    assert pool.stats().waiting == 0
    slot = await pool.acquire()
    pool.give(slot)
    await pool.close()


async def test_while_live_connections_serve_a_refused_opening_fails_nobody() -> None:
    wires = Wires()
    pool = Pool(wires, QUICK)
    held = await pool.acquire()
    wires.refusals = [ConnectionLost("too many connections")] * 50
    waiter = asyncio.create_task(pool.acquire())
    await settle()

    assert not waiter.done()
    with pytest.raises(PoolTimeout) as caught:
        await pool.acquire(timeout=0.01)
    assert isinstance(caught.value.__cause__, ConnectionLost)
    pool.give(held)
    assert await waiter is held
    assert wires.attempts < 10, "attempts are spaced out while others serve"
    pool.give(held)
    await pool.close()


async def test_a_refused_opening_is_tried_again_for_those_who_still_wait() -> None:
    wires = Wires()
    pool = Pool(wires, QUICK)
    held = await pool.acquire()
    wires.refusals = [ConnectionLost("too many connections")]

    other = await pool.acquire()

    assert other.connection is not held.connection
    pool.give(held)
    pool.give(other)
    await pool.close()


async def test_an_opening_that_hangs_ends_as_connection_lost() -> None:
    wires = Wires()
    wires.gate.clear()
    pool = Pool(wires, PoolOptions(connect_timeout=0.02))

    with pytest.raises(ConnectionLost, match=r"within 0\.02 s"):
        await pool.acquire()
    assert pool.stats().opening == 0
    await pool.close()


async def test_a_cancelled_acquire_does_not_stop_the_opening_that_it_began() -> None:
    wires = Wires()
    wires.gate.clear()
    pool = Pool(wires, QUICK)
    task = asyncio.create_task(pool.acquire())
    await settle()

    task.cancel()
    await asyncio.wait([task])
    wires.gate.set()
    await settle()

    assert pool.stats().idle == 1
    await pool.close()
    assert wires.alive == 0


async def test_open_raises_what_the_server_says() -> None:
    wires = Wires()
    wires.refusals = [ConfigurationError("no such database")]
    pool = Pool(wires, PoolOptions(min_size=2))

    with pytest.raises(ConfigurationError, match="no such database"):
        await pool.open()
    await pool.open()
    assert pool.stats().idle == 2
    await pool.close()


async def test_unused_connections_are_closed_down_to_the_minimum() -> None:
    wires = Wires()
    pool = Pool(wires, PoolOptions(min_size=1, max_size=4, max_idle=0.05))
    for slot in [await pool.acquire() for _ in range(4)]:
        pool.give(slot)
    assert pool.stats().idle == 4

    await wires.until(lambda: pool.stats().size == 1)

    assert wires.closed_gracefully == 3
    await pool.close()


async def test_connections_are_replaced_at_the_end_of_their_lifetime() -> None:
    wires = Wires()
    pool = Pool(wires, PoolOptions(min_size=1, max_size=1, max_idle=None, max_lifetime=0.05))
    pool.give(await pool.acquire())

    await wires.until(lambda: len(wires.made) >= 3)

    assert wires.alive <= 1
    await pool.close()


async def test_min_size_is_kept_up_after_a_loss() -> None:
    wires = Wires()
    pool = Pool(wires, PoolOptions(min_size=2, max_size=4))
    slot = await pool.acquire()
    wires.refusals = [ConnectionLost("restarting")] * 2

    pool.discard(slot)

    await wires.until(lambda: pool.stats().idle == 2)
    await pool.close()


async def test_close_waits_for_leases_and_refuses_new_ones() -> None:
    wires = Wires()
    pool = await filled(wires, size=1)
    slot = await pool.acquire()
    waiter = asyncio.create_task(pool.acquire())
    await settle(2)
    closing = asyncio.create_task(pool.close())
    await settle()

    with pytest.raises(PoolClosed):
        await waiter
    with pytest.raises(PoolClosed):
        await pool.acquire()
    assert not closing.done()
    pool.give(slot)
    await closing
    assert wires.closed_gracefully == 1
    assert wires.terminated == 0
    with pytest.raises(PoolClosed):
        await pool.close()


async def test_close_terminates_what_is_still_held_at_its_deadline() -> None:
    wires = Wires()
    pool = await filled(wires, size=2)
    held = await pool.acquire()
    stuck = await pool.acquire()
    wires.recover_gate.clear()
    pool.hand_off(stuck)

    await pool.close(timeout=0.02)

    assert wires.alive == 0
    assert pool.stats().size == 0
    pool.give(held)
    assert pool.stats().idle == 0


async def test_a_cancelled_close_leaves_nothing_open() -> None:
    wires = Wires()
    pool = await filled(wires, size=2)
    await pool.acquire()
    closing = asyncio.create_task(pool.close())
    await settle()

    closing.cancel()
    await asyncio.wait([closing])
    await settle()

    assert wires.alive == 0


async def test_close_stops_an_opening() -> None:
    wires = Wires()
    wires.gate.clear()
    pool = Pool(wires, QUICK)
    waiter = asyncio.create_task(pool.acquire())
    await settle()

    await pool.close()

    with pytest.raises(PoolClosed):
        await waiter
    assert pool.stats().size == 0


async def test_every_connection_is_counted_in_exactly_one_state() -> None:
    wires = Wires()
    pool = await filled(wires, size=3)
    slots: list[Slot[Wire]] = [await pool.acquire() for _ in range(3)]
    wires.recover_gate.clear()
    pool.hand_off(slots[0])
    pool.give(slots[1])

    stats = pool.stats()

    assert (stats.size, stats.idle, stats.in_use, stats.recovering, stats.opening) == (3, 1, 1, 1, 0)
    assert stats.acquired == 6
    pool.terminate()
    await settle()
    assert wires.alive == 0


@pytest.mark.parametrize("wrong", [{"max_size": 0}, {"min_size": 3, "max_size": 2}, {"acquire_timeout": 0}, {"max_idle": -1}])
def test_options_that_cannot_be_right_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        PoolOptions(**wrong)
