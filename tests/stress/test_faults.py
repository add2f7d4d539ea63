"""Connections cut at every message, servers killed under load: an error with a name, nothing acknowledged lost, nothing applied twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Literal
from urllib.parse import urlsplit

import anyio.lowlevel
import pytest

import holdall
from holdall import Backend, CommitUnknownError, ConnectionLost, F, TransactionError
from holdall.testing import Proxy
from holdall.testing.proxy import _Budget
from tests.servers import ServerMissing
from tests.stress.bank import Bank, Purse, Receipt
from tests.stress.conftest import Opener
from tests.stress.engines import OTHER_DRIVERS, SERVERS, Facts, Witness

MODELS = (Purse, Receipt)
START = 100
Direction = Literal["requests", "replies"]
pytestmark = pytest.mark.parametrize("facts", [*SERVERS, *OTHER_DRIVERS], indirect=True)


class Heard(_Budget):
    """Notes what passes in one direction."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def spend(self, data: bytes) -> bytes:
        self.data += data
        return super().spend(data)


class Tap(Proxy):
    """A proxy that tells what it has heard."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._request_budget = self.requests = Heard()
        self._reply_budget = self.replies = Heard()

    def heard(self, direction: Direction) -> Heard:
        return self.requests if direction == "requests" else self.replies


@pytest.fixture
async def tap(url: str) -> AsyncGenerator[Tap]:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    async with Tap(parts.hostname, parts.port) as tap:
        yield tap


@pytest.fixture
async def backend(open_backend: Opener, tap: Tap, url: str, facts: Facts) -> AsyncGenerator[Backend]:
    """One connection through the proxy, and two purses."""
    async with open_backend() as direct:
        await direct.create_many([Purse(id=1), Purse(id=2)])
        async with holdall.open(tap.url(url), pool_max_size=1, **facts.options) as backend:
            yield backend


async def on_a_new_connection(backend: Backend, tap: Tap) -> None:
    """Open the connection, so that the bytes that follow are those of the operation alone, with nothing prepared yet."""
    tap.cut()
    with contextlib.suppress(ConnectionLost):
        await backend.ping()
    await backend.ping()


async def message_ends(backend: Backend, tap: Tap, facts: Facts, direction: Direction, work: Callable[[], Awaitable[object]]) -> list[int]:
    """Let the work be done once, and return where its messages end."""
    assert facts.message_ends is not None
    await on_a_new_connection(backend, tap)
    heard = tap.heard(direction)
    heard.data = b""
    await work()
    return [0, *facts.message_ends(heard.data)]


async def transaction(backend: Backend) -> None:
    async with backend.session() as session:
        await session.query(Purse).filter(id=1).update(coins=F("coins") - 1)
        async with session.savepoint():
            await session.query(Purse).filter(id=2).update(coins=F("coins") + 1)
        await session.create(Receipt(id=holdall.uuid7(), payer=1, payee=2, coins=1))
        await session.get(Purse, 1)


async def books(witness: Witness) -> tuple[int, int]:
    """Return the coins that were moved, and the receipts; fail when the two purses do not agree."""
    coins = dict(await witness.rows("select id, coins from bank_purse"))
    ((receipts,),) = await witness.rows("select count(*) from bank_receipt")
    assert coins[1] + coins[2] == 2 * START
    return coins[2] - START, receipts


Books = tuple[int, int]
# What may be in the books after each outcome, given those before and those of a transaction that is there once.
ALLOWED: dict[type[BaseException] | None, Callable[[Books, Books], list[Books]]] = {
    None: lambda _, done: [done],
    ConnectionLost: lambda before, _: [before],
    CommitUnknownError: lambda before, done: [before, done],
}


@pytest.mark.parametrize("direction", ["requests", "replies"])
async def test_a_transaction_cut_at_every_message_is_there_once_or_not_at_all(
    backend: Backend, tap: Tap, witness: Witness, facts: Facts, direction: Direction
) -> None:
    ends = await message_ends(backend, tap, facts, direction, lambda: transaction(backend))
    before = await books(witness)
    seen: set[type[BaseException] | None] = set()
    for end in (*ends[:-1], ends[-1] - 1):  # the last one without its last byte: some servers answer a commit in one message
        await on_a_new_connection(backend, tap)
        tap.heard(direction).left = end
        outcome: type[BaseException] | None = None  # also where the begin is cut: on another connection it may begin again
        try:
            await transaction(backend)
        except (ConnectionLost, CommitUnknownError) as error:
            outcome = type(error)
        tap.heard(direction).left = None
        seen.add(outcome)
        await witness.run("update bank_purse set version = version + 1")  # it waits until the server has noticed that its client is gone
        after, done = await books(witness), (before[0] + 1, before[1] + 1)
        assert after in ALLOWED[outcome](before, done)
        before = after

    assert seen >= {ConnectionLost, CommitUnknownError}
    assert len(ends) > 5
    await transaction(backend)
    assert await books(witness) == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("swallowed", [False, True])
async def test_a_connection_lost_inside_a_savepoint_loses_the_whole_session(backend: Backend, witness: Witness, swallowed: bool) -> None:
    async def work() -> None:
        async with backend.session() as session:
            await session.query(Purse).filter(id=1).update(coins=0)
            async with session.savepoint():
                await witness.kill(10)
                with contextlib.suppress(ConnectionLost) if swallowed else contextlib.nullcontext():
                    await session.get(Purse, 1)

    with pytest.raises(TransactionError if swallowed else ConnectionLost) as caught:
        await work()

    assert swallowed is isinstance(caught.value.__cause__, ConnectionLost)
    assert await books(witness) == (0, 0)


WRITES: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "create": lambda backend: backend.create(Receipt(id=holdall.uuid7(), payer=1, payee=2, coins=0)),
    "create_many": lambda backend: backend.create_many([Receipt(id=holdall.uuid7(), payer=1, payee=2, coins=0) for _ in range(2)]),
    "update by query": lambda backend: backend.query(Purse).filter(id=1).update(coins=F("coins") + 1),
    "raw execute": lambda backend: backend.engine.execute("update bank_purse set coins = coins + 1 where id = :id", id=1),
    "raw execute_many": lambda backend: backend.engine.execute_many(
        "update bank_purse set coins = coins + 1 where id = :id", [{"id": 1}] * 2
    ),
}


@pytest.mark.parametrize("direction", ["requests", "replies"])
@pytest.mark.parametrize("name", WRITES)
async def test_a_write_cut_at_every_message_is_never_applied_twice(
    backend: Backend, tap: Tap, witness: Witness, facts: Facts, name: str, direction: Direction
) -> None:
    async def total() -> int:
        ((coins,),) = await witness.rows("select coins from bank_purse where id = 1")
        ((receipts,),) = await witness.rows("select count(*) from bank_receipt")
        return int(coins + receipts)

    whole = -await total()
    ends = await message_ends(backend, tap, facts, direction, lambda: WRITES[name](backend))
    whole += await total()
    for end in ends:
        before = await total()
        await on_a_new_connection(backend, tap)
        tap.heard(direction).left = end
        try:
            await WRITES[name](backend)
        except (ConnectionLost, CommitUnknownError):
            allowed = {before, before + whole}
        else:
            allowed = {before + whole}
        tap.heard(direction).left = None
        assert await total() in allowed


async def test_a_read_cut_at_every_message_is_answered(backend: Backend, tap: Tap, facts: Facts) -> None:
    """It is asked again, on another connection."""
    for direction in ("requests", "replies"):
        for end in await message_ends(backend, tap, facts, direction, lambda: backend.get(Purse, 1)):
            await on_a_new_connection(backend, tap)
            tap.heard(direction).left = end
            assert (await backend.get(Purse, 1)).coins == START
            tap.heard(direction).left = None


# -- a server that is killed under load ----------------------------------------------------------------------------------------------------


@pytest.fixture
def server(url: str, facts: Facts) -> Generator[Any]:
    """A server of this test's own; ``url`` is there to skip the test, or fail it under CI, where there is none."""
    assert facts.server is not None
    try:
        server = facts.server()
    except ServerMissing as error:
        pytest.skip(f"only a remote {facts.name} is there: {error}")
    with server:
        yield server


async def test_a_server_killed_under_load_is_errors_and_then_service(server: Any, facts: Facts) -> None:
    async with holdall.open(server.url, pool_max_size=5, acquire_timeout=20, **facts.options) as backend:
        await backend.initialize(Purse, Receipt)
        bank = Bank(backend, 10, random.Random(3))
        await bank.open()
        done = asyncio.Event()

        async def client() -> None:
            while not done.is_set():
                await bank.transfer("lock")
                await anyio.lowlevel.checkpoint()

        async def served(count: int) -> None:
            until = len(bank.outcomes.acknowledged) + count
            while len(bank.outcomes.acknowledged) < until:
                await anyio.lowlevel.checkpoint()

        async with asyncio.timeout(40), asyncio.TaskGroup() as clients:
            for _ in range(30):
                clients.create_task(client())
            for _ in range(2):
                await served(60)
                lost = bank.errors["ConnectionLost"]
                await asyncio.to_thread(server.stop, facts.crash)
                while bank.errors["ConnectionLost"] < lost + 30:  # everybody has met the dead server
                    await anyio.lowlevel.checkpoint()
                server.start()
            await served(60)
            done.set()

        assert await bank.audit() >= 180
