"""Figures of a pool at one moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolStats:
    """What a pool holds now, then what it has done since it was made.

    ``size`` counts every connection that the server may know of: ``idle + in_use + recovering + closing + opening``.
    """

    size: int
    max_size: int
    idle: int
    in_use: int
    recovering: int
    closing: int
    opening: int
    waiting: int
    acquired: int
    timeouts: int
    opened: int
    closed: int
    failed: int
    recovered: int
