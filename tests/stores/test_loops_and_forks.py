"""Backends survive their surroundings: several event loops, forks, closing at the wrong moment, and the end of the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import holdall
from holdall import Backend, Field, HoldallError, Model, PoolClosed

ROOT = Path(__file__).parents[2]
HEAD = """
    import asyncio, logging, os, sys
    import holdall
    from holdall import Field, Model

    class Leaf(Model):
        id: int = Field(primary_key=True)
        name: str = ""

    url = sys.argv[1]
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # development mode tells of every step that a busy machine makes slow
"""


class Leaf(Model):
    id: int = Field(primary_key=True)
    name: str = ""


sql_only = pytest.mark.parametrize("backend_url", ["sqlite", "postgres", "mysql"], indirect=True)


@pytest.fixture
def url(backend_url: str) -> Generator[str]:
    """A database with the table, made in a loop of its own."""

    async def prepare() -> None:
        async with holdall.open(backend_url) as backend:
            await backend.drop(Leaf)
            await backend.initialize(Leaf)

    async def remove() -> None:
        async with holdall.open(backend_url) as backend:
            await backend.drop(Leaf)

    asyncio.run(prepare())
    yield backend_url
    asyncio.run(remove())


def outcome(url: str, code: str) -> tuple[int, str, str]:
    """Run a program with every warning an error; return its code and what it wrote."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(HEAD + code), url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return process.returncode, process.stdout, process.stderr


# -- loops --------------------------------------------------------------------------------------------------------------------------------


def test_one_backend_serves_one_loop_after_another(url: str) -> None:
    backend = holdall.open(url)

    async def work(number: int) -> int:
        await backend.initialize(Leaf)
        await backend.create(Leaf(id=number))
        async with backend.session() as session:
            await session.query(Leaf).filter(id=number).update(name="x")
        async for _ in backend.query(Leaf).stream(batch=1):
            break
        return await backend.query(Leaf).filter(name="x").count()

    assert [asyncio.run(work(number)) for number in range(4)] == [1, 2, 3, 4]
    asyncio.run(backend.close())


