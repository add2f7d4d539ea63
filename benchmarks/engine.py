"""A database to compare on: its peers, its lines, its targets, and a server of its own."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.peer import Peer, Place
from benchmarks.work import Kind, Look, Work


class Server(Protocol):
    """A running server, or a folder of files.

    Attributes:
        versions: what the figures depend on, by name.
        address: host and port, where a proxy can count round trips before it; None where there is nothing to count.
    """

    versions: Mapping[str, str]
    address: tuple[str, int] | None

    async def place(self, peer: Peer) -> Place:
        """Return where the peer works. Peers may share one place."""
        ...

    def look(self, place: Place) -> Look:
        """Return what reads rows of a place as they are stored."""
        ...

    async def empty(self, place: Place) -> None:
        """Remove all newcomers."""
        ...


@dataclass(frozen=True)
class Target:
    """A contender is to be so many ``times`` as fast as another on a line."""

    line: str
    contender: str
    than: str
    times: float


@dataclass(frozen=True)
class Engine:
    """A database.

    Attributes:
        peers: the first is the raw driver that others are compared with.
        start: gives a server with nothing in it but what all peers share, for so many people, using a temporary folder.
        spared: lines that say little beside the others, which are measured on request only.
    """

    name: str
    title: str
    peers: Sequence[Peer]
    work: Sequence[Work]
    targets: Sequence[Target]
    start: Callable[[Path, int], AbstractAsyncContextManager[Server]]
    spared: Sequence[Work] = ()

    def measures(self, peer: Peer, line: Work) -> bool:
        """Whether the peer is measured on the line without a request for everything: other libraries only where they differ most."""
        return line not in self.spared and (peer.role != "library" or line in BESIDE_LIBRARIES)


DICTS = Work(Kind.DICTS, 1000)
READS = (
    *(Work(Kind.GET, tasks=tasks) for tasks in (1, 20, 100)),
    *(Work(Kind.OBJECTS, rows) for rows in (100, 1000)),
    DICTS,
    Work(Kind.TUPLES, 1000),
)
WRITES = (Work(Kind.SAVE), Work(Kind.CHANGE), Work(Kind.CREATE_MANY, 1000))
STREAM = Work(Kind.STREAM)
BESIDE_LIBRARIES = frozenset((Work(Kind.GET), Work(Kind.OBJECTS, 1000), Work(Kind.CREATE), *WRITES))


def beside_others(work: Sequence[Work], others: Sequence[Peer]) -> list[Target]:
    """Return the targets beside other libraries that do the same: four times on 1,000 rows as objects, else twice."""
    heavy = Work(Kind.OBJECTS, 1000)
    return [Target(line.title, "holdall", other.name, 4.0 if line == heavy else 2.0) for line in work for other in others]
