"""The traps that are known from the field, one test for each that names DynamoDB."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import JsonValue

import holdall
from holdall import Backend, Field, Index, Model, NotFoundError, Q, ValidationError, col
from tests.stores.dynamodb.conftest import OpenBackend


class Item(Model):
    group: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    text: str | None = Field(default=None, index=True)
    size: int | None = None
    price: Decimal | None = None
    real: float = 0.0
    data: JsonValue = None
    tags: list[str] = []
    stored: str = Field(default="", name="#a.b[0] :x")

    class Meta:
        name = "traps.item"
        indexes = (Index("size"),)


MODELS = (Item,)


async def client_of(backend: Backend) -> Any:
    store: Any = backend.store
    return await store._links.get().open()


async def numbers(query: Any) -> list[int]:
    return sorted([item.number for item in await query])


async def test_null_and_missing_are_one(backend: Backend) -> None:
    await backend.create_many([Item(group="a", number=1, text="x"), Item(group="a", number=2), Item(group="a", number=3, text="y")])
    query = backend.query(Item).filter(group="a")

    assert await numbers(query.filter(size=None)) == [1, 2, 3]
    assert await numbers(query.filter(text__ne="x")) == [2, 3]
    assert await numbers(query.exclude(text__ne="x")) == [1]
    assert await numbers(query.filter(text__in=["x", None])) == [1, 2]
    assert await numbers(query.exclude(text__gt="x")) == [1, 2]


async def test_an_index_keeps_records_whose_fields_are_none_or_empty(backend: Backend) -> None:
    """The service refuses an empty text in an index's key, and leaves out what has none."""
    await backend.create_many([Item(group="a", number=1, text=""), Item(group="a", number=2), Item(group="b", number=3, text="\x01")])

    for value, wanted in (("", [1]), (None, [2]), ("\x01", [3])):
        query = backend.query(Item).filter(text=value)
        assert "index 'text'" in str(query.explain())
        assert await numbers(query) == wanted


async def test_empty_texts_are_keys(backend: Backend) -> None:
    await backend.create_many([Item(group="", number=1), Item(group="\x01", number=2)])

    assert (await backend.get(Item, ("", 1))).group == ""
    assert await numbers(backend.query(Item).filter(group="")) == [1]


async def test_a_limit_counts_what_passes_the_filter(opened: OpenBackend) -> None:
    """Pages of three items, most of them without one that matches."""
    async with opened(Item, page_size=3) as backend:
        await backend.create_many([Item(group="a", number=number, size=number % 10) for number in range(60)])
        query = backend.query(Item).filter(group="a", size=9)
        assert [item.number for item in await query.order_by("number").limit(2)] == [9, 19]
        assert [item.number for item in await query.order_by("-number").limit(3)] == [59, 49, 39]
        assert await query.count() == 6
        assert await query.exists()
        assert await numbers(query) == [9, 19, 29, 39, 49, 59]
        page = await query.order_by("number").page(size=4)
        assert ([item.number for item in page.items], page.next is None) == ([9, 19, 29, 39], False)
        assert [item.number async for item in query.stream(batch=2)] == [9, 19, 29, 39, 49, 59]
        assert len(await backend.query(Item).filter(size=9).allow_scan()) == 6
        assert len([item async for item in backend.query(Item).allow_scan().stream(batch=7)]) == 60


async def test_conditions_on_keys_never_reach_the_filter(backend: Backend) -> None:
    await backend.create_many([Item(group=group, number=number) for group in "ab" for number in range(4)])
    query = backend.query(Item)

    assert await numbers(query.filter(group="a", number__in=[1, 2], number__gte=2)) == [2]
    assert await numbers(query.filter(group="a", number__gt=0, number__lt=3, number__gte=1)) == [1, 2]
    assert await numbers(query.filter(group__in=["a", "b"], number=3)) == [3, 3]
    assert await numbers(query.filter(text=None, group="b", number__ne=0)) == [1, 2, 3]  # by the index, where it is allowed
    assert await numbers(query.filter(number__ne=0).allow_scan()) == [1, 1, 2, 2, 3, 3]


