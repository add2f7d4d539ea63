"""The line of those who wait for a connection: first come, first served, each with a deadline."""

from __future__ import annotations

import asyncio
import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from holdall.errors import HoldallError

from .slot import Slot

C = TypeVar("C")


class WaitingLine(Generic[C]):
    """Futures in order of arrival, each with the task that waits on it. Every future in the line is pending or cancelled."""

    __slots__ = ("_loop", "futures")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.futures: OrderedDict[asyncio.Future[Slot[C]], asyncio.Task[Any] | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.futures)

    async def wait(self, timeout: float, on_expiry: Callable[[], Exception], pass_on: Callable[[Slot[C]], None]) -> Slot[C]:
        """Wait for a slot. A slot that was won in the same turn in which the waiter is cancelled goes to ``pass_on``."""
        future: asyncio.Future[Slot[C]] = self._loop.create_future()
        self.futures[future] = asyncio.current_task()
        timer = self._loop.call_later(timeout, self._expire, future, on_expiry)
        try:
            return await future
        except BaseException:
            self.futures.pop(future, None)
            if future.done() and not future.cancelled() and future.exception() is None:
                pass_on(future.result())
            raise
        finally:
            timer.cancel()

    def serve(self, slot: Slot[C]) -> bool:
        """Give the slot to the oldest waiter; False when nobody waits."""
        while self.futures:
            future, task = self.futures.popitem(last=False)
            if not future.done():
                slot.holder = task
                future.set_result(slot)
                return True
        return False

    def fail_oldest(self, error: Exception) -> None:
        """Raise the error in the oldest waiter, if there is one."""
        while self.futures:
            future, _ = self.futures.popitem(last=False)
            if not future.done():
                future.set_exception(own_copy(error))
                return

    def fail_all(self, error: Exception) -> None:
        """Raise a copy of the error in every waiter."""
        while self.futures:
            self.fail_oldest(error)

    def _expire(self, future: asyncio.Future[Slot[C]], on_expiry: Callable[[], Exception]) -> None:
        if not future.done():
            self.futures.pop(future, None)
            future.set_exception(on_expiry())


def own_copy(error: BaseException) -> BaseException:
    """Return an error for one more task: one object raised in several would collect all their tracebacks."""
    if not isinstance(error, HoldallError):
        return error
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own
