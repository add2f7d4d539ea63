"""SQLite does not say which reference kept a record from going; the store says it where only one can have."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

import holdall
from holdall import Backend, Field, ForeignKeyError, Model


class Author(Model):
    id: int = Field(primary_key=True)


class Book(Model):
    id: int = Field(primary_key=True)
    author: int = Field(references=Author, on_delete="cascade")
    editor: int | None = Field(default=None, references=Author, on_delete="set_null")


class Loan(Model):
    id: int = Field(primary_key=True)
    book: int = Field(references=Book)


class Prize(Model):
    id: int = Field(primary_key=True)
    author: int = Field(references=Author)
    rival: int | None = Field(default=None, references=Author)


@pytest.fixture
async def backend(sqlite_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(sqlite_url) as backend:
        await backend.initialize(Author, Book, Loan)
        await backend.create_many([Author(id=1), Author(id=2), Author(id=3)])
        await backend.create(Book(id=1, author=1, editor=2))
        await backend.create(Loan(id=1, book=1))
        yield backend


async def test_the_reference_behind_a_cascade_is_named(backend: Backend) -> None:
    with pytest.raises(ForeignKeyError) as caught:
        await backend.delete(await backend.get(Author, 1))

    assert (caught.value.model, caught.value.fields) == ("Loan", ("book",))


async def test_the_model_is_named_where_either_of_its_fields_may_be_the_one(backend: Backend) -> None:
    await backend.delete(await backend.get(Loan, 1))
    await backend.initialize(Prize)
    await backend.drop(Loan)
    await backend.create(Prize(id=1, author=3))

    with pytest.raises(ForeignKeyError) as caught:
        await backend.query(Author).filter(id=3).delete()

    assert (caught.value.model, caught.value.fields) == ("Prize", ())


async def test_one_of_several_models_is_not_guessed(backend: Backend) -> None:
    await backend.initialize(Prize)
    await backend.create(Prize(id=1, author=3))

    with pytest.raises(ForeignKeyError) as caught:
        await backend.delete(await backend.get(Author, 3))

    assert (caught.value.model, caught.value.fields) == ("Author", ())
