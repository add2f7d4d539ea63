"""What runs of the suite have shown, as JSON; and the page of documentation that is made of it.

A plugin of pytest: ``pytest -p holdall.testing.report --holdall-report FILE``, with or without xdist. A program:
``python -m holdall.testing.report FILE --output docs/support.md`` writes the page, with ``--check`` it says whether the page is up to date.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdall.capabilities import Capability

if TYPE_CHECKING:
    import pytest

PROPERTY = "holdall_suite"
_OUTCOMES = {"passed": "proven", "failed": "failed", "skipped": "skipped"}


# -- collecting ------------------------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    group = parser.getgroup("holdall")
    group.addoption("--holdall-report", metavar="FILE", help="write what the suite of holdall.testing has shown into FILE, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Collect in the main process; xdist brings the reports of its workers there."""
    path = config.getoption("--holdall-report")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Collector(Path(path)), "holdall-report")


class Collector:
    """Collects what the tests of the suite say, and writes it when the run ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what one phase of a test has to say."""
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == PROPERTY:
                facts: dict[str, Any] = json.loads(str(value))
                self._found.append({**facts, "outcome": outcome(report, facts)})

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        found = sorted(self._found, key=lambda facts: (facts["store"], facts["test"]))
        self._path.write_text(json.dumps({"tests": found}, indent=1, sort_keys=True) + "\n", "utf-8")


def outcome(report: pytest.TestReport, facts: Mapping[str, Any]) -> str:
    """Return ``proven``, ``refused``, ``known gap``, ``failed`` or ``skipped``."""
    if report.skipped and hasattr(report, "wasxfail"):
        return "known gap"
    return "refused" if report.passed and facts["missing"] else _OUTCOMES[report.outcome]


# -- the page --------------------------------------------------------------------------------------------------------------------------

_HEAD = """# What each store supports

This page is made by `make support` from a run of the [conformance suite](writing-a-backend.md) on real databases; do not edit it.

**proven**: the store declares it, and all tests that need it pass; the number says how many. **refused**: the store does not declare
it, and the suite has checked that what needs it is refused by `UnsupportedOperation` before any I/O. **known gap**: the store declares
it, and the tests below fail.
"""
_CORE = "records are written and read by key, and hold values of every type"


def render(tests: Iterable[Mapping[str, Any]]) -> str:
    """Return the page, in Markdown; the same tests make the same text."""
    by_store: dict[str, list[Mapping[str, Any]]] = {}
    for facts in tests:
        by_store.setdefault(facts["store"], []).append(facts)
    stores = sorted(by_store)
    lines = [_HEAD, _row("promise", *stores), _row(*["---"] * (len(stores) + 1))]
    lines.append(_row(_CORE, *(_state(by_store[store], None) for store in stores)))
    lines += [
        _row(f"{capability.value} (`{capability.name}`)", *(_state(by_store[store], capability.name) for store in stores))
        for capability in Capability
    ]
    lines += ["", "## Known gaps", "", *(_gaps(by_store, stores) or ["There are none."])]
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _state(tests: Sequence[Mapping[str, Any]], capability: str | None) -> str:
    """Return the worst that the tests of a capability, or those that need none but to write, have shown."""
    about = [facts for facts in tests if (capability in facts["needs"] if capability else not {*facts["needs"]} - {"WRITE"})]
    if capability is not None and any(capability in facts["missing"] for facts in about):
        return "refused" if all(facts["outcome"] != "failed" for facts in about if capability in facts["missing"]) else "**failed**"
    counts = {name: sum(facts["outcome"] == name for facts in about) for name in ("proven", "known gap", "failed")}
    if counts["failed"]:
        return "**failed**"
    shown = [f"{'proven' if name == 'proven' else name}: {count}" for name, count in counts.items() if count]
    return ", ".join(shown) or "not run"


def _gaps(by_store: Mapping[str, Sequence[Mapping[str, Any]]], stores: Iterable[str]) -> list[str]:
    return [
        f"- {store}, `{facts['test']}`, {facts['gap']['outlook']}: {facts['gap']['reason']}"
        for store in stores
        for facts in by_store[store]
        if facts["outcome"] == "known gap"
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the page; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m holdall.testing.report", description="Make the page of supported features.")
    parser.add_argument("report", type=Path, help="what a run with --holdall-report wrote")
    parser.add_argument("--output", type=Path, required=True, help="the page")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is out of date")
    options = parser.parse_args(arguments)
    made = render(json.loads(options.report.read_text("utf-8"))["tests"])
    if not options.check:
        options.output.write_text(made, "utf-8")
        return 0
    if options.output.exists() and options.output.read_text("utf-8") == made:
        return 0
    sys.stderr.write(f"{options.output} is out of date: run 'make support'\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
