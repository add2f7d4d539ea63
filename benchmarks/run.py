"""A run on one engine, and its file: every sample is kept, so that tables and charts can be made again."""

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path

from benchmarks.engine import Target
from benchmarks.harness import Effort, Result

PACKAGES = (
    "holdall",
    "pydantic",
    "msgspec",
    "asyncpg",
    "aiosqlite",
    "aiomysql",
    "asyncmy",
    "SQLAlchemy",
    "tortoise-orm",
    "piccolo",
    "uvloop",
)


@dataclass(frozen=True)
class Run:
    """What was measured on an engine.

    Attributes:
        about: what the figures depend on, by name.
        results: in the order of the lines, and in each the raw driver first.
    """

    engine: str
    about: Mapping[str, str]
    effort: Effort
    results: Sequence[Result]

    def lines(self) -> Iterable[tuple[str, list[Result]]]:
        """Return the results line by line."""
        return ((line, list(results)) for line, results in groupby(self.results, key=lambda result: result.line))

    def write(self, folder: Path) -> None:
        """Write the file of this engine."""
        folder.mkdir(exist_ok=True)
        facts = {"engine": self.engine, "about": self.about, "effort": self.effort._asdict(), "results": list(map(asdict, self.results))}
        (folder / f"{self.engine}.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Run":
        """Read such a file."""
        facts = json.loads(path.read_text())
        return cls(facts["engine"], facts["about"], Effort(**facts["effort"]), [Result(**each) for each in facts["results"]])


def environment(loop: str, servers: Mapping[str, str]) -> dict[str, str]:
    """Return what the figures depend on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "Python": f"{platform.python_version()} with {loop}",
        "system": platform.platform(),
        "processors": str(os.cpu_count()),
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        **servers,
        **{package: number for package in PACKAGES if (number := _version(package)) is not None},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Verdict:
    """What came of a target."""

    target: Target
    times: float

    @property
    def is_met(self) -> bool:
        """Whether it is as fast as wanted."""
        return self.times >= self.target.times


def verdicts(run: Run, targets: Iterable[Target]) -> list[Verdict]:
    """Compare the fastest samples of what the targets name; what was not measured is left out.

    A target names a contender with its variant, or a peer, of which the first contender counts.
    """
    found: dict[tuple[str, str], Result] = {}
    for result in run.results:
        for name in (result.contender, result.peer):
            found.setdefault((result.line, name), result)
    pairs = ((target, found.get((target.line, target.contender)), found.get((target.line, target.than))) for target in targets)
    return [Verdict(target, ours.fastest / theirs.fastest) for target, ours, theirs in pairs if ours is not None and theirs is not None]
