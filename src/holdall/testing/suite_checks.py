"""``Check``: one behaviour that every store shows, as a function of a backend whose tables are empty."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import ConfigurationError
from holdall.query.planner import model_needs
from holdall.record.metadata import model_info
from holdall.record.record import Record

E = TypeVar("E", bound=BaseException)
Body = Callable[[Backend], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Check:
    """One test of the suite.

    Attributes:
        name: what the test is called, and what known gaps go by.
        body: raises when the store does not behave so.
        models: are initialised before, and empty.
        needs: what a store must declare for it; a store that does not is asked to refuse instead.
    """

    name: str
    body: Body
    models: tuple[type[Record], ...]
    needs: frozenset[Capability]


class Checks:
    """Checks by name, in the order of their declaration."""

    def __init__(self, groups: Iterable[Checks] = ()) -> None:
        self._found: dict[str, Check] = {}
        for group in groups:
            for check in group:
                self._add(check)

    def __iter__(self) -> Iterator[Check]:
        """Iterate over the checks."""
        return iter(self._found.values())

    def __getitem__(self, name: str) -> Check:
        """Return the check of that name; raises ``KeyError``."""
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a check of that name."""
        return name in self._found

    def _add(self, check: Check) -> None:
        if check.name in self._found:
            msg = f"two checks are called {check.name}"
            raise ConfigurationError(msg)
        self._found[check.name] = check

    def of(self, *models: type[Record], needs: Iterable[Capability] = (), name: str | None = None) -> Callable[[Body], Body]:
        """Return a decorator that adds a check.

        Args:
            models: what it stores.
            needs: the capabilities that it uses beside what its models need.
            name: the name of the function, unless it is made for several cases.
        """

        def add(body: Body) -> Body:
            stored = {Capability.WRITE} if models else set[Capability]()
            wanted = frozenset(needs).union(stored, *(model_needs(model_info(model)) for model in models))
            self._add(Check(name or getattr(body, "__name__"), body, models, wanted))  # noqa: B009  - a callable need not have one
            return body

        return add


async def identify(query: Awaitable[Iterable[Record]]) -> list[object]:
    """Return the field ``id`` of each record that a query gives, in order."""
    return [getattr(record, "id") for record in await query]  # noqa: B009  - every model of these checks has one


async def expect(kind: type[E], work: Awaitable[object]) -> E:
    """Return the error that something raises.

    Raises:
        AssertionError: it raises none.
    """
    try:
        done = await work
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised; the call gave {done!r}")


def expect_at_once(kind: type[E], work: Callable[[], object]) -> E:
    """Do what ``expect`` does, for a function that is not awaited."""
    try:
        done = work()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised; the call gave {done!r}")
