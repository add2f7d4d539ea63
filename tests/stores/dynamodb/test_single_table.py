"""Several models in one table: templates, orders, and that nobody sees the records of another."""

from datetime import date
from decimal import Decimal
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import holdall
from holdall import Backend, ConfigurationError, DuplicateKeyError, Field, Index, Model, NotFoundError
from holdall.record.metadata import model_info
from holdall.stores.dynamodb import SingleTable
from holdall.stores.dynamodb.layout import layout_of


class Customer(Model):
    id: str = Field(primary_key=True)
    email: str | None = Field(default=None, unique=True)
    name: str = ""

    class Meta:
        store_options: ClassVar = [SingleTable("app", "CUSTOMER#{id}", "PROFILE")]


class Order(Model):
    customer: str = Field(primary_key=True)
    placed: date = Field(primary_key=True)
    number: int = Field(primary_key=True)
    total: Decimal = Field(default=Decimal(0), max_digits=10, decimal_places=2)
    status: str = "open"

    class Meta:
        store_options: ClassVar = [
            SingleTable("app", "CUSTOMER#{customer}", "ORDER#{placed}#{number}", indexes={"status": ("ORDER#{status}", "{total}")})
        ]
        indexes = (Index("status", "-placed"),)


class OrderLine(Model):
    """Its keys begin as those of orders do."""

    customer: str = Field(primary_key=True)
    number: int = Field(primary_key=True)

    class Meta:
        store_options: ClassVar = [SingleTable("app", "CUSTOMER#{customer}", "ORDERLINE#{number}")]


MODELS = (Customer, Order, OrderLine)


async def test_models_that_share_a_table_never_see_one_another(backend: Backend) -> None:
    await backend.create_many([Customer(id="a"), Customer(id="b")])
    await backend.create_many([Order(customer="a", placed=date(2024, 1, day), number=day) for day in (3, 1, 2)])
    await backend.create_many([OrderLine(customer="a", number=number) for number in (1, 2)])

    assert [order.number for order in await backend.query(Order).filter(customer="a").order_by("placed", "number")] == [1, 2, 3]
    assert [line.number for line in await backend.query(OrderLine).filter(customer="a").order_by("-number")] == [2, 1]
    assert await backend.query(Order).filter(customer="b").count() == 0
    assert await backend.query(Customer).allow_scan().count() == 2
    assert len([order async for order in backend.query(Order).allow_scan().stream(batch=1)]) == 3
    assert [found and found.id for found in await backend.get_many(Customer, ["b", "c", "a"])] == ["b", None, "a"]
    assert (await backend.get(Order, ("a", date(2024, 1, 2), 2))).number == 2