async def test_conditions_are_written_as_the_service_wants_them(backend: Backend) -> None:
    """No parentheses twice, no placeholder that nothing uses, awkward names, lists of any length, no range the wrong way round."""
    await backend.create_many(
        [Item(group="a", number=number, size=number, stored=str(number), data={"a": [number]}) for number in range(4)]
    )
    query = backend.query(Item).filter(group="a")
    cases: list[tuple[Any, list[int]]] = [
        (~~(Q(size=1) | Q(size=2)), [1, 2]),
        (~(~Q(size=1) & ~Q(size=2)), [1, 2]),
        (Q(size__in=range(1, 5000)), [1, 2, 3]),
        (~Q(size__in=range(1, 5000)), [0]),
        (Q(size__between=(3, 1)), []),
        (Q(size__gte=3) & Q(size__lte=1), []),
        (Q(stored="2"), [2]),
        (col(Item.data)["a"].has_any([]) | Q(size=1), [1]),
        (col(Item.data)["a"][0] == 3, [3]),
        (col(Item.tags).has_all([]), [0, 1, 2, 3]),
        (col(Item.data)["a"].between(5, 1), []),
    ]
    for condition, wanted in cases:
        assert await numbers(query.filter(condition)) == wanted, condition


async def test_an_update_of_what_is_not_there_creates_nothing(backend: Backend) -> None:
    item = await backend.create(Item(group="a", number=1, text="x"))
    await backend.delete(Item(group="a", number=1))
    item.text = None  # a REMOVE alone would create it, too

    with pytest.raises(NotFoundError):
        await backend.save(item)
    assert await backend.query(Item).filter(group="a", number=1).update(size=1) == 0
    assert await backend.get_or_none(Item, ("a", 1)) is None


async def test_keys_that_repeat_are_read_once_and_given_in_order(backend: Backend) -> None:
    await backend.create_many([Item(group="a", number=number) for number in range(150)])
    wanted = [("a", number % 150) for number in range(299, -1, -1)]

    found = await backend.get_many(Item, [*wanted, ("b", 1)])

    assert [item and (item.group, item.number) for item in found] == [*wanted, None]


async def test_numbers_are_equal_by_value_and_exact(backend: Backend) -> None:
    for number, price in enumerate(["1.10", "0.000000000001", "9999999999999999999999.999999999999", "-0.00", "1E+3"]):
        await backend.create(Item(group="a", number=number, price=Decimal(price)))
        found = await backend.get(Item, ("a", number))
        assert found.price == Decimal(price)
        assert await numbers(backend.query(Item).filter(group="a", price=Decimal(price))) == [number]
        assert holdall.changes(found) == {}


async def test_floats_keep_what_the_numbers_of_the_service_cannot(backend: Backend) -> None:
    for number, real in enumerate([5e-324, 1.7976931348623157e308, -1e-200, 0.1]):
        await backend.create(Item(group="a", number=number, real=real))
        assert (await backend.get(Item, ("a", number))).real == real
    assert await numbers(backend.query(Item).filter(group="a", real__gt=0.0, real__lt=1.0)) == [0, 3]
    with pytest.raises(ValidationError, match="1e-130"):
        await backend.create(Item(group="a", number=9, data=5e-324))


async def test_bools_in_documents_are_ordered_and_no_numbers(backend: Backend) -> None:
    values: list[JsonValue] = [True, False, 1, "true", None]
    await backend.create_many([Item(group="a", number=number, data={"v": value}) for number, value in enumerate(values)])
    place = col(Item.data)["v"]
    query = backend.query(Item).filter(group="a")

    assert await numbers(query.filter(place < True)) == [1]
    assert await numbers(query.filter(place >= False)) == [0, 1]
    assert await numbers(query.filter(place > True)) == []
    assert await numbers(query.filter(place == 1)) == [2]
    assert await numbers(query.filter(~(place < True))) == [0, 2, 3, 4]


