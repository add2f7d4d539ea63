"""The work that all peers do: what each kind is given, what it gives, and how its answer is checked."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, cycle
from random import Random
from typing import Any, NamedTuple, Protocol

from benchmarks.people import COLUMNS, HELD, columns_of, values_of

BATCH = 500  # rows that a stream holds at once
EVERYBODY = range(1, 1 << 40)
_SEED = 7
_new_names = count()  # no name is given twice in a process: an object that has its new name already has nothing to save


class Kind(StrEnum):
    """What is done. A function of a peer is given a key, a range of keys, or what is said here."""

    GET = "get by key"  # key → an object
    OBJECTS = "filter, objects"  # range → objects, in any order
    DICTS = "filter, dicts"  # range → mappings
    TUPLES = "filter, tuples"  # range → tuples, structs or whatever is lightest
    CREATE = "create one"  # key → stored in newcomers
    SAVE = "save one change"  # Rename → a person that was loaded before has its new name stored
    CHANGE = "transaction: read, change, commit"  # key → the person's age is one more
    CREATE_MANY = "create many"  # what prepare made of a range → stored in newcomers, all or none
    STREAM = "stream"  # rows to hold at once → the sum of the ids of all people


class Rename(NamedTuple):
    """A change to save."""

    number: int
    name: str


@dataclass(frozen=True)
class Work:
    """A line of the tables: a kind of work with so many rows, done by so many tasks at the same time."""

    kind: Kind
    rows: int = 1
    tasks: int = 1

    @property
    def title(self) -> str:
        """What the line is called."""
        rows = f", {self.rows:,} rows" if self.rows > 1 else ""
        tasks = f", {self.tasks} tasks" if self.tasks > 1 else ""
        return f"{self.kind}{rows}{tasks}"

    @property
    def writes(self) -> bool:
        """Whether the table of newcomers has to be emptied before a sample."""
        return self.kind in {Kind.CREATE, Kind.CREATE_MANY}


class Look(Protocol):
    """Reads rows in a way that no peer is part of."""

    async def __call__(self, table: str, numbers: range) -> list[Sequence[Any]]:
        """Return the rows with these keys, in their order."""
        ...


Call = Callable[[Any], Awaitable[Any]]
Read = Callable[[Sequence[Any]], Sequence[Any]]
Check = Callable[[Call, Any, Read, Look], Awaitable[None]]


def arguments(work: Work, people: int) -> Iterator[Any]:
    """Return what the calls of a line are given, one after the other and without end; the order of keys looks random and is always one."""
    return _ARGUMENTS[work.kind](work.rows, people)


def _new_ranges(rows: int, people: int) -> Iterator[range]:
    return (range(first, first + rows) for first in count(people + 1, rows))


def _known_ranges(rows: int, people: int) -> Iterator[range]:
    return (range(first, first + rows) for first in _shuffled(HELD + 1, people + 2 - rows))


def _known(_: int, people: int) -> Iterator[int]:
    return _shuffled(HELD + 1, people + 1)


def _held(_rows: int, _people: int) -> Iterator[int]:
    return _shuffled(1, HELD + 1)


def _shuffled(first: int, stop: int) -> Iterator[int]:
    keys = list(range(first, stop))
    Random(_SEED).shuffle(keys)
    return cycle(keys)


_ARGUMENTS: Mapping[Kind, Callable[[int, int], Iterator[Any]]] = {
    Kind.GET: _known,
    Kind.OBJECTS: _known_ranges,
    Kind.DICTS: _known_ranges,
    Kind.TUPLES: _known_ranges,
    Kind.CREATE: lambda _, people: count(people + 1),
    Kind.SAVE: lambda rows, people: (Rename(number, f"Renamed {next(_new_names)}") for number in _held(rows, people)),
    Kind.CHANGE: _held,
    Kind.CREATE_MANY: _new_ranges,
    Kind.STREAM: lambda _rows, _people: cycle([BATCH]),
}


# -- the checks ------------------------------------------------------------------------------------------------------------------------


async def _gives_it(call: Call, number: int, read: Read, _: Look) -> None:
    found = tuple(read(columns_of(await call(number))))
    assert found == values_of(number), found


async def _gives_all(call: Call, numbers: range, read: Read, _: Look) -> None:
    _are_people(sorted(tuple(read(columns_of(item))) for item in await call(numbers)), numbers)


async def _gives_mappings(call: Call, numbers: range, read: Read, _: Look) -> None:
    found = await call(numbers)
    assert all(isinstance(item, Mapping) for item in found), found[:1]
    _are_people(sorted(tuple(read(columns_of(item))) for item in found), numbers)


async def _stores_it(call: Call, number: int, _: Read, look: Look) -> None:
    await call(number)
    numbers = range(number, number + 1)
    _are_people(await look("newcomers", numbers), numbers)


async def _stores_all(call: Call, numbers: range, _: Read, look: Look) -> None:
    await call(numbers)
    _are_people(await look("newcomers", numbers), numbers)


async def _stores_name(call: Call, change: Rename, _: Read, look: Look) -> None:
    before = await _person(change.number, look)
    await call(change)
    after = await _person(change.number, look)
    assert after == {**before, "name": change.name}, after


async def _stores_age(call: Call, number: int, _: Read, look: Look) -> None:
    before = await _person(number, look)
    await call(number)
    after = await _person(number, look)
    assert after == {**before, "age": before["age"] + 1}, after


async def _gives_sum(call: Call, batch: int, _: Read, look: Look) -> None:
    expected = sum(row[0] for row in await look("people", EVERYBODY))
    found = await call(batch)
    assert found == expected, found


def _are_people(found: Sequence[Sequence[Any]], numbers: range) -> None:
    expected = [values_of(number) for number in numbers]
    assert list(found) == expected, f"{len(found)} rows instead of {len(expected)}, the first {found[:1]}"


async def _person(number: int, look: Look) -> dict[str, Any]:
    (row,) = await look("people", range(number, number + 1))
    return dict(zip(COLUMNS, row, strict=True))


CHECKS: Mapping[Kind, Check] = {
    Kind.GET: _gives_it,
    Kind.OBJECTS: _gives_all,
    Kind.DICTS: _gives_mappings,
    Kind.TUPLES: _gives_all,
    Kind.CREATE: _stores_it,
    Kind.SAVE: _stores_name,
    Kind.CHANGE: _stores_age,
    Kind.CREATE_MANY: _stores_all,
    Kind.STREAM: _gives_sum,
}
