"""The pytest plugin, in projects of its users: both modes of pytest-asyncio, xdist, its settings and its errors."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import holdall
from tests.testing.models import MODELS, Author
from tests.testing.projects import run_tests

pytestmark = pytest.mark.timeout(150)  # a pytest of its own each, and workers of that

MODELS_FILE = {
    "models.py": """
from holdall import Field, Model

class Author(Model):
    id: int = Field(primary_key=True)
    name: str = Field(unique=True)

class Base(Model):
    note: str = ""
"""
}
TESTS = """
import asyncio
import pytest
from holdall.testing import create
from models import Author

{mark}

async def names(backend):
    return sorted(author.name for author in await backend.query(Author))

@pytest.mark.parametrize("number", range(4))
async def test_each_starts_clean(backend, number):
    assert await names(backend) == []
    await create(backend, Author, name="Ada")
    async with backend.session() as session:
        await create(session, Author, name="Bea")
    assert await asyncio.create_task(names(backend)) == ["Ada", "Bea"]

@pytest.mark.holdall(isolation="fresh")
@pytest.mark.parametrize("number", range(2))
async def test_each_fresh_one_is_empty(backend, number):
    assert await names(backend) == []
    await create(backend, Author, name="Ada")

async def test_numbers_begin_anew(backend):
    assert (await create(backend, Author)).name == "name 1"
"""


@pytest.fixture
def mysql_url(fresh_mysql_url: str) -> str:
    """The same."""
    return fresh_mysql_url


@pytest.fixture
def postgres_url(fresh_postgres_url: str) -> str:
    """A database of the test's own: projects leave their tables behind."""
    return fresh_postgres_url


def settings(url: str, *lines: str) -> dict[str, str]:
    always = (f"holdall_url = {url}", "holdall_models = models", "asyncio_default_fixture_loop_scope = function")
    return {"pytest.ini": "\n".join(["[pytest]", *always, *lines])}


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_every_test_has_a_clean_backend(backend_url: str, mode: str, tmp_path: Path) -> None:
    mark = "" if mode == "auto" else "pytestmark = pytest.mark.asyncio"
    files = {**MODELS_FILE, **settings(backend_url, f"asyncio_mode = {mode}"), "test_it.py": TESTS.format(mark=mark)}

    assert run_tests(tmp_path, files) == {"passed": 7}


def test_the_workers_of_xdist_do_not_meet(sqlite_url: str, tmp_path: Path) -> None:
    files = {**MODELS_FILE, **settings(sqlite_url, "asyncio_mode = auto"), "test_it.py": TESTS.format(mark="")}

    assert run_tests(tmp_path, files, "-n", "2") == {"passed": 7}
    assert not (tmp_path / "test.db").exists()


async def test_the_databases_of_workers_go_at_the_end(postgres_url: str, tmp_path: Path) -> None:
    files = {**MODELS_FILE, **settings(postgres_url, "asyncio_mode = auto"), "test_it.py": TESTS.format(mark="")}
    outcomes = await asyncio.to_thread(run_tests, tmp_path, files, "-n", "2")

    assert outcomes == {"passed": 7}
    async with holdall.open(postgres_url) as backend:
        like = "starts_with(datname, left(current_database(), 20) || '_test_')"
        assert await backend.engine.fetch_value(f"select count(*) from pg_database where {like}") == 0


def test_a_session_loop_for_tests_and_fixtures_works(sqlite_url: str, tmp_path: Path) -> None:
    lines = ("asyncio_mode = auto", "asyncio_default_test_loop_scope = session")
    files = {**MODELS_FILE, **settings(sqlite_url, *lines), "test_it.py": TESTS.format(mark="")}
    files["pytest.ini"] = files["pytest.ini"].replace("fixture_loop_scope = function", "fixture_loop_scope = session")

    assert run_tests(tmp_path, files) == {"passed": 7}


def test_different_loops_are_refused_with_the_remedy(sqlite_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ("asyncio_mode = auto", "asyncio_default_test_loop_scope = session")
    test = "from models import Author\nasync def test_it(backend):\n    await backend.query(Author).all()\n"

    assert run_tests(tmp_path, {**MODELS_FILE, **settings(sqlite_url, *lines), "test_it.py": test}) == {"failed": 1}
    assert "give both the same loop scope" in capsys.readouterr().out


def test_fresh_can_be_the_mode_of_all_tests(sqlite_url: str, tmp_path: Path) -> None:
    test = """
import holdall
from models import Author
async def test_it(backend):
    async with backend.session() as session:
        await session.create(Author(id=1, name="Ada"))
        with holdall.detach():
            assert await backend.query(Author).count() == 0
"""
    files = {**MODELS_FILE, **settings(sqlite_url, "asyncio_mode = auto", "holdall_isolation = fresh"), "test_it.py": test}

    assert run_tests(tmp_path, files) == {"passed": 1}


@pytest.mark.parametrize(
    ("ini", "mark", "text"),
    [
        ("holdall_url =", "", "set holdall_url for pytest"),
        ("holdall_models = asyncio", "", "'asyncio' is no model and no module that defines one"),
        ("holdall_models = models:Writer", "", "'models:Writer' is no model"),
        ("", "@pytest.mark.holdall(isolation='none')", "isolation='none' is not one of 'rollback', 'fresh'"),
        ("holdall_isolation = none", "", "isolation='none' is not one of"),
    ],
    ids=["no url", "no models", "no such model", "mark", "setting"],
)
def test_a_wrong_setting_is_an_error_that_says_so(
    ini: str, mark: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = dict(line.split(" =", 1) for line in ("holdall_url = memory://", "holdall_models = models", ini) if line)
    lines = ["[pytest]", "asyncio_mode = auto", "asyncio_default_fixture_loop_scope = function", *(f"{k} ={v}" for k, v in wanted.items())]
    test = f"import pytest\n{mark}\nasync def test_it(backend):\n    pass\n"

    assert run_tests(tmp_path, {**MODELS_FILE, "pytest.ini": "\n".join(lines), "test_it.py": test}) == {"error": 1}
    assert text in capsys.readouterr().out


async def test_records_from_before_are_seen_and_stay(durable_url: str, tmp_path: Path) -> None:
    async with holdall.open(durable_url) as backend:
        await backend.initialize(*MODELS)
        await backend.create(Author(name="before"))
        test = """
from tests.testing.models import Author
async def test_it(backend):
    assert await backend.query(Author).delete() == 1
"""
        files = {"pytest.ini": settings(durable_url, "asyncio_mode = auto")["pytest.ini"].replace("= models", "= tests.testing.models")}
        root = str(Path(__file__).parents[2])
        outcome = await asyncio.to_thread(run_tests, tmp_path, {**files, "test_it.py": test}, "-o", f"pythonpath={root}")

        assert outcome == {"passed": 1}
        assert [author.name for author in await backend.query(Author)] == ["before"]
        await backend.drop(*MODELS)


def test_projects_that_do_not_use_it_notice_nothing(tmp_path: Path) -> None:
    test = """
import sys
def test_it(pytestconfig):
    assert "pytest_holdall" in sys.modules
    assert not [name for name in sys.modules if name.split(".")[0] in ("holdall", "pydantic", "sqlalchemy")]
"""

    files = {"test_it.py": test, "pytest.ini": "[pytest]\nasyncio_default_fixture_loop_scope = function\n"}

    assert run_tests(tmp_path, files) == {"passed": 1}


def test_the_plugin_can_be_imported_without_pytest_asyncio() -> None:
    program = "import importlib.util; importlib.util.find_spec = lambda name: None; import pytest_holdall"

    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
