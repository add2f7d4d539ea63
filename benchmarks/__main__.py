"""Run the comparisons: ``python -m benchmarks --help``."""

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from time import perf_counter

from benchmarks.chart import chart
from benchmarks.engine import Engine
from benchmarks.engines import ENGINES
from benchmarks.harness import Contender, Effort, Result, check, contenders, measure, peak_kib
from benchmarks.peer import Peer
from benchmarks.report import heading, page, summary, table
from benchmarks.round_trips import Counts, count_round_trips
from benchmarks.run import Run, Verdict, environment, verdicts
from benchmarks.work import Kind, Work
from tests.servers.process import ServerMissing

ROOT = Path(__file__).parents[1]
RESULTS, PAGE, CHARTS = ROOT / "benchmarks" / "results", ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks"
QUICK = Effort(samples=5, seconds=0.08, warm_up=0.05, people=20_000)
FULL = Effort(samples=5, seconds=1.0, warm_up=0.1, people=100_000)
CHECK = Effort(samples=0, seconds=0.0, warm_up=0.0, people=3000)
ANY, RAW = re.compile(""), re.compile("holdall|sqlite3|asyncmy")


@dataclass(frozen=True)
class Choice:
    """What of all there is was asked for; ``everything`` includes what says little."""

    effort: Effort
    lines: re.Pattern[str]
    peers: re.Pattern[str]
    everything: bool = False

    def of(self, engine: Engine) -> tuple[Sequence[Peer], Sequence[Work]]:
        """Return the peers and lines of the engine; the first peer, which others are compared with, is always one."""
        peers = [peer for peer in engine.peers if peer is engine.peers[0] or self.peers.search(peer.name)]
        work = [line for line in engine.work if self.lines.search(line.title)]
        return peers, [line for line in work if any(self.measures(engine, peer, line) for peer in peers)]

    def measures(self, engine: Engine, peer: Peer, line: Work) -> bool:
        """Whether the peer is measured on the line."""
        return self.everything or engine.measures(peer, line)

    def is_whole(self, engine: Engine) -> bool:
        """Whether no line and no peer is left out by its name."""
        return self.of(engine) == replace(self, lines=ANY, peers=ANY).of(engine)


async def run(engine: Engine, choice: Choice, loop: str) -> Run:
    """Compare on one engine; print each line as soon as it is known."""
    peers, work = choice.of(engine)
    with tempfile.TemporaryDirectory(prefix="holdall-bench-") as folder:
        async with engine.start(Path(folder), choice.effort.people) as server, AsyncExitStack() as stack:
            about = environment(loop, server.versions)
            print(f"\n{engine.title}: " + ", ".join(f"{name} {value}" for name, value in about.items()))
            measures = partial(choice.measures, engine)
            counts = await count_round_trips(server, peers, work, measures) if choice.effort.samples else {}
            opened = [(peer, place := await server.place(peer), await stack.enter_async_context(peer.open(place))) for peer in peers]
            results: list[Result] = []
            for line in work:
                doing = [(peer, place, ways) for peer, place, ways in opened if measures(peer, line)]
                found = [each for peer, place, ways in doing for each in contenders(peer, ways, line, place, server)]
                results += await _line(found, choice.effort, counts)
    return Run(engine.name, about, choice.effort, results)


async def _line(line: Sequence[Contender], effort: Effort, counts: Counts) -> list[Result]:
    if not effort.samples:
        for contender in line:
            await check(contender)
            print(f"  {contender.work.title}: {contender.name} is right")
        return []
    results = await measure(line, effort, Random())
    for contender, result in zip(line, results, strict=True):
        result.round_trips = counts.get((result.line, result.contender))
        if contender.work.kind is Kind.STREAM:
            result.peak_kib = await peak_kib(contender)
    print(table(results), flush=True)
    return results


def publish() -> None:
    """Make the page and the charts of the documentation of what the runs on all engines have left."""
    CHARTS.mkdir(exist_ok=True)
    sections: list[tuple[str, Run, list[Verdict]]] = []
    for engine in ENGINES:
        path = RESULTS / f"{engine.name}.json"
        if path.exists():
            kept = Run.read(path)
            (CHARTS / f"{engine.name}.svg").write_text(chart(kept, engine.title))
            sections.append((engine.title, kept, verdicts(kept, engine.targets)))
    PAGE.write_text(page(sections))


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    efforts = (
        (QUICK, "quick", "the main lines beside the raw drivers"),
        (FULL, "full", "samples of a second"),
        (CHECK, "check", "only the answers"),
    )
    for effort, name, text in efforts:
        length.add_argument(f"--{name}", action="store_const", dest="effort", const=effort, default=QUICK, help=text)
    length.add_argument("--page", action="store_true", help="measure nothing; make the page again of what was kept")
    names = [engine.name for engine in ENGINES]
    parser.add_argument("--engine", action="append", choices=names, help="this engine only; may be repeated")
    parser.add_argument("--only", type=re.compile, default=ANY, metavar="PATTERN", help="lines that match, such as 'get|save'")
    peers = "peers that match, beside the raw driver; all of them where not --quick"
    parser.add_argument("--peers", type=re.compile, metavar="PATTERN", help=peers)
    parser.add_argument("--all", action="store_true", help="also the lines, and the other libraries on lines, that say little")
    parser.add_argument("--publish", action="store_true", help="keep what was measured, and make the documentation's page of it")
    parser.add_argument("--uvloop", action="store_true", help="use uvloop, where it is installed")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> None:
    """Run what the words ask for."""
    options = parsed(words)
    if options.page:
        publish()
        return
    print(heading())
    peers = options.peers or (RAW if options.effort is QUICK else ANY)
    choice = Choice(options.effort, options.only, peers, options.all or options.effort is CHECK)
    begun = perf_counter()
    for engine in ENGINES:
        if options.engine and engine.name not in options.engine:
            continue
        try:
            with asyncio.Runner(loop_factory=_uvloop() if options.uvloop else None) as runner:
                done = runner.run(run(engine, choice, "uvloop" if options.uvloop else "asyncio"))
        except ServerMissing as exc:
            print(f"without {engine.title}: {exc}")
            continue
        print(f"\n{summary(verdicts(done, engine.targets))}")
        if options.publish and choice.is_whole(engine):
            done.write(RESULTS)
    if options.publish:
        publish()
    print(f"{perf_counter() - begun:.0f} s")


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    made: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return made


if __name__ == "__main__":
    main(sys.argv[1:])
