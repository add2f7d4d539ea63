"""A session is one transaction: it begins late, ends surely, and leaves objects as the store has them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from functools import partial
from typing import Any

import pytest

import holdall
from holdall import (
    Backend,
    Capability,
    ConfigurationError,
    ConflictError,
    DeadlockError,
    DuplicateKeyError,
    F,
    Field,
    Model,
    NotFoundError,
    QueryError,
    SerializationError,
    Session,
    SessionClosed,
    SessionConflict,
    StatementTimeout,
    TransactionError,
    UnsupportedOperation,
)
from holdall.errors import LockNotAvailable


class Account(Model):
    id: int = Field(primary_key=True)
    owner: str = Field(unique=True)
    balance: int = 100
    version: int = Field(default=1, version=True)
    touched: datetime | None = Field(default=None, auto_now=True)


class Entry(Model):
    id: int | None = Field(default=None, primary_key=True, generated=True)
    text: str
    tags: list[str] = []


MODELS = (Account, Entry)
sql_only = pytest.mark.parametrize("backend_url", ["sqlite", "postgres", "mysql"], indirect=True)
everywhere_with_sql_levels = pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])


@pytest.fixture
async def other(backend: Backend, backend_url: str) -> AsyncGenerator[Backend]:
    """Somebody else on the same database; in memory, where there is nobody else, the same backend outside the session."""
    if backend_url.startswith("memory"):
        yield backend
        return
    async with holdall.open(backend_url) as second:
        yield second


@pytest.fixture
async def ada(backend: Backend) -> Account:
    return await backend.create(Account(id=1, owner="ada"))


@pytest.fixture
async def bob(backend: Backend) -> Account:
    return await backend.create(Account(id=2, owner="bob"))


async def balance(backend: Backend, key: int = 1) -> int:
    """What is committed, seen from outside any session."""
    with holdall.detach():
        return (await backend.get(Account, key)).balance


def leases(backend: Backend) -> int:
    return int(backend.engine.stats()["in_use"])


class Abort(Exception):
    """What a block raises to be rolled back."""


# -- begin, commit, rollback ---------------------------------------------------------------------------------------------------------


async def test_the_end_of_the_block_commits(backend: Backend, ada: Account) -> None:
    async with backend.session() as session:
        ada.balance = 90
        await session.save(ada)
        await session.create(Entry(text="a"))
        assert await balance(backend) == 100

    assert await balance(backend) == 90
    assert await backend.query(Entry).count() == 1


async def test_an_exception_rolls_back_and_goes_on(backend: Backend, ada: Account) -> None:
    with pytest.raises(Abort):
        async with backend.session() as session:
            ada.balance = 90
            await session.save(ada)
            raise Abort

    assert await balance(backend) == 100


async def test_a_cancelled_block_rolls_back(backend: Backend, ada: Account) -> None:
    written = asyncio.Event()

    async def work() -> None:
        async with backend.session() as session:
            ada.balance = 90
            await session.save(ada)
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with backend.session() as session:
        assert (await session.get(Account, 1, lock=True)).balance == 100


async def test_what_a_session_wrote_it_reads(backend: Backend, ada: Account) -> None:
    async with backend.session() as session:
        await session.query(Account).update(balance=F("balance") + 1)
        await session.create(Account(id=2, owner="bob"))

        assert (await session.get(Account, 1)).balance == 101
        assert await session.query(Account).count() == 2
        assert [item.id async for item in session.query(Account).order_by("id").stream(batch=1)] == [1, 2]
        assert [item and item.id for item in await session.get_many(Account, [2, 1, 3])] == [2, 1, None]


async def test_commit_inside_the_block_makes_it_last_and_the_next_statement_begins_anew(backend: Backend, ada: Account) -> None:
    with pytest.raises(Abort):
        async with backend.session() as session:
            ada.balance = 90
            await session.save(ada)
            await session.commit()
            assert await balance(backend) == 90
            ada.balance = 80
            await session.save(ada)
            raise Abort

    assert await balance(backend) == 90
    assert holdall.changes(ada) == {"balance": (90, 80)}


async def test_rollback_inside_the_block_undoes_and_the_next_statement_begins_anew(backend: Backend, ada: Account) -> None:
    async with backend.session() as session:
        await session.query(Account).update(balance=1)
        await session.rollback()
        assert (await session.get(Account, 1)).balance == 100
        await session.query(Account).update(balance=F("balance") + 5)

    assert await balance(backend) == 105


async def test_commit_and_rollback_of_nothing_do_nothing(backend: Backend) -> None:
    async with backend.session() as session:
        await session.commit()
        await session.rollback()
        await session.commit()


@sql_only
async def test_no_lease_is_held_before_the_first_statement_and_after_the_last(backend: Backend, ada: Account) -> None:
    async with backend.session() as session:
        assert leases(backend) == 0
        await session.save(ada)
        await session.query(Account).update(balance=3)
        assert leases(backend) == 1
        await session.commit()
        assert leases(backend) == 0
        await session.query(Account).update(balance=4)
        assert leases(backend) == 1
        await session.rollback()
        assert leases(backend) == 0

    assert leases(backend) == 0


@sql_only
async def test_a_session_without_a_statement_asks_the_pool_for_nothing(backend: Backend) -> None:
    before = backend.engine.stats()["acquired"]
    async with backend.session():
        pass
    async with backend.session() as session, session.savepoint():
        pass

    assert backend.engine.stats()["in_use"] == 0
    assert backend.engine.stats()["acquired"] - before <= 1  # a savepoint may be a statement


async def test_a_session_that_has_ended_refuses(backend: Backend, ada: Account) -> None:
    async with backend.session() as session:
        pass

    for use in (
        lambda: session.get(Account, 1),
        lambda: session.save(Account(id=5, owner="e")),
        lambda: session.query(Account).count(),
        session.commit,
        session.rollback,
        lambda: anext(session.query(Account).stream()),
        lambda: session.savepoint().__aenter__(),
    ):
        with pytest.raises(SessionClosed, match="has ended"):
            await use()
    with pytest.raises(SessionClosed):
        session.on_commit(print)
    with pytest.raises(SessionClosed), session.use():
        pass


async def test_a_block_is_entered_once(backend: Backend) -> None:
    block = backend.session()
    async with block:
        pass
    with pytest.raises(SessionConflict):
        await block.__aenter__()


async def test_a_wrong_level_or_timeout_is_refused_at_once(backend: Backend) -> None:
    with pytest.raises(ConfigurationError, match="isolation"):
        backend.session(isolation="snapshot")  # type: ignore[arg-type]
    if Capability.STATEMENT_TIMEOUT in backend.capabilities:
        for timeout in (0, -1, float("nan")):
            with pytest.raises(ConfigurationError, match="timeout"):
                backend.session(timeout=timeout)
    else:
        with pytest.raises(UnsupportedOperation):
            backend.session(timeout=1)


# -- failed transactions ---------------------------------------------------------------------------------------------------------------


async def test_a_swallowed_database_error_cannot_commit(backend: Backend, ada: Account) -> None:
    with pytest.raises(TransactionError, match="DuplicateKeyError"):
        async with backend.session() as session:
            await session.create(Entry(text="before"))
            with contextlib.suppress(DuplicateKeyError):
                await session.create(Account(id=1, owner="other"))

    assert await backend.query(Entry).count() == 0


async def test_after_a_database_error_nothing_goes_on_until_the_rollback(backend: Backend, ada: Account) -> None:
    async with backend.session() as session:
        await session.create(Entry(text="before"))
        with pytest.raises(DuplicateKeyError):
            await session.create(Account(id=1, owner="other"))
        for use in (lambda: session.get(Account, 1), lambda: session.create(Entry(text="after")), lambda: session.savepoint().__aenter__()):
            with pytest.raises(TransactionError) as caught:
                await use()
            assert isinstance(caught.value.__cause__, DuplicateKeyError)
        await session.rollback()
        await session.create(Entry(text="again"))

    assert [entry.text for entry in await backend.query(Entry)] == ["again"]


async def test_commit_after_a_database_error_rolls_back_and_the_session_goes_on(backend: Backend, ada: Account) -> None:
    entry = Entry(text="before")
    async with backend.session() as session:
        await session.create(entry)
        with pytest.raises(DuplicateKeyError):
            await session.create(Account(id=1, owner="other"))
        with pytest.raises(TransactionError):
            await session.commit()
        assert entry.id is None
        assert not holdall.is_stored(entry)
        await session.create(entry)

    assert await backend.query(Entry).count() == 1


async def test_a_refusal_before_any_io_does_not_fail_the_transaction(backend: Backend, ada: Account) -> None:
    async with backend.session() as session:
        await session.create(Entry(text="kept"))
        with pytest.raises(NotFoundError):
            await session.get(Account, 99)
        with pytest.raises(QueryError):
            await session.get(Account, "1")
        with pytest.raises(holdall.ValidationError):
            await session.create(Entry(text="\0"))
        with pytest.raises(UnsupportedOperation):
            await session.query(Account).for_update(skip_locked=True) if Capability.SKIP_LOCKED not in backend.capabilities else _refuse()
        if Capability.RAW_SQL in backend.capabilities:
            with pytest.raises(QueryError):
                await session.fetch("select :missing")

    assert await backend.query(Entry).count() == 1


def _refuse() -> None:
    raise UnsupportedOperation("promised here")


async def test_a_conflict_is_an_answer_and_does_not_fail_the_transaction(backend: Backend, ada: Account) -> None:
    stale = await backend.get(Account, 1)
    await backend.save(ada)
    ada.balance = 50
    await backend.save(ada)
    async with backend.session() as session:
        await session.create(Entry(text="kept"))
        stale.balance = 7
        with pytest.raises(ConflictError):
            await session.save(stale)

    assert await backend.query(Entry).count() == 1
    assert await balance(backend) == 50


# -- savepoints ------------------------------------------------------------------------------------------------------------------------


async def test_a_savepoint_keeps_its_work(backend: Backend) -> None:
    async with backend.session() as session:
        await session.create(Entry(text="outer"))
        async with session.savepoint() as inner:
            await inner.create(Entry(text="inner"))

    assert {entry.text for entry in await backend.query(Entry)} == {"outer", "inner"}


async def test_an_exception_undoes_its_savepoint_alone(backend: Backend) -> None:
    async with backend.session() as session:
        await session.create(Entry(text="outer"))
        with pytest.raises(Abort):
            async with session.savepoint():
                await session.create(Entry(text="inner"))
                raise Abort
        await session.create(Entry(text="after"))

    assert {entry.text for entry in await backend.query(Entry)} == {"outer", "after"}


async def test_savepoints_nest_and_follow_one_another(backend: Backend) -> None:
    async with backend.session() as session:
        for number in range(3):
            with pytest.raises(Abort):
                async with session.savepoint():
                    await session.create(Entry(text=f"lost {number}"))
                    async with session.savepoint():
                        await session.create(Entry(text="lost with it"))
                        async with session.savepoint():
                            pass
                    raise Abort
            async with session.savepoint():
                await session.create(Entry(text=f"kept {number}"))
                with pytest.raises(Abort):
                    async with session.savepoint():
                        await session.query(Entry).delete()
                        raise Abort

    assert sorted(entry.text for entry in await backend.query(Entry)) == ["kept 0", "kept 1", "kept 2"]


async def test_a_savepoint_before_the_first_statement_works(backend: Backend) -> None:
    async with backend.session() as session:
        with pytest.raises(Abort):
            async with session.savepoint():
                async with session.savepoint():
                    await session.create(Entry(text="lost"))
                raise Abort
        async with session.savepoint(), session.savepoint():
            await session.create(Entry(text="kept"))

    assert [entry.text for entry in await backend.query(Entry)] == ["kept"]


async def test_a_database_error_inside_a_savepoint_leaves_the_rest_usable(backend: Backend, ada: Account) -> None:
    async with backend.session() as session:
        await session.create(Entry(text="before"))
        with pytest.raises(DuplicateKeyError):
            async with session.savepoint():
                await session.create(Entry(text="inside"))
                await session.create(Account(id=1, owner="other"))
        await session.create(Entry(text="after"))

    assert {entry.text for entry in await backend.query(Entry)} == {"before", "after"}


async def test_a_database_error_swallowed_inside_a_savepoint_is_told_at_its_end(backend: Backend, ada: Account) -> None:
    async with backend.session() as session:
        await session.create(Entry(text="before"))
        with pytest.raises(TransactionError):
            async with session.savepoint():
                await session.create(Entry(text="inside"))
                with contextlib.suppress(DuplicateKeyError):
                    await session.create(Account(id=1, owner="other"))
        await session.create(Entry(text="after"))

    assert {entry.text for entry in await backend.query(Entry)} == {"before", "after"}


async def test_commit_and_rollback_are_refused_inside_a_savepoint(backend: Backend) -> None:
    async with backend.session() as session, session.savepoint():
        await session.create(Entry(text="kept"))
        with pytest.raises(TransactionError, match="savepoint"):
            await session.commit()
        with pytest.raises(TransactionError, match="savepoint"):
            await session.rollback()

    assert await backend.query(Entry).count() == 1


async def test_savepoints_of_two_tasks_that_overlap_lose_nothing_silently(backend: Backend) -> None:
    """The first one to end would take the other's work with it."""
    opened, undone = asyncio.Event(), asyncio.Event()

    async def second(session: Session) -> None:
        async with session.savepoint():
            await session.create(Entry(text="second"))
            opened.set()
            await undone.wait()

    async def first(session: Session) -> asyncio.Task[None]:
        async with session.savepoint():
            await session.create(Entry(text="first"))
            tasks.append(asyncio.create_task(second(session)))
            await opened.wait()
            raise Abort

    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(TransactionError):
        async with backend.session() as session:
            with pytest.raises((Abort, TransactionError)):
                await first(session)
            undone.set()
            with pytest.raises(TransactionError):
                await tasks[0]

    assert await backend.query(Entry).count() == 0


