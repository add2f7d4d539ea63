"""``record``: a watcher that stands between backends and stores while somebody records."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, TypeVar

from holdall.backend import Backend
from holdall.query.operations import Fetch, FetchMany, Operation, Select
from holdall.query.stream import RowStream
from holdall.store import Executor, Transaction
from holdall.testing.calls import Call, Calls
from holdall.testing.sites import ORIGIN_DEPTH, Site, find_site
from holdall.wrappers import watching
from holdall.wrappers.coalescing import Coalescing
from holdall.wrappers.watching import Watched

T = TypeVar("T")


class _Recorder:
    """Gives every recording each call."""

    def __init__(self) -> None:
        self._recordings: list[Calls] = []
        self._outside: dict[int, _Outside] = {}  # by id, which the values keep from being used again
        self._inside: dict[int, _Inside] = {}
        self._depth = 0

    def start(self, calls: Calls) -> None:
        """Record into it, too."""
        if not self._recordings:
            self._depth = sys.get_coroutine_origin_tracking_depth()
            sys.set_coroutine_origin_tracking_depth(max(self._depth, ORIGIN_DEPTH))
            watching.watch(self)
        self._recordings.append(calls)

    def stop(self, calls: Calls) -> None:
        """Record no longer into it."""
        self._recordings = [other for other in self._recordings if other is not calls]
        if not self._recordings:
            watching.watch(None)
            sys.set_coroutine_origin_tracking_depth(self._depth)
            self._outside.clear()
            self._inside.clear()

    def outside(self, backend: Watched, /) -> Executor:
        """Return what records operations outside sessions."""
        found = self._outside.get(id(backend))
        if found is None or found.inner is not backend.store:
            found = self._outside[id(backend)] = _Outside(self, backend)
        return found

    def inside(self, backend: Watched, transaction: Transaction, /) -> Transaction:
        """Return what records the statements of a session."""
        found = self._inside.get(id(transaction))
        if found is None:
            found = self._inside[id(transaction)] = _Inside(self, backend, transaction)
        return found

    def add(self, call: Call) -> None:
        """Note a call."""
        for calls in self._recordings:
            calls.add(call)

    async def timed(self, call: Call, work: Awaitable[T]) -> T:
        """Note a call in the order in which calls start, and how long it takes."""
        self.add(call)
        started = perf_counter()
        try:
            return await work
        except BaseException as error:
            call.error = type(error).__name__
            raise
        finally:
            call.duration = perf_counter() - started


_RECORDER = _Recorder()


@contextmanager
def record(*backends: Backend) -> Generator[Calls]:
    """Record the round trips of all backends, or of these, from any task or thread, within the block.

    ::

        with record() as calls:
            await list_orders()
        calls.assert_round_trips(2)
        calls.assert_no_n_plus_one()
    """
    calls = Calls(backends)
    _RECORDER.start(calls)
    try:
        yield calls
    finally:
        _RECORDER.stop(calls)


def _kind(operation: Operation) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(operation).__name__).lower()


class _Outside:
    """Records before coalescing where reads come from, and after it what reaches the store."""

    def __init__(self, recorder: _Recorder, backend: Watched) -> None:
        self.inner = backend.store
        self._recorder = recorder
        self._backend = backend
        self._waiting: dict[tuple[Any, Any], Site | None] = {}
        self._coalescing = Coalescing(_Coalesced(self)) if backend.settings.coalesce else None

    def execute(self, operation: Operation) -> Awaitable[Any]:
        if self._coalescing is None or type(operation) is not Fetch or operation.lock is not None:
            return self.carry_out(operation, find_site())
        self._waiting.setdefault((operation.info, operation.key), find_site())
        return self._coalescing.execute(operation)

    async def carry_out(self, operation: Operation, site: Site | None) -> Any:
        return await self._recorder.timed(Call(self._backend, _kind(operation), site, operation), self.inner.execute(operation))

    def first_site(self, operation: Operation) -> Site | None:
        """Return where the first of the reads that became this operation came from."""
        assert isinstance(operation, Fetch | FetchMany)
        keys = [operation.key] if isinstance(operation, Fetch) else operation.keys
        sites = [self._waiting.pop((operation.info, key), None) for key in keys]
        return sites[0]

    async def stream(self, operation: Select, batch: int) -> RowStream:
        return await _start_stream(self._recorder, self._backend, self.inner, operation, batch)


class _Coalesced:
    """What coalescing has behind it."""

    def __init__(self, outside: _Outside) -> None:
        self._outside = outside

    async def execute(self, operation: Operation) -> Any:
        site = self._outside.first_site(operation)
        await asyncio.sleep(0)  # as every server does: a store without I/O would answer before another read could join
        return await self._outside.carry_out(operation, site)

    async def stream(self, operation: Select, batch: int) -> RowStream:
        return await self._outside.stream(operation, batch)


class _Inside:
    """Records the statements of a session, and its begin and end."""

    def __init__(self, recorder: _Recorder, backend: Watched, inner: Transaction) -> None:
        self._recorder = recorder
        self._backend = backend
        self._inner = inner
        self._begun = inner.is_open

    @property
    def is_open(self) -> bool:
        return self._inner.is_open

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._recorder.add(Call(self._backend, "begin", find_site()))

    async def _step(self, kind: str, work: Awaitable[None]) -> None:
        await self._recorder.timed(Call(self._backend, kind, find_site()), work)

    async def execute(self, operation: Operation) -> Any:
        self._begin()
        call = Call(self._backend, _kind(operation), find_site(), operation)
        return await self._recorder.timed(call, self._inner.execute(operation))

    async def stream(self, operation: Select, batch: int) -> RowStream:
        self._begin()
        return await _start_stream(self._recorder, self._backend, self._inner, operation, batch)

    async def commit(self) -> None:
        await self._end("commit", self._inner.commit())

    async def rollback(self) -> None:
        await self._end("rollback", self._inner.rollback())

    async def _end(self, kind: str, work: Awaitable[None]) -> None:
        if not self._begun:
            await work
            return
        self._begun = False
        await self._step(kind, work)

    def abandon(self) -> None:
        self._begun = False
        self._inner.abandon()

    async def savepoint(self, name: str) -> None:
        self._begin()
        await self._step("savepoint", self._inner.savepoint(name))

    async def release(self, name: str) -> None:
        await self._step("release", self._inner.release(name))

    async def rollback_to(self, name: str) -> None:
        await self._step("rollback_to", self._inner.rollback_to(name))


async def _start_stream(recorder: _Recorder, backend: Watched, inner: Executor, operation: Select, batch: int) -> RowStream:
    call = Call(backend, "stream", find_site(), operation)
    return _Stream(recorder, call, await recorder.timed(call, inner.stream(operation, batch)))


class _Stream:
    """Records the batches of a stream."""

    def __init__(self, recorder: _Recorder, start: Call, inner: RowStream) -> None:
        self._recorder = recorder
        self._start = start
        self._inner = inner

    async def fetch(self) -> list[Any]:
        call = Call(self._start.backend, "batch", find_site(), self._start.operation)
        return await self._recorder.timed(call, self._inner.fetch())

    async def aclose(self) -> None:
        await self._inner.aclose()

    def abandon(self) -> None:
        self._inner.abandon()
