"""Watching: what tests and tools put in the way of every operation for a while.

As a rule nobody watches, which costs a look at a variable.
"""

from __future__ import annotations

from typing import Protocol

from holdall.settings import Settings
from holdall.store import Executor, Store, Transaction


class Watched(Protocol):
    """What a watcher knows of a backend."""

    store: Store
    settings: Settings


class Watcher(Protocol):
    """Stands between all backends and their stores."""

    def outside(self, backend: Watched, /) -> Executor:
        """Return what carries out an operation outside sessions, coalescing included."""
        ...

    def inside(self, backend: Watched, transaction: Transaction, /) -> Transaction:
        """Return what stands for a session's transaction, the same one for each of its statements."""
        ...


watcher: Watcher | None = None


def watch(new: Watcher | None) -> None:
    """Let it watch from now on; None ends that."""
    global watcher  # noqa: PLW0603
    watcher = new
