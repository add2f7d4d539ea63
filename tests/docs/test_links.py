"""Links of README, CONTRIBUTING and the documentation lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, all_pages

PAGES = [ROOT / "CONTRIBUTING.md", *(page.path for page in all_pages())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_to_files_of_the_repository(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", prose)

    missing = [link for link in links if not (page.parent / link).exists()]

    assert missing == []