async def test_a_session_ends_cleanly_though_another_task_is_inside_its_savepoint(backend: Backend, ada: Account) -> None:
    for error in (None, Abort()):
        inside, go_on = asyncio.Event(), asyncio.Event()

        async def second(session: Session, inside: asyncio.Event = inside, go_on: asyncio.Event = go_on) -> None:
            async with session.savepoint():
                await session.query(Account).update(balance=1)
                inside.set()
                await go_on.wait()

        tasks: list[asyncio.Task[None]] = []
        with pytest.raises((Abort, TransactionError)):
            async with backend.session() as session:
                tasks.append(asyncio.create_task(second(session)))
                await inside.wait()
                if error is not None:
                    raise error
        go_on.set()
        with pytest.raises((SessionClosed, TransactionError)):
            await tasks[0]

        if Capability.RAW_SQL in backend.capabilities:
            assert leases(backend) == 0
        async with backend.session() as session:
            assert (await session.get(Account, 1, lock=True)).balance == 100


# -- isolation -------------------------------------------------------------------------------------------------------------------------


async def test_read_committed_sees_what_others_commit(backend: Backend, other: Backend, ada: Account) -> None:
    async with backend.session() as session:
        assert (await session.get(Account, 1)).balance == 100
        with holdall.detach():
            await other.query(Account).update(balance=60)
        assert (await session.get(Account, 1)).balance == 60


