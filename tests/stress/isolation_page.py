"""Write the tables of docs/isolation.md: ``python -m tests.stress.isolation_page``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tests.stress.anomalies import ANOMALIES
from tests.stress.engines import ENGINES
from tests.stress.engines.facts import LEVELS, YES, Facts

PAGE = Path(__file__).resolve().parents[2] / "docs" / "isolation.md"
_TABLES = re.compile(r"(?<=<!-- tables -->\n).*(?=<!-- end of tables -->)", re.DOTALL)


def tables() -> str:
    """Return a table in Markdown for each engine."""
    return "".join(f"\n### {facts.label}\n\n{_table(facts)}\n" for facts in ENGINES.values()) + "\n"


def tables_of_page() -> str:
    """Return what the page shows."""
    found = _TABLES.search(PAGE.read_text())
    assert found, f"{PAGE} has lost the comments around its tables"
    return found.group()


def _table(facts: Facts) -> str:
    rows = [("", "", *LEVELS), ("---",) * (2 + len(LEVELS))]
    rows += [
        (name, meaning, *("**yes**" if cell == YES else cell for cell in facts.isolation[name]))
        for name, (meaning, _, _) in ANOMALIES.items()
    ]
    return "\n".join(map(_row, rows))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(_TABLES.sub(lambda _: tables(), PAGE.read_text()))
