"""Single writes: the FIFO queue, group commit, other processes."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from holdall.errors import DuplicateKeyError, ForeignKeyError, LockNotAvailable, StatementTimeout
from holdall.stores.sqlite.connection import EngineOptions
from holdall.stores.sqlite.engine import Engine
from tests.stores.sqlite.test_engine_reads import ENDLESS, Gate, fetch

pytestmark = pytest.mark.engine("sqlite")

INSERT = "insert into t values (?, ?)"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "test.db")


@pytest.fixture
async def engine(path: str) -> AsyncGenerator[Engine]:
    engine = Engine(EngineOptions(path, busy_timeout=5))
    await engine.open()
    await engine.write(fetch, "create table t (id integer primary key, v integer unique) strict", groupable=False)
    yield engine
    await engine.close()
    assert engine.stats().connections == 0


async def count(engine: Engine) -> object:
    return (await engine.read(fetch, "select count(*) from t"))[0][0]


def writing(path: str) -> sqlite3.Connection:
    """Another program that holds the write lock."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("begin immediate")
    return connection


async def test_writes_that_wait_together_share_a_commit(engine: Engine) -> None:
    before = engine.stats().commits
    await asyncio.gather(*(engine.write(fetch, INSERT, number, number) for number in range(100)))

    assert await count(engine) == 100
    assert engine.stats().commits == before + 1


async def test_tasks_that_write_in_turns_keep_sharing(engine: Engine) -> None:
    before = engine.stats().commits

    async def write_ten(first: int) -> None:
        for number in range(first, first + 10):
            await engine.write(fetch, INSERT, number, number)

    await asyncio.gather(*(write_ten(first) for first in range(0, 200, 10)))

    assert await count(engine) == 200
    assert engine.stats().commits == before + 10


async def test_a_broken_constraint_undoes_its_own_statement_only(engine: Engine) -> None:
    results = await asyncio.gather(*(engine.write(fetch, INSERT, number, number % 60) for number in range(100)), return_exceptions=True)

    assert [isinstance(result, DuplicateKeyError) for result in results] == [False] * 60 + [True] * 40
    assert await count(engine) == 60


async def test_a_function_that_fails_after_its_statement_leaves_nothing(engine: Engine) -> None:
    def insert_and_fail(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, (1000, 1000))
        raise LookupError("cannot decode")

    results = await asyncio.gather(
        engine.write(fetch, INSERT, 1, 1), engine.write(insert_and_fail), engine.write(fetch, INSERT, 2, 2), return_exceptions=True
    )

    assert [type(result) for result in results] == [list, LookupError, list]
    assert await engine.read(fetch, "select id from t") == [(1,), (2,)]


