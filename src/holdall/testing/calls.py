"""``Calls``: what was recorded: every round trip to the stores, with the line of the user's code that caused it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from holdall.backend import Backend
from holdall.query.operations import Operation, Raw
from holdall.testing.sites import Site
from holdall.wrappers.watching import Watched

_REMEDIES = {
    "fetch": "get_many() reads them in one round trip",
    "select": "one query with filter(…__in=[…]) reads them in one round trip",
    "count": "count them by one query",
    "exists": "look for them by one query with filter(…__in=[…])",
    "insert": "create_many() stores them in one round trip",
    "update": "the update() of a query changes them in one round trip",
    "delete": "delete_many() or the delete() of a query removes them in one round trip",
    "raw": "execute_many(), or one statement for all, takes one round trip",
}
_BETWEEN = frozenset({"begin", "commit", "rollback", "savepoint", "release", "rollback_to", "batch"})


@dataclass(slots=True, eq=False)
class Call:
    """One round trip.

    Attributes:
        backend: to whose store it went.
        kind: ``fetch``, ``fetch_many``, ``select``, ``count``, ``exists``, ``insert``, ``insert_many``, ``insert_absent``, ``upsert``,
            ``update``, ``update_where``, ``delete``, ``delete_many``, ``delete_where``, ``raw``; ``stream`` and ``batch``; and of sessions
            ``begin``, ``commit``, ``rollback``, ``savepoint``, ``release``, ``rollback_to``.
        model: the model's name; None for raw SQL and for what a session does.
        site: file, line and function of the code that caused it; None where that cannot be told.
        duration: in seconds, the wait for a connection included.
        error: the name of the error's class; None when there was none.
    """

    backend: Watched
    kind: str
    site: Site | None
    operation: Operation | None = None
    duration: float = 0.0
    error: str | None = None

    @property
    def model(self) -> str | None:
        """The model's name."""
        return None if self.operation is None or isinstance(self.operation, Raw) else self.operation.info.label

    @property
    def statement(self) -> str | None:
        """What was sent, without values; None for what a session does."""
        if self.operation is None:
            return None
        return self.operation.sql if isinstance(self.operation, Raw) else self.backend.store.explain(self.operation)

    def __str__(self) -> str:
        """Return one line."""
        text = re.sub(r"\s+", " ", self.statement or "")
        shown = text if len(text) <= 100 else f"{text[:99]}…"
        failed = f"  {self.error}" if self.error else ""
        place = str(self.site or "somewhere")
        return f"{self.kind:<11} {self.model or '':<12} {place:<40} {self.duration * 1000:6.1f} ms{failed}  {shown}".rstrip()


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same kind of call for the same model, from the same line, again and again."""

    kind: str
    model: str | None
    site: Site | None
    count: int
    statement: str | None

    def __str__(self) -> str:
        """Return one line, with the remedy."""
        what = self.statement if self.model is None else self.model
        remedy = _REMEDIES.get(self.kind)
        return f"{self.site or 'somewhere'}: {self.kind} of {what}, {self.count} times" + (f"; {remedy}" if remedy else "")


class Calls(Sequence[Call]):
    """What was recorded, in order. It stays readable after the block."""

    def __init__(self, backends: tuple[Backend, ...] = ()) -> None:
        self._backends = backends
        self._found: list[Call] = []

    def add(self, call: Call) -> None:
        """Note a call, unless its backend is not one of those asked for."""
        if not self._backends or any(call.backend is backend for backend in self._backends):
            self._found.append(call)

    def __len__(self) -> int:
        """Return how many round trips there were."""
        return len(self._found)

    @overload
    def __getitem__(self, place: int) -> Call: ...
    @overload
    def __getitem__(self, place: slice) -> list[Call]: ...
    def __getitem__(self, place: int | slice) -> Call | list[Call]:
        """Return a call, or several."""
        return self._found[place]

    def __str__(self) -> str:
        """Return a line for each call."""
        return "\n".join(f"{number:4}  {call}" for number, call in enumerate(self._found, 1))

    @property
    def round_trips(self) -> int:
        """How many there were.

        Each operation that reached a store is one, whatever it carries. A session that does anything has one for its begin and one for its
        end, a savepoint the same. A stream has one for its start and one for each batch. Reads that were coalesced are one together. That
        is what a server takes, and the count is the same on every store, pinned or not.
        """
        return len(self._found)

    def assert_round_trips(self, expected: int) -> None:
        """Raise ``AssertionError``, which lists them, unless there were exactly so many."""
        __tracebackhide__ = True
        if self.round_trips != expected:
            raise AssertionError(f"expected {_times(expected)}, counted {self.round_trips}:\n{self}")

    def repeated(self, least: int = 3) -> list[Repeated]:
        """Return the calls that one line made at least so many times, most first: the N+1 pattern is among them."""
        groups: Counter[tuple[str, str | None, Site | None]] = Counter()
        first: dict[tuple[str, str | None, Site | None], Call] = {}
        for call in self._found:
            if call.kind not in _BETWEEN:
                key = (call.kind, call.model or call.statement, call.site)
                groups[key] += 1
                first.setdefault(key, call)
        found = [(first[key], count) for key, count in groups.most_common() if count >= least]
        return [Repeated(call.kind, call.model, call.site, count, call.statement) for call, count in found]

    def assert_no_n_plus_one(self, least: int = 3) -> None:
        """Raise ``AssertionError``, which names file and line, when one line made the same call at least ``least`` times.

        The code under test must have that many records to work on for it to be found.
        """
        __tracebackhide__ = True
        found = self.repeated(least)
        if found:
            lines = "\n".join(f"  {item}" for item in found)
            raise AssertionError(f"one line asks again for each record:\n{lines}")


def _times(count: int) -> str:
    return "1 round trip" if count == 1 else f"{count} round trips"
