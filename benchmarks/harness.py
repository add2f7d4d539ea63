"""Measuring: the contenders of a line take turns, in shuffled order."""

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

from benchmarks.peer import Peer, Place, Way
from benchmarks.work import CHECKS, Kind, Look, Work, arguments


class Effort(NamedTuple):
    """How long to measure: ``samples`` of ``seconds`` for every contender, on so many ``people``."""

    samples: int
    seconds: float
    warm_up: float
    people: int


@dataclass(frozen=True)
class Contender:
    """A peer's way to do the work of a line.

    Attributes:
        empty: removes all newcomers.
        arguments: what the calls are given; no sample is given what another was.
    """

    peer: Peer
    way: Way
    work: Work
    place: Place
    look: Look
    empty: Callable[[], Awaitable[None]]
    arguments: Iterator[Any]

    @property
    def name(self) -> str:
        """The peer with its variant."""
        return f"{self.peer.name}, {self.way.variant}" if self.way.variant else self.peer.name

    async def call(self, argument: Any) -> Any:
        """Do the work once, preparation included."""
        return await self.way.call(argument if self.way.prepare is None else self.way.prepare(argument))


@dataclass
class Result:
    """What was measured of one contender on one line.

    Attributes:
        rates: calls per second of each sample.
        processor: processor seconds of this process for a call, all threads, of each sample; the least counts, because what else runs on
            the machine adds little to it.
        round_trips: of a call; None where they cannot be counted.
        peak_kib: the most memory that the check held, of a stream.
    """

    line: str
    peer: str
    contender: str
    role: str
    rates: list[float] = field(default_factory=list[float])
    processor: list[float] = field(default_factory=list[float])
    round_trips: float | None = None
    peak_kib: float | None = None

    @property
    def rate(self) -> float:
        """The median of the rates."""
        return median(self.rates)

    @property
    def fastest(self) -> float:
        """The highest of the rates, which is the least disturbed."""
        return max(self.rates)


def contenders(peer: Peer, ways: Sequence[Way], work: Work, place: Place, server: Any) -> list[Contender]:
    """Return the ways in which a peer does the work of a line; none where it cannot."""

    async def empty() -> None:
        await server.empty(place)

    look = decoded(server.look(place), peer)
    return [Contender(peer, way, work, place, look, empty, arguments(work, place.people)) for way in ways if way.kind is work.kind]


def decoded(look: Look, peer: Peer) -> Look:
    """Return a look that gives the values of people in the place of what the columns hold."""

    async def decoding(table: str, numbers: range) -> list[Sequence[Any]]:
        return [tuple(peer.stored(row)) for row in await look(table, numbers)]

    return decoding


async def check(contender: Contender) -> None:
    """Have the work done once; raise ``AssertionError`` when it was not."""
    await contender.empty()
    try:
        await CHECKS[contender.work.kind](contender.call, next(contender.arguments), contender.peer.read, contender.look)
    except AssertionError as exc:
        msg = f"{contender.work.title}: {contender.name} does not do the work: {exc}"
        raise AssertionError(msg) from exc


async def peak_kib(contender: Contender) -> float:
    """Return the most KiB that one call held at once, above what there was before. Tracing is slow, so that it is no part of a sample."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        await contender.call(next(contender.arguments))
        return (tracemalloc.get_traced_memory()[1] - before) / 1024
    finally:
        tracemalloc.stop()


async def measure(line: Sequence[Contender], effort: Effort, random: Random) -> list[Result]:
    """Check and warm up every contender, then take the samples."""
    results: list[Result] = []
    for contender in line:
        await check(contender)
        if contender.work.kind is not Kind.STREAM:  # which the check has warmed up
            await _sample(contender, effort.warm_up)
        results.append(Result(contender.work.title, contender.peer.name, contender.name, contender.peer.role))
    for _ in range(effort.samples):
        for position in random.sample(range(len(line)), len(line)):
            sample = await _sample(line[position], effort.seconds)
            results[position].rates.append(sample.calls / sample.seconds)
            results[position].processor.append(sample.processor / sample.calls)
    return results


class _Sample(NamedTuple):
    calls: int
    seconds: float
    processor: float


async def _sample(contender: Contender, seconds: float) -> _Sample:
    if contender.work.writes:
        await contender.empty()
    gc.collect(1)
    if contender.way.prepare is not None:
        return await _prepared_sample(contender, contender.way.prepare, seconds)
    numbers, call, clock = contender.arguments, contender.way.call, perf_counter
    calls = 0

    async def work() -> None:
        nonlocal calls
        while True:  # once at least, however long it takes
            await call(next(numbers))
            calls += 1
            if clock() >= stop:
                return

    begun, worked = clock(), process_time()
    stop = begun + seconds
    if contender.work.tasks == 1:
        await work()
    else:
        await asyncio.gather(*(work() for _ in range(contender.work.tasks)))
    return _Sample(calls, clock() - begun, process_time() - worked)


async def _prepared_sample(contender: Contender, prepare: Callable[[range], Any], seconds: float) -> _Sample:
    spent = processor = 0.0
    calls = 0
    while spent < seconds:
        prepared = prepare(next(contender.arguments))
        begun, worked = perf_counter(), process_time()
        await contender.way.call(prepared)
        spent += perf_counter() - begun
        processor += process_time() - worked
        calls += 1
    return _Sample(calls, spent, processor)
