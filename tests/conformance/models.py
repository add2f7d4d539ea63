"""Models that many tests share."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from uuid import UUID

from pydantic import BaseModel, JsonValue

from holdall import Field, Index, Model, utc_now, uuid7


class Color(Enum):
    RED = "red"
    GREEN = "Green"
    BLUE = "blue "


class Level(IntEnum):
    LOW = -1
    MIDDLE = 0
    HIGH = 2**40


class Unit(StrEnum):
    METRE = "m"
    SECOND = "ſ"


class Part(BaseModel):
    """The inside of a document whose members have types."""

    title: str
    score: float | None = None
    count: int = 0
    price: Decimal | None = None
    made: datetime | None = None
    on: bool = False
    marks: list[int] = []


class Sample(Model):
    """A field of every type, most of which can be None."""

    id: int = Field(primary_key=True)
    word: str = ""
    text: str | None = None
    small: int = 0
    number: int | None = None
    real: float | None = None
    amount: Decimal | None = Field(default=None, max_digits=18, decimal_places=2)
    exact: Decimal | None = None
    flag: bool | None = None
    sure: bool = False
    moment: datetime | None = None
    day: date | None = None
    clock: time | None = None
    span: timedelta | None = None
    token: UUID | None = None
    blob: bytes | None = None
    color: Color | None = None
    level: Level = Level.MIDDLE
    tags: list[str] | None = None
    numbers: list[int | None] = []
    prices: list[Decimal] = []
    data: JsonValue = None
    profile: dict[str, JsonValue] = {}
    times: dict[str, datetime] | None = None
    part: Part | None = None


class Customer(Model):
    """The first example of the documentation."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    email: str = Field(max_length=320, unique=True)
    name: str
    city: str | None = None
    age: int | None = Field(default=None, ge=0, index=True)
    tags: list[str] = []
    profile: dict[str, JsonValue] = {}
    balance: Decimal = Field(default=Decimal(0), max_digits=18, decimal_places=2)
    version: int = Field(default=1, version=True)
    created_at: datetime = Field(default_factory=utc_now)
    updated_at: datetime = Field(default_factory=utc_now, auto_now=True)

    class Meta:
        name = "customers"
        indexes = [Index("city", "-created_at")]
        order_by = ["-created_at"]


class Order(Model):
    """It refers to a customer, who cannot go before it."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    customer_id: UUID = Field(references=Customer, on_delete="restrict", index=True)
    total: Decimal = Field(max_digits=18, decimal_places=2)


class Person(Model):
    """Small, for tests of queries: ties, None and an order of its own."""

    id: int = Field(primary_key=True)
    name: str
    age: int | None = None
    city: str | None = None
    tags: list[str] = []
    profile: dict[str, JsonValue] = {}
