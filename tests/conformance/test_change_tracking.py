"""An object knows whether it is stored and what changed in it, in place too; copies and pickles know it as well, and ``==`` does not care."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError as PydanticError
from pydantic import computed_field

import holdall
from holdall import Backend, CorruptRecordError, Field, Model, ValidationError
from tests.conformance.models import Color, Customer, Part, Sample


class Derived(Model):
    id: int = Field(primary_key=True)
    first: str = "a"
    _private: int = 5

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> str:
        return self.first * 2


class Tight(Model):
    """The same table as ``Lax``, whose rows it does not accept."""

    id: int = Field(primary_key=True)
    age: int | None = Field(default=None, ge=0)
    color: Color | None = None
    part: Part | None = None
    tags: list[int] = []

    class Meta:
        name = "tight_or_lax"


class Lax(Model):
    id: int = Field(primary_key=True)
    age: int | None = None
    color: str | None = None
    part: dict[str, Any] | None = None
    tags: list[Any] = []

    class Meta:
        name = "tight_or_lax"


MODELS = (Sample, Customer, Derived, Lax)


def full(number: int = 1) -> Sample:
    return Sample(
        id=number, text="x", tags=["a"], profile={"a": {"b": [1]}}, part=Part(title="t", marks=[1]), data=[1, {"x": None}],
        times={"a": datetime(2024, 1, 1, tzinfo=UTC)}, exact=Decimal("1.50"),
    )  # fmt: skip


async def test_a_new_object_is_not_stored_and_all_of_it_is_new() -> None:
    record = Derived(id=1)

    assert not holdall.is_stored(record)
    assert holdall.changes(record) == {"id": (None, 1), "first": (None, "a")}


async def test_assignments_are_changes_until_saved_or_put_back(backend: Backend) -> None:
    await backend.create(full())
    record = await backend.get(Sample, 1)

    record.text = "y"
    record.exact = Decimal("1.5000")
    assert holdall.changes(record) == {"text": ("x", "y")}
    record.text = "x"
    assert holdall.changes(record) == {}
    record.number = 5
    record.text = None
    assert holdall.changes(record) == {"text": ("x", None), "number": (None, 5)}
    await backend.save(record)
    assert holdall.changes(record) == {}


IN_PLACE: dict[str, tuple[Callable[[Any], object], str]] = {
    "list append": (lambda record: record.tags.append("b") if record.tags is not None else None, "tags"),
    "dict deep": (lambda record: record.profile["a"]["b"].append(2), "profile"),
    "dict key": (lambda record: record.profile.clear(), "profile"),
    "nested member": (lambda record: setattr(record.part, "title", "u"), "part"),
    "nested list": (lambda record: record.part.marks.clear() if record.part else None, "part"),
    "json": (lambda record: record.data.pop(), "data"),
    "times": (lambda record: record.times.update(b=datetime(2025, 1, 1, tzinfo=UTC)) if record.times else None, "times"),
}


@pytest.mark.parametrize("way", IN_PLACE)
@pytest.mark.parametrize("loaded", [True, False], ids=["loaded", "created"])
async def test_changes_in_place_are_seen_and_saved(backend: Backend, way: str, loaded: bool) -> None:
    change, name = IN_PLACE[way]
    created = await backend.create(full())
    record = await backend.get(Sample, 1) if loaded else created
    before = copy.deepcopy(getattr(record, name))

    change(record)

    assert holdall.changes(record) == {name: (before, getattr(record, name))}
    await backend.save(record)
    assert holdall.changes(record) == {}
    again = await backend.get(Sample, 1)
    assert again == record
    assert getattr(again, name) != before


async def test_a_change_in_place_that_cannot_be_stored_is_refused_and_still_a_change(backend: Backend) -> None:
    record = await backend.create(full())
    assert record.tags is not None
    record.tags.append(5)  # type: ignore[arg-type]

    with pytest.raises(ValidationError) as caught:
        await backend.save(record)

    assert (caught.value.model, caught.value.field) == ("Sample", "tags")
    assert list(holdall.changes(record)) == ["tags"]
    assert (await backend.get(Sample, 1)).tags == ["a"]


async def test_two_reads_share_nothing(backend: Backend) -> None:
    await backend.create(full())
    one, two = await backend.get(Sample, 1), await backend.get(Sample, 1)
    many = await backend.get_many(Sample, [1, 1])

    one.profile["a"] = 5
    assert one.tags is not None
    one.tags.append("z")

    assert two == full()
    assert many[0] == full()
    assert holdall.changes(two) == {}
    assert (await backend.get(Sample, 1)) == full()


async def test_the_object_that_was_given_is_not_shared_with_the_store(backend: Backend) -> None:
    tags = ["a"]
    record = await backend.create(Sample(id=1, tags=tags, profile={"a": [1]}))

    record.profile["a"] = None

    assert (await backend.get(Sample, 1)).profile == {"a": [1]}
    assert holdall.changes(record) == {"profile": ({"a": [1]}, {"a": None})}


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda record: pickle.loads(pickle.dumps(record)),
    "oldest pickle": lambda record: pickle.loads(pickle.dumps(record, 2)),
    "model_copy": lambda record: record.model_copy(),
    "deep model_copy": lambda record: record.model_copy(deep=True),
}


@pytest.mark.parametrize("way", COPIES)
async def test_copies_know_what_is_stored(backend: Backend, way: str) -> None:
    make = COPIES[way]
    created = await backend.create(full())
    loaded = await backend.get(Sample, 1)
    loaded.text = "changed"

    for record in (created, loaded):
        made = make(record)
        assert made == record
        assert type(made) is Sample
        assert holdall.is_stored(made)
        assert holdall.changes(made) == holdall.changes(record)
    made = make(loaded)
    made.number = 9
    assert "number" not in holdall.changes(loaded)
    await backend.save(made)
    assert await backend.get(Sample, 1) == made
    assert not holdall.is_stored(make(full(2)))


async def test_model_copy_with_an_update_is_a_changed_object(backend: Backend) -> None:
    record = await backend.create(full())

    made = record.model_copy(update={"text": "new"})
    await backend.save(made)

    assert (await backend.get(Sample, 1)).text == "new"
    assert holdall.changes(record) == {}


async def test_the_stored_state_takes_no_part_in_equality_or_output(backend: Backend) -> None:
    record, fresh = await backend.create(full()), full()

    assert record == fresh == await backend.get(Sample, 1)
    assert repr(record) == repr(fresh)
    assert record.model_dump() == fresh.model_dump()
    assert record.model_dump_json() == fresh.model_dump_json()
    assert Sample.model_validate(record.model_dump()) == record
    assert not holdall.is_stored(Sample.model_validate(record.model_dump()))


async def test_loaded_objects_are_whole_pydantic_objects(backend: Backend) -> None:
    await backend.create(Derived(id=1, first="b"))

    record = await backend.get(Derived, 1)

    assert record.double == "bb"
    assert record._private == 5
    assert record.model_fields_set == {"id", "first"}
    other = await backend.get(Derived, 1)
    record.model_fields_set.clear()
    assert other.model_fields_set == {"id", "first"}
    with pytest.raises(PydanticError):
        record.first = 5  # type: ignore[assignment]


async def test_a_row_that_cannot_be_read_names_model_key_and_field(backend: Backend) -> None:
    await backend.create_many([Lax(id=1, color="red"), Lax(id=2, color="mauve")])

    assert (await backend.get(Tight, 1)).color is Color.RED
    for read in (backend.get(Tight, 2), backend.query(Tight).filter(id=2).first(), backend.query(Tight).values("id", "color").all()):
        with pytest.raises(CorruptRecordError) as caught:
            await read
        assert (caught.value.model, caught.value.key, caught.value.field) == ("Tight", 2, "color")


@pytest.mark.parametrize(
    ("name", "value"),
    [("age", -1), ("tags", ["x"]), ("part", {"title": 5}), ("part", {"title": "x", "count": "many"}), ("part", {})],
    ids=str,
)
async def test_strict_reads_validate_what_was_stored(backend: Backend, name: str, value: Any) -> None:
    await backend.create_many([Lax(id=1), Lax.model_validate({"id": 2, name: value})])

    assert await backend.get(Tight, 1, strict=True) == Tight(id=1)
    for read in (backend.get(Tight, 2, strict=True), backend.get_or_none(Tight, 2, strict=True), backend.query(Tight).all(strict=True)):
        with pytest.raises(CorruptRecordError) as caught:
            await read
        assert (caught.value.model, caught.value.key, caught.value.field) == ("Tight", 2, name)
