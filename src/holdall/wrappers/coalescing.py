"""Coalesced reads: reads by key of one model that start in the same turn of the event loop become one operation.

Each call sees data no older than its start, because the operation begins after it. A missing record, an error and a cancelled waiter stay
that waiter's own; two waiters for one key get an object each. Only reads outside sessions and without a lock come here.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable
from typing import Any
from weakref import WeakKeyDictionary

from holdall.query.operations import Fetch, FetchMany, Operation, Select
from holdall.query.stream import RowStream
from holdall.record.metadata import ModelInfo
from holdall.store import Executor

MAX_KEYS = 1000

Group = dict[tuple[Any, ...], list[asyncio.Future[Any]]]


class Coalescing:
    """An executor in front of another that gathers ``Fetch`` operations."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Gathering] = WeakKeyDictionary()

    def execute(self, operation: Operation) -> Awaitable[Any]:
        """Carry out an operation, a ``Fetch`` together with others of this turn."""
        if type(operation) is not Fetch or operation.lock is not None:
            return self._inner.execute(operation)
        loop = asyncio.get_running_loop()
        gathering = self._loops.get(loop)
        if gathering is None:
            gathering = self._loops[loop] = _Gathering(self._inner)
        return gathering.add(operation, loop)

    async def stream(self, operation: Select, batch: int) -> RowStream:
        """Start a query."""
        return await self._inner.stream(operation, batch)


class _Gathering:
    """The groups of one event loop."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self._groups: dict[ModelInfo, tuple[Fetch, Group]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, operation: Fetch, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
        found = self._groups.get(operation.info)
        if found is None or len(found[1]) >= MAX_KEYS:
            found = self._groups[operation.info] = (operation, {})
            loop.call_soon(self._start, *found, context=contextvars.Context())
        future = loop.create_future()
        found[1].setdefault(operation.key, []).append(future)
        return future

    def _start(self, first: Fetch, group: Group) -> None:
        current = self._groups.get(first.info)
        if current is not None and current[1] is group:
            del self._groups[first.info]
        if all(future.done() for futures in group.values() for future in futures):
            return
        task = asyncio.get_running_loop().create_task(self._run(first, group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # When every waiter is cancelled nobody wants the result, and the operation is cancelled, too.
        waiting = sum(len(futures) for futures in group.values())

        def done(_: asyncio.Future[Any]) -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                task.cancel()

        for futures in group.values():
            for future in futures:
                future.add_done_callback(done)

    async def _run(self, first: Fetch, group: Group) -> None:
        try:
            found = await self._read(first, group)
        except BaseException as exc:  # noqa: BLE001  - every waiter gets the error, a cancel of this task included
            for futures in group.values():
                for future in futures:
                    if not future.done():
                        future.set_exception(exc) if not isinstance(exc, asyncio.CancelledError) else future.cancel()
            return
        for key, futures in group.items():
            rows = found.get(key, ())
            for position, future in enumerate(futures):
                if not future.done():
                    future.set_result(rows[position] if rows else None)

    async def _read(self, first: Fetch, group: Group) -> dict[tuple[Any, ...], Any]:
        """Return, per key, as many objects as waiters."""
        info, decoder = first.info, first.decoder
        if len(group) == 1:
            (key,) = group
            record = await self._inner.execute(Fetch(info, key, decoder))
            records = [] if record is None else [record]
        else:
            records = await self._inner.execute(FetchMany(info, list(group), decoder))
        found: dict[tuple[Any, ...], Any] = {}
        for record in records:
            key = tuple([spec.plain(record.__dict__[spec.name]) for spec in info.key])
            found[key] = [record, *(record.model_copy(deep=True) for _ in group[key][1:])]
        return found
