"""The page "Testing your application": its files are a project, whose tests pass as they stand, on every engine."""

import re
from pathlib import Path

import pytest

from tests.testing.projects import ROOT, run_tests

PAGE = (ROOT / "docs" / "testing.md").read_text("utf-8")
BLOCKS = re.findall(r'```(?:python|toml) title="([^"]+)"\n(.*?)```', PAGE, re.DOTALL)

ENGINES = {"test_faults.py": "postgres"}  # files for one engine alone
pytestmark = pytest.mark.timeout(150)  # a pytest of its own each


@pytest.fixture
def postgres_url(fresh_postgres_url: str) -> str:
    """A database of the test's own: projects leave their tables behind."""
    return fresh_postgres_url


@pytest.fixture
def mysql_url(fresh_mysql_url: str) -> str:
    """The same."""
    return fresh_mysql_url


def test_every_block_of_code_is_a_file_of_the_project() -> None:
    assert len(BLOCKS) == len(re.findall(r"^```(?:python|toml)", PAGE, re.MULTILINE))


def test_the_page_is_a_project_whose_tests_pass(backend_url: str, tmp_path: Path) -> None:
    engine = backend_url.partition(":")[0].removesuffix("ql")
    files = {name: text.replace("sqlite:///test.db", backend_url) for name, text in BLOCKS if ENGINES.get(name, engine) == engine}
    tests = sum(len(re.findall(r"^async def test_", text, re.MULTILINE)) for text in files.values())

    assert run_tests(tmp_path, files, env={"DATABASE_URL": backend_url}) == {"passed": tests}
