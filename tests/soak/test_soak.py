"""A short soak on each engine; and a soak that is lied to says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ServerMissing
from tests.servers.plugin import EnginePlugin
from tests.soak.faults import FAULTS
from tests.soak.run import soak
from tests.soak.work import KINDS
from tests.stress.engines import ENGINES, Witness

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 3.0


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest, engines: EnginePlugin) -> str:
    name = str(request.param)
    engines.url(name)  # the one way to skip, or fail under CI, where there is none
    facts = ENGINES[name]
    try:
        if facts.server is not None:
            facts.server()
    except ServerMissing as error:
        pytest.skip(f"only a remote {name} is there: {error}")
    return name


async def test_a_short_soak_breaks_no_invariant(engine: str) -> None:
    report = await soak(engine, SECONDS, seed=1)

    assert report.violations == [], report.text()
    assert report.operations.keys() == KINDS.keys()
    assert report.faults.keys() >= {name for name, (_, needs_server, often) in FAULTS.items() if not needs_server and often > 1}
    assert len(report.invariants) >= 10


async def test_a_soak_tells_when_coins_are_made(engine: str) -> None:
    async def forge(witness: Witness) -> None:
        # With its version: a worker that has read the purse before would write over the coin, and nobody would know.
        await witness.run("update bank_purse set coins = coins + 1, version = version + 1 where id = 0")

    report = await soak(engine, 0.4, seed=1, meanwhile=forge)

    assert any("coins" in violation for violation in report.violations)
    assert "VIOLATIONS" in report.text()


def test_the_command_prints_what_it_saw_and_ends_well() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--seconds", "0.5", "--engines", "sqlite"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for title in ("operations:", "faults injected:", "errors seen by callers:", "invariants checked:"):
        assert title in done.stdout


def test_an_unknown_engine_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--engines", "nothing"], check=False, cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 2
    assert "unknown engines nothing" in done.stderr
