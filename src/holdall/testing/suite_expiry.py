"""Records that expire: from their time on they are gone for every read and write, whenever the store removes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import DuplicateKeyError, NotFoundError
from holdall.record.generators import utc_now
from holdall.testing.suite_checks import Checks, expect
from holdall.testing.suite_models import Fleeting

C = Capability
CHECKS = Checks()
PAST = datetime(2020, 1, 1, tzinfo=UTC)


def later() -> datetime:
    """Return a moment that does not come within a test."""
    return utc_now() + timedelta(hours=1)


@CHECKS.of(Fleeting, needs=(C.FILTER, C.COUNT))
async def test_what_has_expired_is_never_read(backend: Backend) -> None:
    """By no way of reading; what has no time, or one to come, is."""
    await backend.create_many([Fleeting(id=1, until=PAST), Fleeting(id=2, until=later()), Fleeting(id=3), Fleeting(id=4, until=PAST)])

    await expect(NotFoundError, backend.get(Fleeting, 1))
    assert [found and found.id for found in await backend.get_many(Fleeting, [1, 2, 3, 4])] == [None, 2, 3, None]
    query = backend.query(Fleeting).allow_scan()
    assert {found.id for found in await query} == {2, 3}
    assert {found.id async for found in query.stream()} == {2, 3}
    assert await query.count() == 2
    assert await query.filter(id=4).exists() is False
    assert await backend.query(Fleeting).filter(id__in=[1, 2]).count() == 1


@CHECKS.of(Fleeting)
async def test_what_has_expired_is_in_nobodys_way(backend: Backend) -> None:
    """Its key and its unique values are free again; and it cannot be changed or removed."""
    old = await backend.create(Fleeting(id=1, code="x", until=PAST))
    old.name = "late"
    await expect(NotFoundError, backend.save(old))
    assert await backend.delete(Fleeting(id=1, code="x")) is False

    new = await backend.create(Fleeting(id=1, code="x", name="new", until=later()))

    assert await backend.get(Fleeting, 1) == new
    await expect(DuplicateKeyError, backend.create(Fleeting(id=2, code="x")))
    await expect(DuplicateKeyError, backend.create(Fleeting(id=1, code="y")))


@CHECKS.of(Fleeting)
async def test_a_time_that_is_put_off_keeps_the_record_and_its_unique_value(backend: Backend) -> None:
    """And one that is brought forward ends both."""
    record = await backend.create(Fleeting(id=1, code="x", until=later()))
    record.until = None
    await backend.save(record)
    await expect(DuplicateKeyError, backend.create(Fleeting(id=2, code="x")))

    record.until = PAST
    await backend.save(record)

    assert await backend.get_or_none(Fleeting, 1) is None
    assert (await backend.create(Fleeting(id=2, code="x"))).id == 2


@CHECKS.of(Fleeting)
async def test_an_upsert_takes_the_place_of_what_has_expired(backend: Backend) -> None:
    """As of nothing."""
    await backend.create(Fleeting(id=1, code="x", name="old", until=PAST))

    await backend.upsert(Fleeting(id=1, code="x", name="new"))

    assert (await backend.get(Fleeting, 1)).name == "new"
    await expect(DuplicateKeyError, backend.create(Fleeting(id=2, code="x")))
