"""SQLite through the standard library's ``sqlite3`` in worker threads."""

from __future__ import annotations

from typing import Any

from holdall.stores.sqlite.settings import SqliteSettings


class _Descriptor:
    name = "sqlite"
    settings = SqliteSettings

    def make(self, settings: Any) -> Any:
        """Return a store."""
        from holdall.stores.sqlite.store import SqliteStore  # noqa: PLC0415 - stores are imported when they are opened

        return SqliteStore(settings)


DESCRIPTOR = _Descriptor()
