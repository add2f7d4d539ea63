"""What a pool needs from a driver, and how the pool is told to behave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from holdall.errors import ConfigurationError

C = TypeVar("C")


class Connector(Protocol[C]):
    """Open, check, clean and close the connections of one driver. All of it is called by the pool only, in the pool's loop."""

    async def open(self) -> C:
        """Open a connection; leave nothing behind when cancelled. Raises: errors of holdall's tree (``ConnectionLost`` …)."""
        ...

    def is_closed(self, connection: C) -> bool:
        """Tell whether the connection is known to be closed: no I/O, well under a microsecond."""
        ...

    async def recover(self, connection: C, *, dirty: bool) -> None:
        """Make a connection as good as new after a cancel or a failure: stop what runs, roll back, reset its state when ``dirty``.

        Raises: anything, when that is not possible; the pool then terminates the connection.
        """
        ...

    async def close(self, connection: C) -> None:
        """Close gracefully."""
        ...

    def terminate(self, connection: C) -> None:
        """Close at once, without waiting; also when the event loop of the connection is closed already."""
        ...


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """Sizes, and times in seconds.

    Attributes:
        min_size: connections kept open once the pool is in use.
        max_size: connections open at most, those being opened, cleaned or closed included.
        acquire_timeout: how long to wait for a connection.
        connect_timeout: how long opening one may take.
        max_idle: how long an unused connection above ``min_size`` is kept; None is without limit.
        max_lifetime: the age, less up to a tenth at random, at which a connection is replaced; None is without limit.
        recover_timeout: how long cleaning, or closing, one connection may take before it is terminated.
    """

    min_size: int = 0
    max_size: int = 10
    acquire_timeout: float = 10.0
    connect_timeout: float = 10.0
    max_idle: float | None = 600.0
    max_lifetime: float | None = 3600.0
    recover_timeout: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_size <= self.max_size or self.max_size < 1:
            raise ConfigurationError(f"pool sizes must be 0 <= min <= max and 1 <= max, not min {self.min_size!r}, max {self.max_size!r}")
        for name in ("acquire_timeout", "connect_timeout", "max_idle", "max_lifetime", "recover_timeout"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise ConfigurationError(f"{name} must be above 0 seconds, not {seconds!r}")
