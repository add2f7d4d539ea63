"""Conditions, orders and pages use indexes, as SQLite's own plans say."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from typing import Any

import pytest

import holdall
from holdall import Backend
from holdall.query.operations import Select
from tests.stores import indexed
from tests.stores.indexed import ORDERS, QUERIES


@pytest.fixture
async def backend(sqlite_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(sqlite_url, synchronous="off") as backend:
        await indexed.fill(backend)
        await backend.engine.execute("analyze")
        yield backend


def plans(backend: Backend, url: str, operation: Select) -> list[str]:
    """Return the plan of each statement."""
    store: Any = backend.store
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        return [
            "\n".join(row[3] for row in connection.execute(f"explain query plan {statement.text}", tuple(statement.values)))
            for statement in store.compiler.select(operation)
        ]


async def test_conditions_and_orders_use_indexes(backend: Backend, sqlite_url: str) -> None:
    wrong: dict[str, str] = {}
    for name, (build, ordered) in QUERIES.items():
        query = build(backend.query(indexed.Listed))
        (plan,) = plans(backend, sqlite_url, query._select())
        used = "INDEX" in plan or "PRIMARY KEY" in plan
        if not used or "SCAN listed\n" in plan + "\n" or (ordered and "TEMP B-TREE" in plan):
            wrong[name] = plan

    assert wrong == {}


@pytest.mark.parametrize("name", ORDERS)
async def test_pages_begin_in_an_index_and_are_not_sorted(backend: Backend, sqlite_url: str, name: str) -> None:
    for plan in plans(backend, sqlite_url, indexed.page_operation(backend, name)):
        assert "SEARCH" in plan
        assert "TEMP B-TREE" not in plan
