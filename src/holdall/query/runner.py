"""What a query needs to run, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from holdall.query.operations import Operation, Select
from holdall.query.stream import RowStream
from holdall.record.decoder import Decoder
from holdall.record.metadata import ModelInfo


class Runner(Protocol):
    """What a query needs to run: a backend or a session."""

    @property
    def cursor_key(self) -> str | None:
        """The key that signs cursors."""
        ...

    def decoder(self, info: ModelInfo, names: tuple[str, ...] | None = None, shape: Any = None) -> Decoder:
        """Return what turns rows of these fields (None: all) into objects of the shape (None: the model)."""
        ...

    async def run_operation(self, operation: Operation) -> Any:
        """Check that the store keeps the promise, then carry out the operation."""
        ...

    async def open_stream(self, operation: Select, batch: int) -> RowStream:
        """Check that the store keeps the promise, then start the query."""
        ...

    def explain_operation(self, operation: Operation) -> Explanation:
        """Say what would be sent."""
        ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a query will send, and what it needs.

    Attributes:
        statement: the native request, without values. None when nothing is sent, or the query is refused.
        needs: the capabilities that it needs. ``missing``: those that the store does not declare.
        notes: what is worth knowing, such as an order that no index serves.
    """

    statement: str | None
    needs: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """Return all of it as text."""
        lines = [self.statement or "nothing is sent"]
        lines += [f"needs: {item}" for item in self.needs]
        lines += [f"missing: {item}" for item in self.missing]
        return "\n".join((*lines, *self.notes))