@pytest.mark.parametrize("isolation", ["repeatable read", None])
async def test_a_snapshot_stays_as_it_was(backend: Backend, other: Backend, ada: Account, isolation: Any) -> None:
    options: dict[str, Any] = {"isolation": isolation} if isolation else {"isolation": "repeatable read", "read_only": True}
    async with backend.session(**options) as session:
        assert (await session.get(Account, 1)).balance == 100
        with holdall.detach():
            await other.query(Account).update(balance=60)
            await other.create(Account(id=2, owner="bob"))
        assert (await session.get(Account, 1)).balance == 100
        assert await session.query(Account).count() == 1
        assert len([item async for item in session.query(Account).stream(batch=1)]) == 1
        await session.commit()
        assert (await session.get(Account, 1)).balance == 60


async def test_a_write_on_a_stale_snapshot_is_a_serialization_error(backend: Backend, other: Backend, ada: Account) -> None:
    with pytest.raises(SerializationError) as caught:
        async with backend.session(isolation="repeatable read") as session:
            found = await session.get(Account, 1)
            with holdall.detach():
                await other.query(Account).update(balance=60)
            await session.query(Account).filter(id=1).update(balance=found.balance - 10)

    assert holdall.is_retryable(caught.value)
    assert await balance(backend) == 60


