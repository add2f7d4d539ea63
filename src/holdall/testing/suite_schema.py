"""What is not about records: initialising, closing, explaining, and a probe for each capability."""

from __future__ import annotations

import asyncio
import functools

from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import HoldallError, PoolClosed, UnsupportedOperation
from holdall.testing.suite_checks import Checks, expect
from holdall.testing.suite_models import Member, Person, Plain, Ranked
from holdall.testing.suite_refusals import PROBED, check_refused, sealed

C = Capability
CHECKS = Checks()


async def refuses_what_it_does_not_declare(capability: Capability, backend: Backend) -> None:
    """Check that the capability is refused where it is not declared; where it is, other tests prove it."""
    if capability not in backend.capabilities:
        await check_refused(backend, capability)


def _declare() -> None:
    """Declare a probe for each capability."""
    for capability in sorted(PROBED, key=lambda item: item.name):
        name = f"test_{capability.name.lower()}_is_refused_unless_declared"
        CHECKS.of(name=name)(functools.partial(refuses_what_it_does_not_declare, capability))


_declare()


@CHECKS.of(Plain)
async def test_initialize_may_run_twice_and_at_once_and_keeps_records(backend: Backend) -> None:
    """It never drops."""
    await backend.create(Plain(id=1, name="kept"))

    await asyncio.gather(*(backend.initialize(Plain) for _ in range(3)))

    assert (await backend.get(Plain, 1)).name == "kept"


@CHECKS.of(Plain)
async def test_drop_removes_records_and_may_run_twice(backend: Backend) -> None:
    """What was dropped can be made anew, empty."""
    await backend.create(Plain(id=1))

    await backend.drop(Plain)
    await backend.drop(Plain)
    await backend.initialize(Plain)

    assert await backend.query(Plain) == []


@CHECKS.of(needs=(C.WRITE,))
async def test_a_model_that_was_not_initialised_is_an_error_of_ours(backend: Backend) -> None:
    """And not the driver's."""
    await backend.drop(Ranked)
    await expect(HoldallError, backend.get_or_none(Ranked, 1))
    await expect(HoldallError, backend.create(Ranked(id=1)))


@CHECKS.of(Plain)
async def test_a_closed_backend_refuses_and_can_be_opened_again(backend: Backend) -> None:
    """For whatever comes after it."""
    await backend.ping()
    await backend.close()
    await expect(PoolClosed, backend.get_or_none(Plain, 1))
    await expect(PoolClosed, backend.query(Plain).all())
    await expect(PoolClosed, backend.ping())
    await backend.open()
    await backend.ping()


@CHECKS.of(Person)
async def test_explain_says_what_is_missing_without_io(backend: Backend) -> None:
    """It asks the declarations alone, and nothing else decides."""
    query = sealed(backend).query(Person).filter(name__icontains="a", tags__has="b").order_by("age").offset(1)

    explained = query.explain()

    wanted = {C.FILTER, C.CASEFOLD, C.LIST_MEMBERSHIP, C.ORDER, C.OFFSET}
    assert set(explained.needs) == {item.value for item in wanted}
    left_to_store = {C.ORDER} if C.INDEX_ORDER in backend.capabilities else set[Capability]()
    lacking = wanted - backend.capabilities - left_to_store
    assert set(explained.missing) == {item.value for item in lacking}
    if explained.missing:
        error = await expect(UnsupportedOperation, query.all())
        assert error.missing == lacking
    else:
        assert backend.query(Person).filter(name="x").explain().statement


@CHECKS.of(Plain, Member, needs=(C.SCHEMA_CHECK,))
async def test_check_finds_no_difference_after_initialize_and_names_what_is_missing(backend: Backend) -> None:
    """As data."""
    assert await backend.check(Plain, Member) == []
    await backend.drop(Plain)

    found = await backend.check(Plain, Member)

    assert [(each.kind, each.table) for each in found] == [("table", "suite_plain")]
