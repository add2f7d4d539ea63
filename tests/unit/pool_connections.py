"""Connections without a server that keep the promises of ``holdall.pool.Connector``, and count what happens to them."""

import asyncio
from collections.abc import Awaitable, Callable


class Wire:
    """A connection: open or closed, clean or in the middle of something, used by one task at a time."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = False
        self.running = False
        self.state_left_behind = False

    async def work(self, until: Awaitable[object]) -> None:
        """Run a statement; cancelled, it goes on running, as on a server."""
        assert not self.closed, "used after it was closed"
        assert not self.running, "two statements at once on one connection"
        self.running = True
        await until
        self.running = False


class Wires:
    """A connector. ``gate`` holds openings back, ``refusals`` are raised by the next openings, ``recover_gate`` holds cleaning back."""

    def __init__(self) -> None:
        self.made: list[Wire] = []
        self.refusals: list[Exception] = []
        self.attempts = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.recover_gate = asyncio.Event()
        self.recover_gate.set()
        self.recover_fails = False
        self.on_recover: Callable[[], None] = lambda: None
        self.recovered: list[bool] = []
        self.closed_gracefully = 0
        self.terminated = 0
        self._changed = asyncio.Event()

    @property
    def alive(self) -> int:
        """How many the server would see."""
        return sum(not wire.closed for wire in self.made)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something opened or closed and the condition holds."""
        async with asyncio.timeout(10):
            while True:
                self._changed.clear()
                await settle()
                if condition():
                    return
                await self._changed.wait()

    async def open(self) -> Wire:
        self.attempts += 1
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.refusals:
            raise self.refusals.pop(0)
        wire = Wire(len(self.made))
        self.made.append(wire)
        self._changed.set()
        return wire

    def is_closed(self, connection: Wire) -> bool:
        return connection.closed

    async def recover(self, connection: Wire, *, dirty: bool) -> None:
        self.on_recover()
        await self.recover_gate.wait()
        await asyncio.sleep(0)
        if self.recover_fails or connection.closed:
            raise ConnectionResetError("it does not answer")
        connection.running = False
        if dirty:
            connection.state_left_behind = False
        self.recovered.append(dirty)

    async def close(self, connection: Wire) -> None:
        await asyncio.sleep(0)
        self.closed_gracefully += 1
        connection.closed = True
        self._changed.set()

    def terminate(self, connection: Wire) -> None:
        self.terminated += 1
        connection.closed = True
        self._changed.set()


async def settle(turns: int = 20) -> None:
    """Let everything that is ready to run do so."""
    for _ in range(turns):
        await asyncio.sleep(0)
