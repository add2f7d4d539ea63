"""Every public operation, on a backend or in a session, for tests that cancel it or cut its connection.

What writes adds 1 to the balance of account 1 and creates an entry "1", both or none, or only one of them where it is one statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

import holdall
from holdall import Backend, F, Field, Model


class Account(Model):
    id: int = Field(primary_key=True)
    owner: str = Field(unique=True)
    balance: int = 100
    version: int = Field(default=1, version=True)


class Entry(Model):
    id: int | None = Field(default=None, primary_key=True, generated=True)
    text: str


class Scrap(Model):
    id: int = Field(primary_key=True)


class Owner(NamedTuple):
    id: int
    owner: str


MODELS = (Account, Entry)

# -- in a session or outside -------------------------------------------------------------------------------------------------------------

Access = Any  # a backend or a session: they have the same methods
Work = Callable[[Access], Awaitable[object]]


async def _save(access: Access) -> None:
    account = await access.get(Account, 1)
    account.balance += 1
    await access.save(account)


async def _update(access: Access) -> None:
    account = await access.get(Account, 1)
    account.balance += 1
    await access.update(account)


async def _delete(access: Access) -> None:
    account = await access.get(Account, 2)
    await access.delete(account)


async def _delete_many(access: Access) -> None:
    await access.delete_many(await access.query(Account).filter(id__gt=1))


async def _stream(access: Access) -> None:
    assert len([item async for item in access.query(Account).order_by("id").stream(batch=1)]) >= 1


async def _stream_break(access: Access) -> None:
    async for _ in access.query(Account).order_by("id").stream(batch=1):
        break
    await access.query(Account).count()


async def _stream_closed(access: Access) -> None:
    async with access.query(Account).stream(batch=1) as stream:
        await anext(stream)
    await access.query(Account).count()


async def _stream_unread(access: Access) -> None:
    stream = access.query(Account).stream(batch=1)
    await stream.aclose()
    stream = access.query(Account).stream(batch=1)
    await anext(stream)
    await stream.aclose()


async def _refresh(access: Access) -> None:
    await access.refresh(await access.get_or_none(Account, 1))


async def _pages(access: Access) -> None:
    page = await access.query(Account).order_by("id").page(size=1)
    await access.query(Account).order_by("id").page(size=1, after=page.next)


def _raw(access: Access) -> Any:
    return access.engine if isinstance(access, Backend) else access


async def _raw_fetch(access: Access) -> None:
    await _raw(access).fetch("select id, owner from account where id = :id", id=1)
    await _raw(access).fetch_one("select id, owner from account where id = :id", id=1)
    await _raw(access).fetch_value("select owner from account where id = :id", id=1)
    await _raw(access).fetch_as(Owner, "select id, owner from account where id = :id", id=1)


async def _raw_execute(access: Access) -> None:
    await _raw(access).execute("update account set balance = balance + 1 where id = :id", id=1)


async def _raw_execute_many(access: Access) -> None:
    await _raw(access).execute_many("insert into entry (text) values (:text)", [{"text": "1"} for _ in range(5)])


OPERATIONS: dict[str, Work] = {
    "get": lambda access: access.get(Account, 1),
    "get_many": lambda access: access.get_many(Account, [1, 2, 9]),
    "all": lambda access: access.query(Account).all(),
    "first": lambda access: access.query(Account).first(),
    "last": lambda access: access.query(Account).last(),
    "one": lambda access: access.query(Account).filter(id=1).one(),
    "one_or_none": lambda access: access.query(Account).filter(id=9).one_or_none(),
    "get by query": lambda access: access.query(Account).get(1),
    "values": lambda access: access.query(Account).values("id").all(),
    "into": lambda access: access.query(Account).into(Owner).all(),
    "refresh": _refresh,
    "count": lambda access: access.query(Account).count(),
    "exists": lambda access: access.query(Account).exists(),
    "page": _pages,
    "update by query": lambda access: access.query(Account).filter(id=1).update(balance=F("balance") + 1),
    "delete by query": lambda access: access.query(Account).filter(id=2).delete(),
    "create": lambda access: access.create(Entry(text="1")),
    "save": _save,
    "update": _update,
    "upsert": lambda access: access.upsert(Account(id=3, owner="c")),
    "delete": _delete,
    "get_or_create": lambda access: access.get_or_create(Account, {"id": 4}, defaults={"owner": "d"}),
    "create_many": lambda access: access.create_many([Entry(text="1") for _ in range(300)]),
    "delete_many": _delete_many,
    "stream": _stream,
    "stream with break": _stream_break,
    "stream in a block": _stream_closed,
    "stream closed at once": _stream_unread,
    "raw fetch": _raw_fetch,
    "raw execute": _raw_execute,
    "raw execute_many": _raw_execute_many,
}


# -- of a backend alone --------------------------------------------------------------------------------------------------------------------


async def _scrap(backend: Backend) -> None:
    await backend.initialize(Scrap)
    await backend.upsert(Scrap(id=1))
    await backend.clear(Scrap)
    await backend.drop(Scrap)


OF_A_BACKEND: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "ping": lambda backend: backend.ping(),
    "initialize": lambda backend: backend.initialize(*MODELS),
    "initialize, clear, drop": _scrap,
}


# -- sessions ------------------------------------------------------------------------------------------------------------------------------


async def _session_commit(backend: Backend) -> None:
    async with backend.session() as session:
        await session.query(Account).filter(id=1).update(balance=F("balance") + 1)
        await session.create(Entry(text="1"))


async def _session_explicit(backend: Backend) -> None:
    async with backend.session() as session:
        await session.query(Account).filter(id=1).update(balance=F("balance") + 1)
        await session.create(Entry(text="1"))
        await session.commit()
        await session.query(Account).filter(id=1).update(balance=F("balance") + 1000)
        await session.rollback()
        await session.query(Account).count()


async def _session_rolls_back(backend: Backend) -> None:
    with pytest.raises(ZeroDivisionError):
        async with backend.session() as session:
            await session.query(Account).filter(id=1).update(balance=F("balance") + 1000)
            raise ZeroDivisionError


async def _session_savepoints(backend: Backend) -> None:
    async with backend.session() as session:
        async with session.savepoint():
            await session.query(Account).filter(id=1).update(balance=F("balance") + 1)
            async with session.savepoint():
                await session.create(Entry(text="1"))
        with pytest.raises(ZeroDivisionError):
            async with session.savepoint():
                await session.query(Account).filter(id=1).update(balance=F("balance") + 1000)
                raise ZeroDivisionError


async def _session_levels(backend: Backend) -> None:
    for isolation in ("repeatable read", "serializable"):
        async with backend.session(isolation=isolation) as session:
            await session.get(Account, 1)
            await session.get(Account, 1, lock=True)
    async with backend.session(read_only=True, timeout=5) as session:
        await session.get(Account, 1)
    async with backend.session() as session:
        await session.query(Account).for_update(nowait=True)


async def _session_run(backend: Backend) -> None:
    async def work(session: holdall.Session) -> None:
        await session.query(Account).filter(id=1).update(balance=F("balance") + 1)
        await session.create(Entry(text="1"))

    await backend.run(work)


async def _session_shared(backend: Backend) -> None:
    """The one that is cancelled owns the session; others are in the middle of their statements."""
    async with backend.session() as session, asyncio.TaskGroup() as group:
        group.create_task(session.query(Account).filter(id=1).update(balance=F("balance") + 1))
        group.create_task(session.create(Entry(text="1")))
        group.create_task(session.query(Account).count())


async def _session_stream(backend: Backend) -> None:
    async with backend.session() as session:
        await session.query(Account).filter(id=1).update(balance=F("balance") + 1)
        async for _ in session.query(Account).order_by("id").stream(batch=1):
            pass
        async for _ in session.query(Account).order_by("id").stream(batch=1):
            break
        await session.create(Entry(text="1"))


async def _write_batch(backend: Backend) -> None:
    account = await backend.get(Account, 1)
    async with backend.write_batch() as batch:
        account.balance += 1
        batch.save(account)
        batch.create(Entry(text="1"))


SESSIONS: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "commit": _session_commit,
    "commit and rollback by hand": _session_explicit,
    "rollback": _session_rolls_back,
    "savepoints": _session_savepoints,
    "levels": _session_levels,
    "run": _session_run,
    "shared": _session_shared,
    "stream": _session_stream,
    "write_batch": _write_batch,
}


def inside(work: Work) -> Callable[[Backend], Awaitable[object]]:
    async def run(backend: Backend) -> None:
        async with backend.session() as session:
            await work(session)
            await session.rollback()

    return run
