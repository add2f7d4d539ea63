"""Ways to cancel a call at its k-th suspension, without sleeping."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol

import anyio


@types.coroutine
def driven(work: Coroutine[Any, Any, Any], at_suspension: Callable[[int], None]) -> Generator[Any, Any, Any]:
    """Run a coroutine in the current task, and call a function with the number of each suspension before the task yields."""
    number = 0
    thrown: BaseException | None = None
    sent: Any = None
    while True:
        try:
            waits_for = work.throw(thrown) if thrown is not None else work.send(sent)
        except StopIteration as end:
            return end.value
        number += 1
        at_suspension(number)
        thrown = None
        try:
            sent = yield waits_for
        except BaseException as error:  # noqa: BLE001 (it is thrown into the coroutine)
            thrown = error


class Way(Protocol):
    """Cancel at the k-th suspension; return whether it came to that."""

    async def __call__(self, work: Awaitable[object], k: int) -> bool: ...


async def _awaited(work: Awaitable[object]) -> None:
    await work


async def _by_task(work: Awaitable[object], k: int, cancel: Callable[[asyncio.Task[Any]], None]) -> bool:
    reached = False

    def at(number: int) -> None:
        nonlocal reached
        if number == k:
            reached = True
            cancel(task)

    task = asyncio.ensure_future(_stepped(work, at))
    try:
        await task
    except asyncio.CancelledError:
        assert reached
        return True
    # It may have ended before a cancel that came a turn later; otherwise somebody has swallowed it.
    assert not task.cancelling(), "the CancelledError was swallowed"
    return reached


async def _stepped(work: Awaitable[object], at: Callable[[int], None]) -> None:
    await driven(_awaited(work), at)


async def at_once(work: Awaitable[object], k: int) -> bool:
    return await _by_task(work, k, _cancel)


async def a_turn_later(work: Awaitable[object], k: int) -> bool:
    return await _by_task(work, k, lambda task: _soon(lambda: _cancel(task)))


async def twice(work: Awaitable[object], k: int) -> bool:
    def cancel(task: asyncio.Task[Any]) -> None:
        task.cancel()
        _soon(lambda: _cancel(task))
        _soon(lambda: _soon(lambda: _cancel(task)))

    return await _by_task(work, k, cancel)


async def by_timeout(work: Awaitable[object], k: int) -> bool:
    reached = False
    deadline = asyncio.timeout(None)

    def at(number: int) -> None:
        nonlocal reached
        if number == k:
            reached = True
            deadline.reschedule(0)

    try:
        async with deadline:
            await _stepped(work, at)
    except TimeoutError:
        assert reached
    return reached


async def by_anyio_scope(work: Awaitable[object], k: int) -> bool:
    reached = False
    with anyio.CancelScope() as scope:

        def at(number: int) -> None:
            nonlocal reached
            if number == k:
                reached = True
                scope.cancel()

        await _stepped(work, at)
    return reached


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


def _soon(function: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(function)


WAYS: tuple[Way, ...] = (at_once, a_turn_later, twice, by_timeout, by_anyio_scope)
