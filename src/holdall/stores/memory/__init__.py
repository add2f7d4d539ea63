"""The memory store: the reference of what every other store must do."""

from __future__ import annotations

from typing import Any

from holdall.stores.memory.settings import MemorySettings


class _Descriptor:
    name = "memory"
    settings = MemorySettings

    def make(self, settings: Any) -> Any:
        """Return a store of its own, empty."""
        from holdall.stores.memory.store import MemoryStore  # noqa: PLC0415  - stores are imported when they are opened

        return MemoryStore(settings)

    async def make_scratch(self, settings: Any) -> Any:
        """Return the same settings: every store is a new one."""
        return settings

    async def remove_scratch(self, settings: Any, scratch: Any) -> None:
        """Do nothing: it goes with its store."""


DESCRIPTOR = _Descriptor()
