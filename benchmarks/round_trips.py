"""Round trips of an operation, counted by a proxy before the server; warmed, because the first use of a statement is two."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from benchmarks.engine import Server
from benchmarks.harness import Contender, contenders
from benchmarks.peer import Peer
from benchmarks.work import Kind, Work
from holdall.testing import Proxy

Counts = dict[tuple[str, str], float]
_WARM_UPS = 12  # on every connection of a pool, however it chooses them
_TURNS = 4


async def count_round_trips(server: Server, peers: Sequence[Peer], work: Sequence[Work], measures: Callable[[Peer, Work], bool]) -> Counts:
    """Return the round trips of a call by line and contender of what is measured; nothing where they cannot be counted."""
    found: Counts = {}
    if server.address is None:
        return found
    for peer in peers:
        async with AsyncExitStack() as stack:
            proxy = await stack.enter_async_context(Proxy(*server.address))
            place = await server.place(peer)
            ways = await stack.enter_async_context(peer.open(replace(place, url=proxy.url(place.url))))
            for line in (each for each in work if measures(peer, each)):
                for contender in contenders(peer, ways, line, place, server):
                    found[line.title, contender.name] = await _counted(contender, proxy)
    return found


async def _counted(contender: Contender, proxy: Proxy) -> float:
    await contender.empty()
    tasks, is_stream = contender.work.tasks, contender.work.kind is Kind.STREAM
    for _ in range(1 if is_stream else _WARM_UPS):
        await _turn(contender, tasks)
    proxy.reset_counts()
    turns = 1 if is_stream else _TURNS
    for _ in range(turns):
        await _turn(contender, tasks)
    return proxy.round_trips / (turns * tasks)


async def _turn(contender: Contender, tasks: int) -> None:
    await asyncio.gather(*(contender.call(next(contender.arguments)) for _ in range(tasks)))
