"""Measuring: contenders of one line take turns, in shuffled order, and are compared round by round."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Contender:
    """One way to do a line's work.

    Attributes:
        call: does it once. It is given the next number of the line, or what ``prepare`` made of it.
        check: is given the result and the number; raises ``AssertionError`` when the work was not done.
        prepare: runs outside the clock.
        target: the ratio to the line's baseline that is wanted.
    """

    name: str
    call: Callable[[Any], Awaitable[Any]]
    check: Callable[[Any, int], Awaitable[None]]
    prepare: Callable[[int], Any] | None = None
    target: float | None = None


@dataclass(frozen=True)
class Line:
    """The same work in several ways; the first contender is the baseline.

    Attributes:
        numbers: makes the numbers of one sample, or of all of them when it returns the same iterator again.
        tasks: how many do the work at the same time.
        reset: runs before every sample, outside the clock.
    """

    name: str
    contenders: Sequence[Contender]
    numbers: Callable[[], Iterator[int]]
    tasks: int = 1
    reset: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True)
class Effort:
    """How long to measure: ``samples`` of ``seconds`` for every contender."""

    samples: int
    seconds: float
    warm_up: float


@dataclass
class Result:
    """What was measured of one contender.

    Attributes:
        rates: calls per second of each sample.
        ratios: each divided by the baseline's of the same round.
        processor: processor seconds of this process per call, all threads, of each sample; the least counts, because what else runs on
            the machine adds little to it.
    """

    line: str
    contender: str
    tasks: int
    target: float | None
    is_baseline: bool
    rates: list[float] = field(default_factory=list[float])
    ratios: list[float] = field(default_factory=list[float])
    processor: list[float] = field(default_factory=list[float])

    @property
    def rate(self) -> float:
        """The median of the rates."""
        return median(self.rates)

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return median(self.ratios)

    @property
    def verdict(self) -> str:
        """Whether the target is met; empty where there is none."""
        return "" if self.target is None else "ok" if self.ratio >= self.target else "missed"


async def measure(line: Line, effort: Effort, random: Random) -> list[Result]:
    """Check every contender, warm it up, then take the samples."""
    gc.collect()
    for contender in line.contenders:
        await _check(line, contender)
        await _sample(line, contender, effort.warm_up)
    results = [
        Result(line.name, contender.name, line.tasks, contender.target, is_baseline=contender is line.contenders[0])
        for contender in line.contenders
    ]
    for _ in range(effort.samples):
        for position in random.sample(range(len(results)), len(results)):
            sample = await _sample(line, line.contenders[position], effort.seconds)
            results[position].rates.append(sample.calls / sample.seconds)
            results[position].processor.append(sample.processor / sample.calls)
        for result in results:
            result.ratios.append(result.rates[-1] / results[0].rates[-1])
    return results


async def _check(line: Line, contender: Contender) -> None:
    if line.reset is not None:
        await line.reset()
    number = next(line.numbers())
    result = await contender.call(number if contender.prepare is None else contender.prepare(number))
    try:
        await contender.check(result, number)
    except AssertionError as exc:
        msg = f"{line.name}: {contender.name} does not do the work: {exc}"
        raise AssertionError(msg) from exc


class _Sample(NamedTuple):
    calls: int
    seconds: float
    processor: float


async def _sample(line: Line, contender: Contender, seconds: float) -> _Sample:
    if line.reset is not None:
        await line.reset()
    gc.collect(1)
    if contender.prepare is not None:
        return await _prepared_sample(contender, contender.prepare, line.numbers(), seconds)
    numbers, call, clock = line.numbers(), contender.call, perf_counter
    calls = 0

    async def work() -> None:
        nonlocal calls
        while clock() < stop:
            await call(next(numbers))
            calls += 1

    begun, worked = clock(), process_time()
    stop = begun + seconds
    if line.tasks == 1:
        await work()
    else:
        await asyncio.gather(*(work() for _ in range(line.tasks)))
    return _Sample(calls, clock() - begun, process_time() - worked)


async def _prepared_sample(contender: Contender, prepare: Callable[[int], Any], numbers: Iterator[int], seconds: float) -> _Sample:
    spent = processor = 0.0
    calls = 0
    while spent < seconds:
        prepared = prepare(next(numbers))
        begun, worked = perf_counter(), process_time()
        await contender.call(prepared)
        spent += perf_counter() - begun
        processor += process_time() - worked
        calls += 1
    return _Sample(calls, spent, processor)
