"""A peer: a library that does the work, as a table of functions."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.work import Kind


@dataclass(frozen=True)
class Place:
    """Where a peer works.

    Attributes:
        url: as holdall writes it; a peer changes the scheme to its own.
        people: how many rows ``people`` has; ``newcomers`` begins empty.
        pool_size: how many connections a pool has, all of them open from the start.
        is_empty: the peer makes both tables and fills the first, since each peer of this engine has its own form of storing a value.
    """

    url: str
    people: int
    pool_size: int = 10
    is_empty: bool = False


@dataclass(frozen=True)
class Way:
    """One way to do a kind of work.

    Attributes:
        call: does it once; the kind says what it is given and what it gives.
        variant: tells several ways of one peer apart.
        prepare: makes the argument of the numbers, outside the clock.
    """

    kind: Kind
    call: Callable[[Any], Awaitable[Any]]
    variant: str = ""
    prepare: Callable[[range], Any] | None = None


@dataclass(frozen=True)
class Peer:
    """A library, configured as its own documentation recommends.

    Attributes:
        open: connects, fills the tables where it must, and gives the ways.
        role: the colour of its bars.
        read: makes the values of a person of those that the peer gave, in the order of the columns.
        stored: does the same with a row as the columns hold it.
    """

    name: str
    open: Callable[[Place], AbstractAsyncContextManager[Sequence[Way]]]
    role: Literal["raw", "ours", "library"] = "library"
    read: Callable[[Sequence[Any]], Sequence[Any]] = tuple
    stored: Callable[[Sequence[Any]], Sequence[Any]] = tuple
