"""Coalesced reads: reads by key of one model that start in the same turn of the event loop become one operation.

A read goes at once while it is the only one, because to wait for others costs a turn of the loop. Each call sees data no older than its
start, because the operation begins after it. A missing record, an error and a cancelled waiter stay that waiter's own; two waiters for one
key get an object each. Only reads outside sessions and without a lock come here.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable
from typing import Any

from holdall.errors import CorruptRecordError
from holdall.pool import PerLoop, own_copy
from holdall.query.operations import Fetch, FetchMany, Operation, Select
from holdall.query.stream import RowStream
from holdall.record.metadata import ModelInfo
from holdall.store import Executor

MAX_KEYS = 1000


class Coalescing:
    """An executor in front of another that gathers ``Fetch`` operations."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self._gatherings: PerLoop[_Gathering] = PerLoop(lambda: _Gathering(inner), _Gathering.terminate)

    def execute(self, operation: Operation) -> Awaitable[Any]:
        """Carry out an operation, a ``Fetch`` together with others of this turn."""
        if type(operation) is not Fetch or operation.lock is not None:
            return self._inner.execute(operation)
        return self._gatherings.get().fetch(operation)

    async def stream(self, operation: Select, batch: int) -> RowStream:
        """Start a query."""
        return await self._inner.stream(operation, batch)


class _Group:
    """Reads of one model that go together.

    Attributes:
        waiters: per key, those who wait for a record each.
        waiting: how many of them were not cancelled.
    """

    __slots__ = ("first", "task", "waiters", "waiting")

    def __init__(self, first: Fetch) -> None:
        self.first = first
        self.waiters: dict[tuple[Any, ...], list[asyncio.Future[Any]]] = {}
        self.waiting = 0
        self.task: asyncio.Task[None] | None = None


class _Gathering:
    """The groups of one event loop."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self._groups: dict[ModelInfo, _Group] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = 0  # operations that are under way
        self._lonely = True  # nobody joined the last group

    def terminate(self) -> None:
        """Do nothing: the loop cancels its tasks when it shuts down."""

    async def fetch(self, operation: Fetch) -> Any:
        """Read the record; together with others, unless nobody else reads, or did a moment ago."""
        if self._lonely and not self._running:
            self._running += 1
            try:
                return await self._inner.execute(operation)
            finally:
                self._running -= 1
        group = self._groups.get(operation.info)
        if group is None or len(group.waiters) >= MAX_KEYS:
            group = self._begin(operation)
        future: asyncio.Future[Any] = self._loop.create_future()
        waiters = group.waiters.get(operation.key)
        if waiters is None:
            group.waiters[operation.key] = [future]
        else:
            waiters.append(future)
        group.waiting += 1
        try:
            return await future
        except asyncio.CancelledError:
            self._leave(group)
            raise

    def _begin(self, first: Fetch) -> _Group:
        group = self._groups[first.info] = _Group(first)
        # Its first step comes after whatever else this turn of the loop runs.
        task = group.task = self._loop.create_task(self._run(group), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return group

    def _close(self, group: _Group) -> None:
        if self._groups.get(group.first.info) is group:
            del self._groups[group.first.info]

    def _leave(self, group: _Group) -> None:
        """Note that a waiter was cancelled. After the last one nobody wants the result, and the operation is cancelled, too."""
        group.waiting -= 1
        if not group.waiting and group.task is not None:
            self._close(group)
            group.task.cancel()

    async def _run(self, group: _Group) -> None:
        self._close(group)
        self._lonely = group.waiting == 1
        self._running += 1
        try:
            _answer(group, await self._read(group))
        except CorruptRecordError as exc:
            if len(group.waiters) == 1:
                _refuse(group, exc)
            else:
                await self._read_apart(group)
        except BaseException as exc:  # noqa: BLE001  - every waiter gets the error, a cancel of this task included
            _refuse(group, exc)
        finally:
            self._running -= 1

    async def _read_apart(self, group: _Group) -> None:
        """Read each record by itself, because one of them cannot be read, and its own readers alone are to hear of it."""
        for key, waiters in group.waiters.items():
            apart = _Group(group.first._replace(key=key))
            apart.waiters = {key: waiters}
            try:
                _answer(apart, await self._read(apart))
            except BaseException as exc:  # noqa: BLE001
                _refuse(apart if isinstance(exc, Exception) else group, exc)
                if not isinstance(exc, Exception):
                    return

    async def _read(self, group: _Group) -> list[Any]:
        first = group.first
        if len(group.waiters) > 1:
            records: list[Any] = await self._inner.execute(FetchMany(first.info, list(group.waiters), first.decoder))
            return records
        record = await self._inner.execute(first)
        return [] if record is None else [record]


def _answer(group: _Group, records: list[Any]) -> None:
    key_of = group.first.info.key_of
    for record in records:
        for place, future in enumerate(group.waiters[key_of(record.__dict__)]):
            if not future.done():
                future.set_result(record.model_copy(deep=True) if place else record)
    if len(records) < len(group.waiters):
        for future in _unanswered(group):
            future.set_result(None)


def _refuse(group: _Group, error: BaseException) -> None:
    for place, future in enumerate(_unanswered(group)):
        if isinstance(error, asyncio.CancelledError):
            future.cancel()
        else:
            future.set_exception(own_copy(error) if place else error)


def _unanswered(group: _Group) -> list[asyncio.Future[Any]]:
    return [future for waiters in group.waiters.values() for future in waiters if not future.done()]
