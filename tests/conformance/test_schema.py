"""``initialize`` makes what a model says, and does no harm when it runs again or many times at once; ``drop`` and ``clear`` undo it."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

import holdall
from holdall import Backend, ConfigurationError, Field, Index, Model, ValidationError
from tests.conformance.models import Customer, Order, Sample


class Ruled(Model):
    id: int | None = Field(default=None, primary_key=True, generated=True)
    age: int = Field(default=0, ge=0, lt=150)
    ratio: float | None = Field(default=None, gt=0, le=1)
    price: Decimal = Field(default=Decimal(1), max_digits=6, decimal_places=2, ge=Decimal("0.05"))
    name: str = Field(default="abc", min_length=2, max_length=5)
    must: str = ""


class LongNames(Model):
    id: int = Field(primary_key=True)
    first: int = Field(default=0, index=True, name="a_name_that_is_a_good_deal_longer_than_most_but_still_fits_1")
    second: int = Field(default=0, unique=True, name="a_name_that_is_a_good_deal_longer_than_most_but_still_fits_2")

    class Meta:
        name = "a_table_whose_name_is_so_long_that_indexes_named_after_it_do_no"
        indexes = [Index("first", "second"), Index("first", "-second")]


class NamedIndexOne(Model):
    id: int = Field(primary_key=True)
    a: int = 0

    class Meta:
        indexes = [Index("a", name="the_index_of_a", unique=True)]


class NamedIndexTwo(NamedIndexOne):
    class Meta(NamedIndexOne.Meta):
        pass


class Left(Model):
    id: int = Field(primary_key=True)
    right: int | None = Field(default=None, references="Right", enforce=False)


class Right(Model):
    id: int = Field(primary_key=True)
    left: int | None = Field(default=None, references=Left)


class WrongKey(Model):
    id: int = Field(primary_key=True)
    customer: int = Field(references=Customer)


class Composite(Model):
    a: int = Field(primary_key=True)
    b: int = Field(primary_key=True)


class ToComposite(Model):
    id: int = Field(primary_key=True)
    to: int = Field(references=Composite)


MODELS = (Customer, Order, Ruled, LongNames, Left, Right)


async def test_it_may_run_again_and_keeps_the_records(backend: Backend) -> None:
    customer = await backend.create(Customer(email="x", name="x"))

    await backend.initialize(*MODELS)
    await backend.initialize(Order, Customer)

    assert await backend.get(Customer, customer.id) == customer


async def test_ten_tasks_at_once_make_it_once(backend: Backend, backend_url: str) -> None:
    await backend.drop(*MODELS)

    await asyncio.gather(*(backend.initialize(*MODELS) for _ in range(10)))

    await backend.create(Order(customer_id=(await backend.create(Customer(email="x", name="x"))).id, total=Decimal(1)))
    assert await backend.query(Order).count() == 1


async def test_ten_backends_at_once_make_it_once(backend: Backend, backend_url: str) -> None:
    await backend.drop(*MODELS)
    others = [holdall.open(backend_url) for _ in range(10)]

    await asyncio.gather(*(other.initialize(*MODELS) for other in others))

    for other in others:
        assert await other.query(Order).count() == 0
        await other.close()


async def test_drop_removes_and_clear_empties(backend: Backend) -> None:
    await backend.create(Ruled())
    await backend.clear(Ruled)
    assert await backend.query(Ruled).count() == 0
    await backend.create(Ruled())

    await backend.drop(Ruled)
    await backend.drop(Ruled)

    with pytest.raises(ConfigurationError):
        await backend.query(Ruled).count()
    await backend.initialize(Ruled)
    assert await backend.query(Ruled).count() == 0


async def test_long_names_work(backend: Backend) -> None:
    await backend.create(LongNames(id=1, first=1, second=2))
    with pytest.raises(holdall.DuplicateKeyError) as caught:
        await backend.create(LongNames(id=2, first=1, second=2))
    assert (caught.value.fields, caught.value.values) == (("second",), (2,))


async def test_an_index_name_that_repeats_is_refused_or_loses_no_index(backend: Backend) -> None:
    await backend.drop(NamedIndexOne, NamedIndexTwo)
    try:
        await backend.initialize(NamedIndexOne, NamedIndexTwo)
    except ConfigurationError:
        return
    for model in (NamedIndexOne, NamedIndexTwo):
        await backend.create(model(id=1, a=1))
        with pytest.raises(holdall.DuplicateKeyError) as caught:
            await backend.create(model(id=2, a=1))
        assert (caught.value.model, caught.value.fields) == (model.__name__, ("a",))
    await backend.drop(NamedIndexOne, NamedIndexTwo)


@pytest.mark.parametrize(
    "values",
    [
        {"age": -1},
        {"age": 150},
        {"ratio": 0.0},
        {"ratio": 1.5},
        {"price": Decimal("0.04")},
        {"name": "x"},
        {"name": "toolong"},
        {"name": "\U00010000"},
    ],
    ids=repr,
)
async def test_rules_of_fields_hold_in_the_store_too(backend: Backend, values: dict[str, Any]) -> None:
    record = Ruled().model_copy(update=values)
    for write in (backend.create, backend.upsert):
        with pytest.raises(ValidationError):
            await write(record)
    with pytest.raises(ValidationError):
        await backend.create_many([Ruled(), record])
    stored = await backend.create(Ruled())
    vars(stored).update(values)
    for write in (backend.save, backend.update, backend.upsert):
        with pytest.raises(ValidationError):
            await write(stored)
    assert await backend.query(Ruled).count() == 1


async def test_models_that_refer_to_each_other_can_be_made(backend: Backend) -> None:
    await backend.create(Left(id=1, right=1))
    await backend.create(Right(id=1, left=1))
    with pytest.raises(holdall.ForeignKeyError):
        await backend.create(Right(id=2, left=2))


@pytest.mark.parametrize("pair", [(Customer, WrongKey), (Composite, ToComposite)], ids=["type", "composite"])
async def test_references_that_cannot_be_enforced_are_refused(backend: Backend, pair: tuple[type[Model], ...]) -> None:
    with pytest.raises(ConfigurationError):
        await backend.initialize(*pair)


async def test_two_models_of_one_name_are_refused(backend: Backend) -> None:
    class Twin(Model):
        id: int = Field(primary_key=True)

        class Meta:
            name = "customers"

    with pytest.raises(ConfigurationError):
        await backend.initialize(Customer, Twin)


async def test_a_model_that_was_not_initialised_is_refused(backend: Backend) -> None:
    for use in (lambda: backend.create(Sample(id=1)), lambda: backend.get(Sample, 1), lambda: backend.query(Sample).all()):
        with pytest.raises(ConfigurationError) as caught:
            await use()
        assert "initialize" in str(caught.value)
