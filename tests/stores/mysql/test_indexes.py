"""Conditions, orders and pages use indexes: MariaDB counts the rows that it reads, where EXPLAIN is wrong about parts of a UNION."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

import holdall
from holdall import Backend, Session
from holdall.query.operations import Select
from holdall.stores.mysql.literals import render
from tests.stores import indexed
from tests.stores.indexed import ORDERS, QUERIES


@pytest.fixture
async def backend(mysql_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(mysql_url) as backend:
        await indexed.fill(backend)
        await backend.engine.fetch("analyze table listed")
        yield backend
        await backend.drop(indexed.Listed)


async def excess(session: Session, backend: Backend, operation: Select) -> int:
    """Return how many rows were read beyond some for each row of the result."""
    store: Any = backend.store
    read, found = 0, 0
    for statement in store.compiler.select(operation):
        await session.execute("flush status")
        found += len(await session.fetch(render(statement)))
        read += sum(
            int(row["Value"])
            for row in await session.fetch("show status like 'Handler_read%'")
            if row["Variable_name"] != "Handler_read_rnd_deleted"
        )
    return max(0, read - 5 * found - 100)


async def test_conditions_and_orders_use_an_index(backend: Backend) -> None:
    async with backend.session() as session:
        wrong = {
            name: await excess(session, backend, build(backend.query(indexed.Listed))._select()) for name, (build, _) in QUERIES.items()
        }

    assert {name: rows for name, rows in wrong.items() if rows} == {}


async def test_pages_use_an_index(backend: Backend) -> None:
    async with backend.session() as session:
        wrong = {name: await excess(session, backend, indexed.page_operation(backend, name)) for name in ORDERS}

    assert {name: rows for name, rows in wrong.items() if rows} == {}


async def test_what_no_index_serves_is_seen(backend: Backend) -> None:
    async with backend.session() as session:
        assert await excess(session, backend, backend.query(indexed.Listed).filter(note="x")._select()) > 10_000