async def test_the_sort_key_answers_ranges_and_pages(backend: Backend) -> None:
    await backend.create_many([Order(customer="a", placed=date(2024, 1, 1 + day // 2), number=day - 3) for day in range(9)])
    await backend.create(OrderLine(customer="a", number=1))
    query = backend.query(Order).filter(customer="a")
    cases = {
        ("placed__gt", date(2024, 1, 2)): [1, 2, 3, 4, 5],
        ("placed__gte", date(2024, 1, 4)): [3, 4, 5],
        ("placed__lt", date(2024, 1, 2)): [-3, -2],
        ("placed__lte", date(2024, 1, 1)): [-3, -2],
        ("placed", date(2024, 1, 3)): [1, 2],
    }
    for (lookup, value), wanted in cases.items():
        found = await query.filter(**{lookup: value}).order_by("placed", "number")
        assert [order.number for order in found] == wanted, lookup
    assert [order.number for order in await query.filter(placed=date(2024, 1, 2), number__gt=-1).order_by("number")] == [0]

    pages = [await query.order_by("-placed", "-number").page(size=4)]
    while pages[-1].next is not None:
        pages.append(await query.order_by("-placed", "-number").page(size=4, after=pages[-1].next))
    assert [order.number for page in pages for order in page.items] == list(range(5, -4, -1))


async def test_indexes_of_templates_and_of_the_model_are_kept_up(backend: Backend) -> None:
    orders = await backend.create_many(
        [
            Order(customer=customer, placed=date(2024, 1, day), number=day, total=Decimal(total))
            for customer, day, total in (("a", 1, "10"), ("b", 2, "-5"), ("c", 3, "0.5"))
        ]
    )
    query = backend.query(Order).filter(status="open")
    assert [order.number for order in await query.order_by("-placed")] == [3, 2, 1]
    assert [order.number for order in await query.filter(total__gte=Decimal(0))] in ([3, 1], [1, 3])
    assert "'status'" in str(query.filter(total__gt=Decimal(0)).explain())

    orders[0].status = "paid"
    await backend.save(orders[0])

    assert [order.number for order in await query.order_by("placed")] == [2, 3]
    assert [order.number for order in await backend.query(Order).filter(status="paid", total__lt=Decimal(11))] == [1]


async def test_unique_values_are_those_of_the_model(backend: Backend) -> None:
    await backend.create(Customer(id="a", email="x"))
    with pytest.raises(DuplicateKeyError):
        await backend.create(Customer(id="b", email="x"))
    assert (await backend.query(Customer).filter(email="x").one()).id == "a"


async def test_drop_removes_the_records_of_the_model_alone(backend: Backend) -> None:
    await backend.create(Customer(id="a", email="x"))
    await backend.create(Order(customer="a", placed=date(2024, 1, 1), number=1))

    await backend.drop(Customer)

    with pytest.raises(NotFoundError):
        await backend.get(Customer, "a")
    assert await backend.query(Order).filter(customer="a").count() == 1
    await backend.create(Customer(id="b", email="x"))


async def test_an_item_of_another_kind_at_a_key_is_not_read(backend: Backend) -> None:
    class Impostor(Model):
        id: str = Field(primary_key=True)

        class Meta:
            store_options: ClassVar = [SingleTable("app", "CUSTOMER#{id}", "PROFILE")]

    await backend.create(Impostor(id="a"))

    assert await backend.get_or_none(Customer, "a") is None
    with pytest.raises(ConfigurationError, match="could have the same key"):
        await backend.initialize(Customer, Impostor)
    await backend.drop(Impostor)


# -- keys ------------------------------------------------------------------------------------------------------------------------------

texts = st.text(st.sampled_from('#$%\x01\x02ab"!~é\uffff\U00010000') | st.characters(exclude_characters="\0", codec="utf-8"), max_size=4)
keys = st.tuples(texts, st.dates(), st.integers(-(2**63), 2**63 - 1))


@settings(max_examples=300, deadline=None)
@given(one=keys, other=keys)
def test_keys_of_templates_are_injective_and_in_order(one: tuple[str, date, int], other: tuple[str, date, int]) -> None:
    layout = layout_of(model_info(Order), "")
    left, right = layout.key(one), layout.key(other)
    assert (left == right) == (one == other)
    if one[0] == other[0] and one != other:
        assert (left["SK"]["S"].encode() < right["SK"]["S"].encode()) == (one[1:] < other[1:])
    assert (left["PK"]["S"].encode() < right["PK"]["S"].encode()) == (one[0].encode() < other[0].encode())


def model_with(option: SingleTable, **options: object) -> type[Model]:
    class Made(Model):
        id: str = Field(primary_key=True)
        number: int | None = None

        class Meta:
            store_options: ClassVar = [option]

    return Made


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (SingleTable("app", "{id}"), "empty"),
        (SingleTable("app", "A#{other}"), "no field"),
        (SingleTable("app", "A"), "each field of the model's key"),
        (SingleTable("app", "A#{id}", "B#{id}"), "each field of the model's key"),
        (SingleTable("app", "A#x{id}"), "between #"),
        (SingleTable("app", "A#{id}", indexes={"all": ("A", "{number}")}), "can be None"),
    ],
)
async def test_templates_that_could_not_work_are_refused_before_any_io(option: SingleTable, message: str) -> None:
    backend = holdall.open("dynamodb://nowhere?endpoint_url=http://127.0.0.1:1&access_key_id=a&secret_access_key=b")
    with pytest.raises(ConfigurationError, match=message):
        await backend.initialize(model_with(option))


async def test_options_of_another_store_are_passed_over_and_unknown_ones_are_errors() -> None:
    async with holdall.open("memory://") as backend:
        await backend.initialize(Customer)
        await backend.create(Customer(id="a"))
    with pytest.raises(ConfigurationError, match="store_options"):

        class _Wrong(Model):  # pyright: ignore[reportUnusedClass]
            id: int = Field(primary_key=True)

            class Meta:
                store_options = ("single",)
