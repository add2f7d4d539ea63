"""Values that defaults are made of: the time now, and keys that sort by time."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from threading import Lock
from time import time_ns
from uuid import UUID

_lock = Lock()
_last = 0


def utc_now() -> datetime:
    """Return the time now: aware, UTC, with microseconds."""
    return datetime.now(UTC)


def uuid7() -> UUID:
    """Return a UUID of version 7 (RFC 9562): 48 bits of milliseconds, then 74 bits that only grow within a process.

    Keys made one after another sort in that order, so that indexes grow at their end.
    """
    global _last  # noqa: PLW0603
    random = int.from_bytes(os.urandom(10))
    with _lock:
        # 12 bits of the fraction of the millisecond (section 6.2, method 3) keep the order within one.
        milliseconds, rest = divmod(time_ns(), 1_000_000)
        stamp = max((milliseconds << 12) | (rest * 4096 // 1_000_000), _last + 1)
        _last = stamp
    value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0b10 << 62 | (random & ((1 << 62) - 1))
    return UUID(int=value)


def _after_fork() -> None:
    # The lock may have been held by a thread that does not exist in the child.
    global _lock  # noqa: PLW0603
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
