"""Opening and closing, several event loops, forks, and engines that nobody closed."""

import asyncio
import gc
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from holdall.errors import BackendError, ConfigurationError, PoolClosed
from holdall.pool import PerLoop, PoolOptions
from holdall.stores.sqlite import worker
from holdall.stores.sqlite.connection import EngineOptions
from holdall.stores.sqlite.engine import Engine
from holdall.stores.sqlite.mailbox import EventSignal, Mailbox, Signal, SocketSignal
from holdall.stores.sqlite.temporary import temporary_database
from tests.stores.sqlite.test_engine_reads import ENDLESS, Gate, fetch

pytestmark = pytest.mark.engine("sqlite")

INSERT = "insert into t values (?, ?)"


@pytest.fixture
def options(tmp_path: Path) -> EngineOptions:
    return EngineOptions(str(tmp_path / "test.db"), pool=PoolOptions(max_size=4))


async def opened(options: EngineOptions) -> Engine:
    engine = Engine(options)
    await engine.open()
    await engine.write(fetch, "create table if not exists t (id integer primary key, v integer)", groupable=False)
    return engine


def threads_of(name: str = "holdall-sqlite") -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def wait_for_threads_to_end(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


async def test_connections_are_set_up(options: EngineOptions) -> None:
    engine = await opened(options)
    session = await engine.session()

    for run in (engine.read, engine.select, session.run):
        assert await run(fetch, "pragma journal_mode") == [("wal",)]
        assert await run(fetch, "pragma foreign_keys") == [(1,)]
        assert await run(fetch, "pragma synchronous") == [(2,)]
        assert await run(fetch, "pragma busy_timeout") == [(20,)]
    session.give_back()
    await engine.close()


def file_exists(path: Path) -> bool:
    return path.exists()


def twice(value: int) -> int:
    return value * 2


async def test_setup_runs_for_every_connection(tmp_path: Path) -> None:
    def setup(connection: sqlite3.Connection) -> None:
        connection.create_function("twice", 1, twice, deterministic=True)

    engine = Engine(EngineOptions(str(tmp_path / "test.db"), synchronous="normal", setup=setup))
    session = await engine.session()
    for run in (engine.read, engine.select, engine.write, session.run):
        assert await run(fetch, "select twice(21)") == [(42,)]
    session.give_back(clean=False)
    session = await engine.session()
    assert await session.run(fetch, "select twice(21)") == [(42,)]
    session.give_back()
    await engine.close()


@pytest.mark.parametrize("kind", ["folder", "missing", "garbage"])
async def test_a_file_that_cannot_be_opened_is_a_clear_error(tmp_path: Path, kind: str) -> None:
    path = {"folder": tmp_path, "missing": tmp_path / "no" / "such.db", "garbage": tmp_path / "garbage.db"}[kind]
    if kind == "garbage":
        path.write_bytes(b"this is no database, " * 100)
    engine = Engine(EngineOptions(str(path)))
    with pytest.raises(BackendError, match="sqlite cannot go on"):
        await engine.open()
    with pytest.raises(BackendError):
        await engine.session()
    await engine.close()
    assert engine.stats().connections == 0


async def test_close_waits_for_what_was_asked(options: EngineOptions) -> None:
    engine = await opened(options)
    writes = [asyncio.create_task(engine.write(fetch, INSERT, number, 1, groupable=number % 2 == 0)) for number in range(20)]
    reads = [asyncio.create_task(engine.read(fetch, "select ?", number)) for number in range(20)]
    await asyncio.sleep(0)
    await engine.close()

    assert [await task for task in reads] == [[(number,)] for number in range(20)]
    await asyncio.gather(*writes)
    assert threads_of() == []


async def test_a_closed_engine_says_so(options: EngineOptions) -> None:
    engine = await opened(options)
    await engine.close()
    await engine.close()
    for use in (
        engine.open(),
        engine.read(fetch, "select 1"),
        engine.select(fetch, "select 1"),
        engine.write(fetch, INSERT, 1, 1),
        engine.session(),
    ):
        with pytest.raises(PoolClosed):
            await use


async def test_close_waits_for_sessions(options: EngineOptions) -> None:
    engine = await opened(options)
    session = await engine.session()
    await session.begin_write()
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0)
    await session.run(fetch, INSERT, 1, 1)
    await session.commit()
    assert not closing.done()
    session.give_back()
    await closing

    connection = sqlite3.connect(options.path)
    assert fetch(connection, "select id from t") == [(1,)]
    connection.close()


