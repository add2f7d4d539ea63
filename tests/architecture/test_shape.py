"""The shape of the source: its layers, its sizes, and that shared code knows no store by name."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, SourceFile, source_files, words

MAX_LINES = 500
MAX_PUBLIC_METHODS = 25
ONE_HONEST_CORE: dict[str, str] = {}  # class name: why it needs more methods

# Part of a word is enough, whatever its case.
STORE_NAMES = (
    "asyncpg", "sqlite", "postgres", "mysql", "mariadb", "dynamo", "opensearch", "elastic", "mongo", "redis", "shelve", "tokyo",
)  # fmt: skip
SAID_WITH_REASON: dict[tuple[str, str], str] = {}  # (file, text): why shared code says it

every_file = pytest.mark.parametrize("file", source_files(), ids=lambda file: file.name)


def test_layers_and_drivers_keep_to_the_import_contracts() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], check=False, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


@every_file
def test_a_file_is_short(file: SourceFile) -> None:
    assert len(file.text.splitlines()) <= MAX_LINES


@every_file
def test_a_class_has_few_public_methods(file: SourceFile) -> None:
    counts = {found.name: len(public_methods(found)) for found in file.classes() if found.name not in ONE_HONEST_CORE}

    assert {name: count for name, count in counts.items() if count > MAX_PUBLIC_METHODS} == {}


@every_file
def test_shared_code_names_no_store(file: SourceFile) -> None:
    if not file.is_shared:
        pytest.skip("a store may name itself")
    said = [
        f"line {line}: {text!r}" for line, text in words(file.tree()) if names_a_store(text) and (file.name, text) not in SAID_WITH_REASON
    ]

    assert said == []


@every_file
def test_what_is_public_has_a_docstring(file: SourceFile) -> None:
    assert [name for name, node in public_definitions(file.tree()) if not ast.get_docstring(node)] == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('"""Faster than sqlite."""\n# as postgres does', []),
        ('kind == "postgresql"', ["postgresql"]),
        ('f"for {x} on MySQL"', [" on MySQL"]),
        ("from holdall.stores.sqlite import Store as S", ["holdall.stores.sqlite"]),
        ("def open_sqlite(sqlite_path): pass", ["open_sqlite", "sqlite_path"]),
        ("class RedisThing: pass\nx.mongo = call(dynamo=1)", ["RedisThing", "mongo", "dynamo"]),
        ('scheme == "memory"; memory_limit = "out of memory"', ["memory"]),
    ],
)
def test_the_search_for_store_names_finds_what_it_should(code: str, expected: list[str]) -> None:
    found = [text for _, text in words(ast.parse(code)) if names_a_store(text)]

    assert sorted(found) == sorted(expected)


def names_a_store(text: str) -> bool:
    # "memory" is a store and a common word: only the bare literal is the store's name.
    return text == "memory" or any(name in text.lower() for name in STORE_NAMES)


def public_methods(found: ast.ClassDef) -> set[str]:
    methods = (node.name for node in found.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {name for name in methods if not name.startswith("_")}


def public_definitions(
    tree: ast.Module | ast.ClassDef, prefix: str = ""
) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    found: list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]] = []
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if any(isinstance(mark, ast.Name) and mark.id in {"overload", "override"} for mark in node.decorator_list):
            continue
        found.append((prefix + node.name, node))
        if isinstance(node, ast.ClassDef):
            found.extend(public_definitions(node, f"{prefix}{node.name}."))
    return found
