"""The models of the suite. Their stored names begin with ``suite_``."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, JsonValue
from typing_extensions import TypedDict

from holdall.active import Model
from holdall.record.fields import Field, Index
from holdall.record.generators import utc_now


class Color(Enum):
    """Members whose values differ in case and in a space at the end."""

    RED = "red"
    GREEN = "Red"
    BLUE = "red "


class Level(IntEnum):
    """Members that need more than 32 bits."""

    LOW = -1
    MIDDLE = 0
    HIGH = 2**40


class Address(TypedDict):
    """The inside of a document."""

    street: str
    moved: datetime | None


class Part(BaseModel):
    """The inside of a document whose members have types."""

    title: str
    score: float | None = None
    price: Decimal | None = None
    made: datetime | None = None
    marks: list[int] = []


class Sample(Model):
    """A field of every type."""

    id: int = Field(primary_key=True)
    sure: bool = False
    flag: bool | None = None
    number: int | None = None
    real: float | None = None
    text: str | None = None
    blob: bytes | None = None
    amount: Decimal | None = Field(default=None, max_digits=18, decimal_places=2)
    exact: Decimal | None = None
    token: UUID | None = None
    day: date | None = None
    moment: datetime | None = None
    clock: time | None = None
    span: timedelta | None = None
    color: Color | None = None
    level: Level = Level.MIDDLE
    choice: Literal["on", "off"] | None = None
    tags: list[str] | None = None
    numbers: list[int | None] = Field(default_factory=list[int | None])
    prices: dict[str, Decimal] = Field(default_factory=dict)
    data: JsonValue = None
    part: Part | None = None
    address: Address | None = None

    class Meta:
        """Stored apart from the models of applications."""

        name = "suite_sample"


class Person(Model):
    """Ties, None and documents, for queries."""

    id: int = Field(primary_key=True)
    name: str
    age: int | None = None
    city: str | None = None
    tags: list[str] = Field(default_factory=list)
    profile: dict[str, JsonValue] = Field(default_factory=dict)

    class Meta:
        """Stored apart from the models of applications."""

        name = "suite_person"


class Article(Model):
    """Texts to search in."""

    id: int = Field(primary_key=True)
    title: str = Field(default="", search="standard")
    body: str | None = Field(default=None, search="english")
    topic: str | None = None
    words: int | None = None
    price: Decimal | None = Field(default=None, max_digits=18, decimal_places=2)
    shown: bool = True
    tags: list[str] = Field(default_factory=list)
    day: date | None = None
    moment: datetime | None = None

    class Meta:
        """Stored apart from the models of applications."""

        name = "suite_article"


class Plain(Model):
    """Nothing that needs a capability."""

    id: int = Field(primary_key=True)
    name: str = ""
    number: int = 0

    class Meta:
        """Stored apart from the models of applications."""

        name = "suite_plain"


class Versioned(Model):
    """A version and times that writes set."""

    id: int = Field(primary_key=True)
    name: str = ""
    number: int = 0
    version: int = Field(default=1, version=True)
    made: datetime = Field(default_factory=utc_now, auto_now_add=True)
    changed: datetime = Field(default_factory=utc_now, auto_now=True)

    class Meta:
        """Stored apart from the models of applications."""

        name = "suite_versioned"


class Ranked(Model):
    """An order of its own."""

    id: int = Field(primary_key=True)
    rank: int | None = None

    class Meta:
        """Stored apart from the models of applications."""

        name = "suite_ranked"
        order_by = ("-rank",)


class Fleeting(Model):
    """A time after which the record is gone."""

    id: int = Field(primary_key=True)
    code: str | None = Field(default=None, unique=True)
    name: str = ""
    until: datetime | None = Field(default=None, expires=True)

    class Meta:
        """Stored apart from the models of applications."""

        name = "suite_fleeting"


class Visit(Model):
    """A partition, an order within it, and an index of each kind."""

    hall: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    guest: str | None = Field(default=None, index=True)
    city: str | None = None
    stars: int | None = None
    text: str = ""

    class Meta:
        """Stored apart from the models of applications."""

        name = "suite_visit"
        indexes = (Index("city", "-stars"),)


class Seat(Model):
    """A composite key."""

    number: int = Field(primary_key=True)
    hall: str = Field(primary_key=True)
    guest: str | None = None

    class Meta:
        """Stored apart from the models of applications."""

        name = "suite_seat"


class Member(Model):
    """A unique field, and two that are unique together."""

    id: int = Field(primary_key=True)
    email: str | None = Field(default=None, unique=True)
    row: int = 0
    place: int | None = None

    class Meta:
        """Stored apart from the models of applications."""

        name = "suite_member"
        indexes = (Index("row", "place", unique=True),)


class Ticket(Model):
    """A key that the store makes."""

    id: int | None = Field(default=None, primary_key=True, generated=True)
    title: str = ""

    class Meta:
        """Stored apart from the models of applications."""

        name = "suite_ticket"


class Parent(Model):
    """What others refer to."""

    id: int = Field(primary_key=True)

    class Meta:
        """Stored apart from the models of applications."""

        name = "suite_parent"


class Child(Model):
    """A reference of every kind."""

    id: int = Field(primary_key=True)
    owner: int | None = Field(default=None, references=Parent, on_delete="cascade")
    friend: int | None = Field(default=None, references=Parent, on_delete="set_null")
    boss: int | None = Field(default=None, references=Parent, on_delete="restrict")
    loose: int | None = Field(default=None, references=Parent, enforce=False)

    class Meta:
        """Stored apart from the models of applications."""

        name = "suite_child"


class Reserved(Model):
    """Names that query languages keep for themselves, and worse."""

    select: int = Field(primary_key=True)
    order: str = ""
    group: int | None = None
    quoted: str = Field(default="", name='a "quoted" name')
    percent: int = Field(default=0, name="100%s :x $1 ?")
    ticks: int = Field(default=0, name="it's `ticked` #x")

    class Meta:
        """A word that query languages keep, too."""

        name = "suite_order by"
