"""Lines of stores whose server takes most of the time: what counts is the processor time of the client, beside the wall time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import median
from time import perf_counter, process_time
from typing import Any

Check = Callable[[Any, int], Awaitable[None]]


@dataclass(frozen=True)
class Way:
    """One way to do a line's work.

    ``call`` is given what ``prepare`` makes of a number outside the clock; ``check`` raises when the work was not done.
    """

    name: str
    call: Callable[[Any], Awaitable[Any]]
    check: Check
    prepare: Callable[[int], Any] = int


@dataclass(frozen=True)
class Line:
    """The same work in several ways, each by so many tasks at once; the last is holdall's.

    ``targets`` says how many times less processor time than the way of that name it is to take.
    """

    name: str
    ways: Sequence[Way]
    numbers: Iterator[int]
    tasks: int = 1
    targets: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass
class Figures:
    """Seconds of each call's processor and wall time, by sample."""

    processor: list[float] = field(default_factory=list[float])
    wall: list[float] = field(default_factory=list[float])


async def measure(line: Line, samples: int, seconds: float) -> dict[str, Figures]:
    """Check and warm every way, then let them take turns in shuffled order."""
    found = {way.name: Figures() for way in line.ways}
    for way in line.ways:
        number = next(line.numbers)
        await way.check(await way.call(way.prepare(number)), number)
        await _sample(way, line, seconds / 2)
    random = Random(1)
    for _ in range(samples):
        for way in random.sample(list(line.ways), len(line.ways)):
            processor, wall = await _sample(way, line, seconds)
            found[way.name].processor.append(processor)
            found[way.name].wall.append(wall)
    return found


async def _sample(way: Way, line: Line, seconds: float) -> tuple[float, float]:
    gc.collect(1)
    calls, processor, wall = 0, 0.0, 0.0
    while wall < seconds:
        arguments = [way.prepare(next(line.numbers)) for _ in range(line.tasks)]
        begun, worked = perf_counter(), process_time()
        if line.tasks == 1:
            await way.call(arguments[0])
        else:
            await asyncio.gather(*[way.call(argument) for argument in arguments])
        wall += perf_counter() - begun
        processor += process_time() - worked
        calls += line.tasks
    return processor / calls, wall / calls


def table(line: Line, found: Mapping[str, Figures]) -> str:
    """Return the figures of a line; the least processor time counts, because what else runs on the machine adds little to it."""
    ours = min(found[line.ways[-1].name].processor)
    rows = [line.name if line.tasks == 1 else f"{line.name}, {line.tasks} tasks"]
    for way in line.ways:
        figures = found[way.name]
        least = min(figures.processor)
        target = line.targets.get(way.name)
        verdict = "" if target is None else f"  target {target:.1f} {'ok' if least / ours >= target else 'missed'}"
        times = f"cpu {least * 1e6:>8,.0f} µs  wall {median(figures.wall) * 1e6:>9,.0f} µs"
        rows.append(f"  {way.name:24} {times}  {least / ours:>5.2f}× holdall's cpu{verdict}")
    return "\n".join(rows)
