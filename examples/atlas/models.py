"""What Atlas stores, and the shapes in which it is asked for and answered."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, NotRequired, Self
from uuid import UUID

from pydantic import BaseModel, model_validator
from typing_extensions import TypedDict  # pydantic wants this TypedDict before Python 3.12

from examples.atlas.database import ENFORCED
from holdall import Field, Index, Model, utc_now, uuid7

Title = Annotated[str, Field(min_length=1, max_length=200)]
Email = Annotated[str, Field(max_length=320, pattern="^[^@ ]+@[^@ ]+$", examples=["ada@example.org"])]
Money = Annotated[Decimal, Field(max_digits=18, decimal_places=2)]


class Country(Model):
    """A country of ISO 3166-1."""

    code: str = Field(primary_key=True, pattern="^[A-Z]{2}$", examples=["IS"])
    alpha_3: str = Field(unique=True, pattern="^[A-Z]{3}$", examples=["ISL"])
    numeric: str = Field(unique=True, pattern="^[0-9]{3}$", examples=["352"])
    name: Title = Field(index=True)
    official_name: str | None = None
    flag: str = ""

    class Meta:
        """Tables of their own names: Atlas may live beside others in one database."""

        name = "atlas_countries"
        order_by = ["name"]


class Subdivision(Model):
    """A state, province, district … of ISO 3166-2; some lie within another."""

    code: str = Field(primary_key=True, pattern="^[A-Z]{2}-[A-Z0-9]{1,3}$", examples=["IS-1"])
    country_code: str = Field(references=Country, enforce=ENFORCED)
    parent_code: str | None = Field(default=None, references="Subdivision", enforce=ENFORCED, on_delete="cascade", index=True)
    type: str = Field(examples=["Region"])
    name: Title = Field(index=True)

    class Meta:
        """Most lists are those of one country."""

        name = "atlas_subdivisions"
        indexes = [Index("country_code", "name")]


class Language(Model):
    """A language of ISO 639-3."""

    code: str = Field(primary_key=True, pattern="^[a-z]{3}$", examples=["isl"])
    alpha_2: str | None = Field(default=None, unique=True, pattern="^[a-z]{2}$")
    name: Title = Field(index=True)
    scope: str = Field(max_length=1, description="I: individual, M: macrolanguage, S: special")
    type: str = Field(max_length=1, description="L: living, E: extinct, H: historical, C: constructed, S: special")

    class Meta:
        """The default order is served by the index of ``name``."""

        name = "atlas_languages"
        order_by = ["name"]


class Currency(Model):
    """A currency of ISO 4217."""

    code: str = Field(primary_key=True, pattern="^[A-Z]{3}$", examples=["ISK"])
    numeric: str = Field(unique=True, pattern="^[0-9]{3}$")
    name: Title = Field(index=True)

    class Meta:
        """The default order is served by the index of ``name``."""

        name = "atlas_currencies"
        order_by = ["name"]


class Traveller(Model):
    """Somebody with a purse. ``version`` keeps two changes at a time from overwriting each other."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    email: Email = Field(unique=True)
    name: Title
    home: str | None = Field(default=None, references=Country, enforce=ENFORCED, on_delete="set_null", index=True)
    balance: Money = Field(default=Decimal(0), ge=0)
    version: int = Field(default=1, version=True)
    updated_at: datetime = Field(default_factory=utc_now, auto_now=True)

    class Meta:
        """The key is in the order of creation."""

        name = "atlas_travellers"


class Transfer(Model):
    """Money that went from one traveller to another. ``reference`` is the sender's own: the same one is never paid twice."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    reference: str = Field(unique=True, min_length=1, max_length=100)
    payer: UUID = Field(references=Traveller, enforce=ENFORCED, on_delete="cascade", index=True)
    payee: UUID = Field(references=Traveller, enforce=ENFORCED, on_delete="cascade", index=True)
    amount: Money = Field(gt=0)
    made_at: datetime = Field(default_factory=utc_now)

    class Meta:
        """The key is in the order of creation."""

        name = "atlas_transfers"


MODELS = (Country, Subdivision, Language, Currency, Traveller, Transfer)


class Name(BaseModel):
    """Enough for a list to choose from: queries that ask for it read these columns alone."""

    code: str
    name: str


class NewTraveller(BaseModel):
    """What a client says of a new traveller; the rest is the service's business."""

    email: Email
    name: Title
    home: str | None = None
    balance: Money = Field(default=Decimal(0), ge=0)


class TravellerChange(TypedDict):
    """The fields to change, and the version that the client saw."""

    version: int
    name: NotRequired[Title]
    home: NotRequired[str | None]


class NewTransfer(BaseModel):
    """An order to send money."""

    reference: str = Field(min_length=1, max_length=100, examples=["rent-2025-06"])
    payer: UUID
    payee: UUID
    amount: Money = Field(gt=0)

    @model_validator(mode="after")
    def check_that_it_goes_somewhere(self) -> Self:
        """Refuse a transfer to oneself."""
        if self.payer == self.payee:
            msg = "payer and payee are the same"
            raise ValueError(msg)
        return self