async def test_nobody_sees_what_is_not_committed(backend: Backend, other: Backend, ada: Account) -> None:
    async with backend.session() as session:
        await session.query(Account).update(balance=1)
        await session.create(Account(id=2, owner="bob"))
        with holdall.detach():
            assert (await other.get(Account, 1)).balance == 100
            assert await other.query(Account).count() == 1
        await session.rollback()


async def _deposit(backend: Backend, arrived: asyncio.Barrier, **options: Any) -> None:
    async def deposit(session: Session) -> None:
        found = await session.get(Account, 1)
        if arrived.n_waiting < arrived.parties and not gone.is_set():
            gone.set()
            try:
                async with asyncio.timeout(0.05):
                    await arrived.wait()
            except (TimeoutError, asyncio.BrokenBarrierError):
                pass  # at serializable, SQLite lets in one at a time
        await session.query(Account).filter(id=1).update(balance=found.balance + 10)

    gone = asyncio.Event()
    await backend.run(deposit, retries=20, **options)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_no_update_is_lost_above_read_committed(backend: Backend, ada: Account, isolation: str) -> None:
    arrived = asyncio.Barrier(4)
    await asyncio.gather(*(_deposit(backend, arrived, isolation=isolation) for _ in range(4)))

    assert await balance(backend) == 140


async def test_a_lock_prevents_lost_updates(backend: Backend, ada: Account) -> None:
    async def deposit() -> None:
        async with backend.session() as session:
            found = await session.get(Account, 1, lock=True)
            await asyncio.sleep(0)
            found.balance += 10
            await session.save(found)

    await asyncio.gather(*(deposit() for _ in range(8)))

    assert await balance(backend) == 180


async def test_a_version_prevents_lost_updates(backend: Backend, ada: Account) -> None:
    first = await backend.get(Account, 1)
    async with backend.session() as session:
        second = await session.get(Account, 1)
        second.balance += 10
        await session.save(second)
    first.balance += 10
    with pytest.raises(ConflictError):
        async with backend.session() as session:
            await session.save(first)

    assert await balance(backend) == 110


async def test_write_skew_is_prevented_at_serializable(backend: Backend, ada: Account, bob: Account) -> None:
    """Each takes from its own account while the sum of both allows it."""
    barrier = asyncio.Barrier(2)

    async def withdraw(key: int) -> None:
        met = False

        async def attempt(session: Session) -> None:
            nonlocal met
            total = sum(item.balance for item in await session.query(Account))
            if not met:
                met = True
                try:
                    async with asyncio.timeout(0.05):
                        await barrier.wait()
                except (TimeoutError, asyncio.BrokenBarrierError):
                    pass
            if total >= 150:
                await session.query(Account).filter(id=key).update(balance=F("balance") - 150)

        await backend.run(attempt, isolation="serializable", retries=10)

    await asyncio.gather(withdraw(1), withdraw(2))

    assert sum(item.balance for item in await backend.query(Account)) == 50


@everywhere_with_sql_levels
async def test_a_read_only_session_reads_and_refuses_writes(backend: Backend, ada: Account, isolation: Any) -> None:
    async with backend.session(read_only=True, isolation=isolation) as session:
        assert (await session.get(Account, 1)).balance == 100
        with pytest.raises(TransactionError):
            await session.query(Account).update(balance=1)
        await session.rollback()
        with pytest.raises(TransactionError):
            await session.create(Entry(text="x"))
        await session.rollback()
        assert await session.query(Account).count() == 1

    await backend.query(Account).update(balance=2)
    assert await balance(backend) == 2


@sql_only
async def test_a_read_only_session_refuses_raw_writes(backend: Backend, ada: Account) -> None:
    for run in ("execute", "fetch"):
        async with backend.session(read_only=True) as session:
            with pytest.raises(TransactionError):
                await getattr(session, run)("update account set balance = 1")
            await session.rollback()

    assert await balance(backend) == 100


# -- timeouts and locks ------------------------------------------------------------------------------------------------------------------

SLOW = {
    "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000000) select count(*) from n",
    "postgresql": "select pg_sleep(30)",
    "mysql": "select sleep(30)",
}


