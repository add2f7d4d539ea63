"""How often an operation goes to the server, once it is warm: counted by a proxy."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

import holdall
from holdall import Backend, F, Field, Model, Session
from tests.servers import Proxy


class Trip(Model):
    id: int = Field(primary_key=True)
    name: str = Field(unique=True)
    number: int = 0
    tags: list[str] = []
    version: int = Field(default=1, version=True)
    touched: datetime | None = Field(default=None, auto_now=True)


class Stop(Model):
    id: int | None = Field(default=None, primary_key=True, generated=True)
    name: str = ""


Used = tuple[Backend, Proxy]


@pytest.fixture(params=["postgres", "mysql", "asyncmy"])
def server_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def used(server_url: str) -> AsyncGenerator[Used]:
    parts = urlsplit(server_url)
    assert parts.hostname
    assert parts.port
    async with (
        Proxy(parts.hostname, parts.port) as proxy,
        holdall.open(proxy.url(server_url), pool_max_size=1, coalesce=False) as backend,
    ):
        await backend.drop(Trip, Stop)
        await backend.initialize(Trip, Stop)
        await backend.create_many([Trip(id=number, name=f"n{number}") for number in range(20)])
        yield backend, proxy
        await backend.drop(Trip, Stop)


async def counted(used: Used, work: Callable[[], Awaitable[object]]) -> int:
    """Return the round trips of the third time."""
    _, proxy = used
    for _ in range(2):
        await work()
    proxy.reset_counts()
    await work()
    assert proxy.connections == 0
    return proxy.round_trips


_keys = iter(range(1000, 10**9, 10_000))

ONE: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "get": lambda backend: backend.get(Trip, 1),
    "get_or_none": lambda backend: backend.get_or_none(Trip, -1),
    "get_many": lambda backend: backend.get_many(Trip, [1, 2, 3]),
    "filtered list": lambda backend: backend.query(Trip).filter(id__gte=5, name__startswith="n").order_by("-number").limit(10).all(),
    "first": lambda backend: backend.query(Trip).first(),
    "page": lambda backend: backend.query(Trip).page(size=5),
    "count": lambda backend: backend.query(Trip).filter(number=0).count(),
    "exists": lambda backend: backend.query(Trip).filter(number=0).exists(),
    "update by query": lambda backend: backend.query(Trip).filter(id=1).update(number=F("number") + 1),
    "delete by query": lambda backend: backend.query(Trip).filter(id=-1).delete(),
    "create": lambda backend: backend.create(_trip()),
    "create with a generated key": lambda backend: backend.create(Stop(name="x")),
    "upsert": lambda backend: backend.upsert(Trip(id=3, name="n3")),
    "delete": lambda backend: backend.delete(Trip(id=-1, name="none")),
    "delete_many": lambda backend: backend.delete_many([Trip(id=-1, name="none"), Trip(id=-2, name="none")]),
    "get_or_create of what is there": lambda backend: backend.get_or_create(Trip, {"id": 1}),
    "ping": lambda backend: backend.ping(),
}


def _trip() -> Trip:
    key = next(_keys)
    return Trip(id=key, name=str(key))


@pytest.mark.parametrize("name", ONE)
async def test_one_round_trip(used: Used, name: str) -> None:
    assert await counted(used, lambda: ONE[name](used[0])) == 1


@pytest.mark.parametrize("method", ["save", "update", "refresh"])
async def test_writing_a_loaded_record_is_one(used: Used, method: str) -> None:
    backend, _ = used
    trip = await backend.get(Trip, 1)

    async def write() -> None:
        trip.number += 1
        trip.tags.append("x")
        await getattr(backend, method)(trip)

    assert await counted(used, write) == 1


async def test_saving_what_has_not_changed_is_none(used: Used) -> None:
    trip = await used[0].get(Trip, 1)
    assert await counted(used, lambda: used[0].save(trip)) == 0


async def test_empty_queries_and_bulk_writes_are_none(used: Used) -> None:
    backend, _ = used

    async def nothing() -> None:
        assert await backend.query(Trip).filter(id__in=[]).all() == []
        assert await backend.query(Trip).limit(0) == []
        assert await backend.get_many(Trip, []) == []
        assert await backend.create_many([]) == []
        assert await backend.delete_many([]) == 0
        async with backend.session() as session:
            await session.commit()

    assert await counted(used, nothing) == 0


async def test_get_or_create_of_what_is_new_is_two(used: Used) -> None:
    async def make() -> None:
        key = next(_keys)
        assert (await used[0].get_or_create(Trip, {"id": key}, defaults={"name": str(key)}))[1]

    assert await counted(used, make) == 2


@pytest.mark.parametrize("model", ["given keys", "generated keys"])
async def test_creating_a_thousand_is_at_most_three(used: Used, model: str) -> None:
    async def make() -> None:
        start = next(_keys)
        records: list[Any] = (
            [Trip(id=start + number, name=f"{start + number}") for number in range(1000)]
            if model == "given keys"
            else [Stop(name=str(number)) for number in range(1000)]
        )
        await used[0].create_many(records)

    assert await counted(used, make) <= 3


async def _nothing(_: Session) -> None:
    return None


async def _two(session: Session) -> None:
    await session.get(Trip, 1)
    await session.query(Trip).filter(id=1).update(number=3)


async def _rolled_back(session: Session) -> None:
    await session.query(Trip).filter(id=1).update(number=3)
    await session.rollback()


async def _locked(session: Session) -> None:
    trip = await session.get(Trip, 1, lock=True)
    trip.number += 1
    await session.save(trip)


async def _savepoint(session: Session) -> None:
    async with session.savepoint():
        await session.get(Trip, 1)


SESSIONS: dict[str, tuple[int, Callable[[Session], Awaitable[object]]]] = {
    "nothing": (0, _nothing),
    "one statement": (3, lambda session: session.get(Trip, 1)),
    "two statements": (4, _two),
    "a rollback": (3, _rolled_back),
    "a locked read and a save": (4, _locked),
    "a savepoint": (5, _savepoint),
}


@pytest.mark.parametrize("name", SESSIONS)
@pytest.mark.parametrize("options", [{}, {"isolation": "serializable"}, {"timeout": 3.0}], ids=str)
async def test_a_session_adds_a_begin_and_an_end(used: Used, server_url: str, name: str, options: Any) -> None:
    expected, work = SESSIONS[name]
    if expected and "isolation" in options and server_url.startswith("mysql"):
        expected += 1  # a level is a statement of its own there

    async def run() -> None:
        async with used[0].session(**options) as session:
            await work(session)

    assert await counted(used, run) == expected


async def test_a_stream_is_a_begin_a_portal_its_batches_and_an_end(used: Used) -> None:
    backend, _ = used

    async def read() -> None:
        assert len([trip async for trip in backend.query(Trip).filter(id__lt=20).stream(batch=10)]) == 20

    # begin, prepare and bind, two batches, the empty one, rollback
    assert await counted(used, read) <= 7


async def test_coalesced_reads_of_one_turn_are_one(server_url: str, used: Used) -> None:
    import asyncio  # noqa: PLC0415 (the rest knows no tasks)

    _, proxy = used
    async with holdall.open(proxy.url(server_url), pool_max_size=5) as backend:

        async def read() -> None:
            found = await asyncio.gather(*(backend.get(Trip, number % 10) for number in range(50)))
            assert [trip.id for trip in found] == [number % 10 for number in range(50)]

        assert await counted((backend, proxy), read) == 1


async def test_raw_sql_is_one_and_its_reset_another(used: Used, server_url: str) -> None:
    backend, _ = used

    async def in_session() -> None:
        async with backend.session() as session:
            await session.fetch("select name from trip where id = :id", id=1)
            await session.execute("update trip set number = :n where id = :id", id=1, n=4)

    # begin, fetch, execute, commit; and the reset, before anybody else gets the connection: of three statements on MySQL
    assert await counted(used, in_session) <= (7 if server_url.startswith("mysql") else 5)
