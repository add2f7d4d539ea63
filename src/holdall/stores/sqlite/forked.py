"""Files that were open when this process was forked from its parent: SQLite cannot use them here.

SQLite keeps, per process, a table of the files that are open and of the locks on them. A child inherits the table, but not the locks: its
new connections would believe in locks that the parent alone holds, and the parent, closing as the last one that it knows of, would remove
the log with the child's commits in it (https://www.sqlite.org/howtocorrupt.html, section 2.6).
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Protocol

from holdall.errors import ConfigurationError


class Open(Protocol):
    """Connections to one file."""

    path: str

    def wait_ended(self) -> None:
        """When they are about to be closed, wait for that."""
        ...

    def __len__(self) -> int:
        """Return how many are open."""
        ...


_watched: weakref.WeakSet[Open] = weakref.WeakSet()
_inherited: set[tuple[int, int]] = set()


def watch(connections: Open) -> None:
    """Note the file of these connections as unusable in every child that is forked while any of them is open."""
    _watched.add(connections)


def check(path: str) -> None:
    """Raise ``ConfigurationError`` when the parent had the file open at the fork."""
    if _inherited and _identity(path) in _inherited:
        raise ConfigurationError(
            f"{path!r} was open in the process that this one was forked from, and SQLite cannot use it here; "
            "close every backend on it before the fork, or start processes by 'spawn'"
        )


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _before() -> None:
    # Engines whose event loop has ended close in their threads: a fork in between would depend on who is faster.
    for connections in list(_watched):
        connections.wait_ended()


def _in_child() -> None:
    for connections in list(_watched):
        identity = _identity(connections.path) if len(connections) else None
        if identity is not None:
            _inherited.add(identity)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_child=_in_child)
