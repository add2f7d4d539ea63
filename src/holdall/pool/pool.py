"""The pool: who gets which connection, and what becomes of connections that are old, dead or left in the middle of something."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from asyncio import current_task
from collections import Counter
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Generic, TypeVar

from holdall.errors import ConnectionLost, PoolClosed, PoolTimeout

from . import forks
from .connector import Connector, PoolOptions
from .holders import describe_task
from .slot import Slot, SlotState
from .stats import PoolStats
from .waiting import WaitingLine

C = TypeVar("C")

_log = logging.getLogger(__name__)
_SERVING = frozenset({SlotState.IDLE, SlotState.LEASED, SlotState.RECOVERING})
_FIRST_RETRY = 0.1
_LAST_RETRY = 5.0
# Bound once: the attribute of an enum class costs more than the rest of the bookkeeping.
_IDLE, _LEASED, _GONE = SlotState.IDLE, SlotState.LEASED, SlotState.GONE


class Pool(Generic[C]):
    """Connections of one event loop; made inside the running loop, used in it only.

    Whoever takes a slot returns it by exactly one of ``give`` (it is fine), ``hand_off`` (cancelled or unsure: it is cleaned elsewhere)
    and ``discard`` (known to be broken). All three are synchronous; on a slot that is not leased they do nothing.
    """

    def __init__(self, connector: Connector[C], options: PoolOptions | None = None) -> None:
        self._connector = connector
        self._options = options = options or PoolOptions()
        self._is_closed = connector.is_closed
        self._loop = asyncio.get_running_loop()
        self._idle: list[Slot[C]] = []  # a stack; empty whenever somebody waits
        self._slots: set[Slot[C]] = set()
        self._waiting: WaitingLine[C] = WaitingLine(self._loop)
        self._line = self._waiting.futures  # looked at by every give: a truth test without a call
        self._opening: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None
        self._warm = False  # from the first connection on, min_size is kept up
        self._failure: Exception | None = None
        self._retry_delay = _FIRST_RETRY
        self._retry: asyncio.TimerHandle | None = None
        self._maintenance: asyncio.TimerHandle | None = None
        limits = [limit for limit in (options.max_idle, options.max_lifetime) if limit is not None]
        self._maintenance_period = max(min(limits) / 4, 0.01) if limits else None
        self._acquired = self._timeouts = self._opened = self._gone = self._failed = self._recovered = 0
        forks.watch(self)

    # Leases. No await and no allocation in take and give.

    def take(self) -> Slot[C] | None:
        """Take an idle connection, the one used last; None when there is none at hand."""
        if not self._idle:
            return None
        slot = self._idle.pop()
        if self._is_closed(slot.connection):
            self._drop(slot)
            self._suspect_idle()
            return None
        slot.holder = current_task(self._loop)
        slot.since = monotonic()
        slot.state = _LEASED
        self._acquired += 1
        return slot

    async def acquire(self, timeout: float | None = None) -> Slot[C]:
        """Take a connection; wait in line for one, ``acquire_timeout`` seconds unless told.

        Raises: PoolTimeout, PoolClosed, and what opening a connection raises (ConnectionLost …).
        """
        slot = self.take()
        if slot is not None:
            return slot
        if self._closed:
            raise PoolClosed("the pool is closed")
        seconds = self._options.acquire_timeout if timeout is None else timeout
        # One more than those in line: this task joins it in the same turn.
        self._grow(waiting=len(self._waiting) + 1)
        return await self._waiting.wait(seconds, lambda: self._expired(seconds), self._pass_on)

    def give(self, slot: Slot[C]) -> None:
        """Return a connection that may be used again; the oldest waiter gets it at once."""
        if slot.state is not _LEASED:
            return
        if slot.dirty:
            self.hand_off(slot, "being reset")
        elif self._is_closed(slot.connection):
            self.discard(slot)
        elif self._closed or slot.since > slot.expires_at:
            self._retire(slot)
        elif self._line:
            self._pass_on(slot)
        else:
            slot.holder = None
            slot.state = _IDLE
            slot.since = monotonic()
            self._idle.append(slot)

    def hand_off(self, slot: Slot[C], label: str = "being cleaned after a cancel", *, broken: bool = False) -> None:
        """Leave a connection to the pool, which cleans or terminates it in a task of its own; it counts as in the pool until then.

        A ``broken`` one takes idle ones with it, as in ``discard``, but the server is to be told.
        """
        if slot.state is not _LEASED:
            return
        if broken:
            self._suspect_idle()
        self._start(slot, SlotState.RECOVERING, label, self._recover)

    def discard(self, slot: Slot[C]) -> None:
        """Terminate a connection known to be broken. Idle ones share its fate: what broke it may have broken them."""
        if slot.state is not _LEASED:
            return
        self._drop(slot)
        self._suspect_idle()

    # What it is doing.

    def stats(self) -> PoolStats:
        """Count, now."""
        states = Counter(slot.state for slot in self._slots)
        return PoolStats(
            size=self._size(),
            max_size=self._options.max_size,
            idle=states[SlotState.IDLE],
            in_use=states[SlotState.LEASED],
            recovering=states[SlotState.RECOVERING],
            closing=states[SlotState.CLOSING],
            opening=len(self._opening),
            waiting=len(self._waiting),
            acquired=self._acquired,
            timeouts=self._timeouts,
            opened=self._opened,
            closed=self._gone,
            failed=self._failed,
            recovered=self._recovered,
        )

    def holders(self) -> list[str]:
        """Say who holds each connection that is not idle, the longest first: ``task-name at file.py:98 in func for 0.111 s``."""
        now = monotonic()
        held = sorted((slot for slot in self._slots if slot.state is not _IDLE), key=lambda slot: slot.since)
        return [f"{slot.label or describe_task(slot.holder)} for {now - slot.since:.3f} s" for slot in held]

    # Opening and closing.

    async def open(self) -> None:
        """Open ``min_size`` connections now instead of when they are needed. Raises: what opening one raises."""
        taken: list[Slot[C]] = []
        try:
            for _ in range(self._options.min_size):
                taken.append(await self.acquire())  # noqa: PERF401 - what was taken before an error goes back
        finally:
            for slot in taken:
                self.give(slot)

    async def close(self, timeout: float = 10.0) -> None:
        """Refuse new leases, wait ``timeout`` seconds for those given out, then terminate. Raises: PoolClosed when closed already."""
        if self._closed:
            raise PoolClosed("the pool is closed already")
        self._shut()
        while self._idle:
            self._retire(self._idle.pop())
        try:
            if self._slots or self._opening:
                self._emptied = self._loop.create_future()
                await asyncio.wait([self._emptied], timeout=timeout)
        finally:
            self.terminate()
        # Cancelled by terminate(), where they were not done: each ends in the next turns.
        await asyncio.gather(*self._tasks, *self._opening, return_exceptions=True)

    def terminate(self) -> None:
        """Close at once: terminate every connection, leased ones too. Also fit for a loop that is closed already."""
        self._shut()
        self._idle.clear()
        for slot in list(self._slots):
            self._drop(slot)
        if not self._loop.is_closed():
            for task in (*self._tasks, *self._opening):
                task.cancel()

    def leave_to_parent(self) -> object:
        """Forget, in a forked child, the parent's connections; the pool counts as closed there."""
        inherited = (self._idle, self._slots, self._tasks, self._opening, self._waiting, self._retry, self._maintenance)
        for slot in self._slots:
            slot.state = _GONE  # whoever still has the lease must not write to the parent's socket
        self._idle, self._slots, self._tasks, self._opening = [], set(), set(), set()
        self._closed = True
        return inherited

    # Where a connection goes next.

    def _pass_on(self, slot: Slot[C]) -> None:
        if slot.state is _GONE:
            return
        if self._closed:
            self._retire(slot)
            return
        slot.label = None
        slot.since = monotonic()
        slot.state = _LEASED
        if self._waiting.serve(slot):
            self._acquired += 1
            return
        slot.holder = None
        slot.state = _IDLE
        self._idle.append(slot)

    def _retire(self, slot: Slot[C]) -> None:
        self._start(slot, SlotState.CLOSING, "being closed", self._close_one)

    def _drop(self, slot: Slot[C]) -> None:
        if slot.state is not _GONE:
            self._connector.terminate(slot.connection)
            self._forget(slot)

    def _forget(self, slot: Slot[C]) -> None:
        if slot.state is _GONE:
            return
        slot.state = _GONE
        slot.holder = None
        self._slots.discard(slot)
        self._gone += 1
        self._grow()
        self._check_emptied()

    def _suspect_idle(self) -> None:
        while self._idle:
            self._drop(self._idle.pop())

    # Opening one.

    def _size(self) -> int:
        return len(self._slots) + len(self._opening)

    def _grow(self, waiting: int | None = None) -> None:
        """Open what the waiters and ``min_size`` need, unless a server that refused a moment ago still serves us otherwise."""
        if self._closed or self._loop.is_closed() or (self._retry is not None and self._can_serve()):
            return
        options = self._options
        for_waiters = (len(self._waiting) if waiting is None else waiting) - len(self._opening)
        for_minimum = options.min_size - self._size() if self._warm and self._retry is None else 0
        for _ in range(min(max(for_waiters, for_minimum), options.max_size - self._size())):
            task = self._spawn(self._open_one(), self._opening)
            task.add_done_callback(lambda _: self._check_emptied())

    async def _open_one(self) -> None:
        try:
            connection = await self._connect()
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            self._opening.discard(self._this_task())
            self._open_failed(error)
            return
        self._opening.discard(self._this_task())
        self._opened += 1
        self._failure = None
        self._retry_delay = _FIRST_RETRY
        self._warm = True
        slot = self._new_slot(connection)
        self._slots.add(slot)
        self._pass_on(slot)
        self._grow()
        self._schedule_maintenance()

    def _new_slot(self, connection: C) -> Slot[C]:
        now = monotonic()
        lifetime = self._options.max_lifetime
        # Spread, so that connections opened together are not replaced together.
        return Slot(connection, now, now + lifetime * random.uniform(0.9, 1.0) if lifetime is not None else float("inf"))

    async def _connect(self) -> C:
        seconds = self._options.connect_timeout
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                return await self._connector.open()
        except TimeoutError as error:
            if deadline.expired():
                raise ConnectionLost(f"the server did not accept a connection within {seconds:g} s") from error
            raise

    def _open_failed(self, error: Exception) -> None:
        self._failed += 1
        self._failure = error
        if self._closed:
            return
        if not self._can_serve():
            self._waiting.fail_oldest(error)
            if not self._opening:
                self._waiting.fail_all(error)
        if self._retry is None and (self._waiting or (self._warm and self._options.min_size)):
            self._retry = self._loop.call_later(self._retry_delay, self._try_again)
            self._retry_delay = min(self._retry_delay * 2, _LAST_RETRY)

    def _try_again(self) -> None:
        self._retry = None
        self._grow()

    def _can_serve(self) -> bool:
        return any(slot.state in _SERVING for slot in self._slots)

    def _expired(self, seconds: float) -> PoolTimeout:
        self._timeouts += 1
        error = PoolTimeout(seconds, self.holders())
        error.__cause__ = self._failure
        return error

    # Tasks of the pool.

    def _start(self, slot: Slot[C], state: SlotState, label: str, work: Callable[[Slot[C]], Coroutine[Any, Any, None]]) -> None:
        if self._loop.is_closed():
            self._drop(slot)
            return
        slot.holder = None
        slot.label = label
        slot.since = monotonic()
        slot.state = state
        task = self._spawn(work(slot), self._tasks)
        # For a task that is cancelled before its first step, when the loop shuts down.
        task.add_done_callback(lambda done: self._drop(slot) if done.cancelled() else None)

    def _spawn(self, work: Coroutine[Any, Any, None], group: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        # An empty context: no session, no cancel scope of whoever happens to be running now.
        task = self._loop.create_task(work, context=contextvars.Context())
        group.add(task)
        task.add_done_callback(group.discard)
        return task

    def _this_task(self) -> asyncio.Task[Any]:
        task = current_task(self._loop)
        assert task is not None
        return task

    async def _recover(self, slot: Slot[C]) -> None:
        try:
            async with asyncio.timeout(self._options.recover_timeout):
                await self._connector.recover(slot.connection, dirty=slot.dirty)
        except BaseException as error:
            if isinstance(error, Exception):
                _log.info("a connection was terminated because it could not be cleaned: %r", error)
            self._drop(slot)
            if not isinstance(error, Exception):
                raise
            return
        slot.dirty = False
        self._recovered += 1
        if slot.since > slot.expires_at:
            await self._close_one(slot)
        else:
            self._pass_on(slot)

    async def _close_one(self, slot: Slot[C]) -> None:
        try:
            async with asyncio.timeout(self._options.recover_timeout):
                await self._connector.close(slot.connection)
        except BaseException as error:
            self._drop(slot)
            if not isinstance(error, Exception):
                raise
            _log.info("a connection was terminated because it did not close: %r", error)
            return
        self._forget(slot)

    # Upkeep.

    def _schedule_maintenance(self) -> None:
        if self._maintenance is None and self._maintenance_period is not None and self._slots and not self._closed:
            self._maintenance = self._loop.call_later(self._maintenance_period, self._maintain)

    def _maintain(self) -> None:
        self._maintenance = None
        now = monotonic()
        oldest_use = now - self._options.max_idle if self._options.max_idle is not None else float("-inf")
        spare = len(self._slots) - self._options.min_size
        kept: list[Slot[C]] = []
        leaving: list[Slot[C]] = []
        for slot in self._idle:  # the bottom of the stack is what was used least lately
            unused = slot.since < oldest_use and len(leaving) < spare
            (leaving if unused or slot.expires_at < now or self._is_closed(slot.connection) else kept).append(slot)
        self._idle[:] = kept
        for slot in leaving:
            self._retire(slot)
        self._grow()
        self._schedule_maintenance()

    def _shut(self) -> None:
        self._closed = True
        for timer in (self._retry, self._maintenance):
            if timer is not None:
                timer.cancel()
        self._retry = self._maintenance = None
        if self._loop.is_closed():
            return
        self._waiting.fail_all(PoolClosed("the pool was closed while this task waited for a connection"))
        for task in self._opening:
            task.cancel()

    def _check_emptied(self) -> None:
        if self._emptied is not None and not self._emptied.done() and not self._slots and not self._opening:
            self._emptied.set_result(None)
