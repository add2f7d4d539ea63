"""One run on one engine."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import holdall
from holdall import Backend
from holdall.testing import Proxy
from tests.soak.faults import Saboteur
from tests.soak.report import Report
from tests.soak.work import MODELS, Crew
from tests.stress.engines import ENGINES, Facts, Witness
from tests.stress.rig import check_nothing_leaked

WORKERS = 30
CONNECTIONS = 6


class Arena(NamedTuple):
    """Where a run takes place; a ``proxy`` and a ``server`` where there is one."""

    url: str
    proxy: Proxy | None
    server: Any


async def soak(engine: str, seconds: float, seed: int, meanwhile: Callable[[Witness], Awaitable[None]] | None = None) -> Report:
    """Mix everything on an engine for some seconds.

    Args:
        meanwhile: called once in the middle of the run.
    """
    facts = ENGINES[engine]
    report = Report(engine, seconds, seed)
    chance = random.Random(seed)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: _complain(report, context))
    async with _arena(facts) as arena:
        through = arena.url if arena.proxy is None else arena.proxy.url(arena.url)
        async with holdall.open(through, pool_max_size=CONNECTIONS, acquire_timeout=20, **facts.options) as backend:
            await backend.initialize(*MODELS)
            crew = Crew(backend, report, chance)
            await crew.bank.open()
            saboteur = Saboteur(facts, arena.url, crew, report, chance)
            saboteur.proxy, saboteur.server = arena.proxy, arena.server
            await _mix(crew, saboteur, seconds, lambda: _meanwhile(meanwhile, facts, arena))
            await _look_back(backend, facts, arena, crew, report)
    return report


def _complain(report: Report, context: Mapping[str, Any]) -> None:
    """Note what the event loop would log. A bare future is a driver's, and is told among the errors; a task could be one of ours."""
    future, error = context.get("future"), context.get("exception")
    text = f"{context['message']} ({type(error).__name__})"
    if "task" in context or future is None or isinstance(future, asyncio.Task):
        report.check("no task is left to itself", holds=False, found=f"{text}: {context.get('task', future)!r} {error!r}")
    else:
        report.errors[f"in the log: {text}"] += 1


async def _mix(crew: Crew, saboteur: Saboteur, seconds: float, meanwhile: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    def is_over() -> bool:
        return loop.time() > end

    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(crew.work(is_over))
        group.create_task(saboteur.harm(is_over))
        await asyncio.sleep(seconds / 2)
        await meanwhile()


async def _meanwhile(function: Callable[[Witness], Awaitable[None]] | None, facts: Facts, arena: Arena) -> None:
    if function is not None:
        async with facts.witness(arena.url) as witness:
            await function(witness)


async def _look_back(backend: Backend, facts: Facts, arena: Arena, crew: Crew, report: Report) -> None:
    """Without further faults, service must come back at once, the books be right, and nothing be left behind."""
    if arena.proxy is not None:
        arena.proxy.cut_after_reply_bytes(2**62)
        arena.proxy.cut_after_request_bytes(2**62)
    await backend.query(MODELS[0]).count()
    await crew.audit()
    async with facts.witness(arena.url) as witness:
        try:
            await check_nothing_leaked(backend, witness, MODELS)
        except (AssertionError, TimeoutError) as error:
            report.check("nothing is left behind", holds=False, found=repr(error))
        else:
            report.check("nothing is left behind", holds=True)


@asynccontextmanager
async def _arena(facts: Facts) -> AsyncGenerator[Arena]:
    async with AsyncExitStack() as stack:
        if facts.server is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="holdall-soak-"))
            yield Arena(f"{facts.name}:///{Path(folder) / 'soak.db'}", None, None)
            return
        server = stack.enter_context(facts.server())
        parts = urlsplit(str(server.url))
        assert parts.hostname
        assert parts.port
        proxy = await stack.enter_async_context(Proxy(parts.hostname, parts.port))
        yield Arena(str(server.url), proxy, server)
