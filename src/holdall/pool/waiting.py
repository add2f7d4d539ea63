"""The line of those who wait for a connection: first come, first served, each with a deadline."""

from __future__ import annotations

import asyncio
import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from holdall.errors import HoldallError

from .slot import Slot

C = TypeVar("C")


class Waiter(NamedTuple):
    """Who waits on a future, until when in the loop's time, and what is raised then."""

    task: asyncio.Task[Any] | None
    deadline: float
    on_expiry: Callable[[], Exception]


class WaitingLine(Generic[C]):
    """Futures in order of arrival. Every future in the line is pending or cancelled.

    One timer serves the whole line, because a timer of each waiter's own would cost more than all else here. It is set for a deadline
    that is not later than any in the line; who left meanwhile has only made it early.
    """

    __slots__ = ("_due", "_loop", "_timer", "futures")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.futures: OrderedDict[asyncio.Future[Slot[C]], Waiter] = OrderedDict()

    def __len__(self) -> int:
        return len(self.futures)

    async def wait(self, timeout: float, on_expiry: Callable[[], Exception], pass_on: Callable[[Slot[C]], None]) -> Slot[C]:
        """Wait for a slot. A slot that was won in the same turn in which the waiter is cancelled goes to ``pass_on``."""
        future: asyncio.Future[Slot[C]] = self._loop.create_future()
        deadline = self._loop.time() + timeout
        self.futures[future] = Waiter(asyncio.current_task(), deadline, on_expiry)
        if self._timer is None or deadline < self._due:
            self._watch(deadline)
        try:
            return await future
        except BaseException:  # a cancel above all: a slot that has come all the same must not be lost
            self.futures.pop(future, None)
            if future.done() and not future.cancelled() and future.exception() is None:
                pass_on(future.result())
            raise

    def serve(self, slot: Slot[C]) -> bool:
        """Give the slot to the oldest waiter; False when nobody waits."""
        while self.futures:
            future, waiter = self.futures.popitem(last=False)
            if not future.done():
                slot.holder = waiter.task
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
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = deadline
        self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        for future, waiter in list(self.futures.items()):
            if waiter.deadline <= now:
                self.futures.pop(future, None)
                if not future.done():
                    future.set_exception(waiter.on_expiry())
        if self.futures:
            self._watch(min(waiter.deadline for waiter in self.futures.values()))


def own_copy(error: BaseException) -> BaseException:
    """Return an error for one more task: one object raised in several would collect all their tracebacks."""
    if not isinstance(error, HoldallError):
        return error
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own