@sql_only
def test_one_backend_serves_several_loops_at_once(url: str) -> None:
    backend = holdall.open(url)
    errors: list[BaseException] = []
    barrier = threading.Barrier(4)

    async def work(start: int) -> None:
        barrier.wait()
        await asyncio.gather(*(backend.create(Leaf(id=start + number)) for number in range(25)))
        found = await asyncio.gather(*(backend.get(Leaf, start + number) for number in range(25)))
        assert [leaf.id for leaf in found] == [start + number for number in range(25)]

    def run(start: int) -> None:
        try:
            asyncio.run(work(start))
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=run, args=(number * 100,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def count() -> int:
        async with backend:
            return await backend.query(Leaf).count()

    assert errors == []
    assert asyncio.run(count()) == 100


@sql_only
def test_closing_in_one_loop_ends_the_others_too(url: str) -> None:
    backend = holdall.open(url)
    first = asyncio.new_event_loop()
    first.run_until_complete(backend.create(Leaf(id=1)))

    async def close() -> None:
        await backend.query(Leaf).count()
        await backend.close()

    asyncio.run(close())
    with pytest.raises(PoolClosed):
        first.run_until_complete(backend.query(Leaf).count())
    first.run_until_complete(asyncio.sleep(0))
    first.close()


@sql_only
def test_a_session_of_another_loop_does_not_hang(url: str) -> None:
    backend = holdall.open(url)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    block = backend.session()
    session = first.run_until_complete(block.__aenter__())
    first.run_until_complete(session.create(Leaf(id=1)))
    with pytest.raises((HoldallError, RuntimeError)):
        second.run_until_complete(asyncio.wait_for(session.get(Leaf, 1), 5))
    with pytest.raises((HoldallError, RuntimeError)):
        first.run_until_complete(block.__aexit__(None, None, None))
    first.run_until_complete(backend.close())
    for loop in (first, second):
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


# -- closing ---------------------------------------------------------------------------------------------------------------------------------


async def test_use_after_close_and_a_second_close_are_refused(url: str) -> None:
    backend = await holdall.open(url).open()
    await backend.initialize(Leaf)
    await backend.create(Leaf(id=1))
    await backend.close()

    uses: list[Any] = [
        lambda: backend.get(Leaf, 1),
        lambda: backend.create(Leaf(id=2)),
        lambda: backend.query(Leaf).all(),
        lambda: backend.query(Leaf).count(),
        lambda: anext(backend.query(Leaf).stream()),
        lambda: backend.initialize(Leaf),
        lambda: backend.drop(Leaf),
        lambda: backend.clear(Leaf),
        backend.ping,
        lambda: backend.session().__aenter__(),
        lambda: backend.run(_nothing),
        backend.close,
    ]
    for use in uses:
        with pytest.raises(PoolClosed, match="closed"):
            await use()


async def _nothing(_: holdall.Session) -> None:
    return None


async def test_a_backend_may_be_opened_again(url: str) -> None:
    backend = holdall.open(url)
    for number in range(3):
        async with backend:
            await backend.initialize(Leaf)
            await backend.upsert(Leaf(id=number))
    async with backend:
        assert await backend.query(Leaf).count() == 3


async def test_the_end_of_the_block_closes_once(url: str) -> None:
    async with holdall.open(url) as backend:
        await backend.ping()
        await backend.close()
    with pytest.raises(PoolClosed):
        await backend.ping()


@sql_only
async def test_closing_waits_for_sessions(url: str) -> None:
    backend = await holdall.open(url).open()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with backend.session() as session:
            await session.create(Leaf(id=1))
            begun.set()
            await go_on.wait()
            await session.create(Leaf(id=2))

    task = asyncio.create_task(work())
    await begun.wait()
    closing = asyncio.create_task(backend.close(timeout=20))
    await asyncio.sleep(0)
    go_on.set()
    await closing
    await task
    async with backend:
        assert await backend.query(Leaf).count() == 2


@sql_only
async def test_closing_ends_sessions_after_its_deadline(url: str) -> None:
    backend = await holdall.open(url).open()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with backend.session() as session:
            await session.create(Leaf(id=1))
            begun.set()
            await go_on.wait()
            await session.create(Leaf(id=2))

    task = asyncio.create_task(work())
    await begun.wait()
    async with asyncio.timeout(10):
        await backend.close(timeout=0.05)
    go_on.set()
    with pytest.raises(HoldallError):
        await task
    async with backend:
        assert await backend.query(Leaf).count() == 0


@sql_only
async def test_closing_while_statements_run_answers_everybody(url: str) -> None:
    for _ in range(5):
        backend: Backend = holdall.open(url, pool_max_size=2)
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(backend.query(Leaf).count()) for _ in range(30)]
        tasks += [asyncio.create_task(backend.upsert(Leaf(id=number))) for number in range(30)]
        await backend.query(Leaf).first()
        await backend.close(timeout=5)
        async with asyncio.timeout(10):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} <= {int, Leaf, PoolClosed}


# -- forks -----------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend_url", ["postgres"], indirect=True)
def test_a_forked_child_has_connections_of_its_own_and_harms_nobody(url: str) -> None:
    code = """
    backend = holdall.open(url)

    async def parent():
        await backend.upsert(Leaf(id=1, name="parent"))
        pid = os.fork()
        if pid == 0:
            os._exit(child())
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        for number in range(20):
            assert (await backend.get(Leaf, 1)).name == "parent"
        await backend.upsert(Leaf(id=3))
        await backend.close()

    def child():
        # The parent's loop is still marked as running here; a new one needs that undone, as multiprocessing does.
        asyncio.events._set_running_loop(None)

        async def work():
            try:
                await backend.upsert(Leaf(id=2, name="child"))
                assert (await backend.get(Leaf, 1)).name == "parent"
                async with backend.session() as session:
                    await session.query(Leaf).filter(id=2).update(name="session")
                await backend.close()
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                return 1
            return 0

        return asyncio.run(work())

    asyncio.run(parent())
    """
    assert outcome(url, code) == (0, "", "")


@pytest.mark.parametrize("backend_url", ["sqlite"], indirect=True)
def test_a_file_that_is_open_at_a_fork_is_refused_in_the_child(url: str) -> None:
    """SQLite would lose what the child commits."""
    code = """
    backend = holdall.open(url)

    async def parent():
        await backend.upsert(Leaf(id=1))
        pid = os.fork()
        if pid == 0:
            os._exit(child())
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        await backend.upsert(Leaf(id=3))
        assert await backend.query(Leaf).count() == 2
        await backend.close()

    def child():
        asyncio.events._set_running_loop(None)

        async def work():
            for other in (backend, holdall.open(url)):
                try:
                    await other.upsert(Leaf(id=2))
                except holdall.ConfigurationError as error:
                    assert "fork" in str(error)
                else:
                    return 1
            return 0

        return asyncio.run(work())

    asyncio.run(parent())
    """
    assert outcome(url, code) == (0, "", "")


