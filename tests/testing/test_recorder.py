"""What ``record`` sees: every round trip, once, with the line of the user's code."""

import asyncio
import inspect
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI

import holdall
from holdall import Backend, DuplicateKeyError, NotFoundError, Session
from holdall.integrations.fastapi import SessionDependency
from holdall.testing import Calls, build, create, pinned, record
from holdall.wrappers import watching
from tests.testing.models import MODELS, Author, Book


@pytest.fixture
async def backend(database: Backend) -> Backend:
    """An open backend with empty tables."""
    return database


@pytest.fixture
async def memory() -> AsyncGenerator[Backend]:
    """An open memory backend with empty tables."""
    async with holdall.open("memory://") as backend:
        await backend.initialize(*MODELS)
        yield backend


def kinds(calls: Calls) -> list[str]:
    return [call.kind for call in calls]


def here(offset: int = 0) -> int:
    """Return the line of the caller."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno + offset


async def test_calls_come_in_order_with_model_statement_line_and_time(backend: Backend) -> None:
    with record() as calls:
        author = await backend.create(Author(name="Ada"))
        await backend.query(Author).filter(name="Ada").all()
        line = here(-1)
        await backend.get(Author, author.id)

    assert kinds(calls) == ["insert", "select", "fetch"]
    assert {call.model for call in calls} == {"Author"}
    assert [call.site and call.site.line for call in calls] == [line - 1, line, line + 2]
    assert calls[1].site is not None
    assert Path(calls[1].site.file) == Path(__file__)
    assert calls[1].site.function == "test_calls_come_in_order_with_model_statement_line_and_time"
    assert all(call.duration > 0 and call.error is None for call in calls)
    assert calls[1].statement == backend.store.explain(calls[1].operation)  # type: ignore[arg-type]
    assert "Ada" not in str(calls)


async def test_nothing_is_recorded_after_the_block(memory: Backend) -> None:
    with record() as calls:
        pass
    await create(memory, Author)

    assert len(calls) == 0
    assert watching.watcher is None
    assert sys.get_coroutine_origin_tracking_depth() == 0


async def test_a_session_counts_its_begin_and_its_end_on_every_store_alike(backend: Backend) -> None:
    with record() as calls:
        async with backend.session() as session:
            assert await session.query(Author).all() == []
            async with session.savepoint():
                await create(session, Author)
        async with backend.session():
            pass  # nothing is sent

    assert kinds(calls) == ["begin", "select", "savepoint", "insert", "release", "commit"]


async def test_a_pinned_backend_counts_the_same(memory_url: str) -> None:
    async with pinned(holdall.open(memory_url), *MODELS) as backend:
        with record() as calls:
            async with backend.session() as session:
                await create(session, Book)
            await backend.query(Book).count()

    assert kinds(calls) == ["begin", "insert", "insert", "commit", "count"]


async def test_a_session_that_was_open_before_is_recorded_from_its_next_statement(backend: Backend) -> None:
    async with backend.session() as session:
        author = await create(session, Author)
        with record() as calls:
            author.name = "new"
            await session.save(author)
            await session.commit()

    assert kinds(calls) == ["update", "commit"]


async def test_a_rollback_and_an_error_are_shown(backend: Backend) -> None:
    author = await create(backend, Author)
    with record() as calls, pytest.raises(DuplicateKeyError):
        async with backend.session() as session:
            await session.create(build(Author, name=author.name))

    assert kinds(calls) == ["begin", "insert", "rollback"]
    assert calls[1].error == "DuplicateKeyError"
    assert "DuplicateKeyError" in str(calls[1])


async def test_a_stream_counts_its_batches(backend: Backend) -> None:
    await backend.create_many([build(Author) for _ in range(5)])

    with record() as calls:
        found = [author async for author in backend.query(Author).stream(batch=2)]

    assert len(found) == 5
    assert kinds(calls) == ["stream", "batch", "batch", "batch", "batch"]


async def test_reads_that_are_coalesced_are_one_round_trip_with_the_line_of_the_first(backend: Backend) -> None:
    authors = await backend.create_many([build(Author) for _ in range(5)])

    with record() as calls:
        await asyncio.gather(*[backend.get(Author, author.id) for author in authors])
        line = here(-1)

    assert kinds(calls) == ["fetch", "fetch_many"]  # the first goes at once
    assert {call.site and call.site.line for call in calls} == {line}
    calls.assert_no_n_plus_one()


async def test_the_line_is_found_in_tasks_made_of_our_coroutines(memory: Backend) -> None:
    with record() as calls:
        await asyncio.create_task(memory.create(build(Author)))
        line = here(-1)

    assert [call.site and call.site.line for call in calls] == [line]


async def test_raw_sql_is_recorded_with_its_text(sqlite_url: str) -> None:
    async with holdall.open(sqlite_url) as backend:
        with record() as calls:
            await backend.engine.fetch("select 1")

    assert [(call.kind, call.model, call.statement) for call in calls] == [("raw", None, "select 1")]


async def test_only_the_backends_asked_for_are_recorded(memory: Backend) -> None:
    async with holdall.open("memory://") as other:
        await other.initialize(*MODELS)
        with record(other) as calls, record() as all_calls:
            await create(memory, Author)
            await create(other, Author)

    assert [call.backend for call in calls] == [other]
    assert len(all_calls) == 2


async def test_a_backend_made_inside_is_recorded_from_another_thread_too() -> None:
    async def work() -> None:
        async with holdall.open("memory://") as backend:
            await backend.initialize(*MODELS)
            await create(backend, Author)

    with record() as calls:
        await asyncio.to_thread(lambda: asyncio.run(work()))

    assert kinds(calls) == ["insert"]


# -- assertions ------------------------------------------------------------------------------------------------------------------------


async def test_the_failure_of_assert_round_trips_lists_them(memory: Backend) -> None:
    with record() as calls:
        await create(memory, Author)
        await memory.query(Author).count()
        line = here(-1)
    calls.assert_round_trips(2)

    with pytest.raises(AssertionError) as caught:
        calls.assert_round_trips(1)
    text = str(caught.value)

    assert text.splitlines()[0] == "expected 1 round trip, counted 2:"
    assert f"test_recorder.py:{line} in test_the_failure_of_assert_round_trips_lists_them" in text
    assert len(text.splitlines()) == 3


async def test_the_n_plus_one_report_names_file_and_line_and_the_remedy(memory: Backend) -> None:
    for _ in range(3):
        await create(memory, Book)

    line = here(3)
    with record() as calls:
        for book in await memory.query(Book):
            await memory.get(Author, book.author_id)

    with pytest.raises(AssertionError) as caught:
        calls.assert_no_n_plus_one()
    assert f"test_recorder.py:{line} in" in str(caught.value)
    assert "fetch of Author, 3 times; get_many() reads them in one round trip" in str(caught.value)
    (repeated,) = calls.repeated()
    assert (repeated.kind, repeated.model, repeated.count) == ("fetch", "Author", 3)


async def test_what_is_asked_once_per_line_or_for_few_records_is_no_n_plus_one(memory: Backend) -> None:
    with record() as calls:
        for _ in range(2):
            await create(memory, Author)
        await memory.query(Author).count()
        await memory.query(Author).count()

    calls.assert_no_n_plus_one()
    assert [item.kind for item in calls.repeated(least=2)] == ["insert"]


async def test_the_line_in_a_service_is_that_of_its_endpoint(memory: Backend) -> None:
    app = FastAPI()
    lines: list[int] = []

    @app.get("/")
    async def endpoint(session: Annotated[Session, SessionDependency(memory)]) -> int:
        lines.append(here(1))
        return await session.query(Author).count()

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        with record() as calls:
            assert (await client.get("/")).json() == 0

    assert kinds(calls) == ["begin", "count", "commit"]
    assert [call.site and call.site.line for call in calls[:2]] == lines * 2


async def test_errors_stay_those_of_the_store_while_recording(memory: Backend) -> None:
    with record() as calls, pytest.raises(NotFoundError):
        await memory.get(Author, holdall.uuid7())

    assert kinds(calls) == ["fetch"]
