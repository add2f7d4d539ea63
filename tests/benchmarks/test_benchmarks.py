"""The benchmarks' peers do the work, wrong answers are found, and the page of the documentation is made of what was measured."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import ANY, CHARTS, CHECK, PAGE, RESULTS, Choice, run
from benchmarks.chart import chart
from benchmarks.engine import Engine, Target
from benchmarks.engines import ENGINES
from benchmarks.harness import Contender, Result, check
from benchmarks.peer import Peer, Place, Way
from benchmarks.people import values_of
from benchmarks.report import page
from benchmarks.run import Run, verdicts
from benchmarks.work import EVERYBODY, Kind, Work, arguments
from tests.servers.process import ServerMissing

pytestmark = pytest.mark.filterwarnings("default")  # the peers' own
FIXTURES = {"postgresql": "postgres"}  # what the tables of a test run call it
KEPT = [(engine, Run.read(path)) for engine in ENGINES if (path := RESULTS / f"{engine.name}.json").exists()]


@pytest.mark.parametrize(
    "engine", [pytest.param(engine, marks=pytest.mark.engine(FIXTURES.get(engine.name, engine.name)), id=engine.name) for engine in ENGINES]
)
async def test_every_peer_does_the_work(engine: Engine) -> None:
    try:
        await run(engine, Choice(CHECK, ANY, ANY, everything=True), "asyncio")
    except ServerMissing as exc:
        pytest.skip(str(exc))


# -- a check that cannot fail is none --------------------------------------------------------------------------------------------------


class Liar:
    """Rows in a list, and answers that are not always right."""

    def __init__(self) -> None:
        self.rows = {"people": [list(values_of(number)) for number in range(1, 3001)], "newcomers": list[list[Any]]()}

    async def look(self, table: str, numbers: range) -> list[Sequence[Any]]:
        return [tuple(row) for row in self.rows[table] if row[0] in numbers]

    async def empty(self) -> None:
        self.rows["newcomers"].clear()

    async def change(self, number: int) -> None:
        self.rows["people"][number - 1][3] += 2

    async def check(self, work: Work, call: Any) -> None:
        peer = Peer("liar", opened_never)
        await check(Contender(peer, Way(work.kind, call), work, Place("", 3000), self.look, self.empty, arguments(work, 3000)))


def opened_never(_: Place) -> Any:
    raise NotImplementedError


def but_one(numbers: range) -> list[tuple[Any, ...]]:
    return [values_of(number) for number in numbers[1:]]


def with_cents_lost(number: int) -> tuple[Any, ...]:
    row = values_of(number)
    return (*row[:7], row[7] + 1, row[8])


WRONG: list[tuple[Work, Callable[[Any], Any]]] = [
    (Work(Kind.GET), with_cents_lost),
    (Work(Kind.OBJECTS, 100), but_one),
    (Work(Kind.DICTS, 100), lambda numbers: [values_of(number) for number in numbers]),
    (Work(Kind.TUPLES, 100), but_one),
    (Work(Kind.CREATE), lambda _: None),
    (Work(Kind.SAVE), lambda _: None),
    (Work(Kind.CHANGE), lambda _: None),
    (Work(Kind.CREATE_MANY, 1000), lambda _: None),
    (Work(Kind.STREAM), lambda _: sum(range(3000))),
]


@pytest.mark.parametrize(("work", "answer"), WRONG, ids=lambda item: getattr(item, "title", ""))
async def test_a_wrong_answer_is_found(work: Work, answer: Any) -> None:
    async def call(argument: Any) -> Any:
        return answer(argument)

    with pytest.raises(AssertionError, match="liar does not do the work"):
        await Liar().check(work, call)


async def test_a_change_that_is_too_large_is_found() -> None:
    liar = Liar()

    with pytest.raises(AssertionError, match="does not do the work"):
        await liar.check(Work(Kind.CHANGE), liar.change)


def test_every_kind_of_work_has_a_wrong_answer() -> None:
    assert {work.kind for work, _ in WRONG} == set(Kind)


# -- what is made of the figures -------------------------------------------------------------------------------------------------------


def test_the_page_is_made_of_the_kept_figures() -> None:
    sections = [(engine.title, kept, verdicts(kept, engine.targets)) for engine, kept in KEPT]

    assert PAGE.read_text() == page(sections), "run 'python -m benchmarks --page'"


@pytest.mark.parametrize(("engine", "kept"), KEPT, ids=lambda item: getattr(item, "name", ""))
def test_the_charts_are_made_of_the_kept_figures(engine: Engine, kept: Run) -> None:
    text = (CHARTS / f"{engine.name}.svg").read_text()

    assert text == chart(kept, engine.title), "run 'python -m benchmarks --page'"
    assert len(ET.fromstring(text).findall(".//{*}rect")) == len(kept.results)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_every_target_is_of_a_line_and_of_peers_that_are_measured(engine: Engine) -> None:
    lines, names = {work.title for work in engine.work}, {peer.name for peer in engine.peers}

    assert {target.line for target in engine.targets} <= lines
    assert {name.split(",")[0] for target in engine.targets for name in (target.contender, target.than)} <= names


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_without_a_request_for_everything_every_target_beside_raw_drivers_is_measured(engine: Engine) -> None:
    libraries = {peer.name for peer in engine.peers if peer.role == "library"}
    lines = {line.title for line in engine.work if any(engine.measures(peer, line) for peer in engine.peers)}

    assert set(engine.spared) < set(engine.work)
    assert {target.line for target in engine.targets if target.than not in libraries} <= lines


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_a_run_of_a_part_is_not_whole(engine: Engine) -> None:
    assert Choice(CHECK, ANY, ANY).is_whole(engine)
    assert not Choice(CHECK, re.compile("get"), ANY).is_whole(engine)
    assert not Choice(CHECK, ANY, re.compile("SQLAlchemy")).is_whole(engine)


def test_a_target_compares_the_fastest_samples() -> None:
    def result(name: str, *rates: float) -> Result:
        return Result("save", name.split(",", maxsplit=1)[0], name, "library", list(rates), [0.1])

    kept = KEPT[0][1]
    measured = replace(kept, results=[result("raw, COPY", 1.0, 10.0), result("raw, unnest", 99.0), result("ours", 15.0, 2.0)])

    (verdict,) = verdicts(measured, [Target("save", "ours", "raw", 1.6), Target("other line", "ours", "raw", 1.0)])

    assert verdict.times == 1.5
    assert not verdict.is_met


@pytest.mark.parametrize("kind", Kind)
def test_no_two_calls_that_write_are_given_the_same(kind: Kind, tmp_path: Path) -> None:
    writes = {Kind.CREATE, Kind.CREATE_MANY, Kind.SAVE}
    given = arguments(Work(kind, 10), 3000)

    first = [next(given) for _ in range(2000)]

    assert len(set(first)) == len(first) or kind not in writes
    assert all(number in EVERYBODY for number in first if kind is Kind.GET)