@sql_only
def test_a_session_in_a_forked_child_is_refused(url: str) -> None:
    code = """
    backend = holdall.open(url)

    async def parent():
        async with backend.session() as session:
            await session.upsert(Leaf(id=1))
            pid = os.fork()
            if pid == 0:
                os._exit(child(session))
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0, status
            await session.upsert(Leaf(id=2))
        assert await backend.query(Leaf).count() == 2
        await backend.close()

    def child(session):
        asyncio.events._set_running_loop(None)

        async def work():
            try:
                async with asyncio.timeout(10):
                    await session.get(Leaf, 1)
            except holdall.HoldallError:
                return 0
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
            return 1

        return asyncio.run(work())

    asyncio.run(parent())
    """
    assert outcome(url, code) == (0, "", "")


@sql_only
def test_multiprocessing_workers_open_their_own(url: str) -> None:
    code = """
    import multiprocessing

    backend = holdall.open(url)

    def worker(number):
        async def work():
            await backend.upsert(Leaf(id=number))
            await backend.close()

        asyncio.run(work())

    async def count():
        async with backend:
            return await backend.query(Leaf).count()

    asyncio.run(count())
    asyncio.run(backend.open())
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=worker, args=(number,)) for number in range(3)]
    for process in workers:
        process.start()
    for process in workers:
        process.join()
    assert [process.exitcode for process in workers] == [0, 0, 0]
    assert asyncio.run(count()) == 3
    """
    assert outcome(url, code) == (0, "", "")


# -- the end of the process -----------------------------------------------------------------------------------------------------------------------------

ENDINGS = {
    "closed": """
    async def main():
        async with holdall.open(url) as backend:
            await backend.initialize(Leaf)
            await backend.upsert(Leaf(id=1))
    asyncio.run(main())
    """,
    "never closed": """
    async def main():
        backend = holdall.open(url)
        await backend.initialize(Leaf)
        await backend.upsert(Leaf(id=1))
        await asyncio.gather(*(backend.query(Leaf).count() for _ in range(5)))
    asyncio.run(main())
    """,
    "a global that is never closed": """
    backend = holdall.configure(url)
    async def main():
        await backend.initialize(Leaf)
        await Leaf.objects.all()
    asyncio.run(main())
    asyncio.run(main())
    """,
    "in the middle of a session": """
    async def main():
        backend = holdall.open(url)
        await backend.initialize(Leaf)
        begun = asyncio.Event()
        async def hold():
            async with backend.session() as session:
                await session.upsert(Leaf(id=5))
                begun.set()
                await asyncio.Event().wait()
        task = asyncio.create_task(hold())
        await begun.wait()
    asyncio.run(main())
    """,
    "in the middle of a stream": """
    async def main():
        backend = holdall.open(url)
        await backend.initialize(Leaf)
        await backend.upsert(Leaf(id=1))
        await backend.upsert(Leaf(id=2))
        global stream
        stream = backend.query(Leaf).stream(batch=1)
        await anext(stream)
    asyncio.run(main())
    """,
    "in the middle of a statement": """
    async def main():
        # When a loop closes while asyncpg negotiates TLS, for a connection or a cancel request, asyncio tells of a future that asyncpg forgot.
        options = {"sslmode": "disable"} if url.startswith("postgres") else {}
        backend = holdall.open(url, **options)
        await backend.initialize(Leaf)
        tasks = [asyncio.create_task(backend.upsert(Leaf(id=number))) for number in range(20)]
        await tasks[0]
    asyncio.run(main())
    """,
    "by sys.exit": """
    async def main():
        backend = holdall.open(url)
        await backend.initialize(Leaf)
        async with backend.session() as session:
            await session.upsert(Leaf(id=1))
            sys.exit(0)
    asyncio.run(main())
    """,
}


@sql_only
@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_warns_at_exit(url: str, ending: str) -> None:
    assert outcome(url, ENDINGS[ending]) == (0, "", "")


def test_nothing_is_left_of_a_backend_that_was_never_used(url: str) -> None:
    assert outcome(url, "\n    holdall.open(url)\n") == (0, "", "")


@sql_only
async def test_what_an_unfinished_session_did_is_not_there(url: str) -> None:
    assert outcome(url, ENDINGS["in the middle of a session"])[0] == 0
    async with holdall.open(url) as backend:
        assert await backend.query(Leaf).filter(id=5).count() == 0