def slow(backend_url: str) -> str:
    return SLOW[backend_url.partition(":")[0]]


@sql_only
@pytest.mark.parametrize("isolation", [None, "repeatable read", "serializable"])
async def test_a_statement_that_runs_too_long_raises_statement_timeout(backend: Backend, backend_url: str, isolation: Any) -> None:
    with pytest.raises(StatementTimeout) as caught:
        async with backend.session(timeout=0.05, isolation=isolation) as session:
            await session.fetch(slow(backend_url))

    assert caught.value.timeout == 0.05
    await backend.create(Entry(text="the backend goes on"))


@sql_only
@pytest.mark.parametrize("inside_savepoint", [False, True])
async def test_a_statement_given_up_by_its_caller_cannot_be_swallowed(backend: Backend, backend_url: str, inside_savepoint: bool) -> None:
    async def give_up(session: Session) -> None:
        await session.create(Entry(text="lost"))
        try:
            async with asyncio.timeout(0.05):
                await session.fetch(slow(backend_url))
        except TimeoutError:
            pass

    with pytest.raises(TransactionError, match="cancelled"):
        async with backend.session() as session:
            if inside_savepoint:
                async with session.savepoint():
                    await give_up(session)
            else:
                await give_up(session)

    assert await backend.query(Entry).count() == 0


@sql_only
async def test_the_timeout_is_each_statements_own(backend: Backend) -> None:
    async with backend.session(timeout=0.5) as session:
        started = asyncio.get_running_loop().time()
        await session.create(Entry(text="a"))
        while asyncio.get_running_loop().time() < started + 0.6:
            await session.query(Entry).count()


@sql_only
async def test_a_statement_that_waits_for_a_lock_keeps_its_timeout(backend: Backend, other: Backend, ada: Account) -> None:
    async with other.session() as holder:
        await holder.get(Account, 1, lock=True)
        with pytest.raises(StatementTimeout):
            async with backend.session(timeout=0.05) as session:
                await session.query(Account).filter(id=1).update(balance=1)

    assert await balance(backend) == 100


async def test_a_locked_record_is_not_changed_by_others(backend: Backend, other: Backend, ada: Account) -> None:
    async with backend.session() as session:
        found = await session.get(Account, 1, lock=True)
        with holdall.detach():
            task = asyncio.create_task(other.query(Account).filter(id=1).update(balance=F("balance") + 1))
        found.balance += 10
        await session.save(found)
        assert not task.done()

    assert await task == 1
    assert await balance(backend) == 111


async def test_nowait_refuses_to_wait(backend: Backend, other: Backend, ada: Account) -> None:
    async def second() -> None:
        async with other.session() as session:
            await session.query(Account).filter(id=1).for_update(nowait=True).all()

    async with backend.session() as session:
        await session.query(Account).filter(id=1).for_update().all()
        with pytest.raises(LockNotAvailable), holdall.detach():
            await second()

    await second()


@pytest.mark.parametrize("backend_url", ["postgres"], indirect=True)
async def test_skip_locked_leaves_out_what_others_have_locked(backend: Backend, other: Backend, ada: Account, bob: Account) -> None:
    async with backend.session() as session:
        await session.get(Account, 1, lock=True)
        with holdall.detach():
            async with other.session() as second:
                found = await second.query(Account).order_by("id").for_update(skip_locked=True)

    assert [item.id for item in found] == [2]


async def test_skip_locked_is_refused_where_it_is_not_promised(backend: Backend) -> None:
    if Capability.SKIP_LOCKED in backend.capabilities:
        return
    async with backend.session() as session:
        with pytest.raises(UnsupportedOperation) as caught:
            await session.query(Account).for_update(skip_locked=True)
    assert caught.value.missing == {Capability.SKIP_LOCKED}


async def test_locks_are_refused_outside_sessions(backend: Backend, ada: Account) -> None:
    for read in (
        lambda: backend.get(Account, 1, lock=True),
        lambda: backend.get_or_none(Account, 1, lock=True),
        lambda: backend.query(Account).for_update().all(),
        lambda: backend.query(Account).for_update(nowait=True).first(),
        lambda: anext(backend.query(Account).for_update().stream()),
    ):
        with pytest.raises(QueryError, match="session"):
            await read()


async def test_nowait_and_skip_locked_exclude_each_other(backend: Backend) -> None:
    with pytest.raises(QueryError):
        backend.query(Account).for_update(nowait=True, skip_locked=True)


@pytest.mark.parametrize("backend_url", ["postgres"], indirect=True)
async def test_a_deadlock_is_broken_and_run_again(backend: Backend, ada: Account, bob: Account) -> None:
    barrier = asyncio.Barrier(2)
    errors: list[BaseException] = []

    async def move(session: Session, first: int, second: int, seen: list[int]) -> None:
        try:
            await session.query(Account).filter(id=first).update(balance=F("balance") - 10)
            if not seen:
                seen.append(first)
                await barrier.wait()
            await session.query(Account).filter(id=second).update(balance=F("balance") + 10)
        except BaseException as error:
            errors.append(error)
            raise

    empty: list[list[int]] = [[], []]
    await asyncio.gather(backend.run(move, 1, 2, empty[0]), backend.run(move, 2, 1, empty[1]))

    assert {type(error) for error in errors} == {DeadlockError}
    assert [await balance(backend, 1), await balance(backend, 2)] == [100, 100]


