"""The page of supported features says what the suites of the stores say: their declarations and known gaps, which their runs prove."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import holdall
from holdall.testing import StoreSuite
from holdall.testing.report import main, render
from holdall.testing.suite import CHECKS
from tests.conformance.test_dynamodb import TestDynamoDB
from tests.conformance.test_memory import TestMemory
from tests.conformance.test_mysql import TestAsyncmy, TestMySQL
from tests.conformance.test_opensearch import TestOpenSearch
from tests.conformance.test_postgres import TestPostgreSQL
from tests.conformance.test_sqlite import TestSQLite

PAGE = Path(__file__).parents[2] / "docs" / "support.md"
SUITES: dict[str, type[StoreSuite]] = {
    "memory://": TestMemory,
    "sqlite://": TestSQLite,
    "postgresql://localhost/x": TestPostgreSQL,
    "mysql://localhost/x": TestMySQL,
    "mysql+asyncmy://localhost/x": TestAsyncmy,
    "dynamodb://x": TestDynamoDB,
    "opensearch://localhost?refresh=wait_for": TestOpenSearch,
}
# Imported for what they say, and run where they are.
del TestAsyncmy, TestDynamoDB, TestMemory, TestMySQL, TestOpenSearch, TestPostgreSQL, TestSQLite


def said(url: str, suite: type[StoreSuite]) -> Iterator[dict[str, Any]]:
    """What a run of the suite reports when it passes, because known gaps are strict and the refusals checked."""
    declared = holdall.open(url).capabilities
    for check in CHECKS:
        missing = check.needs - declared
        facts: dict[str, Any] = {
            "store": suite.store_name,
            "test": check.name,
            "needs": [item.name for item in check.needs],
            "missing": [item.name for item in missing],
        }
        gap = suite.known_gaps.get(check.name)
        if gap is not None:
            facts["gap"] = {"outlook": gap.outlook, "reason": gap.reason}
        yield {**facts, "outcome": "known gap" if gap else "refused" if missing else "proven"}


def test_the_page_is_up_to_date() -> None:
    tests = [facts for url, suite in SUITES.items() for facts in sorted(said(url, suite), key=lambda facts: str(facts["test"]))]

    assert PAGE.read_text("utf-8") == render(tests), "run 'make support'"


def test_a_failed_test_is_never_shown_as_proven() -> None:
    test: dict[str, Any] = {"store": "mine", "test": "test_x", "needs": ["ORDER", "WRITE"], "missing": [], "outcome": "failed"}

    (line,) = [line for line in render([test, {**test, "test": "test_y", "outcome": "proven"}]).splitlines() if "`ORDER`" in line]

    assert line.endswith("| **failed** |")


def test_the_check_fails_when_the_page_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, page = tmp_path / "report.json", tmp_path / "support.md"
    report.write_text(json.dumps({"tests": []}))

    assert main([str(report), "--output", str(page), "--check"]) == 1
    assert "out of date" in capsys.readouterr().err
    assert main([str(report), "--output", str(page)]) == 0
    assert main([str(report), "--output", str(page), "--check"]) == 0