async def test_close_interrupts_after_its_deadline(options: EngineOptions) -> None:
    engine = await opened(options)
    session = await engine.session()
    await session.begin_write()
    await session.run(fetch, INSERT, 1, 1)
    statement = asyncio.create_task(session.run(fetch, ENDLESS))
    select = asyncio.create_task(engine.select(fetch, ENDLESS))
    queued_select = asyncio.create_task(engine.select(fetch, "select 1"))
    queued_write = asyncio.create_task(engine.write(fetch, INSERT, 2, 2))
    await asyncio.sleep(0)
    await engine.close(timeout=0.1)
    results = await asyncio.gather(statement, select, queued_select, queued_write, return_exceptions=True)

    assert [isinstance(result, Exception) for result in results[:3]] == [True] * 3
    assert [type(result) for result in results[1:3]] == [PoolClosed, PoolClosed]
    connection = sqlite3.connect(options.path)
    assert fetch(connection, "select id from t where id = 1") == []
    connection.close()
    assert threads_of() == []
    assert engine.stats().connections == 0
    session.give_back()


async def test_a_cancelled_close_goes_on(options: EngineOptions) -> None:
    engine = await opened(options)
    session = await engine.session()
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    session.give_back()
    await engine.close()

    assert threads_of() == []


async def test_terminate_fails_what_waits(options: EngineOptions) -> None:
    engine = await opened(options)
    select = asyncio.create_task(engine.select(fetch, ENDLESS))
    await asyncio.wait([select], timeout=0.05)
    queued = asyncio.create_task(engine.select(fetch, "select 1"))
    await asyncio.sleep(0)
    engine.terminate()
    results = await asyncio.gather(select, queued, return_exceptions=True)

    assert [type(result) for result in results] == [PoolClosed, PoolClosed]
    await engine.close()
    wait_for_threads_to_end(threads_of())


def test_loops_of_several_threads_share_a_file(options: EngineOptions) -> None:
    asyncio.run(_create(options))
    failures = list[BaseException]()

    async def count(times: int) -> None:
        engine = Engine(options)
        await asyncio.gather(*(engine.write(fetch, "update t set v = v + 1") for _ in range(times)))
        for _ in range(times):
            await engine.write(fetch, "update t set v = v + 1", groupable=False)
        await engine.close()

    def run() -> None:
        try:
            asyncio.run(count(50))
        except BaseException as error:
            failures.append(error)
            raise

    runners = [threading.Thread(target=run) for _ in range(4)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()

    assert failures == []
    connection = sqlite3.connect(options.path)
    assert fetch(connection, "select v from t") == [(400,)]
    connection.close()


async def _create(options: EngineOptions) -> None:
    engine = await opened(options)
    await engine.write(fetch, INSERT, 1, 0)
    await engine.close()


def test_one_engine_per_loop(options: EngineOptions) -> None:
    engines = PerLoop(lambda: Engine(options), Engine.terminate)

    async def use() -> Engine:
        engine = engines.get()
        assert engines.get() is engine
        assert await engine.read(fetch, "select 1") == [(1,)]
        session = await engine.session()
        await session.begin_write()
        return engine

    first = asyncio.run(use())
    second = asyncio.run(use())

    assert first is not second
    wait_for_threads_to_end(threads_of())


def test_threads_end_when_their_loop_is_closed(options: EngineOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.02)
    loop = asyncio.new_event_loop()
    engine = loop.run_until_complete(opened(options))
    session = loop.run_until_complete(engine.session())
    loop.run_until_complete(session.begin_write())
    threads = threads_of()
    assert threads
    loop.close()

    wait_for_threads_to_end(threads)
    assert engine.stats().connections == 0
    engine.terminate()
    connection = sqlite3.connect(options.path, isolation_level=None)
    connection.execute("begin immediate")
    connection.close()


async def test_threads_end_when_their_engine_is_forgotten(options: EngineOptions) -> None:
    engine = await opened(options)
    threads = threads_of()
    assert threads
    del engine
    gc.collect()

    wait_for_threads_to_end(threads)


FORGOTTEN = """
import asyncio, sys
from holdall.stores.sqlite.connection import EngineOptions
from holdall.stores.sqlite.engine import Engine

async def main():
    global engine, session
    engine = Engine(EngineOptions(sys.argv[1]))
    await engine.open()
    session = await engine.session()
    await session.begin_write()
    await engine.select(lambda c: c.execute("select 1").fetchall())
    print("done")

asyncio.run(main())
"""


def test_a_process_that_closes_nothing_ends_without_a_word(options: EngineOptions) -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", FORGOTTEN, options.path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


FORKED = """
import asyncio, os, sys
from holdall.errors import ConfigurationError
from holdall.stores.sqlite.connection import EngineOptions
from holdall.stores.sqlite.engine import Engine

def fetch(connection, sql):
    return connection.execute(sql).fetchall()

async def refused(engine):
    for use in (lambda: engine.read(fetch, "select 1"), lambda: engine.write(fetch, "select 1"), lambda: engine.open()):
        try:
            await use()
        except ConfigurationError as error:
            assert "fork" in str(error)
        else:
            raise AssertionError
    await engine.close()

async def own(path):
    # Not even by an engine of its own: SQLite's table of locks came along, the locks did not.
    engine = Engine(EngineOptions(path))
    try:
        await engine.write(fetch, "insert into t values (2)")
    except ConfigurationError as error:
        assert "fork" in str(error)
    else:
        raise AssertionError
    await engine.close()

async def main(path):
    engine = Engine(EngineOptions(path))
    await engine.write(fetch, "create table t (x)", groupable=False)
    await engine.read(fetch, "select 1")
    session = await engine.session()
    await session.run(fetch, "select 1")
    pid = os.fork()
    if pid == 0:
        try:
            asyncio._set_running_loop(None)
            loop = asyncio.new_event_loop()
            loop.run_until_complete(refused(engine))
            loop.run_until_complete(own(path))
            loop.close()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        sys.exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
    await engine.write(fetch, "insert into t values (1)")
    assert await session.run(fetch, "select count(*) from t") == [(1,)]
    session.give_back()
    await engine.close()
    print("parent done")

asyncio.run(main(sys.argv[1]))
"""


def test_a_forked_child_is_told_and_harms_nothing(options: EngineOptions) -> None:
    result = subprocess.run([sys.executable, "-c", FORKED, options.path], capture_output=True, text=True, timeout=30, check=False)

    assert "parent done" in result.stdout, result.stderr
    assert "Traceback" not in result.stderr.replace("SystemExit", ""), result.stderr


async def test_a_fork_is_detected_without_io(options: EngineOptions) -> None:
    engine = await opened(options)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            engine.read(fetch, "select 1").send(None)
        except ConfigurationError:
            code = 0
        finally:
            os._exit(code)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)

    assert status == 0
    assert await engine.read(fetch, "select 1") == [(1,)]
    await engine.close()


