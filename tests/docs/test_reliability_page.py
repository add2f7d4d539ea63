"""The page about reliability names tests that exist."""

from __future__ import annotations

import re

from tests.docs.pages import DOCS, ROOT

TEXT = (DOCS / "reliability.md").read_text("utf-8")
FILES = sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", TEXT)))
TESTS = sorted(set(re.findall(r"`(test_\w+)`", TEXT)))


def test_its_files_are_there() -> None:
    assert len(FILES) > 10
    assert [name for name in FILES if not (ROOT / name).exists()] == []


def test_its_tests_are_in_these_files() -> None:
    code = "".join((ROOT / name).read_text("utf-8") for name in FILES)

    assert len(TESTS) > 10
    assert [name for name in TESTS if f"def {name}(" not in code] == []
