"""The shop over aiohttp, on every store, over a real connection."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, TypeAlias

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import holdall
from examples.shop_aiohttp.app import make_app
from examples.shop_aiohttp.models import MODELS

Client: TypeAlias = "TestClient[web.Request, web.Application]"
CUP = {"sku": "cup", "title": "A cup", "price": "4.50", "stock": 3}


@pytest.fixture
async def client(backend_url: str) -> AsyncGenerator[Client]:
    backend = holdall.open(backend_url)
    async with TestClient(TestServer(make_app(backend))) as made:
        assert (await made.put("/products", json=CUP)).status == 200
        yield made
        await backend.drop(*MODELS)


async def shown(client: Client, path: str) -> Any:
    return await (await client.get(path)).json()


async def test_a_sale_takes_from_the_stock(client: Client) -> None:
    answer = await client.post("/sales", json={"sku": "cup", "pieces": 2})

    assert answer.status == 201
    assert (await answer.json())["paid"] == "9.00"
    assert (await shown(client, "/products/cup"))["stock"] == 1
    assert await shown(client, "/takings") == {"sales": 1, "paid": "9.00"}


async def test_more_than_the_stock_is_not_sold_however_many_ask_at_once(client: Client) -> None:
    answers = await asyncio.gather(*(client.post("/sales", json={"sku": "cup", "pieces": 1}) for _ in range(8)))

    assert sorted(answer.status for answer in answers) == [201] * 3 + [409] * 5
    assert (await shown(client, "/products/cup"))["stock"] == 0
    assert (await shown(client, "/takings"))["sales"] == 3


async def test_products_come_in_pages(client: Client) -> None:
    for number in range(25):
        await client.put("/products", json={"sku": f"{number}", "title": f"Book {number:02}", "price": "1"})

    first = await shown(client, "/products")
    second = await shown(client, f"/products?after={first['next']}")

    assert [len(page["items"]) for page in (first, second)] == [20, 6]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/products/nothing", None, 404),
        ("/products?after=forged", None, 422),
        ("/sales", {"sku": "nothing", "pieces": 1}, 404),
        ("/sales", {"sku": "cup", "pieces": 0}, 422),
        ("/sales", {"sku": "cup", "pieces": 4}, 409),
    ],
)
@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_mistakes_are_answered(client: Client, path: str, body: Any, status: int) -> None:
    answer = await (client.get(path) if body is None else client.post(path, json=body))

    assert answer.status == status
    assert (await shown(client, "/takings"))["sales"] == 0


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_the_shop_tells_that_its_database_answers(client: Client) -> None:
    assert await shown(client, "/health") == {"database": "ok"}