@pytest.mark.parametrize("make", [EventSignal, SocketSignal])
async def test_a_signal_wakes_the_loop_once_per_batch(make: type[Signal]) -> None:
    class Note:
        def deliver(self) -> None:
            delivered.append(1)
            if len(delivered) == 1000:
                done.set_result(None)

    delivered, done = list[int](), asyncio.get_running_loop().create_future()
    mailbox = Mailbox(asyncio.get_running_loop(), make())

    def send() -> None:
        for number in range(1000):
            mailbox.put(Note())
            if number % 10 == 9:
                mailbox.wake()

    await asyncio.to_thread(send)
    await done
    mailbox.detach()

    assert len(delivered) == 1000


async def test_no_descriptors_or_threads_are_left(options: EngineOptions) -> None:
    async def use() -> None:
        engine = await opened(options)
        session = await engine.session()
        await session.begin_write()
        session.abandon()
        await engine.select(fetch, "select 1")
        await engine.close()

    await use()
    gc.collect()
    before = descriptors()
    for _ in range(10):
        await use()
    gc.collect()

    assert descriptors() == before
    assert threads_of() == []


async def test_a_temporary_database_is_removed(options: EngineOptions) -> None:
    database = temporary_database()
    file = Path(database.path)
    engine = Engine(EngineOptions(database.path, synchronous="off"))
    await engine.write(fetch, "create table t (x)", groupable=False)
    assert file_exists(file)
    await engine.close()
    database.remove()
    database.remove()

    assert not file_exists(file)


def test_a_temporary_database_is_removed_at_exit_by_its_own_process() -> None:
    code = """
import os
from holdall.stores.sqlite.temporary import temporary_database
database = temporary_database()
open(database.path, "w").close()
pid = os.fork()
if pid:
    os.waitpid(pid, 0)
    assert os.path.exists(database.path)
    print(database.path)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)

    path = Path(result.stdout.strip())
    assert path.name == "memory.db"
    assert not path.parent.exists()


async def test_the_loop_turns_while_a_write_waits(options: EngineOptions) -> None:
    engine = await opened(options)
    other = sqlite3.connect(options.path, isolation_level=None)
    other.execute("begin immediate")
    task = asyncio.create_task(engine.write(fetch, INSERT, 1, 1))
    longest, last = 0.0, time.monotonic()
    for _ in range(200):
        await asyncio.wait([task], timeout=0.0005)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    other.close()
    await task
    await engine.close()

    assert longest < 0.25


async def test_a_gate_that_never_opens_does_not_hang_close(options: EngineOptions) -> None:
    engine, gate = await opened(options), Gate()
    stuck = asyncio.create_task(engine.select(gate.hold))
    await gate.wait_entered()
    await engine.close(timeout=0.05)
    assert not stuck.done()
    stuck.cancel()
    gate.open()
    wait_for_threads_to_end(threads_of())


async def test_what_has_closed_its_connection_can_be_interrupted(options: EngineOptions) -> None:
    engine = Engine(options)
    closed, go_on = threading.Event(), threading.Event()

    def close_and_wait(connection: sqlite3.Connection) -> None:
        connection.close()
        closed.set()
        go_on.wait(10)

    session = await engine.session()
    running = asyncio.create_task(session.run(close_and_wait))
    await asyncio.to_thread(closed.wait, 10)
    session.abandon()
    go_on.set()

    await asyncio.wait([running])
    await engine.close()