# -- callbacks ---------------------------------------------------------------------------------------------------------------------------


def recorder(calls: list[str], name: str, *, coroutine: bool) -> Callable[[], object]:
    def plain() -> None:
        calls.append(name)

    async def asynchronous() -> None:
        await asyncio.sleep(0)
        calls.append(name)

    return asynchronous if coroutine else plain


@pytest.mark.parametrize("coroutine", [False, True])
async def test_callbacks_are_called_at_the_end_that_they_wait_for(backend: Backend, coroutine: bool) -> None:
    calls: list[str] = []
    make = partial(recorder, calls, coroutine=coroutine)
    async with backend.session() as session:
        session.on_commit(make("commit 1"))
        session.on_rollback(make("never"))
        session.on_commit(make("commit 2"))
        await session.create(Entry(text="a"))
        assert calls == []
    assert calls == ["commit 1", "commit 2"]

    calls.clear()
    with pytest.raises(Abort):
        async with backend.session() as session:
            session.on_commit(make("never"))
            session.on_rollback(make("rollback"))
            await session.create(Entry(text="b"))
            raise Abort
    assert calls == ["rollback"]


async def test_callbacks_are_called_once_and_belong_to_their_transaction(backend: Backend) -> None:
    calls: list[str] = []
    async with backend.session() as session:
        session.on_commit(lambda: calls.append("first"))
        session.on_rollback(lambda: calls.append("never"))
        await session.create(Entry(text="a"))
        await session.commit()
        assert calls == ["first"]
        session.on_commit(lambda: calls.append("never"))
        session.on_rollback(lambda: calls.append("second"))
        await session.rollback()
        assert calls == ["first", "second"]
        session.on_commit(lambda: calls.append("third"))
    assert calls == ["first", "second", "third"]


async def test_callbacks_of_a_savepoint_follow_its_fate(backend: Backend) -> None:
    calls: list[str] = []

    def note(name: str) -> Callable[[], object]:
        return lambda: calls.append(name)

    async with backend.session() as session:
        session.on_commit(note("outer"))
        session.on_rollback(note("never"))
        async with session.savepoint():
            session.on_commit(note("kept"))
            session.on_rollback(note("never"))
        with pytest.raises(Abort):
            async with session.savepoint():
                session.on_commit(note("never"))
                session.on_rollback(note("undone"))
                raise Abort
        assert calls == ["undone"]
    assert calls == ["undone", "outer", "kept"]


async def test_a_released_savepoints_callbacks_are_undone_with_the_whole(backend: Backend) -> None:
    calls: list[str] = []
    with pytest.raises(Abort):
        async with backend.session() as session:
            async with session.savepoint():
                session.on_commit(lambda: calls.append("never"))
                session.on_rollback(lambda: calls.append("undone"))
            raise Abort
    assert calls == ["undone"]


async def test_a_callback_that_fails_undoes_nothing_and_is_told(backend: Backend) -> None:
    calls: list[str] = []

    def fail() -> None:
        raise Abort

    with pytest.raises(Abort):
        async with backend.session() as session:
            session.on_commit(fail)
            session.on_commit(lambda: calls.append("after"))
            await session.create(Entry(text="kept"))
    assert calls == ["after"]
    assert await backend.query(Entry).count() == 1

    with pytest.raises(ExceptionGroup) as caught:
        async with backend.session() as session:
            session.on_commit(fail)
            session.on_commit(fail)
    assert len(caught.value.exceptions) == 2


async def test_the_blocks_own_exception_wins_over_its_callbacks(backend: Backend) -> None:
    def fail() -> None:
        raise ValueError("callback")

    with pytest.raises((Abort, ExceptionGroup, ValueError)) as caught:
        async with backend.session() as session:
            session.on_rollback(fail)
            raise Abort
    error: BaseException | None = caught.value
    seen = set[type[BaseException]]()
    while error is not None:
        seen.add(type(error))
        error = error.__context__
    assert Abort in seen


async def test_the_callbacks_of_the_end_find_the_session_closed_and_the_backend_free(backend: Backend) -> None:
    """A statement in it would begin a transaction that nobody ends."""
    errors: list[BaseException] = []

    async def late(session: Session) -> None:
        await backend.create(Entry(text="by the backend"))
        try:
            await session.create(Entry(text="by the session"))
        except SessionClosed as error:
            errors.append(error)

    async with backend.session() as session:
        session.on_commit(partial(late, session))
        await session.create(Entry(text="inside"))
    with pytest.raises(Abort):
        async with backend.session() as session:
            session.on_rollback(partial(late, session))
            raise Abort

    assert len(errors) == 2
    assert sorted(entry.text for entry in await backend.query(Entry)) == ["by the backend", "by the backend", "inside"]
    if Capability.RAW_SQL in backend.capabilities:
        assert leases(backend) == 0


async def test_a_cancelled_block_calls_on_rollback(backend: Backend) -> None:
    begun, called = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with backend.session() as session:
            session.on_rollback(called.set)
            await session.create(Entry(text="x"))
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await called.wait()


# -- objects after a rollback ---------------------------------------------------------------------------------------------------------------


