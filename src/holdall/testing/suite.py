"""``StoreSuite``: what a store must pass. Subclass it with one method, ``open_backend``; pytest does the rest.

Each test runs where the store declares what the test needs. Elsewhere the same test checks that the store refuses, before any I/O.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import pytest

from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import ConfigurationError
from holdall.naming import near_miss
from holdall.testing import (
    suite_batches,
    suite_expiry,
    suite_indexes,
    suite_keys,
    suite_pages,
    suite_queries,
    suite_races,
    suite_random,
    suite_schema,
    suite_search,
    suite_sessions,
    suite_values,
    suite_writes,
)
from holdall.testing.gaps import KnownGap
from holdall.testing.report import PROPERTY
from holdall.testing.suite_checks import Check, Checks
from holdall.testing.suite_refusals import check_refused

CHECKS = Checks(
    module.CHECKS
    for module in (
        suite_values,
        suite_keys,
        suite_writes,
        suite_queries,
        suite_random,
        suite_pages,
        suite_indexes,
        suite_expiry,
        suite_batches,
        suite_sessions,
        suite_races,
        suite_schema,
        suite_search,
    )
)
OpenBackend = Callable[[], AbstractAsyncContextManager[Backend]]
Record = Callable[[str, object], None]


async def prove(check: Check, open_backend: OpenBackend) -> frozenset[Capability]:
    """Run one check, or check that the store refuses it.

    Returns:
        What the store does not declare of that which the check needs; empty when the check itself has run.

    Raises:
        AssertionError: the store behaves in another way. Anything else that it raises is a failure, too.
    """
    async with open_backend() as backend:
        missing = check.needs - backend.capabilities
        for capability in sorted(missing, key=lambda item: item.name):
            await check_refused(backend, capability)
        if not missing:
            await _run(check, backend)
    return missing


async def _run(check: Check, backend: Backend) -> None:
    if not check.models:
        await check.body(backend)
        return
    await backend.drop(*check.models)  # a run that was killed may have left them
    await backend.initialize(*check.models)
    await check.body(backend)
    await backend.drop(*check.models)


class StoreSuite:
    """The tests of a store, one method each.

    Attributes:
        known_gaps: tests that fail, by name: strict expected failures. An unknown name is an error, and so is a method of a test's name.
        store_name: the store's name in reports; by default the name of the class without ``Test``.
        patience: seconds that one test may take.
    """

    known_gaps: ClassVar[Mapping[str, KnownGap]] = {}
    store_name: ClassVar[str] = ""
    patience: ClassVar[float] = 30.0

    pytestmark: ClassVar[list[Any]] = [pytest.mark.asyncio]

    def open_backend(self) -> AbstractAsyncContextManager[Backend]:
        """Open a backend; the suite makes its tables in it, and drops them. It is called once for each test."""
        raise NotImplementedError("write 'open_backend', an async context manager that gives an open backend")

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse what would let a test go unnoticed, and mark the known gaps.

        Raises:
            ConfigurationError: a test of the suite is overridden, or a known gap names none.
        """
        super().__init_subclass__(**options)
        for name in vars(cls):
            if name in CHECKS:
                raise ConfigurationError(
                    f"{cls.__name__} overrides {name} of the suite; state a known gap instead: known_gaps = {{{name!r}: …}}"
                )
        if "store_name" not in vars(cls):
            cls.store_name = cls.__name__.removeprefix("Test").removesuffix("Suite").lower()
        for name, gap in cls.known_gaps.items():
            if name not in CHECKS:
                hint = near_miss(name, [check.name for check in CHECKS])
                raise ConfigurationError(f"{cls.__name__} has a known gap in {name!r}, which is no test of the suite{hint}")
            reason = f"{gap.outlook}: {gap.reason}"
            setattr(cls, name, pytest.mark.xfail(reason=reason, raises=gap.raises, strict=True)(_method(CHECKS[name])))


def _method(check: Check) -> Callable[..., Awaitable[None]]:
    async def method(self: StoreSuite, record_property: Record) -> None:
        facts: dict[str, Any] = {"store": self.store_name, "test": check.name, "needs": _names(check.needs), "missing": []}
        gap = self.known_gaps.get(check.name)
        if gap is not None:
            facts["gap"] = {"outlook": gap.outlook, "reason": gap.reason}
        missing: frozenset[Capability] = frozenset()
        try:
            async with asyncio.timeout(self.patience):
                missing = await prove(check, self.open_backend)
        finally:
            record_property(PROPERTY, json.dumps({**facts, "missing": _names(missing)}, sort_keys=True))

    method.__name__ = check.name
    method.__qualname__ = f"StoreSuite.{check.name}"
    method.__doc__ = check.body.__doc__
    return method


def _names(found: frozenset[Capability]) -> list[str]:
    return sorted(item.name for item in found)


for _check in CHECKS:
    setattr(StoreSuite, _check.name, _method(_check))
