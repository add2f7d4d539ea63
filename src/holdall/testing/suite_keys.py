"""Keys of every type, composite and generated ones, awkward names, unique fields and references (rules R15 and R16)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import holdall
from holdall.active import Model
from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import DuplicateKeyError, ForeignKeyError, NotFoundError, QueryError
from holdall.record.fields import Field
from holdall.testing.suite_checks import Checks, expect
from holdall.testing.suite_models import Child, Color, Level, Member, Parent, Plain, Reserved, Seat, Ticket
from holdall.testing.suite_refusals import sealed

C = Capability
CHECKS = Checks()

KEYS: Mapping[str, tuple[type[Any], Sequence[Any]]] = {
    "texts": (str, ["", " ", "a", "A", "a ", "ß", "ss", "é", "e\u0301", "\uffff", "\U00010000", "'", '"', "\\", "%", "x" * 200]),
    "integers": (int, [0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1, 2**53]),
    "bytes": (bytes, [b"", b"\x00", b"\xff", b"'", b"a", b"A"]),
    "decimals": (Decimal, [Decimal(0), Decimal("1.10"), Decimal("-1.1"), Decimal("9999999999999999999999.999999999999")]),
    "dates": (date, [date.min, date(2024, 2, 29), date.max]),
    "datetimes": (datetime, [datetime(2024, 1, 1, 0, 0, 0, microsecond, tzinfo=UTC) for microsecond in (0, 1, 999999)]),
    "times": (time, [time.min, time(1, 2, 3, 4), time.max]),
    "timedeltas": (timedelta, [timedelta(0), timedelta(microseconds=-1), timedelta(days=5)]),
    "booleans": (bool, [False, True]),
    "enums": (Color, list(Color)),
    "integer_enums": (Level, list(Level)),
    "uuids": (UUID, [UUID(int=0), UUID(int=2**127), UUID(int=2**128 - 1)]),
}


def keyed(kind: str, of: type[Any]) -> type[Any]:
    """Return a model whose key is of a type."""
    name = f"{kind.title().replace('_', '')}Key"
    place = {"__module__": __name__, "__qualname__": name}
    meta = type("Meta", (), {"name": f"suite_key_{kind}", "__module__": __name__, "__qualname__": f"{name}.Meta"})
    fields = {"id": Field(primary_key=True), "name": "", "__annotations__": {"id": of, "name": str}}
    metaclass: Any = type(Model)
    made: type[Any] = metaclass(name, (Model,), {**place, **fields, "Meta": meta, "__doc__": f"Its key is of the type {of.__name__}."})
    return made


async def is_key(model: type[Any], keys: Sequence[Any], backend: Backend) -> None:
    """Check that each value is a key of its own."""
    for number, key in enumerate(keys):
        await backend.create(model(id=key, name=str(number)))
    for number, key in enumerate(keys):
        found = await backend.get(model, key)
        assert (found.id, found.name) == (key, str(number)), f"{key!r} gave the record of {found.id!r}"
        await expect_duplicate(backend, model(id=key), ("id",), (key,))
        await backend.upsert(model(id=key, name="again"))
    assert [found and found.id for found in await backend.get_many(model, [*keys[::-1], keys[0]])] == [*keys[::-1], keys[0]]
    assert await backend.delete_many([model(id=key) for key in keys]) == len(keys)
    assert await backend.get_or_none(model, keys[0]) is None


async def expect_duplicate(backend: Backend, record: Any, fields: tuple[str, ...], values: tuple[Any, ...]) -> None:
    """Check that a create is refused by an error that names what is taken."""
    error = await expect(DuplicateKeyError, backend.create(record))
    assert (error.model, error.fields) == (type(record).__name__, fields)
    assert error.values in (values, ())  # some databases do not tell
    assert not holdall.is_stored(record)


def _declare() -> None:
    """Declare the check of each type."""
    for kind, (of, keys) in KEYS.items():
        model = keyed(kind, of)
        CHECKS.of(model, name=f"test_{kind}_are_keys")(functools.partial(is_key, model, keys))


_declare()


@CHECKS.of(Seat)
async def test_composite_keys_go_by_the_order_of_declaration(backend: Backend) -> None:
    """A key is a tuple, and each part counts."""
    await backend.create_many([Seat(number=1, hall="a", guest="x"), Seat(number=1, hall="b"), Seat(number=2, hall="a")])

    assert (await backend.get(Seat, (1, "a"))).guest == "x"
    assert [seat and (seat.number, seat.hall) for seat in await backend.get_many(Seat, [(2, "a"), (2, "b"), (1, "b")])] == [
        (2, "a"),
        None,
        (1, "b"),
    ]
    await expect_duplicate(backend, Seat(number=1, hall="a"), ("number", "hall"), (1, "a"))
    seat = await backend.get(Seat, (1, "b"))
    seat.guest = "y"
    await backend.save(seat)
    assert [found and found.guest for found in await backend.get_many(Seat, [(1, "a"), (1, "b")])] == ["x", "y"]
    assert await backend.delete(seat) is True
    assert len(await backend.query(Seat)) == 2


@CHECKS.of(Plain, Seat)
async def test_keys_of_another_type_are_refused_before_any_read(backend: Backend) -> None:
    """R18."""
    guarded = sealed(backend)
    wrong: list[tuple[type[Model], object]] = [(Plain, key) for key in ("7", 7.0, True, None, (1,), b"7")]
    wrong += [(Seat, key) for key in (1, (1,), ("a", 1), (1, "a", 1), [1, "a"], (1, None))]
    for model, key in wrong:
        for read in (guarded.get, guarded.get_or_none):
            await expect(QueryError, read(model, key))


@CHECKS.of(Reserved, needs=(C.FILTER, C.ORDER, C.UPDATE_WHERE))
async def test_awkward_stored_names_work_everywhere(backend: Backend) -> None:
    """Names are quoted by whoever sends them."""
    values: dict[str, Any] = {"order": "x", "group": 1, "quoted": "q", "percent": 2, "ticks": 3}
    record = await backend.create(Reserved(select=1, **values))
    await backend.create(Reserved(select=2))

    assert await backend.get(Reserved, 1) == record
    for name, value in values.items():
        assert [found.select for found in await backend.query(Reserved).filter(**{name: value})] == [1]
        assert [found.select for found in await backend.query(Reserved).order_by(f"-{name}", "select")] == [1, 2]
        assert await backend.query(Reserved).filter(**{name: value}).update(**{name: value}) == 1
    record.ticks = 9
    await backend.save(record)
    await backend.upsert(record)
    assert await backend.query(Reserved).values("ticks", "order").order_by("percent") == [
        {"ticks": 0, "order": ""},
        {"ticks": 9, "order": "x"},
    ]


# -- generated keys --------------------------------------------------------------------------------------------------------------------


@CHECKS.of(Ticket)
async def test_generated_keys_are_filled_and_never_given_twice(backend: Backend) -> None:
    """Keys that were given by hand count, too."""
    first = await backend.create(Ticket(title="first"))
    assert isinstance(first.id, int)
    given = await backend.create(Ticket(id=first.id + 3, title="given"))
    others = [await backend.create(Ticket(title=str(number))) for number in range(5)]
    many = await backend.create_many([Ticket(id=first.id + 20), *(Ticket() for _ in range(5))])

    records = [first, given, *others, *many]
    assert None not in [record.id for record in records]
    assert len({record.id for record in records}) == len(records)
    for record in records:
        assert await backend.get(Ticket, record.id) == record
        assert holdall.changes(record) == {}


@CHECKS.of(Ticket, needs=(C.ATOMIC_BULK,))
async def test_a_write_that_failed_leaves_a_generated_key_unset(backend: Backend) -> None:
    """So that the object can be stored again."""
    taken = await backend.create(Ticket())
    fresh = Ticket()

    await expect(DuplicateKeyError, backend.create_many([fresh, Ticket(id=taken.id)]))

    assert fresh.id is None
    assert not holdall.is_stored(fresh)
    assert len(await backend.query(Ticket)) == 1


# -- unique fields ---------------------------------------------------------------------------------------------------------------------


@CHECKS.of(Member, needs=(C.FILTER, C.COUNT))
async def test_a_taken_unique_value_is_a_duplicate_on_every_kind_of_write(backend: Backend) -> None:
    """R15, and R19: an upsert goes by key alone."""
    await backend.create(Member(id=1, email="ada@example.org"))
    bob = await backend.create(Member(id=2, email="bob@example.org"))

    await expect_duplicate(backend, Member(id=3, email="ada@example.org"), ("email",), ("ada@example.org",))
    bob.email = "ada@example.org"
    for write in (backend.save, backend.update, backend.upsert):
        assert (await expect(DuplicateKeyError, write(bob))).fields == ("email",)
    assert {(found.id, found.email) for found in await backend.query(Member)} == {(1, "ada@example.org"), (2, "bob@example.org")}


@CHECKS.of(Member, needs=(C.FILTER, C.COUNT))
async def test_an_upsert_never_overwrites_the_record_with_the_same_unique_value(backend: Backend) -> None:
    """R19."""
    await backend.create(Member(id=1, email="ada@example.org"))

    assert (await expect(DuplicateKeyError, backend.upsert(Member(id=2, email="ada@example.org")))).fields == ("email",)

    assert (await backend.get(Member, 1)).email == "ada@example.org"
    assert await backend.get_or_none(Member, 2) is None


@CHECKS.of(Member)
async def test_unique_fields_together_name_all_their_fields(backend: Backend) -> None:
    """R15."""
    await backend.create(Member(id=1, row=1, place=1))

    await expect_duplicate(backend, Member(id=2, row=1, place=1), ("row", "place"), (1, 1))
    await backend.create(Member(id=3, row=1, place=2))


@CHECKS.of(Member)
async def test_unique_fields_permit_many_none_and_tell_texts_apart(backend: Backend) -> None:
    """R15, R4."""
    await backend.create_many([Member(id=number, row=1) for number in range(3)])
    for number, email in enumerate(("x", "X", "x ", "", " ", "é", "e\u0301"), 10):
        await backend.create(Member(id=number, email=email))

    assert len(await backend.query(Member)) == 10


@CHECKS.of(Member, needs=(C.FILTER, C.INDEX_ORDER))
async def test_get_or_create_finds_by_a_unique_field_and_makes_once(backend: Backend) -> None:
    """R19."""
    first, made = await backend.get_or_create(Member, {"email": "x@y.z"}, defaults={"id": 1})
    again, made_again = await backend.get_or_create(Member, {"email": "x@y.z"}, defaults={"id": 2})

    assert (made, made_again) == (True, False)
    assert again == first
    assert len(await backend.query(Member)) == 1
    for lookup in ({"row": 1}, {"email": None}, {}, {"email": "x", "row": 1}):
        await expect(QueryError, backend.get_or_create(Member, lookup, defaults={"id": 3}))


# -- references ------------------------------------------------------------------------------------------------------------------------


@CHECKS.of(Parent, Child)
async def test_a_reference_to_nothing_is_refused(backend: Backend) -> None:
    """By create, save and update alike."""
    await backend.create(Parent(id=1))
    child = await backend.create(Child(id=1, owner=1, loose=77))
    child.owner = 9
    for write in (backend.save, backend.update, backend.upsert):
        await expect_foreign(write(child))
    await expect_foreign(backend.create(Child(id=2, boss=9)))
    assert [(found.id, found.owner, found.loose) for found in await backend.query(Child)] == [(1, 1, 77)]


async def expect_foreign(write: Any) -> None:
    """Check that a write is refused for a reference."""
    error = await expect(ForeignKeyError, write)
    assert error.model in ("Child", "Parent")  # some databases do not tell which reference kept a record from going


@CHECKS.of(Parent, Child)
async def test_removal_cascades_sets_null_or_is_refused(backend: Backend) -> None:
    """As each reference says; one that is not enforced says nothing."""
    await backend.create_many([Parent(id=number) for number in (1, 2, 3)])
    await backend.create_many([Child(id=1, owner=1), Child(id=2, friend=2), Child(id=3, boss=3, loose=1)])

    for key in (1, 2):
        assert await backend.delete(await backend.get(Parent, key)) is True
    await expect_foreign(backend.delete(await backend.get(Parent, 3)))

    found = {child.id: child for child in await backend.query(Child)}
    assert set(found) == {2, 3}
    assert found[2].friend is None
    assert (found[3].boss, found[3].loose) == (3, 1)
    await expect(NotFoundError, backend.get(Parent, 1))
    assert len(await backend.query(Parent)) == 1
