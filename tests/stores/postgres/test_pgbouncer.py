"""Behind pgbouncer in transaction mode, with ``?pooler=transaction``: more clients than servers, and no statement meets another one's server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator
from itertools import count
from pathlib import Path

import anyio
import anyio.lowlevel
import asyncpg
import pytest

import holdall
from holdall import Backend, DuplicateKeyError, F, Field, Model, StatementTimeout

ROOT = Path(__file__).parents[3]
CLIENTS = 12  # pgbouncer has three servers for them
_numbers = count(1)


class Parcel(Model):
    id: int = Field(primary_key=True)
    name: str = Field(unique=True)
    weight: int = 0
    tags: list[str] = []


class Label(Model):
    id: int | None = Field(default=None, primary_key=True, generated=True)
    text: str


@pytest.fixture
def pooled_url(pgbouncer_url: str) -> str:
    return f"{pgbouncer_url}?pooler=transaction&pool_max_size={CLIENTS}"


@pytest.fixture
async def backend(pooled_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(pooled_url) as backend:
        await backend.drop(Parcel, Label)
        await backend.initialize(Parcel, Label)
        await backend.create_many([Parcel(id=number, name=f"n{number}") for number in range(50)])
        yield backend
        await backend.drop(Parcel, Label)


async def everything(backend: Backend, number: int) -> None:
    """One client's day."""
    key = 1000 + number
    parcel = await backend.create(Parcel(id=key, name=str(key), tags=["a"]))
    parcel.weight = number
    await backend.save(parcel)
    assert (await backend.get(Parcel, key)).weight == number
    assert [item and item.id for item in await backend.get_many(Parcel, [key, 3, -1])] == [key, 3, None]
    assert await backend.query(Parcel).filter(id=key, tags__has="a").update(weight=F("weight") + 1) == 1
    assert len(await backend.query(Parcel).filter(id__lt=50).order_by("-id").limit(7)) == 7
    assert await backend.query(Parcel).filter(id__lt=50).count() == 50
    assert await backend.query(Parcel).filter(name__icontains="N4").exists()
    await backend.upsert(Parcel(id=key, name=str(key), weight=5))
    with pytest.raises(DuplicateKeyError):
        await backend.create(Parcel(id=key, name="other"))
    labels = await backend.create_many([Label(text=f"{number}") for _ in range(30)])
    assert len({label.id for label in labels}) == 30
    assert await backend.delete_many(labels) == 30
    assert await backend.engine.fetch_value("select cast(:n as integer) + 1", n=number) == number + 1
    assert await backend.engine.fetch("select id, name from parcel where id = :id", id=key) == [{"id": key, "name": str(key)}]
    assert await backend.engine.fetch("select id from parcel where id = :id", id=-1) == []
    assert await backend.engine.execute_many("insert into label (text) values (:t)", [{"t": f"m{number}"}] * 3) == 3
    async with backend.session(isolation="repeatable read", timeout=10) as session:
        assert (await session.get(Parcel, key, lock=True)).weight == 5
        async with session.savepoint():
            await session.query(Parcel).filter(id=key).update(weight=9)
        assert await session.fetch_value("select weight from parcel where id = :id", id=key) == 9
    assert len([item async for item in backend.query(Parcel).filter(id__lt=50).order_by("id").stream(batch=8)]) == 50
    async for _ in backend.query(Parcel).stream(batch=2):
        break
    assert await backend.delete(parcel) is True


async def test_more_clients_than_servers_do_everything_at_once(backend: Backend) -> None:
    for _ in range(3):
        await asyncio.gather(*(everything(backend, number) for number in range(CLIENTS)))
    assert await backend.query(Parcel).count() == 50


async def test_sessions_keep_their_server_until_they_end(backend: Backend) -> None:
    async def add(number: int) -> None:
        async with backend.session() as session:
            before = (await session.get(Parcel, 1, lock=True)).weight
            await session.query(Parcel).filter(id=1).update(weight=before + 1)
            if number % 5 == 0:
                await session.rollback()

    await asyncio.gather(*(add(number) for number in range(40)))
    assert (await backend.get(Parcel, 1)).weight == 32


