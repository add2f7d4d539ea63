"""The records that ``pycountry`` carries, as Atlas's models, and their way into the service."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import pycountry

from examples.atlas.client import Client, check
from examples.atlas.models import Country, Currency, Language, Subdivision
from holdall import Model

BATCH = 500


def countries() -> list[Country]:
    """Return all countries."""
    return [
        Country(
            code=found.alpha_2,
            alpha_3=found.alpha_3,
            numeric=found.numeric,
            name=found.name,
            official_name=getattr(found, "official_name", None),
            flag=found.flag,
        )
        for found in pycountry.countries
    ]


def subdivisions() -> list[Subdivision]:
    """Return all subdivisions, each after the one that it lies in."""
    parents: dict[str, str | None] = {found.code: found.parent_code for found in _all(pycountry.subdivisions)}

    def depth(code: str) -> int:
        parent = parents[code]
        return 0 if parent is None else 1 + depth(parent)

    return [
        Subdivision(code=found.code, country_code=found.country_code, parent_code=found.parent_code, type=found.type, name=found.name)
        for found in sorted(_all(pycountry.subdivisions), key=lambda found: depth(found.code))
    ]


def languages() -> list[Language]:
    """Return all languages."""
    return [
        Language(code=found.alpha_3, alpha_2=getattr(found, "alpha_2", None), name=found.name, scope=found.scope, type=found.type)
        for found in _all(pycountry.languages)
    ]


def currencies() -> list[Currency]:
    """Return all currencies."""
    return [Currency(code=found.alpha_3, numeric=found.numeric, name=found.name) for found in _all(pycountry.currencies)]


SOURCES: Mapping[str, Callable[[], Sequence[Model]]] = {
    "countries": countries,
    "subdivisions": subdivisions,
    "languages": languages,
    "currencies": currencies,
}
"""What to import, in this order: what is referred to comes before what refers."""


async def send(client: Client, kind: str, records: Sequence[Model]) -> AsyncGenerator[int]:
    """Send records of one kind in batches, and yield how many each batch had."""
    for start in range(0, len(records), BATCH):
        batch = [record.model_dump(mode="json") for record in records[start : start + BATCH]]
        answer = await client.post(f"/{kind}", batch)
        check(answer["added"], len(batch), f"{kind} that were stored")
        yield len(batch)


def _all(database: Any) -> list[Any]:
    return list(database)  # pycountry makes the classes of its records at run time
