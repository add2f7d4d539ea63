"""One place in the pool: the connection, and the lease on it."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any, Generic, TypeVar

C = TypeVar("C")


class SlotState(Enum):
    """Where a slot is; every slot of a pool's size is in exactly one of the first four."""

    IDLE = "idle"
    LEASED = "leased"
    RECOVERING = "recovering"
    CLOSING = "closing"
    GONE = "gone"


class Slot(Generic[C]):
    """A connection and its lease in one object, so that a lease allocates nothing.

    Attributes:
        connection: the driver's connection.
        dirty: set it after anything that leaves state behind (raw SQL, ``SET``, advisory locks); the pool then cleans the connection.
        holder: the task that holds the lease.
        since: when the state began, by ``time.monotonic()``.
        expires_at: when it is to be replaced, by the same clock.
        label: what is being done to it while no task holds it.
    """

    __slots__ = ("connection", "dirty", "expires_at", "holder", "label", "since", "state")

    def __init__(self, connection: C, since: float, expires_at: float) -> None:
        self.connection = connection
        self.dirty = False
        self.holder: asyncio.Task[Any] | None = None
        self.since = since
        self.expires_at = expires_at
        self.label: str | None = None
        self.state = SlotState.IDLE
