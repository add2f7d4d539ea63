"""What `import holdall` gives, and what it must not bring along."""

import ast
import inspect
import subprocess
import sys

import pytest

import holdall
from tests.architecture.source import PACKAGE

DRIVERS_AND_FRAMEWORKS = {
    "aioboto3", "aiohttp", "aiomysql", "aiosqlite", "asyncmy", "asyncpg", "boto3", "botocore",
    "fastapi", "opensearchpy", "sqlalchemy", "sqlite3", "starlette",
}  # fmt: skip


def names_bound_by_facade() -> set[str]:
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module != "__future__"]
    return {alias.asname or alias.name for node in imports for alias in node.names}


def modules_after_import(module: str) -> set[str]:
    program = f"import sys, {module}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split())


def test_all_is_a_tuple_of_the_names_that_the_facade_imports() -> None:
    assert isinstance(holdall.__all__, tuple)
    assert len(set(holdall.__all__)) == len(holdall.__all__)
    assert set(holdall.__all__) == {name for name in names_bound_by_facade() if not name.startswith("_")}


def test_the_facade_only_imports() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    allowed = (ast.Expr, ast.ImportFrom, ast.Assign)

    assert [type(node).__name__ for node in tree.body if not isinstance(node, allowed)] == []
    assert [ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)] == ["__all__"]


@pytest.mark.parametrize("name", holdall.__all__)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(holdall, name)

    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert inspect.getdoc(thing)


def test_import_brings_no_driver_and_no_framework() -> None:
    assert modules_after_import("holdall") & DRIVERS_AND_FRAMEWORKS == set()


def test_import_brings_no_store() -> None:
    assert [name for name in modules_after_import("holdall") if name.startswith(("holdall.stores", "holdall.integrations"))] == []


def test_import_brings_nothing_that_only_some_programs_use() -> None:
    assert modules_after_import("holdall") & {"anyio", "sqlalchemy", "alembic", "importlib.metadata", "email", "zipfile"} == set()
