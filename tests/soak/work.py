"""What the tasks of a soak do: operations of every kind that check their own answers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import traceback
from collections.abc import Awaitable, Callable

from holdall import (
    Backend,
    CommitUnknownError,
    ConflictError,
    ConnectionLost,
    DeadlockError,
    DuplicateKeyError,
    Field,
    LockNotAvailable,
    Model,
    PoolTimeout,
    SerializationError,
    StatementTimeout,
)
from tests.soak.report import Report
from tests.stress.bank import PROTECTIONS, START, Bank, Purse, Receipt
from tests.stress.hostile import PAYLOADS

PURSES = 12
GROUP = 25

# What a caller may meet when connections are cut, statements wait and transactions collide. Any other error is a violation.
EXPECTED = (
    CommitUnknownError,
    ConflictError,
    ConnectionLost,
    DeadlockError,
    LockNotAvailable,
    PoolTimeout,
    SerializationError,
    StatementTimeout,
)


class Piece(Model):
    id: int | None = Field(default=None, primary_key=True, generated=True)
    group: int = Field(index=True)
    text: str = ""

    class Meta:
        name = "soak_piece"


class Member(Model):
    id: int | None = Field(default=None, primary_key=True, generated=True)
    email: str = Field(unique=True)

    class Meta:
        name = "soak_member"


MODELS = (Purse, Receipt, Piece, Member)


class Crew:
    """The tasks, and what each is doing now."""

    def __init__(self, backend: Backend, report: Report, chance: random.Random) -> None:
        self.bank = Bank(backend, PURSES, chance)
        self.actions: set[asyncio.Task[None]] = set()
        self._backend = backend
        self._report = report
        self._chance = chance
        self._numbers = itertools.count(1)

    async def work(self, is_over: Callable[[], bool]) -> None:
        """Do one thing after another until it is over. An action may be cancelled; the worker goes on."""
        while not is_over():
            name = self._chance.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
            action = asyncio.create_task(self._act(name))
            self.actions.add(action)
            await asyncio.wait([action])
            self.actions.discard(action)
            if action.cancelled():
                self._report.errors["CancelledError"] += 1

    async def _act(self, name: str) -> None:
        self._report.operations[name] += 1
        try:
            await KINDS[name][0](self)
        except EXPECTED as error:
            self._report.errors[type(error).__name__] += 1
        except Exception as error:  # noqa: BLE001 - the run goes on, and tells of it at its end
            where = "".join(traceback.format_exception(error)[-3:])
            self._report.check("only expected errors", holds=False, found=f"{name}: {where}")

    # -- kinds of work -----------------------------------------------------------------------------------------------------------------

    async def transfer(self) -> None:
        """Move coins, protected in some way."""
        await self.bank.transfer(self._chance.choice(PROTECTIONS))

    async def burst(self) -> None:
        """Read many keys in one turn, which are coalesced."""
        keys = [self._chance.randrange(PURSES) for _ in range(10)]
        found = await asyncio.gather(*(self._backend.get(Purse, key) for key in keys))
        self._report.check("each reader gets its own record", [purse.id for purse in found] == keys, keys)

    async def literal(self) -> None:
        """Ask for what nobody else asks for."""
        wanted = f"literal {next(self._numbers)} {self._chance.choice(PAYLOADS)}"
        found = await self._backend.engine.fetch_value("select email from soak_member where email = :wanted or id < 0", wanted=wanted)
        self._report.check("no foreign reply", found is None, found)
        number = next(self._numbers)
        self._report.check("no foreign reply", await self._backend.engine.fetch_value(f"select {number} as n") == number, number)

    async def snapshot(self) -> None:
        """Add up in one transaction, in two ways."""
        async with self._backend.session(isolation="repeatable read", read_only=True) as session:
            coins = sum(purse.coins for purse in await session.query(Purse))
            again = sum([purse.coins async for purse in session.query(Purse).stream(batch=5)])
        self._report.check("a snapshot has all coins", coins == again == START * PURSES, (coins, again))

    async def stream(self) -> None:
        """Read to some point, then leave."""
        until = self._chance.randrange(PURSES + 1)
        seen: list[int] = []
        async for purse in self._backend.query(Purse).order_by("id").stream(batch=3):
            seen.append(purse.id)
            if len(seen) == until:
                break
        self._report.check("a stream is in order and whole", seen == list(range(until or PURSES)), seen)

    async def pages(self) -> None:
        """Walk through the purses."""
        seen: list[int] = []
        cursor: str | None = None
        while True:
            page = await self._backend.query(Purse).order_by("id").page(size=5, after=cursor)
            seen += [purse.id for purse in page.items]
            cursor = page.next
            if cursor is None:
                break
        self._report.check("pages show each record once", seen == list(range(PURSES)), seen)

    async def bulk(self) -> None:
        """Create a group of records, look at it, remove it, each whole."""
        group = next(self._numbers)
        text = self._chance.choice(PAYLOADS)
        await self._backend.create_many([Piece(group=group, text=text) for _ in range(GROUP)])
        found = await self._backend.query(Piece).filter(group=group, text=text).count()
        self._report.check("a bulk write is whole", found == GROUP, found)
        removed = await self._backend.query(Piece).filter(group=group).delete()
        self._report.check("a bulk delete is whole", removed == GROUP, removed)

    async def race(self) -> None:
        """Race for one unique value."""
        email = f"{next(self._numbers)}@example.org"
        found = await asyncio.gather(*(self._backend.get_or_create(Member, {"email": email}) for _ in range(4)))
        self._report.check("a race has one winner", sum(created for _, created in found) == 1, found)
        try:
            await self._backend.create(Member(email=email))
        except DuplicateKeyError:
            return
        self._report.check("unique values are unique", holds=False, found=email)

    async def savepoint(self) -> None:
        """Undo a part of a transaction."""
        group = -next(self._numbers)
        async with self._backend.session() as session:
            await session.create_many([Piece(group=group) for _ in range(GROUP)])
            with contextlib.suppress(ZeroDivisionError):
                async with session.savepoint():
                    await session.query(Piece).filter(group=group).delete()
                    raise ZeroDivisionError
            found = await session.query(Piece).filter(group=group).count()
            self._report.check("a savepoint undoes its own", found == GROUP, found)

    async def impatient(self) -> None:
        """Wait for locks, but not long."""
        async with self._backend.session(timeout=0.05) as session:
            for key in self._chance.sample(range(PURSES), 3):
                await session.get(Purse, key, lock=True)

    # -- at the end --------------------------------------------------------------------------------------------------------------------

    async def audit(self) -> None:
        """Compare the books, and look for halves."""
        try:
            receipts = await self.bank.audit()
        except AssertionError as error:
            self._report.check("the books are right", holds=False, found=error)
        else:
            self._report.check("the books are right", holds=receipts >= len(self.bank.outcomes.acknowledged))
        groups: dict[int, int] = {}
        for piece in await self._backend.query(Piece):
            groups[piece.group] = groups.get(piece.group, 0) + 1
        halves = {group: count for group, count in groups.items() if count != GROUP}
        self._report.check("no half of a bulk write is left", not halves, halves)
        for name, count in self.bank.errors.items():
            if name != "CancelledError":  # its worker has counted it
                self._report.errors[f"{name} (of a transfer)"] += count


KINDS: dict[str, tuple[Callable[[Crew], Awaitable[None]], int]] = {  # with how often, relative to the others
    "transfer": (Crew.transfer, 10),
    "burst of reads": (Crew.burst, 4),
    "literal": (Crew.literal, 4),
    "snapshot": (Crew.snapshot, 3),
    "stream": (Crew.stream, 3),
    "pages": (Crew.pages, 2),
    "bulk": (Crew.bulk, 2),
    "race": (Crew.race, 2),
    "savepoint": (Crew.savepoint, 2),
    "impatient": (Crew.impatient, 1),
}
