"""Records made up: valid, unique, the same in every run; and clear refusals."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

import pydantic
import pytest
from pydantic import BaseModel, JsonValue
from typing_extensions import TypedDict

import holdall
from holdall import Backend, ConfigurationError, Field, Model, changes, is_stored
from holdall.testing import build, create, restart_numbers
from tests.testing.models import Author, Book


@pytest.fixture(autouse=True)
def numbers() -> Iterator[None]:
    restart_numbers()
    yield
    restart_numbers()


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Place(BaseModel):
    street: str
    number: int = Field(ge=10)
    note: str = ""


class Size(TypedDict):
    width: int
    unit: Literal["cm", "mm"]


class Everything(Model):
    id: int = Field(primary_key=True)
    flag: bool
    ratio: float
    text: str
    data: bytes
    price: Decimal
    token: UUID
    day: date
    moment: datetime
    hour: time
    wait: timedelta
    colour: Colour
    grade: Literal["a", "b"]
    maybe: int | None
    tags: list[str]
    notes: dict[str, int]
    anything: JsonValue
    place: Place
    size: Size
    default: str = "as declared"


class Bounded(Model):
    code: str = Field(primary_key=True, min_length=2, max_length=2)
    long: str = Field(min_length=50)
    short: str = Field(unique=True, max_length=12)
    age: int = Field(ge=18, le=120)
    even: int = Field(gt=0, multiple_of=2)
    below: int = Field(lt=-5)
    share: float = Field(gt=0, lt=1)
    fraction: Decimal = Field(ge=0, le=1, max_digits=3, decimal_places=2)
    cents: Decimal = Field(max_digits=2, decimal_places=2)
    blob: bytes = Field(max_length=3)
    three: Annotated[list[int], Field(min_length=3)]


def test_every_required_field_gets_a_value_and_the_others_their_default() -> None:
    record = build(Everything)

    assert record.id == 1
    assert record.text == "text 1"
    assert record.place == Place(street="street 1", number=10)
    assert record.size == {"width": 1, "unit": "cm"}
    assert (record.tags, record.notes, record.anything, record.default) == ([], {}, {}, "as declared")
    assert not is_stored(record)
    assert changes(record)  # every value can be stored


def test_values_are_the_same_in_every_run() -> None:
    first = [build(Everything) for _ in range(3)]
    restart_numbers()

    assert [build(Everything) for _ in range(3)] == first
    assert len({record.token for record in first}) == 3


def test_constraints_are_kept_and_values_differ_where_there_is_room() -> None:
    records = [build(Bounded) for _ in range(300)]

    for name in ("code", "long", "short", "even", "below", "share"):
        assert len({getattr(record, name) for record in records}) == 300, name
    assert {len(record.code) for record in records} == {2}
    assert [len(record.three) for record in records] == [3] * 300
    assert min(record.below for record in records) < -5


def test_given_values_win_and_wrong_ones_are_pydantics_errors() -> None:
    assert build(Author, name="Ada").name == "Ada"
    with pytest.raises(pydantic.ValidationError):
        build(Author, name="x" * 41)
    with pytest.raises(ConfigurationError, match="no field 'nmae'; did you mean 'name'"):
        build(Author, nmae="Ada")


def test_a_field_with_an_alias_is_filled_by_it() -> None:
    class Aliased(Model):
        id: int = Field(primary_key=True)
        save_: str = Field(alias="save")

    assert build(Aliased).save_ == "save_ 1"
    assert build(Aliased, save_="given").save_ == "given"


class Pattern(Model):
    id: int = Field(primary_key=True)
    code: str = Field(pattern="^[A-Z]{3}$")


class Switch(Model):
    on: bool = Field(primary_key=True)


class Impossible(Model):
    id: int = Field(primary_key=True, gt=1, lt=2)


class Validated(Model):
    id: int = Field(primary_key=True)
    odd: Annotated[int, pydantic.AfterValidator(lambda value: 1 / 0 if value % 2 == 0 else value)]
    never: Annotated[str, pydantic.StringConstraints(to_upper=True), Field(pattern="^x")]


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Pattern, r"Pattern.code: it has a pattern, '\^\[A-Z\]\{3\}\$'; pass code=…"),
        (Impossible, "Impossible.id: its bounds leave no value; pass id=…"),
        (Validated, "Validated.never: it has a pattern"),
        (Book, "Book.author_id refers to Author: pass author_id=…, or let create"),
    ],
    ids=["pattern", "bounds", "validated", "reference"],
)
def test_what_cannot_be_made_up_is_refused_by_name(model: type[Model], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        build(model)


def test_a_unique_field_without_room_is_refused_when_it_is_full() -> None:
    build(Switch)
    build(Switch)

    with pytest.raises(ConfigurationError, match=r"Switch.on: it is unique and there are only 2 values"):
        build(Switch)


def test_a_record_stands_for_its_key_in_a_reference() -> None:
    author = build(Author)

    assert build(Book, author_id=author).author_id == author.id
    assert build(Book, author_id=author.id).author_id == author.id
    with pytest.raises(ConfigurationError, match="refers to Author, not to Book"):
        build(Book, author_id=build(Book, author_id=author))


async def test_create_stores_what_a_reference_needs(database: Backend) -> None:
    book = await create(database, Book, title="Dune")
    again = await create(database, Book, author_id=await database.get(Author, book.author_id))
    async with database.session() as session:
        await create(session, Book)

    assert is_stored(book)
    assert (book.title, again.author_id) == ("Dune", book.author_id)
    assert await database.query(Author).count() == 2
    assert await database.query(Book).count() == 3


class Node(Model):
    id: int = Field(primary_key=True)
    parent: int | None = Field(references="Node")


class Loose(Model):
    id: int = Field(primary_key=True)
    elsewhere: int = Field(references=Node, enforce=False)


async def test_references_to_oneself_or_without_a_foreign_key_need_no_parent() -> None:
    async with holdall.open("memory://") as backend:
        await backend.initialize(Node, Loose)
        root = await create(backend, Node)
        loose = await create(backend, Loose)

        assert root.parent is None
        assert (await create(backend, Node, parent=root)).parent == root.id
        assert loose.elsewhere == 1


async def test_made_up_records_come_back_equal_from_every_store(backend_url: str) -> None:
    async with holdall.open(backend_url) as backend:
        await backend.drop(Everything, Bounded)
        await backend.initialize(Everything, Bounded)
        for _ in range(3):
            first, second = await create(backend, Everything), await create(backend, Bounded)

            assert await backend.get(Everything, first.id) == first
            assert await backend.get(Bounded, second.code) == second
        await backend.drop(Everything, Bounded)
