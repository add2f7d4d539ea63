"""The harm that a soak does."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

from holdall.testing import Proxy
from tests.soak.report import Report
from tests.soak.work import Crew
from tests.stress.engines import Facts

PAUSE = 0.03  # seconds between two faults, on average
SAFE_START = 3.0  # seconds that a run must last for its server to be killed


class Saboteur:
    """Does harm of a random kind, again and again.

    Args:
        url: of the database, for a witness beside the proxy.
        proxy, server: where there is a server.
    """

    def __init__(self, facts: Facts, url: str, crew: Crew, report: Report, chance: random.Random) -> None:
        self.proxy: Proxy | None = None
        self.server: Any = None
        self._facts = facts
        self._url = url
        self._crew = crew
        self._report = report
        self._chance = chance

    async def harm(self, is_over: Callable[[], bool]) -> None:
        """Go on until it is over, then leave everything in order."""
        while not is_over():
            await asyncio.sleep(self._chance.uniform(0, 2 * PAUSE))  # the pace of the faults, no wait for anything
            kinds = [name for name, (_, needs_server, _) in FAULTS.items() if self.proxy is not None or not needs_server]
            name = self._chance.choices(kinds, [FAULTS[kind][2] for kind in kinds])[0]
            if name == "server killed and started" and self._report.seconds < SAFE_START:
                continue
            await FAULTS[name][0](self)
            self._report.faults[name] += 1
        if self.proxy is not None:
            self.proxy.cut()  # a budget of bytes that is left ends with its connections

    async def cancel(self) -> None:
        """Cancel some actions."""
        actions = list(self._crew.actions)
        for action in self._chance.sample(actions, min(len(actions), 3)):
            action.cancel()

    async def cancel_twice(self) -> None:
        """Cancel an action, and again a turn later."""
        for action in self._chance.sample(list(self._crew.actions), min(len(self._crew.actions), 1)):
            action.cancel()
            await asyncio.sleep(0)
            action.cancel()

    async def kill(self) -> None:
        """End connections on the server."""
        async with self._facts.witness(self._url) as witness:
            await witness.kill(self._chance.randrange(1, 4))

    async def foreign_lock(self) -> None:
        """Hold a row's lock from outside for a moment."""
        async with self._facts.witness(self._url) as witness:
            with contextlib.suppress(Exception):  # a driver's own "busy", where another writer has it
                async with witness.locked("select * from bank_purse where id = 1"):
                    await asyncio.sleep(PAUSE)

    async def cut(self) -> None:
        """Cut every connection."""
        assert self.proxy is not None
        self.proxy.cut()

    async def cut_reply(self) -> None:
        """Cut a connection somewhere in a reply."""
        assert self.proxy is not None
        self.proxy.cut_after_reply_bytes(self._chance.randrange(2000))

    async def cut_request(self) -> None:
        """Cut a connection somewhere in a request."""
        assert self.proxy is not None
        self.proxy.cut_after_request_bytes(self._chance.randrange(2000))

    async def silence(self) -> None:
        """Keep what the server says for a moment."""
        assert self.proxy is not None
        self.proxy.hold_replies()
        await asyncio.sleep(PAUSE)
        self.proxy.release_replies()

    async def trickle(self) -> None:
        """Let bytes through a few at a time for a moment."""
        assert self.proxy is not None
        self.proxy.chunk, before = 7, self.proxy.chunk
        await asyncio.sleep(PAUSE)
        self.proxy.chunk = before

    async def restart(self) -> None:
        """Kill the server as a crash would, and start it again."""
        await asyncio.to_thread(self.server.stop, self._facts.crash)  # it ends the sooner the more its clients go on
        self.server.start()  # in this thread, whose end is the server's


FAULTS: dict[
    str, tuple[Callable[[Saboteur], Awaitable[None]], bool, int]
] = {  # whether it needs a server; how often, relative to the others
    "actions cancelled": (Saboteur.cancel, False, 12),
    "action cancelled twice": (Saboteur.cancel_twice, False, 6),
    "lock held from outside": (Saboteur.foreign_lock, False, 3),
    "connections killed": (Saboteur.kill, True, 4),
    "connections cut": (Saboteur.cut, True, 2),
    "reply cut": (Saboteur.cut_reply, True, 4),
    "request cut": (Saboteur.cut_request, True, 4),
    "replies held back": (Saboteur.silence, True, 2),
    "bytes trickled": (Saboteur.trickle, True, 2),
    "server killed and started": (Saboteur.restart, True, 1),
}