async def test_a_rollback_gives_objects_back_their_stored_state(backend: Backend, ada: Account) -> None:
    touched = ada.touched
    created, removed = Entry(text="new"), await backend.create(Entry(text="old"))
    with pytest.raises(Abort):
        async with backend.session() as session:
            ada.balance = 90
            await session.save(ada)
            ada.balance = 80
            await session.save(ada)
            assert ada.version == 3
            await session.create(created)
            await session.delete(removed)
            assert created.id is not None
            raise Abort

    assert (ada.version, ada.touched, ada.balance) == (1, touched, 80)
    assert holdall.changes(ada) == {"balance": (100, 80)}
    assert created.id is None
    assert not holdall.is_stored(created)
    assert holdall.is_stored(removed)
    assert holdall.changes(removed) == {}
    await backend.save(ada)
    await backend.save(created)
    assert ada.version == 2
    assert await balance(backend) == 80
    assert await backend.query(Entry).count() == 2


async def test_a_savepoints_rollback_gives_back_the_state_at_its_start(backend: Backend, ada: Account) -> None:
    async with backend.session() as session:
        ada.balance = 90
        await session.save(ada)
        with pytest.raises(Abort):
            async with session.savepoint():
                ada.balance = 70
                await session.save(ada)
                raise Abort
        assert ada.version == 2
        assert holdall.changes(ada) == {"balance": (90, 70)}
        await session.save(ada)
        assert ada.version == 3

    assert await balance(backend) == 70


async def test_edits_after_the_write_stay_as_changes(backend: Backend) -> None:
    entry = await backend.create(Entry(text="a", tags=["x"]))
    with pytest.raises(Abort):
        async with backend.session() as session:
            entry.text = "b"
            await session.save(entry)
            entry.tags.append("y")
            raise Abort

    assert holdall.changes(entry) == {"text": ("a", "b"), "tags": (["x"], ["x", "y"])}


async def test_an_edited_generated_value_stays(backend: Backend) -> None:
    entry = Entry(text="a")
    with pytest.raises(Abort):
        async with backend.session() as session:
            await session.create(entry)
            entry.id = 4711
            raise Abort

    assert entry.id == 4711
    assert not holdall.is_stored(entry)


async def test_bulk_writes_are_undone_in_the_objects_too(backend: Backend, ada: Account) -> None:
    many = [Entry(text=str(number)) for number in range(5)]
    kept = await backend.create_many([Entry(text="kept") for _ in range(2)])
    with pytest.raises(Abort):
        async with backend.session() as session:
            await session.create_many(many)
            assert all(entry.id is not None for entry in many)
            await session.delete_many(kept)
            await session.upsert(ada)
            raise Abort

    assert [entry.id for entry in many] == [None] * 5
    assert not any(map(holdall.is_stored, many))
    assert all(map(holdall.is_stored, kept))
    assert ada.version == 1
    assert holdall.changes(ada) == {}


async def test_the_same_is_true_of_writes_through_the_backend(backend: Backend, ada: Account) -> None:
    with pytest.raises(Abort):
        async with backend.session():
            ada.balance = 1
            await backend.save(ada)
            assert ada.version == 2
            raise Abort

    assert ada.version == 1
    assert holdall.changes(ada) == {"balance": (100, 1)}


async def test_a_failed_commit_puts_objects_back(backend: Backend, backend_url: str, other: Backend, ada: Account, bob: Account) -> None:
    """Two that each read what the other writes: on PostgreSQL one of them fails when it commits."""
    entry = Entry(text="x")
    with pytest.raises((SerializationError, Abort)):
        async with backend.session(isolation="serializable") as session:
            await session.create(entry)
            if not backend_url.startswith("postgresql"):
                raise Abort  # the first statement has the right to write, or locks what it reads: a commit cannot fail there
            await session.query(Account).all()
            with holdall.detach():
                async with other.session(isolation="serializable") as second:
                    await second.query(Account).all()
                    await second.query(Entry).all()
                    await second.query(Account).filter(id=2).update(balance=1)
            await session.query(Account).filter(id=1).update(balance=1)

    assert entry.id is None
    assert not holdall.is_stored(entry)


async def test_run_starts_every_attempt_with_the_objects_as_they_were(backend: Backend, ada: Account) -> None:
    entry = Entry(text="x")
    versions: list[int] = []

    async def attempt(session: Session) -> str:
        versions.append(ada.version)
        assert entry.id is None
        ada.balance += 1
        await session.save(ada)
        await session.create(entry)
        if len(versions) < 3:
            raise SerializationError("again")
        return "done"

    assert await backend.run(attempt, retries=2) == "done"
    assert versions == [1, 1, 1]
    assert ada.version == 2
    assert await balance(backend) == 103
    assert await backend.query(Entry).count() == 1


async def test_an_object_of_a_cancelled_session_is_put_back(backend: Backend, ada: Account) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with backend.session() as session:
            ada.balance = 5
            await session.save(ada)
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ada.version == 1
    assert holdall.changes(ada) == {"balance": (100, 5)}


async def test_refresh_is_undone(backend: Backend, ada: Account) -> None:
    with pytest.raises(Abort):
        async with backend.session() as session:
            await session.query(Account).update(balance=7)
            await session.refresh(ada)
            assert (ada.balance, ada.version) == (7, 2)
            raise Abort

    assert holdall.changes(ada) == {}
    assert (ada.balance, ada.version) == (100, 1)


