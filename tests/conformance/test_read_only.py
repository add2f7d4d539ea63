"""A read-only second backend for the same data: refused by us before any I/O, and by the server for raw SQL."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import holdall
from holdall import Backend, BackendError, Capability, ConfigurationError, Field, Model, TransactionError, UnsupportedOperation, opening
from holdall.stores.memory.settings import MemorySettings
from holdall.stores.memory.store import MemoryStore


class Report(Model):
    id: int = Field(primary_key=True)
    title: str = ""

    class Meta:
        name = "read_only_reports"


MODELS = (Report,)
with_sql = pytest.mark.parametrize("backend_url", ["sqlite", "postgres", "pgbouncer"], indirect=True)
on_memory = pytest.mark.parametrize("backend_url", ["memory"], indirect=True)


@pytest.fixture(autouse=True)
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_named", {})


@pytest.fixture
def url(backend_url: str, request: pytest.FixtureRequest) -> str:
    """The address, with what a pooler needs."""
    return f"{backend_url}?pooler=transaction" if "pgbouncer" in request.node.callspec.id else backend_url


@pytest.fixture
async def first(url: str) -> AsyncGenerator[Backend]:
    async with holdall.configure(url) as backend:
        await backend.drop(Report)
        await backend.initialize(Report)
        await backend.create(Report(id=1, title="one"))
        yield backend
        await backend.drop(Report)


@pytest.fixture
async def second(first: Backend, url: str) -> AsyncGenerator[Backend]:
    async with holdall.configure(url, name="reports", read_only=True) as backend:
        yield backend


WRITES: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "create": lambda to: to.create(Report(id=2)),
    "create_many": lambda to: to.create_many([Report(id=2)]),
    "get_or_create": lambda to: to.get_or_create(Report, {"id": 2}),
    "upsert": lambda to: to.upsert(Report(id=1)),
    "save": lambda to: to.save(Report(id=2)),
    "delete": lambda to: to.delete(Report(id=1)),
    "delete_many": lambda to: to.delete_many([Report(id=1)]),
    "update by query": lambda to: to.query(Report).update(title="x"),
    "delete by query": lambda to: to.query(Report).delete(),
    "locking get": lambda to: to.get(Report, 1, lock=True),
    "locking query": lambda to: to.query(Report).for_update(),
}


async def test_it_reads_the_data_of_the_first(first: Backend, second: Backend) -> None:
    assert (await second.get(Report, 1)).title == "one"
    await first.create(Report(id=2, title="two"))
    assert await second.query(Report).order_by("id").values("title") == [{"title": "one"}, {"title": "two"}]
    async with second.session(isolation="serializable") as session:
        assert await session.query(Report).count() == 2
    async with second.session() as session, session.savepoint():
        assert await session.query(Report).count() == 2
    assert [report.id async for report in second.query(Report).order_by("id").stream()] == [1, 2]
    await second.ping()
    assert holdall.get_backend("reports") is second


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_writes_are_refused_in_and_outside_sessions(first: Backend, second: Backend, write: Callable[[Any], Awaitable[Any]]) -> None:
    with pytest.raises(UnsupportedOperation, match="read_only"):
        await write(second)
    async with second.session() as session:
        with pytest.raises(UnsupportedOperation):
            await write(session)
        assert await session.query(Report).count() == 1  # it was refused before any I/O: the transaction goes on

    assert (await first.get(Report, 1)).title == "one"


async def test_a_schema_is_neither_made_nor_dropped(first: Backend, second: Backend) -> None:
    for define in (second.initialize, second.drop, second.clear):
        with pytest.raises(UnsupportedOperation):
            await define(Report)

    assert await first.query(Report).count() == 1


async def test_a_refusal_needs_no_connection() -> None:
    backend = holdall.open("postgresql://nobody@127.0.0.1:1/nothing", read_only=True)

    for write in (backend.initialize(Report), backend.create(Report(id=1))):
        with pytest.raises(UnsupportedOperation) as caught:
            await write
        assert Capability.WRITE in caught.value.missing
    await backend.close()


RAW: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "execute": lambda to: to.execute("update read_only_reports set title = 'x'"),
    "fetch": lambda to: to.fetch("insert into read_only_reports (id, title) values (2, 'x') returning id"),
    "execute_many": lambda to: to.execute_many("delete from read_only_reports where id = :id", [{"id": 1}]),
    "create table": lambda to: to.execute("create table read_only_other (id int)"),
}


@with_sql
@pytest.mark.parametrize("write", RAW.values(), ids=RAW)
async def test_the_server_refuses_what_raw_sql_writes(first: Backend, second: Backend, write: Callable[[Any], Awaitable[Any]]) -> None:
    with pytest.raises(TransactionError, match="read-only"):
        await write(second.engine)
    with pytest.raises(TransactionError, match="read-only"):
        async with second.session() as session:
            await write(session)

    assert await second.engine.fetch_value("select count(*) from read_only_reports") == 1
    assert (await first.get(Report, 1)).title == "one"


@with_sql
async def test_raw_sql_that_reads_works(first: Backend, second: Backend) -> None:
    assert await second.engine.fetch("select title from read_only_reports where id = :id", id=1) == [{"title": "one"}]
    async with second.session() as session:
        assert await session.fetch_value("select title from read_only_reports") == "one"


@pytest.mark.parametrize("backend_url", ["postgres"], indirect=True)
async def test_single_statements_are_read_only_by_the_server_s_own_setting(second: Backend) -> None:
    assert await second.engine.fetch_value("select current_setting('transaction_read_only')") == "on"
    await second.engine.execute("set default_transaction_read_only = off")  # what raw SQL changes does not outlive its statement
    assert await second.engine.fetch_value("select current_setting('transaction_read_only')") == "on"


@pytest.mark.parametrize("backend_url", ["sqlite"], indirect=True)
async def test_a_file_cannot_be_made_writable_by_a_pragma(first: Backend, second: Backend) -> None:
    async with second.session() as session:
        await session.fetch("pragma query_only = off")
        with pytest.raises(TransactionError, match="read-only"):
            await session.execute("delete from read_only_reports")
        await session.rollback()
    with pytest.raises(TransactionError, match="read-only"):
        await second.engine.execute("delete from read_only_reports")


@pytest.mark.engine("sqlite")
@pytest.mark.parametrize("name", ["a b?c#d%20.db", "ünï.db"])
async def test_a_file_of_any_name_is_read_and_never_made(tmp_path: Path, name: str) -> None:
    escaped = name.replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    with pytest.raises(BackendError):
        async with holdall.open(f"sqlite:///{tmp_path}/{escaped}", read_only=True):
            pass
    assert files_in(tmp_path) == []

    async with holdall.open(f"sqlite:///{tmp_path}/{escaped}") as backend:
        await backend.initialize(Report)
    async with holdall.open(f"sqlite:///{tmp_path}/{escaped}", read_only=True) as backend:
        assert await backend.query(Report).count() == 0


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


# -- settings --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["memory://", "sqlite://"])
async def test_without_a_url_it_reads_the_private_data_of_the_first(address: str) -> None:
    async with holdall.configure(address) as first, holdall.configure(name="reports", read_only=True) as second:
        await first.initialize(Report)
        await first.create(Report(id=1))
        assert await second.query(Report).count() == 1
        async with first.session() as session:
            await session.create(Report(id=2))
            assert await second.query(Report).count() == 1
        assert await second.query(Report).count() == 2


def test_settings_that_are_not_stated_are_those_of_the_first() -> None:
    first = holdall.configure("postgresql://ada:secret@db:6432/shop?pool_max_size=7", statement_timeout=3.0, cursor_key="k", coalesce=False)
    same = holdall.configure(name="reports", read_only=True, pool_max_size=2)
    replica = holdall.configure("postgresql://ben@replica/shop?statement_timeout=9", name="replica", read_only=True)
    other = holdall.configure("postgresql://db/audit", name="audit")

    assert same.settings == _changed(first, read_only=True, pool_max_size=2)
    assert replica.settings == _changed(first, read_only=True, statement_timeout=9.0, host="replica", user="ben", password=None, port=None)
    assert other.settings == holdall.open("postgresql://db/audit").settings
    assert "secret" not in repr(same)


def _changed(backend: Backend, **changes: Any) -> Any:
    return dataclasses.replace(backend.settings, **changes)


def test_the_first_is_the_default_or_else_the_first_that_was_configured() -> None:
    holdall.configure("sqlite:///one.db", name="main", cache_kib=1)
    holdall.configure("sqlite:///two.db", name="other", cache_kib=2)
    assert holdall.configure(name="reports", read_only=True).settings == _changed(holdall.get_backend("main"), read_only=True)
    holdall.configure("sqlite:///three.db", cache_kib=3)
    assert holdall.configure(name="reports", read_only=True).settings == _changed(holdall.get_backend(), read_only=True)


def test_another_kind_of_store_takes_nothing_from_the_first() -> None:
    holdall.configure("sqlite:///one.db", cursor_key="k")

    second = holdall.configure("postgresql://db/shop", name="reports", read_only=True)

    assert second.settings == holdall.open("postgresql://db/shop", read_only=True).settings


def test_a_url_is_missing_where_there_is_no_first_or_the_second_writes() -> None:
    with pytest.raises(ConfigurationError, match="URL"):
        holdall.configure(name="reports", read_only=True)
    holdall.configure("memory://")
    with pytest.raises(ConfigurationError, match="URL"):
        holdall.configure(name="audit")
    with pytest.raises(ConfigurationError, match="URL"):
        holdall.configure(read_only=True)


def test_a_store_that_cannot_refuse_writes_is_not_opened_read_only() -> None:
    writing: Any = MemoryStore(MemorySettings())
    with pytest.raises(ConfigurationError, match="read_only"):
        Backend(writing, MemorySettings(read_only=True))


def test_read_only_may_stand_in_the_url() -> None:
    backend = holdall.open("memory://?read_only=yes")

    assert Capability.WRITE not in backend.capabilities
