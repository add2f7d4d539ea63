"""Reading through the engine's threads: results, cancels, timeouts."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from holdall.errors import BackendError, StatementTimeout, ValidationError
from holdall.stores.sqlite.connection import EngineOptions
from holdall.stores.sqlite.engine import Engine

pytestmark = pytest.mark.engine("sqlite")

ENDLESS = "with recursive r(x) as (select 1 union all select x + 1 from r) select count(*) from r"


def fetch(connection: sqlite3.Connection, sql: str, *values: object) -> list[tuple[object, ...]]:
    return connection.execute(sql, values).fetchall()


class Gate:
    """Holds a worker thread until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def hold(self, connection: sqlite3.Connection) -> str:
        self.entered.set()
        assert self._open.wait(30)
        return "held"

    def open(self) -> None:
        self._open.set()

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 30)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncGenerator[Engine]:
    engine = Engine(EngineOptions(str(tmp_path / "test.db")))
    await engine.open()
    await engine.write(fetch, "create table t (id integer primary key, v integer unique) strict", groupable=False)
    yield engine
    await engine.close()
    assert engine.stats().threads == 0
    assert engine.stats().connections == 0


async def test_every_reader_gets_its_own_answer(engine: Engine) -> None:
    answers = await asyncio.gather(*(engine.read(fetch, "select ?", number) for number in range(500)))

    assert answers == [[(number,)] for number in range(500)]


async def test_a_long_select_blocks_no_get(engine: Engine) -> None:
    gate = Gate()
    select = asyncio.create_task(engine.select(gate.hold))
    await gate.wait_entered()

    assert await engine.read(fetch, "select 1") == [(1,)]

    gate.open()
    assert await select == "held"


async def test_an_error_reaches_its_own_reader_only(engine: Engine) -> None:
    good, bad, other = await asyncio.gather(
        engine.read(fetch, "select 1"), engine.read(fetch, "select nonsense"), engine.read(fetch, "select 2"), return_exceptions=True
    )

    assert (good, other) == ([(1,)], [(2,)])
    assert isinstance(bad, BackendError)
    assert isinstance(bad.__cause__, sqlite3.OperationalError)


@pytest.mark.parametrize("value", [2**63, "\ud800"])
async def test_a_value_that_sqlite_cannot_take_is_a_validation_error(engine: Engine, value: object) -> None:
    with pytest.raises(ValidationError):
        await engine.read(fetch, "select ?", value)


async def test_stop_iteration_does_not_hang_the_reader(engine: Engine) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await engine.read(lambda _: next(iter(())))


async def test_readers_refuse_to_write(engine: Engine) -> None:
    for run in (engine.read, engine.select):
        with pytest.raises(BackendError) as caught:
            await run(fetch, "insert into t values (1, 1)")
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert caught.value.__cause__.sqlite_errorname == "SQLITE_READONLY"


async def test_a_read_sees_what_was_committed_before_it(engine: Engine) -> None:
    for number in range(50):
        await engine.write(fetch, "insert into t values (?, ?)", number, number)
        assert await engine.read(fetch, "select max(id) from t") == [(number,)]


async def test_a_failed_reader_leaves_no_snapshot_behind(engine: Engine) -> None:
    """A cursor in a traceback would keep its snapshot, and every later read on the connection with it."""

    def fail_half_way(connection: sqlite3.Connection) -> None:
        cursor = connection.execute("select 1 union all select 2")
        cursor.fetchone()
        raise LookupError

    with pytest.raises(LookupError) as kept:
        await engine.read(fail_half_way)
    await engine.write(fetch, "insert into t values (1, 1)")

    assert await engine.read(fetch, "select count(*) from t") == [(1,)]
    assert kept.value is not None


async def test_a_forgotten_begin_leaves_no_snapshot_behind(engine: Engine) -> None:
    await engine.read(fetch, "begin")
    await engine.read(fetch, "select count(*) from t")
    await engine.write(fetch, "insert into t values (1, 1)")

    assert await engine.read(fetch, "select count(*) from t") == [(1,)]


async def test_a_queued_and_cancelled_read_never_starts(engine: Engine) -> None:
    gate, started = Gate(), list[str]()
    first = asyncio.create_task(engine.read(gate.hold))
    await gate.wait_entered()
    queued = asyncio.create_task(engine.read(lambda _: started.append("queued")))
    await asyncio.sleep(0)
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued
    gate.open()
    await first

    assert await engine.read(fetch, "select 1") == [(1,)]
    assert started == []


async def running(engine: Engine) -> "asyncio.Task[object]":
    """A select that runs for ever."""
    entered = threading.Event()

    def endless(connection: sqlite3.Connection) -> object:
        entered.set()
        return connection.execute(ENDLESS).fetchone()

    task: asyncio.Task[object] = asyncio.create_task(engine.select(endless))
    assert await asyncio.to_thread(entered.wait, 30)
    return task


async def test_a_cancelled_running_read_is_interrupted(engine: Engine) -> None:
    task = await running(engine)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with asyncio.timeout(5):
        assert await engine.select(fetch, "select 7") == [(7,)]


async def test_a_read_cancelled_twice_is_interrupted(engine: Engine) -> None:
    task = await running(engine)
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with asyncio.timeout(5):
        assert await engine.select(fetch, "select 7") == [(7,)]


async def test_an_anyio_scope_ends_a_running_read(engine: Engine) -> None:
    with anyio.move_on_after(0.05) as scope:
        await engine.select(fetch, ENDLESS)

    assert scope.cancelled_caught
    assert await engine.select(fetch, "select 7") == [(7,)]


async def test_an_interrupt_reaches_a_function_of_many_short_statements(engine: Engine) -> None:
    """An interrupt between two statements is lost, so one alone would not end it."""
    entered = threading.Event()

    def many(connection: sqlite3.Connection) -> None:
        entered.set()
        while True:
            connection.execute("select 1").fetchall()

    task = asyncio.create_task(engine.select(many))
    assert await asyncio.to_thread(entered.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with asyncio.timeout(10):
        assert await engine.select(fetch, "select 7") == [(7,)]


async def test_cancels_at_random_never_mix_answers_up(engine: Engine) -> None:
    async def read(number: int) -> None:
        assert await engine.read(fetch, "select ?", number) == [(number,)]

    for turns in range(40):
        tasks = [asyncio.create_task(read(number)) for number in range(20)]
        for _ in range(turns % 5):
            await asyncio.sleep(0)
        for task in tasks[turns % 3 :: 3]:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError)


async def test_a_statement_timeout_interrupts(engine: Engine) -> None:
    with pytest.raises(StatementTimeout) as caught:
        await engine.select(fetch, ENDLESS, timeout=0.05)

    assert caught.value.timeout == 0.05
    assert await engine.select(fetch, "select 7") == [(7,)]


async def test_a_timeout_in_the_queue_means_it_never_started(engine: Engine) -> None:
    gate, started = Gate(), list[str]()
    first = asyncio.create_task(engine.read(gate.hold))
    await gate.wait_entered()
    with pytest.raises(StatementTimeout):
        await engine.read(lambda _: started.append("queued"), timeout=0.02)
    gate.open()
    await first
    await engine.read(fetch, "select 1")

    assert started == []


async def test_the_engines_own_timeout_is_the_default(tmp_path: Path) -> None:
    engine = Engine(EngineOptions(str(tmp_path / "other.db"), statement_timeout=0.05))
    with pytest.raises(StatementTimeout):
        await engine.select(fetch, ENDLESS)
    session = await engine.session()
    with pytest.raises(StatementTimeout):
        await session.run(fetch, ENDLESS)
    session.give_back()
    await engine.close()
