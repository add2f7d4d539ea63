"""Transfers between purses that leave receipts, so that an audit tells a lost, halved, doubled or invented one."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from uuid import UUID

import holdall
from holdall import (
    Backend,
    CommitUnknownError,
    ConflictError,
    ConnectionLost,
    DeadlockError,
    F,
    Field,
    HoldallError,
    LockNotAvailable,
    Model,
    PoolTimeout,
    SerializationError,
    Session,
    uuid7,
)
from holdall.store import Isolation

START = 100


class Purse(Model):
    id: int = Field(primary_key=True)
    coins: int = START
    version: int = Field(default=1, version=True)

    class Meta:
        name = "bank_purse"


class Receipt(Model):
    id: UUID = Field(primary_key=True)
    payer: int
    payee: int
    coins: int

    class Meta:
        name = "bank_receipt"


MODELS = (Purse, Receipt)
# What protects a transfer from others; "disorder" locks the payer first, whoever that is, so that two transfers can wait for each other.
Protection = Literal["lock", "disorder", "version", "computed", "repeatable read", "serializable"]
LEVELS: Mapping[Protection, Isolation] = {"repeatable read": "repeatable read", "serializable": "serializable"}
PROTECTIONS: tuple[Protection, ...] = ("lock", "disorder", "version", "computed", "repeatable read", "serializable")

# After these nothing of the transfer was applied.
REFUSALS = (ConnectionLost, DeadlockError, SerializationError, LockNotAvailable, PoolTimeout)


class Outcomes(NamedTuple):
    """What became of the transfers, by the ids of their receipts."""

    acknowledged: set[UUID]
    refused: set[UUID]
    unknown: set[UUID]  # cancelled, or the connection was lost while it committed


class Bank:
    """The books beside the database.

    Attributes:
        attempts: how often a transfer was begun, its repetitions counted.
        errors: which refused transfers, left them unknown, or made them run again.
    """

    def __init__(self, backend: Backend, purses: int, chance: random.Random) -> None:
        self.backend = backend
        self.outcomes = Outcomes(set(), set(), set())
        self.attempts = 0
        self.errors: Counter[str] = Counter()
        self._purses = purses
        self._chance = chance

    async def open(self) -> None:
        """Fill the purses."""
        await self.backend.create_many([Purse(id=number) for number in range(self._purses)])

    async def transfer(self, protection: Protection) -> None:
        """Move some coins, and note what became of it."""
        payer, payee = self._chance.sample(range(self._purses), 2)
        receipt = Receipt(id=uuid7(), payer=payer, payee=payee, coins=self._chance.randrange(1, 10))
        self.outcomes.unknown.add(receipt.id)
        try:
            while not await self._attempt(receipt, protection):
                self.errors["ConflictError"] += 1
        except asyncio.CancelledError:
            self.errors["CancelledError"] += 1
            raise
        except CommitUnknownError:
            self.errors["CommitUnknownError"] += 1
        except REFUSALS as error:
            self.errors[type(error).__name__] += 1
            self.outcomes.unknown.discard(receipt.id)
            self.outcomes.refused.add(receipt.id)
        else:
            self.outcomes.unknown.discard(receipt.id)
            self.outcomes.acknowledged.add(receipt.id)

    async def audit(self) -> int:
        """Compare purses, receipts and outcomes; return the number of receipts."""
        async with self.backend.session(isolation="repeatable read") as session:
            coins = {purse.id: purse.coins for purse in await session.query(Purse)}
            receipts = await session.query(Receipt).all()
        stored = {receipt.id for receipt in receipts}
        expected = dict.fromkeys(range(self._purses), START)
        for receipt in receipts:
            expected[receipt.payer] -= receipt.coins
            expected[receipt.payee] += receipt.coins
        acknowledged, refused, unknown = self.outcomes
        assert sum(coins.values()) == START * self._purses, "coins were made or lost"
        assert coins == expected, "the purses are not what the receipts say"
        assert acknowledged <= stored, f"acknowledged, but not stored: {acknowledged - stored}"
        assert not refused & stored, f"refused, but stored: {refused & stored}"
        assert stored <= acknowledged | unknown | refused, f"of nobody: {stored - acknowledged - unknown - refused}"
        return len(receipts)

    async def _attempt(self, receipt: Receipt, protection: Protection) -> bool:
        what = (receipt.coins, protection)
        try:
            await self.backend.run(self._move, receipt.id, receipt.payer, receipt.payee, what, retries=50, isolation=LEVELS.get(protection))
        except ConflictError:  # of a version: it is for the application to try again
            return False
        return True

    async def _move(self, session: Session, id: UUID, payer: int, payee: int, what: tuple[int, Protection]) -> None:
        self.attempts += 1
        coins, protection = what
        try:
            await (self._compute if protection == "computed" else self._rewrite)(session, payer, payee, what)
        except HoldallError as error:
            if holdall.is_retryable(error):
                self.errors[f"{type(error).__name__}, run again"] += 1
            raise
        await session.create(Receipt(id=id, payer=payer, payee=payee, coins=coins))

    async def _compute(self, session: Session, payer: int, payee: int, what: tuple[int, Protection]) -> None:
        for key, change in sorted(((payer, -what[0]), (payee, what[0]))):
            await session.query(Purse).filter(id=key).update(coins=F("coins") + change)

    async def _rewrite(self, session: Session, payer: int, payee: int, what: tuple[int, Protection]) -> None:
        coins, protection = what
        changes = {payer: -coins, payee: coins}
        keys = list(changes) if protection == "disorder" else sorted(changes)
        lock = protection in ("lock", "disorder")
        purses: dict[int, Any] = {key: await session.get(Purse, key, lock=lock) for key in keys}
        for key in keys:
            purses[key].coins += changes[key]
            await session.save(purses[key])
