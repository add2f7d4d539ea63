"""The contract for authors of backends.

A store is a function from operations to results. What it does not declare in ``capabilities`` never reaches it: the core refuses before
any I/O. Errors of a driver are translated by the store, once, into ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from holdall.capabilities import Capability, Limits
from holdall.errors import ConfigurationError
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


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a database differs from what ``initialize`` would make of the models; as a text, one line to read.

    Attributes:
        kind: what differs.
        table: the stored name of the model; empty for a function, which belongs to no table.
        name: the column, index, constraint or function; for a table its own name.
        expected: its definition by the model; None when the model knows nothing of it.
        found: its definition in the database; None when it is missing there.
    """

    kind: Literal["table", "column", "constraint", "index", "function"]
    table: str
    name: str
    expected: str | None
    found: str | None

    def __str__(self) -> str:
        """Return one line."""
        subject = (
            f"{self.kind} {self.name!r}" if self.kind in ("table", "function") else f"{self.kind} {self.name!r} of table {self.table!r}"
        )
        if self.found is None:
            return f"{subject} is missing; the model wants {self.expected}"
        if self.expected is None:
            return f"{subject} is in the database alone: {self.found}"
        return f"{subject} is {self.found}; the model wants {self.expected}"


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

    async def compare(self, models: Sequence[ModelInfo]) -> list[Difference]:
        """Return how the database differs from what ``prepare`` makes; called only when ``Capability.SCHEMA_CHECK`` is declared."""
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


def not_initialised(label: str) -> ConfigurationError:
    """Return the error for a model whose table, index or collection is missing."""
    return ConfigurationError(f"{label} was not initialised here; call 'await backend.initialize({label})' first")


@runtime_checkable
class Sharing(Protocol):
    """A store whose data is its own, and no URL leads to."""

    def share(self, settings: Any, /) -> Store:
        """Return a store of the same data with other settings, to be closed before this one."""
        ...


@runtime_checkable
class Reindexing(Protocol):
    """A store that declares ``Capability.REINDEX``."""

    async def reindex(self, info: ModelInfo, /) -> None:
        """Build a new index of a model's records while the old one serves, and put it in its place."""
        ...


@runtime_checkable
class Descriptor(Protocol):
    """What an entry point of the group ``holdall.stores`` names: it makes stores, and imports no driver until it does."""

    name: str
    settings: type[Settings]

    def make(self, settings: Any) -> Store:
        """Return a store. Does no I/O. Raises ``MissingDriverError`` when its driver is not installed."""
        ...
