"""A database that lives as long as its process: ``sqlite://``."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (a folder of our own, readable by us alone, is made in it)
_ENOUGH_BYTES = 256 * 1024 * 1024  # containers often get 64 MB of it


class TemporaryDatabase:
    """A private database file, in memory where the system has a memory file system, removed at ``remove()`` or at exit.

    A shared-cache or ``memdb`` database would have no write-ahead log, so its readers would meet locks.
    """

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="holdall-", dir=_memory_folder())
        self.path = str(Path(folder) / "memory.db")
        self._finalizer = weakref.finalize(self, _remove, folder, os.getpid())

    def remove(self) -> None:
        """Remove the file; call it when its engines are closed. Doing it twice does no harm."""
        self._finalizer()


def temporary_database() -> TemporaryDatabase:
    """Make a private database file."""
    return TemporaryDatabase()


def _memory_folder() -> str | None:
    if not os.access(_SHARED_MEMORY, os.W_OK) or shutil.disk_usage(_SHARED_MEMORY).free < _ENOUGH_BYTES:
        return None
    return str(_SHARED_MEMORY)


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked child ends too, but the file is its parent's
        shutil.rmtree(folder, ignore_errors=True)