async def test_the_isolation_is_the_one_asked_for_whatever_the_server_was_used_for(backend: Backend) -> None:
    for isolation in ("serializable", "read committed", "repeatable read", None):
        async with backend.session(isolation=isolation) as session:
            assert await session.fetch_value("show transaction_isolation") == (isolation or "read committed")


async def test_timeouts_hold_inside_and_outside_sessions(backend: Backend, pooled_url: str) -> None:
    with pytest.raises(StatementTimeout):
        async with backend.session(timeout=0.05) as session:
            await session.fetch("select pg_sleep(30)")
    async with holdall.open(f"{pooled_url}&statement_timeout=0.05") as hasty:
        with pytest.raises(StatementTimeout):
            await hasty.engine.fetch("select pg_sleep(30)")
        assert await hasty.query(Parcel).count() == 50
    assert await backend.query(Parcel).count() == 50


async def test_cancelled_statements_are_stopped_and_nobody_gets_a_foreign_reply(backend: Backend) -> None:
    async def victim(number: int) -> None:
        if number % 2:
            async with backend.session() as session:
                await session.query(Parcel).filter(id=number).update(weight=77)
                await session.fetch("select pg_sleep(30)")
        else:
            await backend.engine.fetch("select pg_sleep(30)")

    async def literal() -> bool:
        wanted = f"literal {next(_numbers)}"
        return bool(await backend.engine.fetch_value(f"select '{wanted}'") == wanted)

    for round_number in range(4):
        with anyio.move_on_after(30) as scope:
            async with anyio.create_task_group() as group:
                for number in range(3):
                    group.start_soon(victim, number)
                while backend.engine.stats()["in_use"] < 3:
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
        assert scope.cancelled_caught, round_number
        async with asyncio.timeout(20):
            assert all(await asyncio.gather(*(literal() for _ in range(30))))
    assert await backend.query(Parcel).filter(weight=77).count() == 0


async def test_no_transaction_is_left_open_on_the_servers(backend: Backend, postgres_url: str) -> None:
    async def cancelled(number: int) -> None:
        async with backend.session() as session:
            await session.query(Parcel).filter(id=number).update(weight=1)
            reached.release()
            await asyncio.Event().wait()

    reached = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(cancelled(number)) for number in range(3)]
    for _ in tasks:
        await reached.acquire()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    direct = await asyncpg.connect(postgres_url)
    try:
        async with asyncio.timeout(10):
            await direct.execute("select * from parcel for update")  # waits for whoever still has a row
        assert await direct.fetchval("select sum(weight) from parcel") == 0
    finally:
        await direct.close()


STREAMER = """
    import asyncio, sys
    import holdall
    from holdall import Field, Model

    class Parcel(Model):
        id: int = Field(primary_key=True)
        name: str = Field(unique=True)
        weight: int = 0
        tags: list[str] = []

    async def read(backend):
        async for _ in backend.query(Parcel).filter(id__lt=50).stream(batch=3):
            pass
        async with backend.session() as session:
            assert len([item async for item in session.query(Parcel).order_by("id").stream(batch=7)]) == 50
        assert await backend.engine.fetch("select 1 as one") == [{"one": 1}]

    async def main():
        async with holdall.open(sys.argv[1]) as backend:
            for _ in range(5):
                await asyncio.gather(*(read(backend) for _ in range(6)))

    asyncio.run(main())
"""


async def test_workers_of_one_service_share_the_servers(backend: Backend, pooled_url: str) -> None:
    """Statements of two processes with the same name must not meet on one server."""
    code = textwrap.dedent(STREAMER)
    workers = [
        await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", code, pooled_url, cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    errors = [(await worker.communicate())[1].decode() for worker in workers]
    assert errors == ["", "", ""]
