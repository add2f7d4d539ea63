"""Cancel every public operation at every suspension, in every way, and look at what is left behind.

The operation runs under a driver that counts its suspensions and cancels at the k-th, for k = 1 … n, without sleeping. Afterwards the census of the
pool equals the server's, no transaction or lock is left, every record is whole, and each connection gives back the literal that was asked for.
``HOLDALL_SWEEP_ROUNDS`` repeats it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.lowlevel
import asyncpg
import pytest

import holdall
from holdall import Backend, F, Field, Model

ROUNDS = int(os.environ.get("HOLDALL_SWEEP_ROUNDS", "1"))
APPLICATION = f"holdall-sweep-{os.getpid()}"
POOL_SIZE = 2
LIMIT = 60  # suspensions of one operation; more means that it does not end
_literals = itertools.count(1)


class Account(Model):
    id: int = Field(primary_key=True)
    owner: str = Field(unique=True)
    balance: int = 100
    version: int = Field(default=1, version=True)


class Entry(Model):
    id: int | None = Field(default=None, primary_key=True, generated=True)
    text: str


# -- operations --------------------------------------------------------------------------------------------------------------------------
# What writes adds 1 to the balance of account 1 and creates an entry "1", both or none, or only one of them where it is one statement.

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


async def _raw_fetch(access: Access) -> None:
    await (access.engine if isinstance(access, Backend) else access).fetch("select id, owner from account where id = :id", id=1)


async def _raw_execute(access: Access) -> None:
    await (access.engine if isinstance(access, Backend) else access).execute(
        "update account set balance = balance + 1 where id = :id", id=1
    )


async def _raw_execute_many(access: Access) -> None:
    items = [{"text": "1"} for _ in range(5)]
    await (access.engine if isinstance(access, Backend) else access).execute_many("insert into entry (text) values (:text)", items)


OPERATIONS: dict[str, Work] = {
    "get": lambda access: access.get(Account, 1),
    "get_many": lambda access: access.get_many(Account, [1, 2, 9]),
    "all": lambda access: access.query(Account).all(),
    "first": lambda access: access.query(Account).first(),
    "count": lambda access: access.query(Account).count(),
    "exists": lambda access: access.query(Account).exists(),
    "page": lambda access: access.query(Account).page(size=1),
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
    "raw fetch": _raw_fetch,
    "raw execute": _raw_execute,
    "raw execute_many": _raw_execute_many,
}


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


SESSIONS: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "commit": _session_commit,
    "commit and rollback by hand": _session_explicit,
    "rollback": _session_rolls_back,
    "savepoints": _session_savepoints,
    "levels": _session_levels,
    "run": _session_run,
    "shared": _session_shared,
    "stream": _session_stream,
}


def _inside(work: Work) -> Callable[[Backend], Awaitable[object]]:
    async def run(backend: Backend) -> None:
        async with backend.session() as session:
            await work(session)
            await session.rollback()

    return run


# -- ways to cancel ------------------------------------------------------------------------------------------------------------------------


@types.coroutine
def driven(work: Coroutine[Any, Any, Any], at_suspension: Callable[[int], None]) -> Generator[Any, Any, Any]:
    """Run a coroutine in the current task, and call a function with the number of each suspension before the task yields."""
    number = 0
    thrown: BaseException | None = None
    sent: Any = None
    while True:
        try:
            waits_for = work.throw(thrown) if thrown is not None else work.send(sent)
        except StopIteration as end:
            return end.value
        number += 1
        at_suspension(number)
        thrown = None
        try:
            sent = yield waits_for
        except BaseException as error:  # noqa: BLE001 (it is thrown into the coroutine)
            thrown = error


class Way(Protocol):
    """Cancel at the k-th suspension; return whether it came to that."""

    async def __call__(self, work: Awaitable[object], k: int) -> bool: ...


async def _awaited(work: Awaitable[object]) -> None:
    await work


async def _by_task(work: Awaitable[object], k: int, cancel: Callable[[asyncio.Task[Any]], None]) -> bool:
    reached = False

    def at(number: int) -> None:
        nonlocal reached
        if number == k:
            reached = True
            cancel(task)

    task = asyncio.ensure_future(_stepped(work, at))
    try:
        await task
    except asyncio.CancelledError:
        assert reached
        return True
    # It may have ended before a cancel that came a turn later; otherwise somebody has swallowed it.
    assert not task.cancelling(), "the CancelledError was swallowed"
    return reached


async def _stepped(work: Awaitable[object], at: Callable[[int], None]) -> None:
    await driven(_awaited(work), at)


async def at_once(work: Awaitable[object], k: int) -> bool:
    return await _by_task(work, k, _cancel)


async def a_turn_later(work: Awaitable[object], k: int) -> bool:
    return await _by_task(work, k, lambda task: _soon(lambda: _cancel(task)))


async def twice(work: Awaitable[object], k: int) -> bool:
    def cancel(task: asyncio.Task[Any]) -> None:
        task.cancel()
        _soon(lambda: _cancel(task))
        _soon(lambda: _soon(lambda: _cancel(task)))

    return await _by_task(work, k, cancel)


async def by_timeout(work: Awaitable[object], k: int) -> bool:
    reached = False
    deadline = asyncio.timeout(None)

    def at(number: int) -> None:
        nonlocal reached
        if number == k:
            reached = True
            deadline.reschedule(0)

    try:
        async with deadline:
            await _stepped(work, at)
    except TimeoutError:
        assert reached
    return reached


async def by_anyio_scope(work: Awaitable[object], k: int) -> bool:
    reached = False
    with anyio.CancelScope() as scope:

        def at(number: int) -> None:
            nonlocal reached
            if number == k:
                reached = True
                scope.cancel()

        await _stepped(work, at)
    return reached


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


def _soon(function: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(function)


WAYS: tuple[Way, ...] = (at_once, a_turn_later, twice, by_timeout, by_anyio_scope)


# -- what is left behind -------------------------------------------------------------------------------------------------------------------------


class Witness(Protocol):
    """Somebody else, over a connection of its own and without our library."""

    async def reset(self) -> None: ...

    async def check(self, pool: Any) -> None:
        """Fail when a transaction or lock is left, or the census differs."""
        ...

    async def someone_waits(self, backend: Backend) -> bool:
        """Tell whether the backend waits for a lock."""
        ...

    async def state(self) -> tuple[int, int]:
        """Return the balance of account 1 and the number of entries."""
        ...

    @asynccontextmanager
    def locked(self) -> AsyncGenerator[None]:
        """Hold the lock of account 1."""
        ...


_RESET = (
    "delete from entry",
    "delete from account",
    "insert into account (id, owner, balance, version) values (1, 'a', 100, 1), (2, 'b', 100, 1)",
)
_STATE = "select (select balance from account where id = 1), (select count(*) from entry)"


class PostgresWitness:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def reset(self) -> None:
        await self._connection.execute("; ".join(_RESET))

    async def check(self, pool: Any) -> None:
        rows = await self._connection.fetch("select state, query from pg_stat_activity where application_name = $1", APPLICATION)
        assert [dict(row) for row in rows if row["state"] != "idle"] == []
        assert len(rows) == pool.stats().size
        async with self._connection.transaction():
            await self._connection.fetch("select * from account for update nowait")
            await self._connection.execute("lock table entry in exclusive mode nowait")

    async def someone_waits(self, _: Backend) -> bool:
        return bool(
            await self._connection.fetchval(
                "select count(*) from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock'", APPLICATION
            )
        )

    async def state(self) -> tuple[int, int]:
        return tuple(await self._connection.fetchrow(_STATE))

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator[None]:
        async with self._connection.transaction():
            await self._connection.execute("select * from account where id = 1 for update")
            yield


class SqliteWitness:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def reset(self) -> None:
        for statement in _RESET:
            self._connection.execute(statement)

    async def check(self, pool: Any) -> None:
        self._connection.execute("begin immediate")  # with no patience: refused when anybody else may write
        self._connection.execute("rollback")
        # Nobody's old snapshot is left either: the whole log can be put into the file and begun anew.
        busy, _, _ = self._connection.execute("pragma wal_checkpoint(truncate)").fetchone()
        assert not busy

    async def someone_waits(self, backend: Backend) -> bool:
        return bool(backend.engine.stats()["writes_waiting"])

    async def state(self) -> tuple[int, int]:
        found: tuple[int, int] = self._connection.execute(_STATE).fetchone()
        return found

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator[None]:
        self._connection.execute("begin immediate")
        try:
            yield
        finally:
            self._connection.execute("rollback")


class Rig:
    """A backend with a small pool, and a witness."""

    def __init__(self, backend: Backend, witness: Any) -> None:
        self.backend = backend
        self.witness = witness

    @property
    def pool(self) -> Any:
        store: Any = self.backend.store
        return store.pool if hasattr(store, "pool") else store.engine.pool

    async def verify(self) -> None:
        """Wait until the pool has mended everything, then look at what is left."""
        slots = [await self.pool.acquire(5) for _ in range(POOL_SIZE)]
        for slot in slots:
            self.pool.give(slot)
        stats = self.pool.stats()
        assert (stats.in_use, stats.recovering, stats.opening, stats.waiting) == (0, 0, 0, 0)
        assert stats.size == POOL_SIZE
        literals = [f"literal {next(_literals)}" for _ in range(POOL_SIZE + 1)]
        found = await asyncio.gather(*(self._literal(literal) for literal in literals))
        assert found == literals
        await self._quiet()
        await self.witness.check(self.pool)

    async def _literal(self, literal: str) -> Any:
        async with self.backend.session() as session:
            await session.get_or_none(Account, 1, lock=True)
            return await session.fetch_value(f"select '{literal}' as literal")

    async def _quiet(self) -> None:
        """Raw SQL leaves a reset behind: wait for it."""
        slots = [await self.pool.acquire(5) for _ in range(POOL_SIZE)]
        for slot in slots:
            self.pool.give(slot)

    async def sweep(self, make: Callable[[], Awaitable[object]], after: Callable[[], Awaitable[None]] | None = None) -> int:
        """Cancel at every suspension in every way; return how many there are."""
        most = 0
        for _ in range(ROUNDS):
            for way in WAYS:
                for k in range(1, LIMIT):
                    await self.witness.reset()
                    reached = await way(make(), k)
                    await self.verify()
                    if after is not None:
                        await after()
                    if not reached:
                        break
                    most = max(most, k)
                else:
                    pytest.fail(f"it was suspended more than {LIMIT} times")
        return most


@asynccontextmanager
async def _postgres_rig(url: str) -> AsyncGenerator[Rig]:
    async with AsyncExitStack() as stack:
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        backend = holdall.open(url, pool_max_size=POOL_SIZE, application_name=APPLICATION)
        await stack.enter_async_context(backend)
        await backend.drop(Account, Entry)
        await backend.initialize(Account, Entry)
        stack.push_async_callback(backend.drop, Account, Entry)
        yield Rig(backend, PostgresWitness(connection))


@asynccontextmanager
async def _sqlite_rig(url: str) -> AsyncGenerator[Rig]:
    async with holdall.open(url, pool_max_size=POOL_SIZE) as backend:
        await backend.initialize(Account, Entry)
        connection = sqlite3.connect(Path(url.removeprefix("sqlite:///")), timeout=0, isolation_level=None)
        try:
            yield Rig(backend, SqliteWitness(connection))
        finally:
            connection.close()


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
async def rig(request: pytest.FixtureRequest) -> AsyncGenerator[Rig]:
    url = request.getfixturevalue(f"{request.param}_url")
    async with (_postgres_rig if request.param == "postgres" else _sqlite_rig)(url) as rig:
        yield rig


# -- the sweep -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_cancelled_operation_outside_sessions_harms_nothing(rig: Rig, name: str) -> None:
    async def after() -> None:
        balance, entries = await rig.witness.state()
        assert balance in (100, 101)
        assert entries in (0, 1, 5, 300)

    assert await rig.sweep(lambda: OPERATIONS[name](rig.backend), after) >= 1


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_cancelled_operation_inside_a_session_is_never_applied(rig: Rig, name: str) -> None:
    async def after() -> None:
        assert await rig.witness.state() == (100, 0)

    assert await rig.sweep(lambda: _inside(OPERATIONS[name])(rig.backend), after) >= 1


@pytest.mark.parametrize("name", SESSIONS)
async def test_a_cancelled_session_is_all_or_nothing(rig: Rig, name: str) -> None:
    async def after() -> None:
        assert await rig.witness.state() in ((100, 0), (101, 1))

    assert await rig.sweep(lambda: SESSIONS[name](rig.backend), after) >= 2


@pytest.mark.parametrize("way", WAYS)
async def test_a_cancelled_wait_for_a_connection_harms_nobody(rig: Rig, way: Way) -> None:
    async def session() -> None:
        async with rig.backend.session(isolation="repeatable read") as session:
            await session.get(Account, 1)

    slots = [await rig.pool.acquire() for _ in range(POOL_SIZE)]
    assert await way(session(), 1)
    assert rig.pool.stats().waiting == 0
    others = [asyncio.create_task(session()) for _ in range(3)]
    await asyncio.sleep(0)
    assert rig.pool.stats().waiting == 3
    others[0].cancel()
    for slot in slots:
        rig.pool.give(slot)
    others[1].cancel()  # it has just won a connection
    await asyncio.wait(others)
    assert others[2].exception() is None or isinstance(others[2].exception(), holdall.NotFoundError)
    await rig.verify()


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await anyio.lowlevel.checkpoint()


async def _cancelled(work: Coroutine[Any, Any, None], reached: Callable[[], Awaitable[bool]], how: str) -> None:
    async def when_reached(cancel: Callable[[], object]) -> None:
        while not await reached():
            await anyio.lowlevel.checkpoint()
        cancel()

    if how == "scope":
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(when_reached, scope.cancel)
                await work
        assert scope.cancelled_caught
        return
    task = asyncio.create_task(work)

    def cancel() -> None:
        for _ in range(2 if how == "twice" else 1):
            task.cancel()

    await when_reached(cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize("how", ["once", "twice", "scope"])
async def test_a_write_cancelled_while_it_waits_for_a_row_lock_is_never_applied(rig: Rig, how: str, inside: bool) -> None:
    async def write() -> None:
        await rig.backend.query(Account).filter(id=1).update(balance=F("balance") + 1)

    async def in_session() -> None:
        async with rig.backend.session() as session:
            await session.query(Account).filter(id=1).update(balance=F("balance") + 1)
            await session.create(Entry(text="1"))

    async def hold() -> None:
        async with rig.backend.session() as session:
            await session.get(Account, 1, lock=True)
            locked.set()
            await cancelled.wait()

    await rig.witness.reset()
    locked, cancelled = asyncio.Event(), asyncio.Event()
    holding = asyncio.create_task(hold())
    await locked.wait()
    await _cancelled(in_session() if inside else write(), lambda: rig.witness.someone_waits(rig.backend), how)
    if not inside:  # the lock is held until the server has heard of it
        await _until(lambda: rig.pool.stats().recovering == 0)
    cancelled.set()
    await holding
    await rig.verify()
    assert await rig.witness.state() == (100, 0)


@pytest.mark.parametrize("way", WAYS)
async def test_a_write_cancelled_while_another_process_holds_the_lock_is_never_applied(rig: Rig, way: Way) -> None:
    await rig.witness.reset()
    async with rig.witness.locked():
        for work in (OPERATIONS["update by query"], _inside(OPERATIONS["update by query"]), OPERATIONS["create_many"]):
            if work is OPERATIONS["create_many"] and isinstance(rig.witness, PostgresWitness):
                continue  # only the row is locked there
            assert await way(work(rig.backend), 1)
    await rig.verify()
    assert await rig.witness.state() == (100, 0)


async def test_a_session_cancelled_while_another_task_runs_a_statement_on_it_leaves_nothing(rig: Rig) -> None:
    """The statement belongs to a task that nobody has cancelled."""
    await rig.witness.reset()
    slow = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000000) select count(*) from n"
    running = asyncio.Event()

    async def sharer(session: holdall.Session) -> None:
        running.set()
        await session.fetch(slow)

    children: list[asyncio.Task[None]] = []

    async def owner() -> None:
        async with rig.backend.session() as session:
            await session.query(Account).update(balance=0)
            children.append(asyncio.create_task(sharer(session)))
            await running.wait()
            await asyncio.sleep(0)
            await asyncio.Event().wait()

    task = asyncio.create_task(owner())
    await running.wait()
    for _ in range(3):
        await rig.witness.state()  # the statement is on its way
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        with pytest.raises(holdall.HoldallError):
            await children[0]
        await rig.verify()
    assert await rig.witness.state() == (100, 0)


async def test_a_cancelled_close_leaves_nothing(rig: Rig) -> None:
    for way in WAYS:
        for k in range(1, LIMIT):
            await rig.backend.query(Account).count()
            async with rig.backend.session() as session:
                await session.query(Account).update(balance=1)
            reached = await way(rig.backend.close(), k)
            await rig.backend.open()
            await rig.backend.query(Account).count()
            if not reached:
                break
    await rig.verify()


async def test_random_cancels_under_load_leave_nothing(rig: Rig) -> None:
    """Many tasks, each cancelled somewhere: transfers keep the sum."""
    await rig.witness.reset()

    async def transfer(source: int, target: int) -> None:
        async with rig.backend.session() as session:
            await session.query(Account).filter(id=min(source, target)).for_update()
            await session.query(Account).filter(id=source).update(balance=F("balance") - 1)
            await session.query(Account).filter(id=target).update(balance=F("balance") + 1)

    async def cancelled(number: int) -> None:
        await WAYS[number % len(WAYS)](transfer(1 + number % 2, 2 - number % 2), 1 + number // len(WAYS) % 9)

    for _ in range(ROUNDS):
        await asyncio.gather(*(cancelled(number) for number in range(60)))

    await rig.verify()
    assert sum(account.balance for account in await rig.backend.query(Account)) == 200
