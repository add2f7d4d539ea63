"""Sessions that take turns, step by step: a step that waits for a lock stays where it is while the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import holdall
from holdall import Backend, HoldallError, Session
from tests.stress.engines import Witness

Step = Callable[[Session], Awaitable[Any]]
LOOK_AGAIN = 0.002  # seconds after which the server is asked again, unless somebody is done before


class Player:
    """One session. What it is told to do is done in order; after an error it rolls back and does nothing more.

    Attributes:
        error: what a step failed with, None when all went well.
        waited: a step had to wait for another session.
        last: what it was told to do last.
    """

    def __init__(self, session: Session, settle: Callable[[], Awaitable[None]]) -> None:
        self.error: HoldallError | None = None
        self.waited = False
        self._session = session
        self._settle = settle
        self.last: asyncio.Task[Any] = asyncio.ensure_future(_nothing())

    async def __call__(self, step: Step) -> asyncio.Task[Any]:
        """Begin a step; return when it is done, or everybody who is not done waits for a lock."""
        self.last = asyncio.create_task(self._carry_out(step, self.last))
        await self._settle()
        return self.last

    async def finish(self) -> None:
        """Wait for the last step."""
        await self.last

    @property
    def busy(self) -> bool:
        """Tell whether a step is not done."""
        return not self.last.done()

    async def _carry_out(self, step: Step, before: asyncio.Task[Any]) -> Any:
        await before
        if self.error is not None:
            return None
        try:
            return await step(self._session)
        except HoldallError as error:
            self.error = error
            await self._session.rollback()


async def _nothing() -> None:
    pass


class Stage:
    """Some players on one backend."""

    def __init__(self, backend: Backend, witness: Witness) -> None:
        self.backend = backend
        self.players: list[Player] = []
        self._witness = witness

    async def finish(self) -> None:
        """Wait for everybody's last step."""
        for player in self.players:
            await player.finish()

    async def settle(self) -> None:
        """Return when everybody is done, or waits for a lock."""
        while busy := [player for player in self.players if player.busy]:
            waiting = await self._witness.waiting(self.backend)
            if waiting >= len(busy) and all(player.busy for player in busy):
                for player in busy:
                    player.waited = True
                return
            await asyncio.wait({player.last for player in busy}, timeout=LOOK_AGAIN, return_when=asyncio.FIRST_COMPLETED)


@asynccontextmanager
async def staged(backend: Backend, witness: Witness, count: int, **options: Any) -> AsyncGenerator[Stage]:
    """Open as many sessions, with the options of ``backend.session``."""
    stage = Stage(backend, witness)
    async with AsyncExitStack() as stack:
        for _ in range(count):
            session = await stack.enter_async_context(backend.session(**options))
            stack.enter_context(holdall.detach())  # the next one is no nested session
            stage.players.append(Player(session, stage.settle))
        yield stage
        await stage.finish()
