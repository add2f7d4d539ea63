"""The site builds without a warning, leads to every page, and has every public name in its reference."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import holdall
from holdall import testing
from tests.docs.pages import DOCS, ROOT

REFERENCE = [
    name for page in (DOCS / "reference").glob("*.md") for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
]


READMES = sorted((ROOT / "src" / "holdall" / "stores").glob("*/README.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # Without --quiet, with which a warning is not counted as one.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.mark.timeout(120)
def test_the_site_builds_without_a_warning_and_has_every_page(site: Path) -> None:
    missing = [page.name for page in DOCS.rglob("*.md") if not (site / page.relative_to(DOCS)).with_suffix(".html").exists()]

    assert missing == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.parent.name))
def test_the_page_of_a_store_is_the_one_in_its_folder(site: Path, readme: Path) -> None:
    title = re.match(r"# (.+)", readme.read_text("utf-8"))
    assert title is not None

    pages = [page.read_text("utf-8") for page in (site / "backends").glob("*.html")]

    assert sum(f">{title[1]}<a" in page for page in pages) == 1


@pytest.mark.timeout(120)
def test_every_block_and_directive_is_rendered(site: Path) -> None:
    texts = {page.name: re.sub(r"<[^>]+>", "", page.read_text("utf-8")) for page in site.rglob("*.html")}

    assert [name for name, text in texts.items() if re.search(r"```|^:::|^--8<--", text, re.MULTILINE)] == []


def test_the_reference_has_every_public_name_once() -> None:
    public = [*(getattr(holdall, name) for name in holdall.__all__), *(getattr(testing, name) for name in testing.__all__)]
    described = [find(name) for name in REFERENCE]

    assert [thing for thing in public if thing not in described] == []
    assert len(REFERENCE) == len(set(REFERENCE))


def find(name: str) -> object:
    """Return what a full name names; of a function and a module of one name, what the rest of the name needs."""
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError:
        return getattr(find(module), attribute)
    except AttributeError:
        return importlib.import_module(name)
