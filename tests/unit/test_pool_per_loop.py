"""One pool per event loop, and what becomes of it when the loop or the process is not there any more."""

import asyncio
import gc
import os
import threading
from collections.abc import Callable

import pytest

from holdall.errors import PoolClosed
from holdall.pool import PerLoop, Pool
from tests.unit.pool_connections import Wire, Wires, settle


class Counted:
    """A resource that knows how often it was terminated, and where."""

    def __init__(self) -> None:
        self.terminated_in: list[int] = []

    def terminate(self) -> None:
        self.terminated_in.append(threading.get_ident())


def per_loop() -> PerLoop[Counted]:
    return PerLoop(Counted, Counted.terminate)


async def got(resources: PerLoop[Counted]) -> Counted:
    assert resources.get() is resources.get()
    return resources.get()


def test_each_loop_has_its_own_and_loses_it_at_its_shutdown() -> None:
    resources = per_loop()

    first = asyncio.run(got(resources))
    second = asyncio.run(got(resources))

    assert first is not second
    assert len(first.terminated_in) == len(second.terminated_in) == 1


def test_a_loop_that_was_only_closed_is_noticed_by_the_next_one() -> None:
    resources = per_loop()
    loop = asyncio.new_event_loop()
    first = loop.run_until_complete(got(resources))
    loop.close()
    assert not first.terminated_in

    asyncio.run(got(resources))

    assert len(first.terminated_in) == 1


def test_pop_leaves_the_closing_to_the_caller() -> None:
    resources = per_loop()

    async def main() -> Counted:
        resource = resources.get()
        assert resources.pop() is resource
        assert resources.peek() is None
        assert resources.pop() is None
        return resource

    assert not asyncio.run(main()).terminated_in


def test_terminate_all_reaches_a_loop_in_another_thread_in_its_own_thread() -> None:
    resources = per_loop()
    ready, leave = threading.Event(), threading.Event()
    found: list[tuple[Counted, int]] = []

    async def other() -> None:
        found.append((resources.get(), threading.get_ident()))
        ready.set()
        await asyncio.to_thread(leave.wait, 5)

    thread = threading.Thread(target=asyncio.run, args=(other(),))
    thread.start()
    assert ready.wait(5)

    async def main() -> Counted:
        mine = resources.get()
        resources.terminate_all()
        return mine

    mine = asyncio.run(main())
    leave.set()
    thread.join(5)
    (theirs, ident) = found[0]
    assert mine.terminated_in == [threading.get_ident()]
    assert theirs.terminated_in == [ident]


def test_a_pool_that_nobody_closed_ends_with_its_loop() -> None:
    made: list[Wires] = []

    def make() -> Pool[Wire]:
        made.append(Wires())
        return Pool(made[-1])

    pools = PerLoop(make, Pool[Wire].terminate)

    async def main() -> None:
        pool = pools.get()
        pool.give(await pool.acquire())
        pool.hand_off(await pool.acquire())
        await pool.acquire()

    asyncio.run(main())
    asyncio.run(main())
    gc.collect()

    assert [wires.alive for wires in made] == [0, 0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_neither_uses_nor_terminates_what_it_inherited() -> None:
    wires = Wires()
    pool = Pool(wires)
    pool.give(await pool.acquire())
    resources = per_loop()
    mine = resources.get()

    def in_child() -> None:
        assert pool.take() is None
        with pytest.raises(PoolClosed):
            asyncio.new_event_loop().run_until_complete(pool.acquire())
        assert asyncio.new_event_loop().run_until_complete(got(resources)) is not mine
        assert not mine.terminated_in
        assert wires.terminated == 0

    assert forked(in_child) == 0
    slot = pool.take()
    assert slot is not None
    assert resources.get() is mine
    pool.give(slot)
    await pool.close()
    resources.pop()
    await settle()


def forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - the child must not return into the test run
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
