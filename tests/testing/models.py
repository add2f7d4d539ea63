"""Models of the tests of ``holdall.testing``."""

from decimal import Decimal
from uuid import UUID

from holdall import Field, Model, uuid7


class Author(Model):
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    name: str = Field(max_length=40, unique=True)
    version: int = Field(default=1, version=True)


class Book(Model):
    id: int | None = Field(default=None, primary_key=True, generated=True)
    author_id: UUID = Field(references=Author, on_delete="restrict", index=True)
    title: str
    price: Decimal = Field(max_digits=8, decimal_places=2, ge=0)


MODELS = (Author, Book)
