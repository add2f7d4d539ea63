"""What the tests must know of an engine: how to look at it from outside, how to do it harm, and which anomalies its levels allow."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from holdall import Backend
from holdall.store import Isolation

APPLICATION = f"holdall-stress-{os.getpid()}"

LEVELS: tuple[Isolation, ...] = ("read committed", "repeatable read", "serializable")

# What becomes of each anomaly of tests.stress.anomalies at the three levels.
Table = Mapping[str, tuple[str, str, str]]
YES = "yes"
NO = "no"  # what is read does not show it
WAITS = "no: waits"
ERROR = "no: SerializationError"
WAITS_ERROR = "no: waits, then SerializationError"
WAITS_DEADLOCK = "no: waits, then DeadlockError"


class Witness(Protocol):
    """Somebody else, over a connection of its own and without our library."""

    async def run(self, *statements: str) -> None:
        """Run statements, each committed on its own."""
        ...

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query."""
        ...

    async def sessions(self) -> int | None:
        """Count the connections of the backend that the server knows of; None where there is no server."""
        ...

    async def waiting(self, backend: Backend) -> int:
        """Count the sessions of the backend that wait for a lock, as it is now: one that has been given the lock does not count."""
        ...

    async def check_quiet(self, tables: Sequence[str]) -> None:
        """Fail when a transaction or a lock is left."""
        ...

    async def kill(self, count: int) -> int:
        """End some connections of the backend, in the middle of whatever they do; return how many."""
        ...

    def locked(self, row: str) -> AbstractAsyncContextManager[None]:
        """Hold the lock of the row that a query finds."""
        ...


@dataclass(frozen=True)
class Facts:
    """One engine.

    Attributes:
        name: of the engine in the tests; ``<name>_url`` is the fixture with its URL.
        label: of the engine in the documentation.
        witness: opens one, given a backend's URL.
        options: with which the backend is opened, so that the witness knows its connections.
        isolation: which anomalies occur at which level, and how the others are prevented.
        message_ends: where the messages end in the bytes of a server's reply; None where there is no server, and nothing to cut or kill.
        server: makes a server of one's own, not started yet, that keeps what it has committed through a ``crash``; where there is one.
        slow: a query that takes much longer than any test.
        one_writer: whoever writes keeps every other writer waiting, whatever the rows, so that there are no deadlocks.
    """

    name: str
    label: str
    witness: Callable[[str], AbstractAsyncContextManager[Witness]]
    isolation: Table
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    message_ends: Callable[[bytes], list[int]] | None = None
    server: Callable[[], Any] | None = None
    crash: signal.Signals = signal.SIGQUIT
    slow: str = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000000) select count(*) from n"
    one_writer: bool = False
