"""Reservations for records that were stored before their fields became unique: made by ``initialize``, told by the index's mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from holdall.errors import ConfigurationError, DuplicateKeyError
from holdall.stores.opensearch.by_query import Plan, whole_pass
from holdall.stores.opensearch.compiler import MATCH_ALL
from holdall.stores.opensearch.indexes import unique_sets
from holdall.stores.opensearch.requests import ModelRequests
from holdall.stores.opensearch.unique import Reservations, claims_of, mapping_of, reserved_in


async def adopt(requests: ModelRequests) -> None:
    """Reserve the unique values of the records that are there, unless that was done.

    Raises:
        ConfigurationError: two of them have the same.
    """
    wanted = set(unique_sets(requests.info))
    path = f"/{quote(requests.reservations, safe='')}/_mapping"
    found: Mapping[str, Any] = await requests.ask("GET", f"{path}?ignore_unavailable=true")
    for index in found.values():
        done = reserved_in(index["mappings"])
        if not wanted <= done:
            await _reserve_all(requests, wanted - done)
        if wanted != done:
            await requests.send("PUT", path, {"_meta": mapping_of(sorted(wanted))["_meta"]})


async def _reserve_all(requests: ModelRequests, sets: set[str]) -> None:
    shape, reservations = requests.shape, Reservations(requests)

    async def reserve(hits: Sequence[Any]) -> None:
        claims = [(hit["_id"], claim) for hit in hits for claim in claims_of(shape, shape.plain_row(hit["_source"])).values()]
        await reservations.adopt([(owner, claim) for owner, claim in claims if claim.id.rpartition(":")[0] in sets])

    try:
        while not await whole_pass(requests, Plan(MATCH_ALL, True, "update", None, unique=True), None, reserve):
            pass
    except DuplicateKeyError as exc:
        raise ConfigurationError(
            f"{requests.info.label} cannot become unique by {', '.join(exc.fields)}: two records have {exc.values!r}; change one of them "
            "by a model without it, and initialize again"
        ) from exc
