"""Every block of Python in README and the documentation runs, and prints or raises what the page says."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

import holdall
from holdall import Backend
from tests.docs.pages import DOCS, Block, Page, all_pages
from tests.testing.projects import run_tests

PAGES = [page for page in all_pages() if page.blocks]
PROVEN_ELSEWHERE = {"docs/testing.md": "tests/testing/test_documentation.py"}  # on every engine
RUN_HERE = [page for page in PAGES if page.name not in PROVEN_ELSEWHERE]

PROJECTS = [page for page in RUN_HERE if page.files]
SERVICES = [page for page in PROJECTS if "DATABASE_URL" in "".join(page.files.values())]


def run_program(block: Block, folder: Path) -> str:
    program = folder / "program.py"
    program.write_text(block.text, "utf-8")
    done = subprocess.run([sys.executable, "-W", "error", program], capture_output=True, text=True, timeout=60, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


async def run_fragment(block: Block, page: Page, namespace: dict[str, Any]) -> str:
    """Run a block that may await at its top level; return what it printed, or the text of the error that it is to raise."""
    # Blank lines before it, so that a traceback names the line of the page.
    text = "\n" * (block.line - 1) + block.text
    code = compile(text, page.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            running = eval(code, namespace)
            if inspect.iscoroutine(running):
                await running
    except holdall.HoldallError as exc:
        if type(exc).__name__ != block.raises:
            raise
        return str(exc) + "\n"
    assert block.raises is None, f"{page.name}:{block.line} was to raise {block.raises}"
    return printed.getvalue()


def is_as_shown(output: str, shown: str) -> bool:
    """Compare; an ellipsis in what the page shows stands for anything within a line."""
    return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), output) is not None


@pytest.fixture
def postgres_url(fresh_postgres_url: str) -> str:
    """A database of the test's own: projects leave their tables behind."""
    return fresh_postgres_url


@pytest.fixture
def mysql_url(fresh_mysql_url: str) -> str:
    """The same."""
    return fresh_mysql_url


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The namespace of a module, which pydantic finds by its name."""
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    return vars(module)


@pytest.fixture
async def shop(namespace: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[dict[str, Any]]:
    """A namespace with the models of the documentation, a backend and two customers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("holdall.opening._named", {})
    models = Page(DOCS / "models.md")
    await run_fragment(models.blocks[0], models, namespace)
    async with holdall.open("sqlite://") as backend:
        await fill(backend, namespace)
        yield namespace


async def fill(backend: Backend, namespace: dict[str, Any]) -> None:
    customer = namespace["Customer"]
    await backend.initialize(customer, namespace["Order"])
    ada = customer(id=UUID(int=1), email="ada@example.org", name="Ada", city="London", age=36, tags=["math"], balance=100)
    bob = customer(id=UUID(int=2), email="bob@example.org", name="Bob", balance=100)
    await backend.create_many([ada, bob])
    namespace.update(holdall=holdall, backend=backend, ada=ada, bob=bob)


@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: page.name)
async def test_the_code_of_a_page_does_what_the_page_says(page: Page, shop: dict[str, Any], tmp_path: Path) -> None:
    for block in page.blocks:
        if block.language != "python" or block.file or block.skipped:
            continue
        output = run_program(block, tmp_path) if block.is_program else await run_fragment(block, page, shop)
        if block.output is not None:
            assert is_as_shown(output, block.output), f"{page.name}:{block.line} printed\n{output}"


@pytest.mark.parametrize("page", PROJECTS, ids=lambda page: page.name)
def test_the_programs_among_the_files_of_a_page_print_what_it_says(page: Page, tmp_path: Path) -> None:
    for name, text in page.files.items():
        (tmp_path / name).write_text(text, "utf-8")

    printed = [(run_program(block, tmp_path), block.output or "") for block in page.blocks if block.file and block.is_program]

    assert [output for output, _ in printed] == [shown for _, shown in printed]


@pytest.mark.parametrize("page", [page for page in PROJECTS if page not in SERVICES], ids=lambda page: page.name)
@pytest.mark.timeout(240)
def test_the_files_of_a_page_are_a_project_whose_tests_pass(page: Page, tmp_path: Path) -> None:
    # What the plugin of the page's readers would only warn of.
    loops = ("-o", "asyncio_default_fixture_loop_scope=function")

    assert run_tests(tmp_path, page.files, *loops).keys() == {"passed"}


@pytest.mark.parametrize("page", SERVICES, ids=lambda page: page.name)
def test_the_service_of_a_page_passes_its_tests_on_every_engine(page: Page, backend_url: str, tmp_path: Path) -> None:
    tests = sum(len(re.findall(r"^(?:async )?def test_", text, re.MULTILINE)) for text in page.files.values())

    assert run_tests(tmp_path, page.files, env={"DATABASE_URL": backend_url}) == {"passed": tests}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_python_is_found(page: Page) -> None:
    assert len(re.findall(r"^\s*(?:```|~~~)\s*py", page.text, re.MULTILINE)) == sum(block.language == "python" for block in page.blocks)


def test_pages_that_are_proven_elsewhere_are_there() -> None:
    assert [page.name for page in PAGES if page.name in PROVEN_ELSEWHERE] == list(PROVEN_ELSEWHERE)