async def test_substrings_are_looked_for_in_text_alone(backend: Backend) -> None:
    """The service's ``contains`` looks into lists as well."""
    values: list[JsonValue] = ["abc", ["b"], "B", {"b": 1}]
    await backend.create_many([Item(group="a", number=number, data={"v": value}) for number, value in enumerate(values)])
    place = col(Item.data)["v"]
    query = backend.query(Item).filter(group="a")

    assert await numbers(query.filter(place.contains("b"))) == [0]
    assert await numbers(query.filter(place.has("b"))) == [1]
    assert await numbers(query.filter(place.startswith("a"))) == [0]
    assert await numbers(query.filter(place.contains(""))) == [0, 2]


async def test_a_record_that_another_program_has_broken_names_the_field(backend: Backend) -> None:
    await backend.create(Item(group="a", number=1))
    client = await client_of(backend)
    key = {"group": {"S": "a"}, "number": {"N": "1"}}
    for item, field in (({"size": {"S": "x"}}, "size"), ({"real": {"S": "zz"}}, "real"), ({"tags": {"SS": ["a"]}}, "tags")):
        whole: dict[str, Any] = {"real": {"S": "8000000000000000"}, "tags": {"L": []}, "#a.b[0] :x": {"S": ""}}
        await client.call("PutItem", {"TableName": "traps.item", "Item": {**whole, **key, **item}})
        for read in (backend.get(Item, ("a", 1)), backend.query(Item).filter(group="a").all()):
            with pytest.raises(holdall.CorruptRecordError) as broken:
                await read
            assert (broken.value.model, broken.value.field) == ("Item", field)


async def test_attributes_of_others_do_no_harm(backend: Backend) -> None:
    """And a save leaves them alone."""
    await backend.create(Item(group="a", number=1))
    client = await client_of(backend)
    update = {"UpdateExpression": "SET extra = :x", "ExpressionAttributeValues": {":x": {"S": "kept"}}}
    key = {"group": {"S": "a"}, "number": {"N": "1"}}
    await client.call("UpdateItem", {"TableName": "traps.item", "Key": key, **update})

    item = await backend.get(Item, ("a", 1))
    item.size = 5
    await backend.save(item)

    found = (await client.call("GetItem", {"TableName": "traps.item", "Key": key}))["Item"]
    assert found["extra"] == {"S": "kept"}


async def test_the_time_of_expiry_is_a_number_of_seconds_that_the_service_knows(opened: OpenBackend) -> None:
    class Token(Model):
        id: int = Field(primary_key=True)
        code: str = Field(unique=True)
        until: datetime | None = Field(default=None, expires=True)

    async with opened(Token) as backend:
        client = await client_of(backend)
        for table in ("token", "token.unique"):
            found = await client.call("DescribeTimeToLive", {"TableName": table})
            assert found["TimeToLiveDescription"] == {"TimeToLiveStatus": "ENABLED", "AttributeName": "_expires"}
        await backend.initialize(Token)  # to say so again would be an error
        await backend.create(Token(id=1, code="x", until=datetime(2100, 1, 1, 0, 0, 0, 1, tzinfo=UTC)))
        item = (await client.call("GetItem", {"TableName": "token", "Key": {"id": {"N": "1"}}}))["Item"]
        assert item["_expires"] == {"N": "4102444801"}  # rounded up, so that it is not removed too soon
        assert await backend.check(Token) == []


async def test_what_is_said_twice_of_a_field_counts_twice_wherever_it_is_looked_up(backend: Backend) -> None:
    await backend.create_many([Item(group="a", number=number, size=number) for number in range(6)])
    query = backend.query(Item)

    assert await numbers(query.filter(group="a", size__in=[1, 2, 3], size__gt=1)) == [2, 3]
    assert await numbers(query.filter(group="a", size__in=[1, 2, 3]).filter(size__in=[3, 4])) == [3]
    assert await numbers(query.filter(size__in=[1, 2, 3], size__lt=3)) == [1, 2]
    assert await numbers(query.filter(group="a", number__in=[1, 2]).filter(number__in=[2, 3])) == [2]
    assert await numbers(query.filter(group="a", number__in=[1, 2], number__gt=2)) == []
    assert await numbers(query.filter(group="a", size=2, size__in=[2, 3], size__lt=5)) == [2]
