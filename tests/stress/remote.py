"""What the sweeps of stores that are spoken to in HTTP share: a rig behind a proxy, and what is cancelled on every one of them."""

from __future__ import annotations

import asyncio
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import CoroutineType, ModuleType
from typing import Any

import anyio.lowlevel
import pytest

import holdall
import holdall.testing
from holdall import Backend, Model
from tests.stress.rig import FEW, LIMIT
from tests.stress.ways import WAYS, Way

POOL_SIZE = 3
SHELVES = range(9)
Work = Callable[[Backend, Any], Awaitable[object]]


class RemoteRig(ABC):
    """A backend behind a proxy that counts connections, and a witness beside it.

    Args:
        shelf: a model by ``id``, of which those of ``SHELVES`` are stored, and never written.
    """

    def __init__(self, backend: Backend, witness: Backend, proxy: holdall.testing.Proxy, shelf: type[Model]) -> None:
        self.backend = backend
        self.witness = witness
        self._proxy = proxy
        self._shelf = shelf

    @abstractmethod
    async def stored(self) -> Any:
        """Store what one round works on; return its name."""

    @abstractmethod
    async def check_stored(self, box: Any) -> None:
        """Fail when what is stored is not whole."""

    @abstractmethod
    def cool(self) -> None:
        """Let the next request open a connection."""

    async def verify(self, box: Any) -> None:
        """Look at what is left behind."""
        await _until(lambda: not _left(), "tasks still run")
        self.check_pool()
        others = [number % len(SHELVES) for number in range(2 * POOL_SIZE)]
        assert await asyncio.gather(*map(self._read, others)) == others
        self.check_pool()
        await _until(lambda: self._proxy.open_connections == self._size, "connections are open that the pool does not know")
        await self.check_stored(box)

    async def _read(self, number: int) -> int:
        shelf: Any = await self.backend.get(self._shelf, number)
        return int(shelf.id)

    @property
    def _size(self) -> int:
        return int(self.backend.store.stats().get("size", 0))

    def check_pool(self) -> None:
        """Nothing is in use."""
        stats = self.backend.store.stats()
        assert (stats["in_use"], stats.get("recovering", 0), stats["waiting"]) == (0, 0, 0)
        assert stats["size"] <= POOL_SIZE

    async def sweep(self, work: Work, rounds: Iterable[tuple[Way, bool]]) -> int:
        """Cancel an operation at every suspension; return how many there are.

        Args:
            rounds: the ways to cancel, each with whether no connection is open before.
        """
        most = 0
        for way, cold in rounds:
            k = 1
            while await self._cancelled(way, work, k, cold=cold):
                most = max(most, k)
                assert k < LIMIT, f"it was suspended more than {LIMIT} times"
                k += 1 + k // FEW
        return most

    async def _cancelled(self, way: Way, work: Work, k: int, *, cold: bool) -> bool:
        box = await self.stored()
        if cold:
            self.cool()
        reached = await way(work(self.backend, box), k)
        await self.verify(box)
        return reached

    async def sweep_close(self) -> None:
        """Cancel a close while others read."""
        box = await self.stored()
        for way in WAYS:
            for k in range(1, LIMIT):
                reading = [asyncio.create_task(self._read(number)) for number in range(POOL_SIZE + 1)]
                await anyio.lowlevel.checkpoint()
                reached = await way(self.backend.close(), k)
                await asyncio.wait(reading)
                assert all(isinstance(task.exception(), holdall.HoldallError | None) for task in reading)
                await self.backend.open()
                await self.verify(box)
                if not reached:
                    break

    async def sweep_open(self) -> None:
        """Cancel the opening of a closed backend."""
        box = await self.stored()
        for way in WAYS:
            for k in range(1, LIMIT):
                await self.backend.close()
                reached = await way(self.backend.open(), k)
                await self.backend.open()
                await self.verify(box)
                if not reached:
                    break

    async def sweep_wait(self, way: Way, work: Work) -> None:
        """Cancel a read that waits for a connection behind others."""
        box = await self.stored()
        for k in range(1, LIMIT):
            numbers = [number % len(SHELVES) for number in range(2 * POOL_SIZE)]
            others = [asyncio.create_task(self._read(number)) for number in numbers]
            await anyio.lowlevel.checkpoint()
            reached = await way(work(self.backend, box), k)
            assert await asyncio.gather(*others) == numbers
            await self.verify(box)
            if not reached:
                return


def unswept(module: ModuleType, kinds: Iterable[type[Any]], beside: Mapping[str, str]) -> set[str]:
    """Return the public operations that a module does not call.

    Args:
        beside: those that it need not, each with the reason.
    """
    text = inspect.getsource(module)
    found = {name for kind in kinds for name, _ in inspect.getmembers(kind, inspect.iscoroutinefunction)}
    return {name for name in found if not name.startswith("_") and name not in beside and not re.search(rf"\.{name}\(", text)}


def _left() -> list[asyncio.Task[Any]]:
    """Return the tasks of this loop beside the current one and those of the proxy."""
    found: list[asyncio.Task[Any]] = []
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        work = task.get_coro()
        if not (isinstance(work, CoroutineType) and work.cr_code.co_filename == inspect.getfile(holdall.testing.Proxy)):
            found.append(task)
    return found


async def _until(condition: Callable[[], bool], otherwise: str) -> None:
    try:
        async with asyncio.timeout(5):
            while not condition():
                await anyio.lowlevel.checkpoint()
    except TimeoutError:
        pytest.fail(f"{otherwise}: {_left()}")
