"""Every field type comes back as it went in, is found by equality, and sorts as its values do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from functools import reduce
from typing import (
    Any,
    Generic,
    Literal,
    NewType,
    NotRequired,  # pydantic wants it so before Python 3.12
    TypeVar,
    cast,
)
from uuid import UUID

import pytest
from pydantic import BaseModel, JsonValue
from typing_extensions import TypedDict

import holdall
from holdall import Backend, Field, Model, ValidationError
from tests.conformance import strategies
from tests.conformance.models import Color, Level, Part, Sample, Unit
from tests.conformance.oracle import same, sortable

UserName = NewType("UserName", str)
T = TypeVar("T")


class Address(TypedDict):
    street: str
    number: NotRequired[int]
    moved: datetime | None


class Fraction(Enum):
    HALF = Decimal("0.5")
    THIRD = Decimal("0.333333333333")


class Tree(BaseModel):
    name: str
    children: list[Tree] = []
    weight: Decimal | None = None


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str = "Rex"


class Extraordinary(BaseModel, extra="allow"):
    known: int = 0


class Compound(Model):
    id: int = Field(primary_key=True)
    literal: Literal["on", "off"] | None = None
    choice: Literal[1, 2, 3] = 1
    unit: Unit | None = None
    level: Level | None = None
    fraction: Fraction | None = None
    user: UserName | None = None
    address: Address | None = None
    part: Part | None = None
    parts: list[Part] = []
    by_name: dict[str, Part] = {}
    tree: Tree | None = None
    pets: list[Cat | Dog] = []
    prices: list[Decimal] = []
    times: dict[str, datetime] = {}
    dates: list[date | None] = []
    clocks: list[time] = []
    spans: list[timedelta] = []
    tokens: list[UUID] = []
    blobs: dict[str, bytes] = {}
    colors: list[Color] = []
    levels: dict[str, Level] = {}
    matrix: list[list[float]] = []
    maybe: dict[str, list[int | None] | None] | None = None
    anything: JsonValue = None
    open: Extraordinary | None = None
    many: list[Any] = []


JSON: JsonValue = [1, {"b": None}]


class Defaults(Model):
    id: int = Field(primary_key=True)
    text: str = "x"
    tags: list[str] = ["a"]
    made: dict[str, JsonValue] = Field(default_factory=lambda: {"a": JSON})
    part: Part = Part(title="t")
    none: int | None = None
    five: int | None = 5


class Box(Model, Generic[T]):
    id: int = Field(primary_key=True)
    content: T
    more: list[T] = []


class Deep(Model):
    id: int = Field(primary_key=True)
    d: Decimal = Field(default=Decimal(0), max_digits=34, decimal_places=12)
    wide: Decimal = Field(default=Decimal(0), max_digits=34, decimal_places=0)
    fine: Decimal = Field(default=Decimal(0), max_digits=34, decimal_places=34)


MODELS = (Sample, Compound, Defaults, Box[int], Box[Part], Deep)
SECOND = timedelta(seconds=1)

AWKWARD: dict[str, Sequence[Any]] = {
    "text": [*strategies.TEXTS, "x" * 100000, "é" * 5000],
    "number": strategies.INTS,
    "real": strategies.FLOATS,
    "amount": strategies.CENTS,
    "exact": strategies.EXACTS,
    "flag": [True, False],
    "moment": strategies.MOMENTS,
    "day": strategies.DAYS,
    "clock": strategies.CLOCKS,
    "span": strategies.SPANS,
    "token": strategies.TOKENS,
    "blob": [*strategies.BLOBS, bytes(range(256)) * 100],
    "color": list(Color),
    "level": list(Level),
    "tags": [[], [""], ["a", "a"], ["b", "a"], list(strategies.TEXTS)],
    "numbers": [[], [None], [0, None, 1], [2**63 - 1, -(2**63)]],
    "prices": [[], [Decimal("0.000000000001"), Decimal("9999999999999999999999.999999999999")]],
    "data": [*strategies.JSON_SCALARS, [], {}, [[]], {"": {}}, {"a": {"b": [1, "x", None, {"c": []}]}}, [1, "1", True, None]],
    "profile": [{}, {"b": 1, "a": 2}, {key: key for key in strategies.KEYS}, {text: text for text in strategies.TEXTS}],
    "times": [{}, {"a": strategies.MOMENTS[2]}],
    "part": [Part(title=""), Part(title="x", score=0.1, price=Decimal("1.10"), made=strategies.MOMENTS[0], on=True, marks=[1, 2])],
}
UNORDERED = {"tags", "numbers", "prices", "data", "profile", "times", "part"}


@pytest.mark.parametrize("name", AWKWARD)
async def test_awkward_values_come_back_and_are_found_and_sort(backend: Backend, name: str) -> None:
    values = AWKWARD[name]
    records = [Sample(id=number, **{name: value}) for number, value in enumerate(values)]
    await backend.create_many(records)

    for record in records:
        loaded = await backend.get(Sample, record.id)
        assert same(getattr(loaded, name), getattr(record, name))
        assert type(getattr(loaded, name)) is type(getattr(record, name)) or name == "data"
        found = await backend.query(Sample).filter(**{name: getattr(record, name)})
        wanted = {other.id for other in records if same(getattr(other, name), getattr(record, name))}
        assert {other.id for other in found} == wanted
    if name not in UNORDERED:
        found = await backend.query(Sample).order_by(name, "id")
        expected = sorted(records, key=lambda record: sortable(getattr(record, name)))
        assert [record.id for record in found] == [record.id for record in expected]


@pytest.mark.parametrize("name", AWKWARD)
async def test_a_change_of_a_loaded_record_is_stored(backend: Backend, name: str) -> None:
    await backend.create(Sample(id=1))
    for value in AWKWARD[name]:
        loaded = await backend.get(Sample, 1)
        setattr(loaded, name, value)
        await backend.save(loaded)
        again = await backend.get(Sample, 1, strict=True)
        assert same(getattr(again, name), getattr(loaded, name))
        assert holdall.changes(again) == {}
        assert holdall.changes(loaded) == {}


COMPOUND: list[dict[str, Any]] = [
    {},
    {"literal": "off", "choice": 3, "unit": Unit.SECOND, "level": Level.HIGH, "fraction": Fraction.THIRD, "user": UserName("ada")},
    {"address": {"street": "x", "moved": None}},
    {"address": {"street": "", "number": 2**63 - 1, "moved": datetime(2020, 1, 1, tzinfo=timezone(SECOND))}},
    {"part": Part(title="p", price=Decimal("0.10"))},
    {"parts": [Part(title="a"), Part(title="b", made=strategies.MOMENTS[1])], "by_name": {"'": Part(title="c", score=-1.5)}},
    {"tree": Tree(name="root", weight=Decimal("1.5"), children=[Tree(name="leaf", children=[Tree(name="", weight=Decimal(2))])])},
    {"pets": [Cat(), Dog(name="ß"), Cat(lives=1)]},
    {"prices": [Decimal("1.10"), Decimal(-3)], "times": {"a": strategies.MOMENTS[5], "": strategies.MOMENTS[6]}},
    {"dates": [date.min, None, date.max], "clocks": [time.max, time.min], "spans": list(strategies.SPANS)},
    {
        "tokens": list(strategies.TOKENS),
        "blobs": {"a": b"\x00\xff", "": b""},
        "colors": [Color.BLUE, Color.RED],
        "levels": {"x": Level.LOW},
    },
    {"matrix": [[], [1.5, -2.0], [5e-324, 1e308]], "maybe": {"a": None, "b": [], "c": [None, 1]}},
    {"anything": {"a": [1, 2.5, None, True, {"": "x"}]}, "many": [1, "a", None, [True]]},
]


@pytest.mark.parametrize("values", COMPOUND, ids=lambda values: "-".join(values) or "empty")
async def test_compound_values_come_back_with_their_types(backend: Backend, values: dict[str, Any]) -> None:
    created = await backend.create(Compound(id=1, **values))

    loaded = await backend.get(Compound, 1, strict=True)

    assert loaded == created
    for name in values:
        assert repr(_plain(getattr(loaded, name))) == repr(_plain(getattr(created, name)))
        assert await backend.query(Compound).filter(**{name: getattr(created, name)}).count() == 1
    assert holdall.changes(loaded) == {}


def _plain(value: Any) -> Any:
    """Return the value with its datetimes in UTC and its numbers without zeros at the end, which do not count."""
    if isinstance(value, BaseModel):
        return type(value), _plain(dict(value))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in sorted(cast("dict[str, Any]", value).items())}
    if isinstance(value, list):
        return list(map(_plain, cast("Iterable[Any]", value)))
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value.normalize() if isinstance(value, Decimal) else value


async def test_a_nested_model_keeps_what_it_does_not_know(backend: Backend) -> None:
    await backend.create(Compound(id=1, open=Extraordinary.model_validate({"known": 1, "other": [1, "x"]})))

    loaded = await backend.get(Compound, 1)

    assert loaded.open is not None
    assert loaded.open.model_dump() == {"known": 1, "other": [1, "x"]}


async def test_defaults_are_stored_and_shared_with_nobody(backend: Backend) -> None:
    await backend.create_many([Defaults(id=1), Defaults(id=2)])
    one = await backend.get(Defaults, 1)
    one.tags.append("b")
    one.made["x"] = 1
    one.part.marks.append(1)
    await backend.save(one)

    assert await backend.get(Defaults, 2) == Defaults(id=2)
    assert Defaults(id=3) == Defaults(id=3, tags=["a"], made={"a": [1, {"b": None}]}, part=Part(title="t"))
    assert (await backend.get(Defaults, 1)).tags == ["a", "b"]


async def test_generic_models_are_stored_under_names_of_their_own(backend: Backend) -> None:
    await backend.create(Box[int](id=1, content=5, more=[1]))
    await backend.create(Box[Part](id=1, content=Part(title="x"), more=[Part(title="y")]))

    assert (await backend.get(Box[int], 1)).content == 5
    assert (await backend.get(Box[Part], 1)).more == [Part(title="y")]
    assert await backend.query(Box[int]).filter(content__gt=4).count() == 1
    assert await backend.query(Box[Part]).filter(content__title="x").count() == 1


async def test_decimals_keep_all_declared_digits(backend: Backend) -> None:
    record = Deep(id=1, d=Decimal("9999999999999999999999.999999999999"), wide=Decimal("9" * 34), fine=Decimal("0." + "1" * 34))
    await backend.create(record)
    await backend.create(Deep(id=2, wide=Decimal("9" * 33 + "8"), d=Decimal("9999999999999999999999.999999999998")))

    assert await backend.get(Deep, 1) == record
    assert [found.id for found in await backend.query(Deep).order_by("wide")] == [2, 1]
    assert [found.id for found in await backend.query(Deep).filter(d__gt=Decimal("9999999999999999999999.999999999998"))] == [1]


async def test_the_created_object_equals_what_get_returns(backend: Backend) -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    created = await backend.create(
        Sample(id=1, moment=datetime(2024, 5, 5, 1, 2, 3, 456789, tzinfo=zone), real=-0.0, exact=Decimal("1.500"), data=[1.0, -0.0])
    )

    loaded = await backend.get(Sample, 1)

    assert loaded == created
    assert loaded.moment is not None
    assert (loaded.moment.tzinfo, loaded.moment.microsecond) == (UTC, 456789)
    assert str(loaded.real) == "0.0"


class Strange(str):
    __slots__ = ()


async def test_subclasses_of_plain_types_are_stored_as_the_plain_type(backend: Backend) -> None:
    record = Sample(id=1).model_copy(update={"text": Strange("x"), "number": Level.HIGH})
    await backend.create(record)

    loaded = await backend.get(Sample, 1)

    assert (type(loaded.text), loaded.text) == (str, "x")
    assert (type(loaded.number), loaded.number) == (int, 2**40)


# -- what no store may keep ------------------------------------------------------------------------------------------------------------

CYCLE: list[Any] = []
CYCLE.append(CYCLE)
DEEP: list[Any] = reduce(lambda inner, _: [inner], range(300), [])
REFUSED: list[tuple[str, Any]] = [
    ("number", 2**63),
    ("number", -(2**63) - 1),
    ("number", True),
    ("number", 1.0),
    ("real", float("nan")),
    ("real", float("inf")),
    ("real", -float("inf")),
    ("text", "a\0b"),
    ("text", "\ud800"),
    ("text", b"x"),
    ("amount", Decimal("0.001")),
    ("amount", Decimal(10**16)),
    ("amount", Decimal("NaN")),
    ("amount", Decimal("Infinity")),
    ("exact", Decimal("0.0000000000001")),
    ("exact", Decimal(10**22)),
    ("exact", Decimal("1E+22")),
    ("exact", 1.5),
    ("moment", datetime(2024, 1, 1)),  # noqa: DTZ001
    ("moment", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))),
    ("moment", datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=2)))),
    ("moment", date(2024, 1, 1)),
    ("day", datetime(2024, 1, 1, tzinfo=UTC)),
    ("clock", time(1, tzinfo=UTC)),
    ("span", timedelta.max),
    ("span", timedelta.min),
    ("word", None),
    ("sure", 1),
    ("sure", None),
    ("token", "not a uuid"),
    ("blob", "text"),
    ("color", "mauve"),
    ("color", Level.LOW),
    ("tags", ["a\0"]),
    ("tags", ["\udfff"]),
    ("tags", [1]),
    ("tags", "abc"),
    ("numbers", [2**63]),
    ("numbers", [1.5]),
    ("prices", [Decimal("NaN")]),
    ("prices", [Decimal("0.0000000000001")]),
    ("data", float("nan")),
    ("data", {"a": [float("inf")]}),
    ("data", {"a\0": 1}),
    ("data", {"a": "\ud800"}),
    ("data", 2**63),
    ("data", [-(2**63) - 1]),
    ("data", {1: 2}),
    ("data", {"a": object()}),
    ("data", {"a": {1, 2}}),
    ("data", CYCLE),
    ("data", DEEP),
    ("profile", {"a": Decimal(1)}),
    ("profile", None),
    ("times", {"a": datetime(2024, 1, 1)}),  # noqa: DTZ001
    ("part", {"title": "a dict is no Part"}),
    ("part", Part.model_construct(title=None)),
    ("part", Part.model_construct(score=1.0)),
    ("part", Part.model_construct(title="a\0")),
    ("part", Part.model_construct(title="x", score=float("nan"))),
]


def _shown(value: object) -> str:
    # Without addresses, which differ between the workers of a run.
    return re.sub(r" at 0x[0-9a-f]+", "", ascii(value))[:30]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=_shown)
async def test_values_that_no_store_may_keep_are_refused(backend: Backend, name: str, value: Any) -> None:
    good = await backend.create(Sample(id=2))
    bad = Sample(id=1).model_copy(update={name: value})
    vars(good)[name] = value

    for write in (backend.create, backend.upsert, backend.save):
        with pytest.raises(ValidationError) as caught:
            await write(bad)
        assert (caught.value.model, caught.value.field) == ("Sample", name)
    with pytest.raises(ValidationError):
        await backend.create_many([Sample(id=3), bad])
    for write in (backend.save, backend.update):
        with pytest.raises(ValidationError):
            await write(good)
    assert not holdall.is_stored(bad)
    assert [record.id for record in await backend.query(Sample).order_by("id")] == [2]
    assert await backend.get(Sample, 2) == Sample(id=2)


@pytest.mark.parametrize(("name", "value"), [pair for pair in REFUSED if pair[1] is not None], ids=_shown)
async def test_an_update_by_query_refuses_the_same_values(backend: Backend, name: str, value: Any) -> None:
    await backend.create(Sample(id=1))

    with pytest.raises(ValidationError):
        await backend.query(Sample).update(**{name: value})

    assert await backend.get(Sample, 1) == Sample(id=1)


class Small(IntEnum):
    ONE = 1


class Other(StrEnum):
    RED = "red"


async def test_members_of_another_enum_are_refused(backend: Backend) -> None:
    for name, value in (("color", Other.RED), ("level", Small.ONE)):
        record = Sample(id=1).model_copy(update={name: value})
        with pytest.raises(ValidationError):
            await backend.create(record)
