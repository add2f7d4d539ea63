"""Connections that are cut, servers that stop, pools that run dry: an error with a name, then service again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

import holdall
from holdall import (
    Backend,
    CommitUnknownError,
    ConnectionLost,
    F,
    Field,
    Model,
    PoolTimeout,
    Session,
    TransactionError,
)
from tests.servers import PostgresServer, Proxy

SCALE = int(os.environ.get("HOLDALL_FAULT_ROUNDS", "1"))


class Purse(Model):
    id: int = Field(primary_key=True)
    coins: int = 100
    version: int = Field(default=1, version=True)


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncGenerator[Proxy]:
    parts = urlsplit(postgres_url)
    assert parts.hostname
    assert parts.port
    async with Proxy(parts.hostname, parts.port) as proxy:
        yield proxy


@pytest.fixture
async def direct(postgres_url: str) -> AsyncGenerator[Backend]:
    """The same database without the proxy, with its tables."""
    async with holdall.open(postgres_url) as backend:
        await backend.drop(Purse)
        await backend.initialize(Purse)
        await backend.create_many([Purse(id=number) for number in range(10)])
        yield backend
        await backend.drop(Purse)


@pytest.fixture
async def backend(proxy: Proxy, postgres_url: str, direct: Backend) -> AsyncGenerator[Backend]:
    async with holdall.open(proxy.url(postgres_url), pool_max_size=3) as backend:
        yield backend


def idle_again(backend: Backend) -> bool:
    stats = backend.engine.stats()
    return bool(stats["in_use"] == stats["waiting"] == 0)


# -- cut connections ---------------------------------------------------------------------------------------------------------------------


async def test_a_stale_connection_is_replaced_without_a_word_for_a_read(backend: Backend, proxy: Proxy) -> None:
    store: Any = backend.store
    slots = [await store.pool.acquire() for _ in range(3)]
    for slot in slots:
        store.pool.give(slot)
    proxy.cut()

    assert (await backend.get(Purse, 1)).coins == 100
    assert await backend.query(Purse).count() == 10
    assert idle_again(backend)


async def test_a_write_on_a_connection_cut_while_idle_works_or_says_so(backend: Backend, proxy: Proxy) -> None:
    for _ in range(5):
        await backend.query(Purse).count()
        proxy.cut()
        with contextlib.suppress(ConnectionLost):
            await backend.query(Purse).filter(id=1).update(coins=F("coins") + 1)
        await backend.query(Purse).filter(id=2).update(coins=F("coins") + 1)
    assert (await backend.get(Purse, 2)).coins == 105


@pytest.mark.parametrize("budget", [0, 1, 7, 40])
async def test_a_reply_cut_in_the_middle_is_read_again_or_has_a_name(backend: Backend, proxy: Proxy, budget: int) -> None:
    await backend.query(Purse).all()
    proxy.cut_after_reply_bytes(budget)

    assert len(await backend.query(Purse)) == 10
    assert idle_again(backend)


async def test_a_read_whose_second_attempt_is_cut_too_is_connection_lost(backend: Backend, proxy: Proxy) -> None:
    await backend.query(Purse).all()
    proxy.cut()
    proxy.refuse()

    with pytest.raises(ConnectionLost):
        await backend.query(Purse).all()

    await proxy.admit()
    assert await backend.query(Purse).count() == 10


async def test_a_write_cut_on_its_way_is_connection_lost_and_not_repeated(backend: Backend, proxy: Proxy, direct: Backend) -> None:
    await backend.query(Purse).filter(id=1).update(coins=F("coins") + 1)
    proxy.cut_after_reply_bytes(0)

    with pytest.raises(ConnectionLost):
        await backend.query(Purse).filter(id=1).update(coins=F("coins") + 1)

    assert (await direct.get(Purse, 1)).coins in (101, 102)
    assert await backend.query(Purse).filter(id=1).update(coins=0) == 1


async def test_a_session_cut_between_statements_is_connection_lost_and_rolled_back(backend: Backend, proxy: Proxy, direct: Backend) -> None:
    with pytest.raises(ConnectionLost):
        async with backend.session() as session:
            await session.query(Purse).filter(id=1).update(coins=0)
            proxy.cut()
            await session.get(Purse, 1)
    with pytest.raises((ConnectionLost, CommitUnknownError)):
        async with backend.session() as session:
            await session.query(Purse).filter(id=1).update(coins=0)
            proxy.cut()

    assert (await direct.get(Purse, 1)).coins == 100
    assert idle_again(backend)


async def test_a_session_that_lost_its_connection_goes_on_after_a_rollback(backend: Backend, proxy: Proxy) -> None:
    async with backend.session() as session:
        await session.get(Purse, 1)
        proxy.cut()
        with pytest.raises(ConnectionLost):
            await session.get(Purse, 1)
        with pytest.raises(TransactionError):
            await session.get(Purse, 1)
        await session.rollback()
        assert (await session.get(Purse, 1)).coins == 100


async def test_a_commit_whose_answer_is_cut_off_is_unknown(backend: Backend, proxy: Proxy, direct: Backend) -> None:
    calls: list[str] = []
    with pytest.raises(CommitUnknownError) as caught:
        async with backend.session() as session:
            session.on_commit(lambda: calls.append("commit"))
            session.on_rollback(lambda: calls.append("rollback"))
            await session.query(Purse).filter(id=1).update(coins=1)
            proxy.cut_after_reply_bytes(0)

    assert not holdall.is_retryable(caught.value)
    assert calls == []
    assert (await direct.get(Purse, 1)).coins == 1  # it did arrive; nobody could know
    assert idle_again(backend)


async def test_run_does_not_repeat_a_commit_of_unknown_outcome(backend: Backend, proxy: Proxy, direct: Backend) -> None:
    attempts = 0

    async def work(session: Session) -> None:
        nonlocal attempts
        attempts += 1
        await session.query(Purse).filter(id=1).update(coins=F("coins") + 1)
        proxy.cut_after_reply_bytes(0)

    with pytest.raises(CommitUnknownError):
        await backend.run(work)
    assert attempts == 1


async def test_raw_statements_for_many_say_when_their_commit_is_unknown(proxy: Proxy, postgres_url: str, direct: Backend) -> None:
    """They run in a transaction that nobody sees."""
    sql = "update purse set coins = coins + 1 where id = :id"
    seen: set[type[BaseException]] = set()
    async with holdall.open(proxy.url(postgres_url), pool_max_size=1) as backend:
        for budget in range(400):
            await backend.ping()  # after the reset of the connection, or on a new one
            proxy.cut_after_reply_bytes(budget)
            try:
                await backend.engine.execute_many(sql, [{"id": 1}, {"id": 2}])
            except (ConnectionLost, CommitUnknownError) as error:
                seen.add(type(error))
            if seen == {ConnectionLost, CommitUnknownError}:
                break
        proxy.cut_after_reply_bytes(10**9)
    assert seen == {ConnectionLost, CommitUnknownError}
    assert len({purse.coins for purse in await direct.query(Purse).filter(id__in=[1, 2])}) == 1  # both or none, every time


async def test_a_stream_that_is_cut_is_connection_lost(backend: Backend, proxy: Proxy) -> None:
    with pytest.raises(ConnectionLost):
        async for _ in backend.query(Purse).stream(batch=2):
            proxy.cut()
    assert idle_again(backend)
    assert await backend.query(Purse).count() == 10


async def test_every_operation_names_a_cut_and_the_next_one_works(backend: Backend, proxy: Proxy) -> None:
    operations: list[Callable[[], Awaitable[object]]] = [
        lambda: backend.get(Purse, 1),
        lambda: backend.create(Purse(id=random.randrange(10**9))),
        lambda: backend.create_many([Purse(id=random.randrange(10**9)) for _ in range(50)]),
        lambda: backend.upsert(Purse(id=5)),
        lambda: backend.query(Purse).filter(id__gt=100).delete(),
        lambda: backend.delete(Purse(id=-1)),
        backend.ping,
        lambda: backend.engine.fetch("select 1"),
        lambda: backend.engine.execute("select 1"),
    ]
    for work in operations:
        for budget in (0, 3, 20, 90):
            await backend.query(Purse).filter(id=1).all()
            proxy.cut_after_reply_bytes(budget)
            with contextlib.suppress(ConnectionLost, CommitUnknownError):
                await work()
            proxy.cut_after_reply_bytes(10**9)
            assert (await backend.get(Purse, 1)).coins == 100
    assert idle_again(backend)


async def test_a_terminated_backend_is_an_error_then_service_again(backend: Backend, direct: Backend) -> None:
    async with backend.session() as session:
        pid = await session.fetch_value("select pg_backend_pid()")
        await direct.engine.fetch("select pg_terminate_backend(cast(:pid as integer))", pid=pid)
        with pytest.raises(ConnectionLost):
            await session.get(Purse, 1)
        await session.rollback()
        assert (await session.get(Purse, 1)).coins == 100
    assert idle_again(backend)


async def test_a_backend_terminated_in_the_middle_of_a_statement(backend: Backend, direct: Backend) -> None:
    task = asyncio.create_task(backend.engine.fetch("select pg_sleep(30)"))
    while not await direct.engine.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    ):
        pass
    with pytest.raises(ConnectionLost):
        await task
    assert await backend.query(Purse).count() == 10


async def test_a_server_restart_gives_errors_and_then_service(private_postgres: PostgresServer) -> None:
    async with holdall.open(private_postgres.url, pool_max_size=4) as backend:
        await backend.initialize(Purse)
        await backend.create(Purse(id=1))
        await asyncio.gather(*(backend.engine.fetch("select 1") for _ in range(4)))
        private_postgres.stop(signal.SIGQUIT)
        for work in (lambda: backend.get(Purse, 1), lambda: backend.query(Purse).update(coins=1), lambda: _in_session(backend)):
            with pytest.raises(ConnectionLost):
                await work()
        private_postgres.start()
        assert (await backend.get(Purse, 1)).coins == 100
        async with backend.session() as session:
            await session.query(Purse).update(coins=2)
        assert (await backend.get(Purse, 1)).coins == 2


# -- the pool ------------------------------------------------------------------------------------------------------------------------------


async def test_a_pool_timeout_names_the_holders(postgres_url: str, direct: Backend) -> None:
    async def hold_it(backend: Backend) -> None:
        async with backend.session() as session:
            await session.get(Purse, 1)
            held.release()
            await finish.wait()

    held, finish = asyncio.Semaphore(0), asyncio.Event()
    async with holdall.open(postgres_url, pool_max_size=2, acquire_timeout=0.05) as backend:
        tasks = [asyncio.create_task(hold_it(backend), name=f"holder-{number}") for number in range(2)]
        for _ in tasks:
            await held.acquire()
        with pytest.raises(PoolTimeout) as caught:
            await backend.get(Purse, 1)
        finish.set()
        await asyncio.gather(*tasks)
        assert caught.value.timeout == 0.05
        assert len(caught.value.holders) == 2
        for number in range(2):
            (line,) = [line for line in caught.value.holders if f"holder-{number}" in line]
            assert "test_faults.py:" in line
            assert "hold_it" in line
            assert line in str(caught.value)
        await backend.get(Purse, 1)


async def test_two_hundred_tasks_on_three_connections_are_served_in_turn(postgres_url: str, direct: Backend) -> None:
    served: list[int] = []

    async def work(backend: Backend, number: int) -> None:
        async with backend.session() as session:
            await session.query(Purse).filter(id=number % 10).count()
            served.append(number)
            await session.get(Purse, number % 10)

    async with holdall.open(postgres_url, pool_max_size=3, acquire_timeout=30) as backend:
        await asyncio.gather(*(work(backend, number) for number in range(200)))
        assert sorted(served) == list(range(200))
        # First come, first served: nobody passes more of those before than have the other connections.
        assert all(sum(other < number for other in served[place:]) < 3 for place, number in enumerate(served))
        stats = backend.engine.stats()
        assert stats["in_use"] == stats["waiting"] == 0
        assert stats["size"] <= 3
        count = "select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'"
        assert await direct.engine.fetch_value(count) == 0


async def transfer(session: Session, source: int, target: int, lock: bool) -> None:
    first, second = sorted((source, target))
    purses = {key: await session.get(Purse, key, lock=lock) for key in (first, second)}
    purses[source].coins -= 1
    purses[target].coins += 1
    for key in (first, second):
        await session.save(purses[key])


MONEY = "application_name = 'holdall-money' and datname = current_database()"


@pytest.mark.parametrize("protection", ["lock", "version", "serializable"])
async def test_money_keeps_its_sum_under_cancels_and_kills(postgres_url: str, direct: Backend, protection: Any) -> None:
    chance = random.Random(protection)
    acknowledged = 0

    async def client(backend: Backend) -> None:
        nonlocal acknowledged
        isolation: Any = "serializable" if protection == "serializable" else None
        for _ in range(4 * SCALE):
            source, target = chance.sample(range(10), 2)
            try:
                await backend.run(transfer, source, target, protection == "lock", retries=20, isolation=isolation)
                acknowledged += 1
            except (holdall.ConflictError, ConnectionLost, CommitUnknownError, TransactionError):
                pass

    async with holdall.open(postgres_url, pool_max_size=5, application_name="holdall-money", acquire_timeout=30) as backend:
        tasks = [asyncio.create_task(client(backend)) for _ in range(50)]
        for number in range(20):
            await direct.query(Purse).filter(id=number % 10).count()
            chance.choice(tasks).cancel()
            if number % 7 == 0:
                await direct.engine.fetch(f"select pg_terminate_backend(pid) from pg_stat_activity where {MONEY} order by random() limit 3")
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        assert sum(purse.coins for purse in await backend.query(Purse)) == 1000
        assert acknowledged > 50
        literals = await asyncio.gather(*(backend.engine.fetch_value(f"select {number}") for number in range(20)))
        assert literals == list(range(20))
    async with asyncio.timeout(5):
        while await direct.engine.fetch_value(f"select count(*) from pg_stat_activity where {MONEY}"):
            pass


async def test_a_slow_network_harms_nobody(proxy: Proxy, postgres_url: str, direct: Backend) -> None:
    proxy.chunk = 3
    async with holdall.open(proxy.url(postgres_url), pool_max_size=2) as backend:
        purses = await asyncio.gather(*(backend.get(Purse, number) for number in range(10)))
        assert [purse.id for purse in purses] == list(range(10))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(backend.engine.fetch_value(f"select 'x{number}'")) for number in range(10)]
        assert [task.result() for task in tasks] == [f"x{number}" for number in range(10)]


async def test_a_cancelled_read_while_the_server_is_silent_awaits_nothing(backend: Backend, proxy: Proxy) -> None:
    """The one who cancels is not kept waiting for a server that does not answer."""
    await backend.query(Purse).all()
    proxy.hold_replies()
    for work in (
        lambda: backend.query(Purse).all(),
        lambda: backend.engine.execute_many("update purse set coins = :n", [{"n": 1}, {"n": 2}]),
        lambda: _in_session(backend),
    ):
        task = asyncio.ensure_future(work())
        await proxy.wait_for_request()
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert task.cancelled()
    proxy.release_replies()
    assert await backend.query(Purse).count() == 10
    assert (await backend.get(Purse, 1)).coins == 100


async def _in_session(backend: Backend) -> None:
    async with backend.session() as session:
        await session.query(Purse).update(coins=5)
