"""The routes of the shop. Every request is one transaction, committed before its response is sent."""

from decimal import Decimal
from typing import TypeVar

import pydantic
from aiohttp import web

from examples.shop_aiohttp.models import MODELS, Product, Sale
from holdall import Backend
from holdall.integrations.aiohttp import backend_context, error_middleware, session_middleware

P = TypeVar("P", bound=pydantic.BaseModel)


class Wanted(pydantic.BaseModel):
    """The body of a sale."""

    sku: str
    pieces: int = pydantic.Field(ge=1, le=1000)


class Shop:
    """The handlers, and the backend that they share. Inside a request its methods use the session of the request."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def products(self, request: web.Request) -> web.Response:
        """List the products, a page at a time: ``?after=…`` takes what ``next`` was."""
        page = await self.backend.query(Product).page(size=20, after=request.query.get("after"))
        return web.json_response({"items": [item.model_dump(mode="json") for item in page.items], "next": page.next})

    async def product(self, request: web.Request) -> web.Response:
        """Show one product; an unknown one is a 404 by the middleware."""
        return _answer(await self.backend.get(Product, request.match_info["sku"]))

    async def put(self, request: web.Request) -> web.Response:
        """Add a product, or replace it."""
        return _answer(await self.backend.upsert(await _read(request, Product)))

    async def sell(self, request: web.Request) -> web.Response:
        """Sell pieces of a product: two at once wait for one another at its record."""
        wanted = await _read(request, Wanted)
        product = await self.backend.get(Product, wanted.sku, lock=True)
        if product.stock < wanted.pieces:
            raise web.HTTPConflict(text=f"only {product.stock} left")
        product.stock -= wanted.pieces
        await self.backend.save(product)
        sale = await self.backend.create(Sale(sku=product.sku, pieces=wanted.pieces, paid=product.price * wanted.pieces))
        return _answer(sale, status=201)

    async def takings(self, _: web.Request) -> web.Response:
        """Sum up what was paid."""
        sales = await self.backend.query(Sale).values("paid")
        return web.json_response({"sales": len(sales), "paid": str(sum((sale["paid"] for sale in sales), Decimal(0)))})


async def health(request: web.Request) -> web.Response:
    """Tell whether the database answers; 503 when it does not."""
    await request.app[SHOP].backend.ping()
    return web.json_response({"database": "ok"})


SHOP = web.AppKey("shop", Shop)


def make_app(backend: Backend) -> web.Application:
    """Return the shop on a backend, which the application opens and closes."""
    app = web.Application(middlewares=[error_middleware, session_middleware(backend)])
    app.cleanup_ctx.append(backend_context(backend, *MODELS))
    shop = app[SHOP] = Shop(backend)
    app.add_routes(
        [
            web.get("/health", health),
            web.get("/products", shop.products),
            web.put("/products", shop.put),
            web.get("/products/{sku}", shop.product),
            web.post("/sales", shop.sell),
            web.get("/takings", shop.takings),
        ]
    )
    return app


async def _read(request: web.Request, shape: type[P]) -> P:
    try:
        return shape.model_validate_json(await request.read())
    except pydantic.ValidationError as exc:
        raise web.HTTPUnprocessableEntity(text=exc.json(include_url=False, include_input=False), content_type="application/json") from exc


def _answer(model: pydantic.BaseModel, status: int = 200) -> web.Response:
    return web.json_response(text=model.model_dump_json(), status=status)
