"""A pinned backend: everything happens on one connection, everything is rolled back, and the code under test does not notice."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI

import holdall
from holdall import (
    Backend,
    ConfigurationError,
    DuplicateKeyError,
    PoolTimeout,
    Session,
    SessionConflict,
    TransactionError,
    UnsupportedOperation,
)
from holdall.integrations.fastapi import SessionDependency
from holdall.testing import create, fresh, pinned
from tests.testing.models import MODELS, Author, Book


@pytest.fixture
async def backend(backend_url: str) -> AsyncGenerator[Backend]:
    """The backend under test."""
    async with pinned(holdall.open(backend_url), *MODELS, patience=0.2) as backend:
        yield backend


class Stop(Exception):
    pass


async def names(backend: Backend | Session) -> list[str]:
    return [author.name for author in await backend.query(Author).order_by("name")]


async def test_nothing_of_the_block_is_left(durable_url: str) -> None:
    async with holdall.open(durable_url) as database:
        await database.initialize(*MODELS)
        await create(database, Author, name="before")

        async with pinned(holdall.open(durable_url), *MODELS) as backend:
            await create(backend, Author, name="call")
            async with backend.session() as session:
                await create(session, Author, name="session")
            assert await names(backend) == ["before", "call", "session"]

        assert await names(database) == ["before"]
        await database.drop(*MODELS)


async def test_a_session_that_ends_is_kept_and_one_that_raises_is_undone(backend: Backend) -> None:
    async with backend.session() as session:
        await create(session, Author, name="kept")
    author = Author(name="lost")
    with pytest.raises(Stop):
        async with backend.session() as session:
            await session.create(author)
            raise Stop

    assert await names(backend) == ["kept"]
    assert not holdall.is_stored(author)


async def test_a_savepoint_undoes_its_block_and_no_more(backend: Backend) -> None:
    async with backend.session() as session:
        await create(session, Author, name="outside")
        with pytest.raises(Stop):
            async with session.savepoint():
                await create(session, Author, name="inside")
                raise Stop
        await create(session, Author, name="after")

    assert await names(backend) == ["after", "outside"]


async def test_an_error_outside_a_session_undoes_that_call_and_no_more(backend: Backend) -> None:
    await create(backend, Author, name="Ada")

    with pytest.raises(DuplicateKeyError):
        await create(backend, Author, name="Ada")
    await create(backend, Author, name="Bea")

    assert await names(backend) == ["Ada", "Bea"]


async def test_an_error_inside_a_session_ends_its_transaction_as_ever(backend: Backend) -> None:
    await create(backend, Author, name="Ada")

    with pytest.raises(TransactionError, match="failed before"):
        async with backend.session() as session:
            await create(session, Author, name="Bea")
            with pytest.raises(DuplicateKeyError):
                await create(session, Author, name="Ada")

    assert await names(backend) == ["Ada"]


async def test_commit_and_rollback_inside_a_session_keep_what_they_should(backend: Backend) -> None:
    called: list[str] = []
    async with backend.session() as session:
        session.on_commit(lambda: called.append("commit"))
        await create(session, Author, name="committed")
        await session.commit()
        session.on_rollback(lambda: called.append("rollback"))
        await create(session, Author, name="rolled back")
        await session.rollback()
        await create(session, Author, name="at the end")

    assert await names(backend) == ["at the end", "committed"]
    assert called == ["commit", "rollback"]


async def test_run_and_isolation_levels_and_locks_work(backend: Backend) -> None:
    author = await create(backend, Author)

    async def rename(session: Session, name: str) -> None:
        found = await session.get(Author, author.id, lock=True)
        found.name = name
        await session.save(found)

    await backend.run(rename, "run", isolation="serializable")
    async with backend.session(read_only=True, isolation="repeatable read") as session:
        assert await names(session) == ["run"]
    with pytest.raises(TransactionError, match="read-only"):
        async with backend.session(read_only=True) as session:
            await create(session, Author)


async def test_tasks_take_their_turn_each_with_its_session(backend: Backend) -> None:
    inside = 0

    async def work(name: str) -> None:
        nonlocal inside
        async with backend.session() as session:
            await create(session, Author, name=name)
            inside += 1
            assert inside == 1
            assert name in await names(session)
            inside -= 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(work(f"task {number}"))

    assert len(await names(backend)) == 5


async def test_calls_at_once_take_their_turn(backend: Backend) -> None:
    authors = await asyncio.gather(*[create(backend, Author) for _ in range(20)])
    found = await asyncio.gather(*[backend.get(Author, author.id) for author in authors])

    assert found == authors


async def test_a_call_outside_the_open_session_of_the_same_task_is_refused(backend: Backend) -> None:
    async with backend.session() as session:
        await create(session, Author, name="inside")
        with holdall.detach(), pytest.raises(SessionConflict, match="isolation='fresh'"):
            await create(backend, Author)


async def test_two_sessions_that_wait_for_each_other_are_an_error(backend: Backend) -> None:
    wrote = asyncio.Event()
    over = asyncio.Event()

    async def hold() -> None:
        async with backend.session() as session:
            await create(session, Author)
            wrote.set()
            await over.wait()

    task = asyncio.create_task(hold())
    await wrote.wait()
    with pytest.raises(PoolTimeout, match="isolation='fresh'"):
        await names(backend)
    over.set()
    await task

    assert len(await names(backend)) == 1


async def test_a_cancelled_session_is_undone_and_the_rest_of_the_test_stays(backend: Backend) -> None:
    await create(backend, Author, name="before")
    wrote = asyncio.Event()

    async def work() -> None:
        async with backend.session() as session:
            await create(session, Author, name="cancelled")
            wrote.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await wrote.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await names(backend) == ["before"]


@pytest.mark.parametrize("turns", range(12))
async def test_a_call_cancelled_at_any_moment_leaves_the_connection_usable(backend: Backend, turns: int) -> None:
    await create(backend, Author, name="before")

    async def work() -> None:
        async with backend.session() as session:
            for number in range(3):
                await create(session, Author, name=f"{number}")
                await names(session)

    task = asyncio.create_task(work())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert (await names(backend))[-1] == "before"


async def test_streams_and_pages_and_raw_sql_work(backend: Backend) -> None:
    for number in range(5):
        await create(backend, Author, name=f"{number}")

    async with backend.session() as session:
        inside = [author.name async for author in session.query(Author).order_by("name").stream(batch=2)]
    outside = [author.name async for author in backend.query(Author).order_by("name").stream(batch=2)]
    page = await backend.query(Author).order_by("name").page(size=3)

    assert inside == outside == ["0", "1", "2", "3", "4"]
    assert [author.name for author in page.items] == ["0", "1", "2"]
    if holdall.Capability.RAW_SQL in backend.capabilities:
        assert await backend.engine.fetch_value("select count(*) from author") == 5
        with pytest.raises(holdall.HoldallError):
            await backend.engine.fetch("select nothing from nowhere")
        assert await backend.engine.execute("delete from author") == 5
    await backend.ping()


async def test_initialize_again_does_nothing_and_new_models_come_too_late(backend: Backend) -> None:
    class Late(holdall.Model):
        id: int = holdall.Field(primary_key=True)

    await create(backend, Author)
    await backend.initialize(*MODELS)

    with pytest.raises(ConfigurationError, match=r"Late.*too late"):
        await backend.initialize(Late)
    with pytest.raises(UnsupportedOperation, match="cannot be rolled back"):
        await backend.drop(*MODELS)


async def test_a_service_that_opens_and_closes_the_backend_itself_is_inside(backend: Backend) -> None:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with backend:
            await backend.initialize(*MODELS)
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/authors/{name}")
    async def add(name: str, session: Annotated[Session, SessionDependency(backend)]) -> int:
        await session.create(Author(name=name))
        return await backend.query(Author).count()

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        assert (await client.post("/authors/Ada")).json() == 1
        assert (await client.post("/authors/Bea")).json() == 2
        with pytest.raises(DuplicateKeyError):
            await client.post("/authors/Bea")
    await backend.open()

    assert await names(backend) == ["Ada", "Bea"]


async def test_another_event_loop_is_refused(backend: Backend) -> None:
    await create(backend, Author)

    with pytest.raises(ConfigurationError, match="loop scope"):
        await asyncio.to_thread(lambda: asyncio.run(names(backend)))


async def test_the_store_is_back_after_the_block_and_usable(durable_url: str) -> None:
    backend = holdall.open(durable_url)
    before = backend.store

    for _ in range(2):
        async with pinned(backend, *MODELS):
            await create(backend, Author)
            assert backend.store is not before
        assert backend.store is before

    async with backend:
        assert await names(backend) == []
        await backend.drop(*MODELS)


async def test_a_fresh_database_is_empty_and_commits_for_real(backend_url: str) -> None:
    backend = holdall.open(backend_url)

    for _ in range(2):
        async with fresh(backend, *MODELS):
            assert await names(backend) == []
            book = await create(backend, Book)
            async with backend.session() as session:
                await create(session, Author, name="inside")
                with holdall.detach():
                    assert len(await names(backend)) == 1
            assert await backend.get(Book, book.id) == book
