"""Writes: what each changes in the store and in the object, and what a write that fails leaves alone (rules R12 and R19)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import holdall
from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import ConflictError, DuplicateKeyError, NotFoundError, ValidationError
from holdall.query.expressions import F
from holdall.record.generators import utc_now
from holdall.testing.suite_checks import Checks, expect
from holdall.testing.suite_models import Person, Plain, Sample, Versioned

C = Capability
CHECKS = Checks()


@CHECKS.of(Plain)
async def test_create_returns_the_object_itself_stored(backend: Backend) -> None:
    """And what it returns equals what is read."""
    record = Plain(id=1, name="a")

    created = await backend.create(record)

    assert created is record
    assert holdall.is_stored(record)
    assert holdall.changes(record) == {}
    assert await backend.get(Plain, 1) == record


@CHECKS.of(Plain)
async def test_a_taken_key_is_a_duplicate_and_keeps_its_record(backend: Backend) -> None:
    """A create never overwrites."""
    await backend.create(Plain(id=1, name="first"))
    second = Plain(id=1, name="second")

    error = await expect(DuplicateKeyError, backend.create(second))

    assert (error.model, error.fields) == ("Plain", ("id",))
    assert error.values in ((1,), ())  # some databases do not tell
    assert not holdall.is_stored(second)
    assert (await backend.get(Plain, 1)).name == "first"


@CHECKS.of(Plain)
async def test_get_of_what_is_not_there_is_not_found(backend: Backend) -> None:
    """The error names model and key."""
    error = await expect(NotFoundError, backend.get(Plain, 7))

    assert (error.model, error.key) == ("Plain", 7)
    assert await backend.get_or_none(Plain, 7) is None


@CHECKS.of(Plain)
async def test_get_many_keeps_order_and_repeats_and_gaps(backend: Backend) -> None:
    """R16: in whatever batches it is read."""
    await backend.create_many([Plain(id=number) for number in range(300)])

    keys = [*range(299, -1, -2), 999, 3, 3]
    found = await backend.get_many(Plain, keys)

    assert [record and record.id for record in found] == [*range(299, -1, -2), None, 3, 3]
    assert await backend.get_many(Plain, []) == []


@CHECKS.of(Plain)
async def test_save_writes_only_what_changed(backend: Backend) -> None:
    """What another one wrote meanwhile to other fields stays."""
    record = await backend.save(Plain(id=1, name="a"))
    other = await backend.get(Plain, 1)
    other.number = 5
    await backend.save(other)
    record.name = "b"

    assert await backend.save(record) is record

    assert await backend.get(Plain, 1) == Plain(id=1, name="b", number=5)


@CHECKS.of(Plain)
async def test_update_writes_all_fields(backend: Backend) -> None:
    """R19."""
    record = await backend.create(Plain(id=1, name="a"))
    other = await backend.get(Plain, 1)
    other.number = 5
    await backend.save(other)

    await backend.update(record)

    assert await backend.get(Plain, 1) == Plain(id=1, name="a", number=0)


@CHECKS.of(Plain)
async def test_save_and_update_of_what_is_gone_create_nothing(backend: Backend) -> None:
    """R19."""
    record = await backend.create(Plain(id=1, name="a"))
    await backend.delete(Plain(id=1))
    record.name = "b"
    for write in (backend.save, backend.update, backend.refresh):
        error = await expect(NotFoundError, write(record))
        assert (error.model, error.key) == ("Plain", 1)
        assert await backend.get_or_none(Plain, 1) is None


@CHECKS.of(Plain)
async def test_save_of_an_unchanged_object_does_nothing(backend: Backend) -> None:
    """It does not even look whether the record is there."""
    record = await backend.create(Plain(id=1))
    await backend.delete(Plain(id=1))

    assert await backend.save(record) is record

    assert await backend.get_or_none(Plain, 1) is None


@CHECKS.of(Plain)
async def test_delete_says_whether_there_was_one_and_save_creates_anew(backend: Backend) -> None:
    """After it the object counts as not stored."""
    record = await backend.create(Plain(id=1))

    assert await backend.delete(record) is True
    assert not holdall.is_stored(record)
    assert await backend.delete(record) is False
    await backend.save(record)
    assert await backend.get(Plain, 1) == record


@CHECKS.of(Plain)
async def test_delete_many_counts_what_was_there(backend: Backend) -> None:
    """Repeated and missing ones do not count."""
    records = await backend.create_many([Plain(id=number) for number in range(150)])
    await backend.delete(records[0])

    assert await backend.delete_many([*records[:120], records[1], Plain(id=777)]) == 119
    assert sorted(found.id for found in await backend.query(Plain)) == list(range(120, 150))


@CHECKS.of(Plain)
async def test_upsert_creates_then_overwrites(backend: Backend) -> None:
    """R19: by key."""
    await backend.upsert(Plain(id=1, name="a", number=1))
    record = await backend.upsert(Plain(id=1, name="b"))

    assert await backend.get(Plain, 1) == record == Plain(id=1, name="b")
    assert len(await backend.query(Plain)) == 1


@CHECKS.of(Plain)
async def test_refresh_reads_into_the_same_object_and_drops_edits(backend: Backend) -> None:
    """In place."""
    record = await backend.create(Plain(id=1, name="a"))
    await backend.upsert(Plain(id=1, name="b", number=2))
    record.number = 9

    assert await backend.refresh(record) is record

    assert (record.name, record.number) == ("b", 2)
    assert holdall.changes(record) == {}


@CHECKS.of(Plain, needs=(C.ATOMIC_BULK,))
async def test_create_many_is_all_or_nothing(backend: Backend) -> None:
    """R16: larger than any batch, with the duplicate at its end."""
    await backend.create(Plain(id=2000))
    records = [Plain(id=number) for number in range(1500)]

    await expect(DuplicateKeyError, backend.create_many([*records, Plain(id=2000)]))

    assert not any(map(holdall.is_stored, records))
    assert [found.id for found in await backend.query(Plain)] == [2000]
    assert len(await backend.create_many(records)) == 1500
    assert len(await backend.query(Plain)) == 1501


# -- versions and times ----------------------------------------------------------------------------------------------------------------


@CHECKS.of(Versioned)
async def test_every_write_counts_the_version_and_sets_the_time(backend: Backend) -> None:
    """The object has what is stored."""
    before = utc_now()
    record = await backend.create(Versioned(id=1))
    for version, write in enumerate((backend.save, backend.update, backend.upsert, backend.save), 2):
        last = record.changed
        record.name = str(version)
        await write(record)
        assert record.version == version
        assert before <= last <= record.changed <= utc_now()
        assert await backend.get(Versioned, 1) == record


@CHECKS.of(Versioned, needs=(C.FILTER, C.COUNT))
async def test_a_stale_version_is_a_conflict_for_save_update_and_delete(backend: Backend) -> None:
    """R19. The object stays as it was."""
    record = await backend.create(Versioned(id=1))
    stale = await backend.get(Versioned, 1)
    record.number = 5
    await backend.save(record)
    stale.name = "late"
    for write in (backend.save, backend.update, backend.delete):
        error = await expect(ConflictError, write(stale))
        assert (error.model, error.key, error.version) == ("Versioned", 1, 1)
        assert (stale.version, stale.name) == (1, "late")
    assert await backend.get(Versioned, 1) == record


@CHECKS.of(Versioned)
async def test_upsert_ignores_the_version_and_keeps_the_time_of_the_create(backend: Backend) -> None:
    """R19."""
    first = await backend.create(Versioned(id=1, name="a"))
    second = Versioned(id=1, name="b", made=datetime(1970, 1, 1, tzinfo=UTC))

    await backend.upsert(second)

    assert (second.version, second.made) == (2, first.made)
    assert await backend.get(Versioned, 1) == second


# -- writes by query -------------------------------------------------------------------------------------------------------------------


async def numbered(backend: Backend) -> None:
    """Store ten records, two of each number."""
    await backend.create_many([Plain(id=number, number=number // 2, name=str(number % 3)) for number in range(10)])


@CHECKS.of(Plain, needs=(C.FILTER, C.UPDATE_WHERE))
async def test_an_update_by_query_changes_and_counts_what_matches(backend: Backend) -> None:
    """R12. Records that have the value already count as well."""
    await numbered(backend)

    assert await backend.query(Plain).filter(number__lt=2).update(name="0") == 4
    assert await backend.query(Plain).filter(number=99).update(name="x") == 0
    assert {found.id for found in await backend.query(Plain).filter(name="0")} == {0, 1, 2, 3, 6, 9}
    assert await backend.query(Plain).update(number=1, name="z") == 10
    assert {(found.number, found.name) for found in await backend.query(Plain)} == {(1, "z")}


@CHECKS.of(Plain, needs=(C.FILTER, C.DELETE_WHERE))
async def test_a_delete_by_query_removes_and_counts_what_matches(backend: Backend) -> None:
    """R12."""
    await numbered(backend)

    assert await backend.query(Plain).filter(number__gte=3).delete() == 4
    assert await backend.query(Plain).filter(number=99).delete() == 0
    assert {found.id for found in await backend.query(Plain)} == {0, 1, 2, 3, 4, 5}
    assert await backend.query(Plain).delete() == 6
    assert await backend.query(Plain) == []


@CHECKS.of(Person, needs=(C.FILTER, C.UPDATE_WHERE, C.DELETE_WHERE))
async def test_writes_by_query_see_none_as_queries_do(backend: Backend) -> None:
    """R1, R12."""
    await backend.create_many([Person(id=1, name="a", age=5), Person(id=2, name="b"), Person(id=3, name="c", age=6)])

    assert await backend.query(Person).exclude(age=5).update(city="x") == 2
    assert await backend.query(Person).filter(age__in=[6, None]).delete() == 2
    assert [(found.id, found.city) for found in await backend.query(Person)] == [(1, None)]


@CHECKS.of(Versioned, needs=(C.UPDATE_WHERE, C.EXPRESSIONS))
async def test_an_update_by_query_counts_versions_and_sets_times(backend: Backend) -> None:
    """As every write does."""
    record = await backend.create(Versioned(id=1))

    assert await backend.query(Versioned).update(number=3) == 1

    loaded = await backend.get(Versioned, 1)
    assert (loaded.version, loaded.number, loaded.made) == (2, 3, record.made)
    assert loaded.changed >= record.changed


@CHECKS.of(Plain, Sample, needs=(C.FILTER, C.UPDATE_WHERE, C.EXPRESSIONS))
async def test_updates_compute_from_the_stored_value(backend: Backend) -> None:
    """None stays None, decimals stay exact."""
    await backend.create_many([Plain(id=1, number=5), Plain(id=2, number=-1)])
    await backend.create_many([Sample(id=1, number=7, amount=Decimal("0.10")), Sample(id=2)])

    assert await backend.query(Plain).update(number=F("number") * 2 + F("id")) == 2
    assert await backend.query(Sample).update(number=F("number") - 1, amount=F("amount") + Decimal("9007199254740993.01")) == 2

    assert sorted((found.id, found.number) for found in await backend.query(Plain)) == [(1, 11), (2, 0)]
    first, second = await backend.get_many(Sample, [1, 2])
    assert first is not None
    assert second is not None
    assert (first.number, first.amount) == (6, Decimal("9007199254740993.11"))
    assert (second.number, second.amount) == (None, None)


@CHECKS.of(Plain, needs=(C.UPDATE_WHERE, C.EXPRESSIONS))
async def test_a_computed_value_that_does_not_fit_changes_nothing(backend: Backend) -> None:
    """R6: an int is 64 bit."""
    await backend.create_many([Plain(id=1, number=1), Plain(id=2, number=2**63 - 1)])

    await expect(ValidationError, backend.query(Plain).update(number=F("number") + 1))

    found: list[Any] = sorted((record.id, record.number) for record in await backend.query(Plain))
    assert found == [(1, 1), (2, 2**63 - 1)]