# -- run ------------------------------------------------------------------------------------------------------------------------------------


async def test_run_returns_what_the_function_returns_and_passes_arguments(backend: Backend, ada: Account, bob: Account) -> None:
    async def transfer(session: Session, source: int, target: int, amount: int, *, note: str) -> str:
        await session.query(Account).filter(id=source).update(balance=F("balance") - amount)
        await session.query(Account).filter(id=target).update(balance=F("balance") + amount)
        return note

    assert await backend.run(partial(transfer, note="paid"), 1, 2, 30) == "paid"
    assert [await balance(backend, 1), await balance(backend, 2)] == [70, 130]


async def test_run_gives_up_after_its_retries_and_raises_the_last_error(backend: Backend) -> None:
    attempts = 0

    async def fail(_: Session) -> None:
        nonlocal attempts
        attempts += 1
        raise DeadlockError(str(attempts))

    with pytest.raises(DeadlockError, match="3"):
        await backend.run(fail, retries=2)
    assert attempts == 3


async def test_run_does_not_repeat_other_errors(backend: Backend) -> None:
    attempts = 0

    async def fail(_: Session) -> None:
        nonlocal attempts
        attempts += 1
        raise TransactionError("no")

    with pytest.raises(TransactionError):
        await backend.run(fail, retries=5)
    assert attempts == 1


async def test_run_makes_its_session_the_ambient_one(backend: Backend) -> None:
    async def work(session: Session) -> bool:
        return backend.sessions.get() is session

    assert await backend.run(work)
    with pytest.raises(holdall.SessionNotFound):
        backend.sessions.get()


# -- shared sessions -----------------------------------------------------------------------------------------------------------------------


async def test_tasks_that_share_a_session_take_turns(backend: Backend, ada: Account) -> None:
    async def work(session: Session, number: int) -> None:
        await session.create(Entry(text=str(number)))
        await session.query(Account).update(balance=F("balance") + 1)
        assert (await session.get(Account, 1)).balance > 100

    async with backend.session() as session, asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(work(session, number))

    assert await balance(backend) == 120
    assert await backend.query(Entry).count() == 20


async def test_a_sharer_that_fails_fails_the_others_and_the_commit(backend: Backend, ada: Account) -> None:
    with pytest.raises(TransactionError):
        async with backend.session() as session:
            results = await asyncio.gather(
                session.create(Entry(text="x")),
                session.create(Account(id=1, owner="again")),
                session.create(Entry(text="y")),
                return_exceptions=True,
            )
            assert isinstance(results[1], DuplicateKeyError)
            assert isinstance(results[2], TransactionError)

    assert await backend.query(Entry).count() == 0


async def test_a_sharer_cancelled_in_line_harms_nobody(backend: Backend, ada: Account) -> None:
    async with backend.session() as session:
        tasks = [asyncio.create_task(session.create(Entry(text=str(number)))) for number in range(6)]
        await asyncio.sleep(0)  # all have asked
        tasks[3].cancel()
        tasks[4].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        if not any(isinstance(result, asyncio.CancelledError) for result in results):
            return  # in memory all were done at once
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [False, False, False, True, True, False]

    assert {entry.text for entry in await backend.query(Entry)} == {"0", "1", "2", "5"}


async def test_explicit_sessions_are_left_to_their_owner(backend: Backend, ada: Account) -> None:
    async def helper(given: Session | None) -> None:
        async with backend.session(given) as session:
            await session.query(Account).update(balance=F("balance") + 1)

    async with backend.session() as session:
        await helper(session)
        assert await balance(backend) == 100
        with pytest.raises(SessionConflict, match="savepoint"):
            await helper(None)
        await session.get(Account, 1)
    assert await balance(backend) == 101
    await helper(None)
    assert await balance(backend) == 102


async def test_an_exception_in_a_given_sessions_block_leaves_it_open(backend: Backend, ada: Account) -> None:
    async with backend.session() as session:
        with pytest.raises(Abort):
            async with backend.session(session) as same:
                assert same is session
                await same.query(Account).update(balance=1)
                raise Abort
        await session.query(Account).update(balance=F("balance") + 1)

    assert await balance(backend) == 2


async def test_a_given_session_is_checked(backend: Backend, other: Backend) -> None:
    async with backend.session() as session:
        with pytest.raises(ConfigurationError):
            backend.session(session, read_only=True)
        if other is not backend:
            with pytest.raises(SessionConflict, match="another backend"):
                other.session(session)
    with pytest.raises(SessionClosed):
        await backend.session(session).__aenter__()


@sql_only
async def test_the_engines_session_is_the_backends(backend: Backend, ada: Account) -> None:
    async with backend.engine.session(isolation="serializable") as session:
        await backend.query(Account).update(balance=1)
        assert backend.sessions.get() is session
        assert await backend.engine.fetch_value("select balance from account where id = :id", id=1) == 1
        assert await balance(backend) == 100


async def test_active_records_join_a_session(backend: Backend, ada: Account) -> None:
    with pytest.raises(Abort):
        async with backend.session() as session:
            ada.balance = 3
            await ada.save(session=session)
            raise Abort
    assert await balance(backend) == 100