async def test_a_statement_that_rolls_all_back_takes_no_neighbour_along(engine: Engine) -> None:
    results = await asyncio.gather(
        engine.write(fetch, INSERT, 1, 1),
        engine.write(fetch, INSERT, 2, 2),
        engine.write(fetch, "insert or rollback into t values (3, 1)"),
        engine.write(fetch, INSERT, 4, 4),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [list, list, DuplicateKeyError, list]
    assert await engine.read(fetch, "select id from t") == [(1,), (2,), (4,)]


async def test_a_commit_that_fails_is_the_fault_of_one(engine: Engine) -> None:
    """A deferred foreign key is checked at COMMIT, where nobody knows whose it was."""
    await engine.write(fetch, "create table c (t integer references t deferrable initially deferred)", groupable=False)
    results = await asyncio.gather(
        engine.write(fetch, INSERT, 1, 1),
        engine.write(fetch, "insert into c values (77)"),
        engine.write(fetch, "insert into c values (1)"),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [list, ForeignKeyError, list]
    assert await engine.read(fetch, "select t from c") == [(1,)]


async def test_writers_are_served_in_order(engine: Engine) -> None:
    order = list[int]()

    def note(connection: sqlite3.Connection, number: int) -> None:
        order.append(number)

    session = await engine.session()
    await session.begin_write()
    tasks = [asyncio.create_task(engine.write(note, number, groupable=number % 3 != 0)) for number in range(20)]
    await asyncio.sleep(0)
    other = asyncio.create_task(queued_session(engine, order))
    while engine.stats().writes_waiting < len(tasks) + 1:  # noqa: ASYNC110 - the queue has no event for it
        await asyncio.sleep(0)  # until the session has its place in the queue
    tasks += [asyncio.create_task(engine.write(note, number)) for number in range(20, 25)]
    await asyncio.sleep(0)
    assert order == []
    await session.commit()
    session.give_back()
    await asyncio.gather(*tasks, other)

    assert order == [*range(20), 100, *range(20, 25)]


async def queued_session(engine: Engine, order: list[int]) -> None:
    session = await engine.session()
    await session.begin_write()
    order.append(100)
    await session.commit()
    session.give_back()


async def test_a_queued_and_cancelled_write_never_happens(engine: Engine) -> None:
    session = await engine.session()
    await session.begin_write()
    tasks = [asyncio.create_task(engine.write(fetch, INSERT, number, number)) for number in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await session.commit()
    session.give_back()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 5
    assert await engine.read(fetch, "select id from t") == [(1,), (3,), (5,), (7,), (9,)]


async def test_a_running_group_is_not_interrupted_by_the_cancel_of_one(engine: Engine) -> None:
    gate = Gate()
    held = asyncio.create_task(engine.write(gate.hold))
    neighbour = asyncio.create_task(engine.write(fetch, INSERT, 1, 1))
    await gate.wait_entered()
    held.cancel()
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await held
    await neighbour

    assert await count(engine) == 1


@pytest.mark.parametrize("cancels", [1, 2])
async def test_a_cancelled_write_that_runs_alone_is_rolled_back(engine: Engine, cancels: int) -> None:
    gate = Gate()

    def insert_and_hang(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, (1, 1))
        gate.entered.set()
        connection.execute(ENDLESS).fetchall()

    task = asyncio.create_task(engine.write(insert_and_hang, groupable=False))
    await gate.wait_entered()
    for _ in range(cancels):
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.write(fetch, INSERT, 2, 2)

    assert await engine.read(fetch, "select id from t") == [(2,)]


async def test_a_write_that_runs_alone_and_is_cancelled_at_its_end_is_rolled_back(engine: Engine) -> None:
    gate = Gate()

    def insert(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, (1, 1))
        gate.hold(connection)

    task = asyncio.create_task(engine.write(insert, groupable=False))
    await gate.wait_entered()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.open()
    await engine.write(fetch, INSERT, 2, 2)

    assert await engine.read(fetch, "select id from t") == [(2,)]


async def test_a_timeout_rolls_back_a_write_that_runs_alone(engine: Engine) -> None:
    def insert_and_hang(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, (1, 1))
        connection.execute(ENDLESS).fetchall()

    with pytest.raises(StatementTimeout):
        await engine.write(insert_and_hang, groupable=False, timeout=0.05)

    assert await count(engine) == 0


async def test_a_write_waits_for_another_program(engine: Engine, path: str) -> None:
    other = writing(path)
    task = asyncio.create_task(engine.write(fetch, INSERT, 1, 1))
    done, _ = await asyncio.wait([task], timeout=0.1)
    assert not done
    assert await count(engine) == 0  # readers do not wait
    other.execute("commit")
    other.close()
    await task

    assert await count(engine) == 1


async def test_waiting_for_another_program_has_an_end(path: str) -> None:
    engine = Engine(EngineOptions(path, busy_timeout=0.1))
    await engine.write(fetch, "create table t (id integer primary key, v integer)", groupable=False)
    other = writing(path)
    results = await asyncio.gather(*(engine.write(fetch, INSERT, number, 1) for number in range(3)), return_exceptions=True)
    with pytest.raises(LockNotAvailable):
        await engine.write(fetch, INSERT, 1, 1, groupable=False)
    other.close()

    assert [type(result) for result in results] == [LockNotAvailable] * 3
    assert await count(engine) == 0
    await engine.close()


@pytest.mark.parametrize("groupable", [True, False])
async def test_a_cancel_ends_the_wait_for_another_program(engine: Engine, path: str, groupable: bool) -> None:
    """``interrupt()`` does not end SQLite's own busy wait."""
    other = writing(path)
    task = asyncio.create_task(engine.write(fetch, INSERT, 1, 1, groupable=groupable))
    await asyncio.wait([task], timeout=0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    other.execute("rollback")
    other.close()
    await engine.write(fetch, INSERT, 2, 2)

    assert await engine.read(fetch, "select id from t") == [(2,)]


async def test_a_timeout_ends_the_wait_for_another_program(engine: Engine, path: str) -> None:
    other = writing(path)
    for groupable in (True, False):
        with pytest.raises(StatementTimeout):
            await engine.write(fetch, INSERT, 1, 1, groupable=groupable, timeout=0.05)
    other.execute("rollback")
    other.close()

    await engine.write(fetch, INSERT, 2, 2)
    assert await engine.read(fetch, "select id from t") == [(2,)]


async def test_waiting_behind_a_session_has_an_end_and_names_the_holder(path: str) -> None:
    engine = Engine(EngineOptions(path, busy_timeout=0.1))
    await engine.write(fetch, "create table t (id integer primary key, v integer)", groupable=False)
    session = await engine.session()
    task = asyncio.current_task()
    assert task is not None
    task.set_name("the-holder")
    await session.begin_write()
    with pytest.raises(LockNotAvailable, match="the-holder"):
        await engine.write(fetch, INSERT, 1, 1)
    await session.rollback()
    session.give_back()
    await engine.write(fetch, INSERT, 1, 1)
    await engine.close()


INCREMENT = """
import asyncio, sys
from holdall.stores.sqlite.connection import EngineOptions
from holdall.stores.sqlite.engine import Engine

async def main():
    engine = Engine(EngineOptions(sys.argv[1], busy_timeout=50))
    async def by_statement(times):
        for _ in range(times):
            await engine.write(lambda c: c.execute("update t set v = v + 1 where id = 1").close())
    async def by_session(times):
        for _ in range(times):
            session = await engine.session()
            await session.begin_write()
            value = await session.run(lambda c: c.execute("select v from t where id = 1").fetchone()[0])
            await session.run(lambda c: c.execute("update t set v = ? where id = 1", (value + 1,)).close())
            await session.commit()
            session.give_back()
    await asyncio.gather(*(by_statement(50) for _ in range(10)), *(by_session(50) for _ in range(10)))
    await engine.close()

asyncio.run(main())
"""


async def test_two_processes_count_to_two_thousand(engine: Engine, path: str) -> None:
    await engine.write(fetch, INSERT, 1, 0)
    processes = [await asyncio.create_subprocess_exec(sys.executable, "-c", INCREMENT, path) for _ in range(2)]
    codes = await asyncio.gather(*(process.wait() for process in processes))

    assert codes == [0, 0]
    assert await engine.read(fetch, "select v from t") == [(2000,)]


ACKNOWLEDGE = """
import asyncio, sys
from holdall.stores.sqlite.connection import EngineOptions
from holdall.stores.sqlite.engine import Engine

async def main():
    engine = Engine(EngineOptions(sys.argv[1]))
    async def write(first):
        for number in range(first, 10**9, 30):
            await engine.write(lambda c: c.execute("insert into t values (?, ?)", (number, number)).close())
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()
    await asyncio.gather(*(write(first) for first in range(30)))

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_a_killed_process(engine: Engine, path: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", ACKNOWLEDGE, path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    acknowledged = [int(await process.stdout.readline()) for _ in range(3000)]
    process.kill()
    acknowledged += [int(line) for line in (await process.stdout.read()).split(b"\n")[:-1]]
    await process.wait()
    stored = {row[0] for row in await engine.select(fetch, "select id from t")}

    assert set(acknowledged) <= stored
    await engine.write(fetch, INSERT, -1, -1)  # the dead process holds no lock
