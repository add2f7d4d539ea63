"""The settings of ``memory://``."""

from __future__ import annotations

from dataclasses import dataclass

from holdall.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings(Settings):
    """What ``memory://`` can be told.

    Attributes:
        acquire_timeout: seconds that a session waits for the one writer before it raises ``LockNotAvailable``.
    """

    acquire_timeout: float = 10.0
