"""Run the comparisons: ``python -m benchmarks --help``."""

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from time import perf_counter

from benchmarks.harness import Effort, Line, Result, measure
from benchmarks.memory import peak_kib
from benchmarks.on_postgres import postgres_lines
from benchmarks.on_sqlite import sqlite_lines
from benchmarks.report import environment, heading, summary, table, write_json
from tests.servers.postgres import PostgresServer
from tests.servers.process import ServerMissing

QUICK = Effort(samples=9, seconds=0.08, warm_up=0.08)
FULL = Effort(samples=7, seconds=1.0, warm_up=0.5)
Suite = Callable[[], AbstractAsyncContextManager[Sequence[Line]]]


@asynccontextmanager
async def on_sqlite() -> AsyncGenerator[Sequence[Line]]:
    """Give the lines on SQLite, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="holdall-bench-") as folder:
        async with sqlite_lines(Path(folder)) as lines:
            yield lines


def suites(server: PostgresServer | None) -> Mapping[str, Suite]:
    """Return what can be compared on this machine."""
    found: dict[str, Suite] = {}
    if server is not None:
        found["postgresql"] = lambda: postgres_lines(server.url)
    found["sqlite"] = on_sqlite
    return found


async def compare(chosen: Mapping[str, Suite], effort: Effort, wanted: re.Pattern[str]) -> tuple[list[Result], dict[str, float]]:
    """Measure every line that is wanted; print each as soon as it is known."""
    random = Random()
    results: list[Result] = []
    memory: dict[str, float] = {}
    for suite in chosen.values():
        async with suite() as lines:
            for line in lines:
                if wanted.search(line.name):
                    found = await measure(line, effort, random)
                    print(table(found), flush=True)
                    results += found
                    if "stream" in line.name:
                        memory |= await stream_memory(line)
    return results, memory


async def stream_memory(line: Line) -> dict[str, float]:
    """Measure what each contender of a stream holds, and print it."""
    found: dict[str, float] = {}
    for contender in line.contenders:
        peak = found[f"{line.name}: {contender.name}"] = await peak_kib(partial(contender.call, 1))
        print(f"    peak memory, {contender.name}: {peak:,.0f} KiB")
    return found


def start_server() -> PostgresServer | None:
    """Start a private server that syncs every commit, as servers do; None where the machine has none."""
    try:
        return PostgresServer(durable=True).start()
    except ServerMissing as exc:
        print(f"without PostgreSQL: {exc}")
        return None


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_const", dest="effort", const=QUICK, default=QUICK, help="under two minutes (the default)")
    length.add_argument("--full", action="store_const", dest="effort", const=FULL, help="samples of a second")
    parser.add_argument("--only", type=re.compile, default=re.compile(""), metavar="PATTERN", help="lines that match, such as 'sqlite get'")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
    parser.add_argument("--uvloop", action="store_true", help="use uvloop, where it is installed")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> None:
    """Run what the words ask for."""
    options = parsed(words)
    begun = perf_counter()
    server = None if options.only.pattern.startswith("sqlite") else start_server()
    about = environment("uvloop" if options.uvloop else "asyncio", {} if server is None else {"postgresql": server.version})
    print(", ".join(f"{name} {value}" for name, value in about.items()) + "\n\n" + heading())
    try:
        with asyncio.Runner(loop_factory=_uvloop() if options.uvloop else None) as runner:
            results, memory = runner.run(compare(suites(server), options.effort, options.only))
    finally:
        if server is not None:
            server.delete()
    print(f"\n{summary(results)}\n{perf_counter() - begun:.0f} s")
    if options.json is not None:
        write_json(options.json, about, results, memory)


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    made: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return made


if __name__ == "__main__":
    main(sys.argv[1:])
