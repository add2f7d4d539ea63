"""A backend with a small pool, a witness beside it, and a look at what is left behind."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio.lowlevel

import holdall
from holdall import Backend, Model
from holdall.record.metadata import model_info
from tests.stress.engines import Facts, Witness
from tests.stress.operations import MODELS, Account
from tests.stress.ways import WAYS, Way

ROUNDS = int(os.environ.get("HOLDALL_SWEEP_ROUNDS", "1"))
POOL_SIZE = 2
FEW = 25  # suspensions of one operation, of which each is visited
LIMIT = 300  # more means that it does not end
_literals = itertools.count(1)
_RESET = (
    "delete from entry",
    "delete from account",
    "insert into account (id, owner, balance, version) values (1, 'a', 100, 1), (2, 'b', 100, 1)",
)


def pool_of(backend: Backend) -> Any:
    """Return the pool of this event loop."""
    store: Any = backend.store
    return store.pool if hasattr(store, "pool") else store.engine.pool


class Rig:
    """A backend and a witness on one database."""

    def __init__(self, backend: Backend, witness: Witness) -> None:
        self.backend = backend
        self.witness = witness

    @property
    def pool(self) -> Any:
        """The backend's pool."""
        return pool_of(self.backend)

    async def reset(self) -> None:
        """Put the records back."""
        await self.witness.run(*_RESET)

    async def state(self) -> tuple[int, int]:
        """Return the balance of account 1 and the number of entries, as others see them."""
        ((balance, entries),) = await self.witness.rows("select (select balance from account where id = 1), (select count(*) from entry)")
        return balance, entries

    async def verify(self) -> None:
        """Wait until the pool has mended everything, then look at what is left."""
        await self._every_connection()
        stats = self.pool.stats()
        assert (stats.in_use, stats.recovering, stats.opening, stats.waiting) == (0, 0, 0, 0)
        assert stats.size == POOL_SIZE
        literals = [f"literal {next(_literals)}" for _ in range(POOL_SIZE + 1)]
        found = await asyncio.gather(*(self._literal(literal) for literal in literals))
        assert found == literals
        await self._every_connection()  # raw SQL leaves a reset behind
        async with asyncio.timeout(10):  # a server notices a little later that a client is gone
            while await self.witness.sessions() not in (self.pool.stats().size, None):
                await anyio.lowlevel.checkpoint()
        await self.witness.check_quiet([table_of(model) for model in MODELS])

    async def sweep(self, make: Callable[[], Awaitable[object]], after: Callable[[], Awaitable[None]] | None = None) -> int:
        """Cancel at every suspension in every way; return how many there are."""
        most = 0
        for _ in range(ROUNDS):
            for way in WAYS:
                k = 1
                while await self._cancelled(way, make(), k, after):
                    most = max(most, k)
                    assert k < LIMIT, f"it was suspended more than {LIMIT} times"
                    k += 1 + k // FEW  # of many suspensions, those at the end are visited in longer steps
        return most

    async def _cancelled(self, way: Way, work: Awaitable[object], k: int, after: Callable[[], Awaitable[None]] | None) -> bool:
        await self.reset()
        reached = await way(work, k)
        await self.verify()
        if after is not None:
            await after()
        return reached

    async def _literal(self, literal: str) -> Any:
        async with self.backend.session() as session:
            await session.get_or_none(Account, 1, lock=True)
            return await session.fetch_value(f"select '{literal}' as literal")

    async def _every_connection(self) -> None:
        slots = [await self.pool.acquire(5) for _ in range(POOL_SIZE)]
        for slot in slots:
            self.pool.give(slot)


async def check_nothing_leaked(backend: Backend, witness: Witness, models: Sequence[type[Model]]) -> None:
    """Wait until the pool and the server have noticed every end, then look for locks, transactions and replies that are left."""
    pool = pool_of(backend)
    async with asyncio.timeout(10):
        while pool.stats().recovering or await witness.sessions() not in (pool.stats().size, None):
            await anyio.lowlevel.checkpoint()
    assert (pool.stats().waiting, pool.stats().in_use) == (0, 0)
    await witness.check_quiet([table_of(model) for model in models])
    found = await asyncio.gather(*(backend.engine.fetch_value(f"select {number} as n") for number in range(10)))
    assert found == list(range(10))


def table_of(model: type[Model]) -> str:
    """Return the table's name."""
    return model_info(model).name


@asynccontextmanager
async def open_rig(url: str, facts: Facts) -> AsyncGenerator[Rig]:
    """Open the backend, with empty tables, and the witness."""
    async with holdall.open(url, pool_max_size=POOL_SIZE, **facts.options) as backend:
        await backend.drop(*MODELS)
        await backend.initialize(*MODELS)
        async with facts.witness(url) as witness:
            yield Rig(backend, witness)
        await backend.drop(*MODELS)
