"""Conditions, orders and pages use indexes: MariaDB counts the rows that it reads, where EXPLAIN is wrong about parts of a UNION."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

import holdall
from holdall import Backend
from holdall.query.operations import Select
from holdall.stores.mysql.literals import render
from tests.servers.mariadb import connect
from tests.stores import indexed
from tests.stores.indexed import ORDERS, QUERIES


@pytest.fixture
async def backend(mysql_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(mysql_url) as backend:
        await indexed.fill(backend)
        await backend.engine.fetch("analyze table listed")
        yield backend
        await backend.drop(indexed.Listed)


@pytest.fixture
async def client(mysql_url: str) -> AsyncGenerator[Any]:
    """A connection of the driver's own, with the modes of ours; FLUSH STATUS would end a session's transaction."""
    connection = await connect(mysql_url, sql_mode="'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'")
    yield connection
    connection.close()


async def excess(client: Any, backend: Backend, operation: Select) -> int:
    """Return how many rows were read beyond some for each row of the result."""
    store: Any = backend.store
    read, found = 0, 0
    async with client.cursor() as cursor:
        await cursor.execute("set names utf8mb4 collate utf8mb4_nopad_bin")
        for statement in store.compiler.select(operation):
            await cursor.execute("flush status")
            await cursor.execute(render(statement))
            found += len(await cursor.fetchall())
            await cursor.execute("show status like 'Handler_read%'")
            read += sum(int(value) for name, value in await cursor.fetchall() if name != "Handler_read_rnd_deleted")
    return max(0, read - 5 * found - 100)


async def test_conditions_and_orders_use_an_index(backend: Backend, client: Any) -> None:
    operations = {name: build(backend.query(indexed.Listed))._select() for name, (build, _) in QUERIES.items()}
    wrong = {name: await excess(client, backend, operation) for name, operation in operations.items()}

    assert {name: rows for name, rows in wrong.items() if rows} == {}


async def test_pages_use_an_index(backend: Backend, client: Any) -> None:
    wrong = {name: await excess(client, backend, indexed.page_operation(backend, name)) for name in ORDERS}

    assert {name: rows for name, rows in wrong.items() if rows} == {}


async def test_what_no_index_serves_is_seen(backend: Backend, client: Any) -> None:
    assert await excess(client, backend, backend.query(indexed.Listed).filter(note="x")._select()) > 10_000
