"""SQLite through the standard library's ``sqlite3`` in worker threads."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdall.stores.sqlite.settings import SqliteSettings


class _Descriptor:
    name = "sqlite"
    settings = SqliteSettings

    def make(self, settings: Any) -> Any:
        """Return a store."""
        from holdall.stores.sqlite.store import SqliteStore  # noqa: PLC0415 - stores are imported when they are opened

        return SqliteStore(settings)

    async def make_scratch(self, settings: Any) -> Any:
        """Return settings of a new file, whose commits need not outlive the machine."""
        folder = tempfile.mkdtemp(prefix="holdall-")
        return replace(settings, path=str(Path(folder) / "scratch.db"), synchronous="off")

    async def remove_scratch(self, settings: Any, scratch: Any) -> None:
        """Remove the file."""
        del settings
        shutil.rmtree(Path(scratch.path).parent)


DESCRIPTOR = _Descriptor()
