"""The contract for authors of backends.

A store is a function from operations to results. What it does not declare in ``capabilities`` never reaches it: the core refuses before
any I/O. Errors of a driver are translated by the store, once, into ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from holdall.capabilities import Capability, Limits
from holdall.query.operations import Operation, Select
from holdall.query.stream import RowStream
from holdall.record.decoder import ValueTable
from holdall.record.metadata import ModelInfo
from holdall.settings import Settings

Isolation = Literal["read committed", "repeatable read", "serializable"]


@dataclass(frozen=True, slots=True)
class BeginOptions:
    """How a transaction begins.

    Attributes:
        isolation: None means read committed.
        timeout: seconds that each statement may take; None means the store's own setting.
    """

    isolation: Isolation | None = None
    read_only: bool = False
    timeout: float | None = None


class Executor(Protocol):
    """What operations are given to."""

    def execute(self, operation: Operation) -> Awaitable[Any]:
        """Carry out one operation; its class says what it gives."""
        ...

    async def stream(self, operation: Select, batch: int) -> RowStream:
        """Start a query that is read in batches of that many rows."""
        ...


class Transaction(Executor, Protocol):
    """One connection's transaction after another; each begins with its first statement."""

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open now."""
        ...

    async def commit(self) -> None:
        """Commit, and give the connection back. Raises when the transaction has failed before."""
        ...

    async def rollback(self) -> None:
        """Roll back, and give the connection back."""
        ...

    def abandon(self) -> None:
        """Roll back without waiting: what a cancelled task does. The store sees to the rest by itself."""
        ...

    async def savepoint(self, name: str) -> None:
        """Set a savepoint; begins the transaction if need be."""
        ...

    async def release(self, name: str) -> None:
        """Give up a savepoint and keep what was done since."""
        ...

    async def rollback_to(self, name: str) -> None:
        """Undo what was done since the savepoint, and remove it."""
        ...


class Store(Executor, Protocol):
    """The part that is written once per database. ``begin`` is called only when ``Capability.SESSIONS`` is declared."""

    capabilities: frozenset[Capability]
    limits: Limits
    values: ValueTable

    async def open(self) -> None:
        """Connect for the running event loop; called at most once per loop before anything else, and lazily without it."""
        ...

    async def close(self, timeout: float) -> None:
        """Close everything of the running event loop; wait that many seconds for what is in use."""
        ...

    async def ping(self) -> None:
        """Make one round trip."""
        ...

    async def prepare(self, models: Sequence[ModelInfo]) -> None:
        """Create the tables, indexes and constraints that are missing; referenced models come first."""
        ...

    async def drop(self, models: Sequence[ModelInfo]) -> None:
        """Remove the tables of the models, if they exist."""
        ...

    def begin(self, options: BeginOptions) -> Transaction:
        """Return a transaction that begins with its first statement."""
        ...

    def explain(self, operation: Operation) -> str:
        """Return, without I/O, what would be sent."""
        ...

    def stats(self) -> Mapping[str, Any]:
        """Return figures of the connections of the running event loop."""
        ...


@runtime_checkable
class Descriptor(Protocol):
    """What an entry point of the group ``holdall.stores`` names: it makes stores, and imports no driver until it does."""

    name: str
    settings: type[Settings]

    def make(self, settings: Any) -> Store:
        """Return a store. Does no I/O. Raises ``MissingDriverError`` when its driver is not installed."""
        ...
