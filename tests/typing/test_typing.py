"""What the documentation promises to type checkers: right uses pass, and every wrong one is refused where it stands."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from os.path import relpath
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import holdall
from tests.typing import snippets

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SNIPPETS, MUST_FAIL = HERE / "snippets.py", HERE / "must_fail.py"
Errors = dict[int, str]


def errors_of_mypy(file: Path) -> Errors:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", "--no-color-output", str(file)],
        check=False, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(rf"^{re.escape(str(file.relative_to(ROOT)))}:(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert done.returncode == 0 or found, done.stdout
    return {int(line): text for line, text in found}


def errors_of_pyright(file: Path) -> Errors:
    # A file that the project's configuration excludes is not even checked when it is named, so that it needs a configuration of its own.
    with TemporaryDirectory() as folder:
        config = Path(folder) / "pyrightconfig.json"
        config.write_text(json.dumps({"extends": str(ROOT / "pyproject.toml"), "include": [relpath(file, folder)], "exclude": []}))
        done = subprocess.run(
            [sys.executable, "-m", "pyright", "--outputjson", "--project", str(config)], check=False, capture_output=True, text=True
        )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    return {item["range"]["start"]["line"] + 1: item["message"] for item in report["generalDiagnostics"] if item["severity"] == "error"}


checkers = pytest.mark.parametrize("errors_of", [errors_of_mypy, errors_of_pyright])
# Without a cache a checker reads pydantic, FastAPI and SQLAlchemy first.
pytestmark = pytest.mark.timeout(300)


@checkers
def test_what_the_documentation_shows_is_right(errors_of: Callable[[Path], Errors]) -> None:
    assert errors_of(SNIPPETS) == {}


@checkers
def test_every_wrong_use_is_refused_and_nothing_else(errors_of: Callable[[Path], Errors]) -> None:
    lines = MUST_FAIL.read_text("utf-8").splitlines()
    wrong = {number: line for number, line in enumerate(lines, 1) if line.endswith("# wrong")}

    found = errors_of(MUST_FAIL)

    assert {number: lines[number - 1] for number in wrong.keys() - found.keys()} == {}, "accepted, and should not be"
    assert {number: text for number, text in found.items() if number not in wrong} == {}, "refused, and should not be"


async def test_what_the_documentation_shows_runs(backend_url: str) -> None:
    await snippets.models()
    await snippets.opening(backend_url)
    await snippets.active_record(backend_url)
    async with holdall.open(backend_url) as backend:
        tables = (snippets.Customer, snippets.Order, snippets.Regular, snippets.Counted)
        await backend.initialize(*tables)
        for section in (snippets.by_key, snippets.queries, snippets.columns, snippets.terminals, snippets.shapes, snippets.covariance):
            await section(backend)
        payer, payee = [await backend.create(snippets.Customer(email=f"{name}@example.org", name=name)) for name in ("Pay", "Paid")]
        await snippets.sessions(backend, payer.id, payee.id)
        await snippets.errors(backend)
        if holdall.Capability.RAW_SQL in backend.capabilities:
            await snippets.raw_sql(backend)
        await backend.drop(*tables)
