"""The table, and the same as JSON."""

import json
import os
import platform
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.harness import Result

_PACKAGES = ("holdall", "asyncpg", "aiosqlite", "pydantic", "msgspec", "uvloop")
_WIDTH = 30


def environment(loop: str, servers: Mapping[str, str]) -> dict[str, Any]:
    """Return what the figures depend on."""
    found = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "python": platform.python_version(), "system": platform.platform()}
    found |= {"cpus": str(os.cpu_count()), "event loop": loop, "sqlite": sqlite3.sqlite_version, **servers}
    return found | {package: number for package in _PACKAGES if (number := _version(package)) is not None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def heading() -> str:
    """Return the first line of the table."""
    return f"{'':{_WIDTH}} {'per second':>11} {'(range)':>19} {'ratio':>7} {'(range)':>13} {'cpu µs':>9} {'target':>7}"


def table(results: Iterable[Result]) -> str:
    """Return the rows of some lines."""
    parts: list[str] = []
    for line, group in groupby(results, key=lambda result: result.line):
        parts.append(line)
        parts += [_row(result) for result in group]
    return "\n".join(parts)


def _row(result: Result) -> str:
    rates = f"({_short(min(result.rates))}–{_short(max(result.rates))})"
    ratios = "" if result.is_baseline else f"({min(result.ratios):.2f}–{max(result.ratios):.2f})"
    target = "" if result.target is None else f"{result.target:.2f}"
    measured = f"  {result.contender:{_WIDTH - 2}} {_short(result.rate):>11} {rates:>19} {result.ratio:>7.2f} {ratios:>13}"
    return f"{measured} {min(result.processor) * 1e6:>9,.1f} {target:>7} {result.verdict}".rstrip()


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def summary(results: Sequence[Result]) -> str:
    """Return how many targets were met, and which were not."""
    aimed = [result for result in results if result.target is not None]
    missed = [result for result in aimed if result.verdict == "missed"]
    texts = (f"  missed  {result.line}: {result.contender} {result.ratio:.2f} of {result.target:.2f}" for result in missed)
    return "\n".join([f"{len(aimed) - len(missed)} of {len(aimed)} targets met", *texts])


def write_json(path: Path, about: Mapping[str, Any], results: Sequence[Result], memory: Mapping[str, float]) -> None:
    """Write everything that was measured, every sample included."""
    rows = [
        {
            "line": result.line,
            "contender": result.contender,
            "tasks": result.tasks,
            "baseline": result.is_baseline,
            "per_second": result.rate,
            "ratio": result.ratio,
            "processor_seconds": min(result.processor),
            "target": result.target,
            "verdict": result.verdict or None,
            "samples": {"per_second": result.rates, "ratio": result.ratios},
        }
        for result in results
    ]
    text = json.dumps({"environment": about, "results": rows, "stream_peak_kib": memory}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n")
    sys.stderr.write(f"written: {path}\n")
