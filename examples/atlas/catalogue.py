"""What is looked up: countries, subdivisions, languages, currencies. Each read is one statement, so none needs a session."""

from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel

from examples.atlas.database import backend
from examples.atlas.models import Country, Currency, Language, Name, Subdivision
from holdall import Model, Page, QueryBuilder

router = APIRouter(tags=["catalogue"])

M = TypeVar("M", bound=Model)
Part = Annotated[str | None, Query(alias="q", min_length=1, max_length=100, description="a part of the name, in any case")]
Order = Annotated[Literal["name", "-name", "code", "-code"], Query(description="a minus descends")]
Limit = Annotated[int, Query(ge=1, le=1000)]
Batch = Annotated[list[M], Body(min_length=1, max_length=1000)]


class Added(BaseModel):
    """How many records were stored."""

    added: int


def named(model: type[M], part: str | None) -> QueryBuilder[M]:
    """Return a query of those whose name holds the part; of all without one."""
    query = backend.query(model)
    return query if part is None else query.filter(name__icontains=part)


@router.get("/countries")
async def list_countries(part: Part = None, order: Order = "name", limit: Limit = 250) -> list[Country]:
    """List countries."""
    return await named(Country, part).order_by(order).limit(limit)


@router.get("/countries/{code}")
async def read_country(code: str) -> Country:
    """Look a country up by its code of two letters."""
    return await backend.get(Country, code)


@router.get("/countries/{code}/subdivisions")
async def list_subdivisions_of(code: str, limit: Limit = 1000) -> list[Name]:
    """List code and name of a country's subdivisions."""
    return await backend.query(Subdivision).filter(country_code=code).order_by("name").limit(limit).into(Name)


@router.get("/subdivisions")
async def page_through_subdivisions(
    country: str | None = None,
    kind: Annotated[str | None, Query(alias="type")] = None,
    part: Part = None,
    size: Annotated[int, Query(ge=1, le=500)] = 50,
    after: str | None = None,
) -> Page[Subdivision]:
    """Walk through subdivisions page by page: ``after`` is the ``next`` or ``previous`` of the page before, with the same filters."""
    query = named(Subdivision, part).order_by("country_code", "name")
    if country is not None:
        query = query.filter(country_code=country)
    if kind is not None:
        query = query.filter(type=kind)
    return await query.page(size=size, after=after)


@router.get("/subdivisions/{code}")
async def read_subdivision(code: str) -> Subdivision:
    """Look a subdivision up by its code."""
    return await backend.get(Subdivision, code)


@router.get("/languages")
async def list_languages(part: Part = None, order: Order = "name", limit: Limit = 50) -> list[Name]:
    """List code and name of languages."""
    return await named(Language, part).order_by(order).limit(limit).into(Name)


@router.get("/languages/{code}")
async def read_language(code: str) -> Language:
    """Look a language up by its code of three letters."""
    return await backend.get(Language, code)


@router.get("/currencies")
async def list_currencies(part: Part = None, order: Order = "name", limit: Limit = 250) -> list[Currency]:
    """List currencies."""
    return await named(Currency, part).order_by(order).limit(limit)


@router.get("/currencies/{code}")
async def read_currency(code: str) -> Currency:
    """Look a currency up by its code."""
    return await backend.get(Currency, code)


@router.post("/countries", status_code=201)
async def add_countries(countries: Batch[Country]) -> Added:
    """Store countries, all of them or none."""
    return Added(added=len(await backend.create_many(countries)))


@router.post("/subdivisions", status_code=201)
async def add_subdivisions(subdivisions: Batch[Subdivision]) -> Added:
    """Store subdivisions, all of them or none; countries and parents come before them."""
    return Added(added=len(await backend.create_many(subdivisions)))


@router.post("/languages", status_code=201)
async def add_languages(languages: Batch[Language]) -> Added:
    """Store languages, all of them or none."""
    return Added(added=len(await backend.create_many(languages)))


@router.post("/currencies", status_code=201)
async def add_currencies(currencies: Batch[Currency]) -> Added:
    """Store currencies, all of them or none."""
    return Added(added=len(await backend.create_many(currencies)))
