"""Conditions, orders and pages use indexes, as PostgreSQL's own plans say."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import asyncpg
import pytest

import holdall
from holdall import Backend
from holdall.query.operations import Select
from tests.stores import indexed
from tests.stores.indexed import ORDERS, QUERIES

INDEX_SCANS = {"Index Scan", "Index Only Scan", "Bitmap Index Scan"}


@pytest.fixture
async def backend(postgres_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(postgres_url) as backend:
        await indexed.fill(backend)
        await backend.engine.execute("analyze listed")
        yield backend
        await backend.drop(indexed.Listed)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a plan."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


async def plans(backend: Backend, url: str, operation: Select) -> list[list[dict[str, Any]]]:
    """Return the nodes of the plan of each statement."""
    store: Any = backend.store
    connection: Any = await asyncpg.connect(url)
    try:
        return [
            list(nodes(json.loads(await connection.fetchval(f"explain (format json) {statement.text}", *statement.values))[0]["Plan"]))
            for statement in store.compiler.select(operation)
        ]
    finally:
        await connection.close()


def kinds(plan: list[dict[str, Any]]) -> set[str]:
    return {node["Node Type"] for node in plan}


async def test_conditions_and_orders_use_indexes(backend: Backend, postgres_url: str) -> None:
    wrong: dict[str, set[str]] = {}
    for name, (build, ordered) in QUERIES.items():
        (plan,) = await plans(backend, postgres_url, build(backend.query(indexed.Listed))._select())
        found = kinds(plan)
        if not found & INDEX_SCANS or "Seq Scan" in found or (ordered and "Sort" in found):
            wrong[name] = found

    assert wrong == {}


@pytest.mark.parametrize("name", ORDERS)
async def test_pages_begin_in_an_index_and_are_not_sorted(backend: Backend, postgres_url: str, name: str) -> None:
    first, *rest = await plans(backend, postgres_url, indexed.page_operation(backend, name))

    # Without a condition on the index it would read all that stands before the page; what comes behind the change to None has nothing before it.
    assert any("Index Cond" in node for node in first)
    for plan in (first, *rest):
        assert kinds(plan) & INDEX_SCANS
        assert not kinds(plan) & {"Seq Scan", "Sort"}
