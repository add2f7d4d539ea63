"""Raw connections in our pool, and a second, plain connection that watches the server."""

import dataclasses
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import pytest

from holdall.errors import ConnectionLost
from holdall.pool import Pool, PoolOptions, Slot
from holdall.stores.postgres.connection import AsyncpgConnection, PostgresConnector, PostgresOptions
from holdall.stores.postgres.errors import translate

APPLICATION = f"holdall-tests-{os.getpid()}"

PostgresPool = Pool[AsyncpgConnection]
PoolMaker = Callable[..., AbstractAsyncContextManager[PostgresPool]]


@pytest.fixture
def postgres_options(postgres_url: str) -> PostgresOptions:
    """Options of connections that the census can tell from others on the same server."""
    return PostgresOptions(dsn=postgres_url, application_name=APPLICATION)


@pytest.fixture
def open_pool(postgres_options: PostgresOptions) -> PoolMaker:
    """``async with open_pool(max_size=3) as pool``; given ``options``, with these connection options."""

    @asynccontextmanager
    async def opened(options: PostgresOptions | None = None, **sizes: float | None) -> AsyncGenerator[PostgresPool]:
        pool_options = dataclasses.replace(PoolOptions(), **sizes)  # type: ignore[arg-type]
        pool = Pool(PostgresConnector(options or postgres_options), pool_options)
        try:
            yield pool
        finally:
            pool.terminate()

    return opened


@pytest.fixture
async def monitor(postgres_url: str) -> AsyncGenerator["Monitor"]:
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("drop table if exists counter; create table counter (id int primary key, v int not null)")
    await connection.execute("insert into counter select i, 0 from generate_series(1, 40) i")
    yield Monitor(connection)
    await connection.execute("drop table counter")
    await connection.close()


class Monitor:
    """What the server says, over a connection of its own."""

    def __init__(self, connection: AsyncpgConnection) -> None:
        self.connection = connection

    async def sessions(self, condition: str = "true") -> int:
        """Count the pool's sessions on the server."""
        found = await self.connection.fetchval(
            f"select count(*) from pg_stat_activity where application_name = $1 and ({condition})", APPLICATION
        )
        return int(found)

    async def until(self, condition: str, count: int = 1) -> None:
        """Wait until the server has exactly so many of the pool's sessions in this condition."""
        while await self.sessions(condition) != count:
            await self.connection.execute("select pg_sleep(0.005)")

    async def value(self, number: int = 1) -> int:
        """Read a counter."""
        return int(await self.connection.fetchval("select v from counter where id = $1", number))


async def run(pool: PostgresPool, sql: str) -> str:
    """Run one statement the way a store does."""
    slot = pool.take() or await pool.acquire()
    try:
        tag = await slot.connection.execute(sql)
    except BaseException as error:
        known = translate(error)
        if isinstance(known, ConnectionLost):
            pool.discard(slot)
        else:
            pool.hand_off(slot)
        if known is None:
            raise
        raise known from error
    pool.give(slot)
    return tag


async def is_clean(slot: Slot[AsyncpgConnection]) -> bool:
    """Ask for a literal that nobody else asks for, outside any transaction."""
    literal = f"{id(slot)}-{slot.connection.get_server_pid()}"
    return not slot.connection.is_in_transaction() and await slot.connection.fetchval(f"select '{literal}'") == literal
