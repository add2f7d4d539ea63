"""Reads: by key in real time, by search of one page, and at a point in time for all that is more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdall.errors import BackendError, HoldallError, UnsupportedOperation
from holdall.query import operations as op
from holdall.query.predicates import OrderTerm
from holdall.record.decoder import Decoder
from holdall.stores.opensearch.compiler import WINDOW, filtered, key_wanted
from holdall.stores.opensearch.errors import ServerError, index_is_gone, translate
from holdall.stores.opensearch.requests import ModelRequests, Run, sources

PAGE = 1000
_KEYS = 1000


async def fetch(requests: ModelRequests, operation: op.Fetch) -> Any:
    """Read a record in real time."""
    found = await requests.get(requests.id_of(operation.key))
    return None if found is None else requests.rows(operation.decoder).one(found["_source"])


async def fetch_many(requests: ModelRequests, operation: op.FetchMany) -> list[Any]:
    """Read records in real time."""
    return await by_keys(requests, operation.keys, operation.decoder)


async def by_keys(requests: ModelRequests, keys: Sequence[op.Key], decoder: Decoder) -> list[Any]:
    """Read what there is of these keys."""
    found: list[Any] = []
    for start in range(0, len(keys), _KEYS):
        ids = [requests.id_of(key) for key in keys[start : start + _KEYS]]
        answer = await requests.ask("POST", f"/{requests.path}/_mget", {"ids": ids})
        for item in answer["docs"]:
            if "error" in item:
                error = ServerError(404, item)
                raise translate(error, requests.info.label) from error
        found += requests.rows(decoder).many([item["_source"] for item in answer["docs"] if item["found"]])
    return found


async def select(requests: ModelRequests, operation: op.Select) -> list[Any]:
    """Return what matches: by one search where that is enough, else at a point in time."""
    key = key_wanted(requests.info, operation.predicate)
    if key is not None and not operation.offset and operation.after is None and operation.limit != 0:
        return await by_keys(requests, [key], operation.decoder)
    if operation.after is not None and operation.offset:
        raise UnsupportedOperation("OpenSearch skips nothing behind a position; leave the offset out")
    skipped = operation.offset or 0
    wanted = None if operation.limit is None else skipped + operation.limit
    size = PAGE if wanted is None else min(wanted, WINDOW)
    body = requests.compiler.search(operation, size=size)
    await settle(requests, operation)
    if wanted is None or wanted <= WINDOW:
        if skipped and skipped < size:
            body |= {"from": skipped, "size": size - skipped}
        if skipped < size:
            hits = await requests.search(body)
            if wanted is not None or len(hits) < body["size"]:
                return requests.rows(operation.decoder).many(sources(hits))
    return await _all(requests, operation, skipped, wanted)


async def _all(requests: ModelRequests, operation: op.Select, skipped: int, wanted: int | None) -> list[Any]:
    """Read page by page, and leave out what is skipped; again from the start when a new index takes the old one's place meanwhile."""
    while True:
        reader = Reader(requests, operation, PAGE)
        try:
            found = await _read(requests, operation, reader, skipped, wanted)
        except BaseException as error:
            began = reader.began
            reader.abandon()
            if began and isinstance(error, HoldallError) and index_is_gone(error.__cause__):
                continue
            raise
        await reader.aclose()
        return found


async def _read(requests: ModelRequests, operation: op.Select, reader: Reader, skipped: int, wanted: int | None) -> list[Any]:
    found: list[Any] = []
    seen = 0
    while (wanted is None or seen < wanted) and (hits := await reader.fetch()):
        first, seen = seen, seen + len(hits)
        kept = hits[max(0, skipped - first) :]
        if wanted is not None and seen > wanted:
            kept = kept[: len(kept) - (seen - wanted)]
        found += requests.rows(operation.decoder).many(sources(kept))
    return found


async def settle(requests: ModelRequests, operation: op.Select | op.Count | op.Exists) -> None:
    """Refresh the index first where the query asks for what is consistent."""
    if operation.consistent:
        await requests.refresh()


async def count(requests: ModelRequests, operation: op.Count) -> int:
    """Count exactly."""
    body = {"query": filtered(requests.compiler.filter(operation.predicate))}
    await settle(requests, operation)
    found = await requests.ask("POST", f"/{requests.path}/_count", body)
    return int(found["count"])


async def exists(requests: ModelRequests, operation: op.Exists) -> bool:
    """Tell whether something matches; by key in real time."""
    key = key_wanted(requests.info, operation.predicate)
    if key is not None:
        return await requests.get(requests.id_of(key), "?_source=false") is not None
    query = filtered(requests.compiler.filter(operation.predicate))
    await settle(requests, operation)
    hits = await requests.search({"size": 1, "query": query, "sort": ["_doc"], "_source": False, "track_total_hits": False})
    return bool(hits)


class Reader:
    """All hits of a query, page by page, at one point in time."""

    def __init__(self, requests: ModelRequests, operation: op.Select, size: int) -> None:
        # By the key where no order is stated: a page begins behind the last one's end.
        order: Sequence[OrderTerm] = operation.order or requests.compiler.key_order()
        self.body = requests.compiler.search(operation, size=min(size, WINDOW), order=order)
        self._requests = requests
        self._point: str | None = None
        self._done = False

    @property
    def began(self) -> bool:
        """Whether it reads at a point in time now."""
        return self._point is not None

    async def fetch(self) -> list[Any]:
        """Return the next hits; none at the end."""
        if self._done:
            return []
        if self._point is None:
            self._point = await self._requests.open_point()
        hits = await self._requests.page(self._point, self.body)
        self._done = len(hits) < self.body["size"]
        return hits

    async def aclose(self) -> None:
        """Give the point in time up."""
        point, self._point = self._point, None
        self._done = True
        if point is not None:
            await self._requests.close_point(point)

    def abandon(self) -> None:
        """Give it up without waiting."""
        point, self._point = self._point, None
        self._done = True
        if point is not None:
            self._requests.abandon_point(point)


class OpenSearchStream:
    """A query that is read at one point in time, batch by batch."""

    def __init__(self, requests: ModelRequests, operation: op.Select, batch: int) -> None:
        self._reader = Reader(requests, operation, batch)
        self._rows = requests.rows(operation.decoder)
        self._batch = min(batch, WINDOW)
        self._skip = operation.offset or 0
        self._left = operation.limit
        self._requests = requests
        self._operation = operation
        self._settled = False

    async def fetch(self) -> list[Any]:
        """Return the next objects; none at the end."""
        if not self._settled:
            self._settled = True
            await settle(self._requests, self._operation)
        while True:
            hits = [] if self._left == 0 else await self._hits()
            if not hits:
                return []
            kept = hits[self._skip :]
            self._skip -= len(hits) - len(kept)
            if self._left is not None:
                kept = kept[: self._left]
                self._left -= len(kept)
            if kept:
                return self._rows.many(sources(kept))

    async def _hits(self) -> list[Any]:
        began = self._reader.began
        try:
            return await self._reader.fetch()
        except HoldallError as error:
            if not began or not index_is_gone(error.__cause__):
                raise
            raise BackendError(
                f"{self._requests.info.label}: the stream's point in time is gone: a reindex put a new index in its index's place, "
                "or more than a minute went by between two batches; stream again, from behind the last key that was read"
            ) from error.__cause__

    async def aclose(self) -> None:
        """End the query."""
        await self._reader.aclose()

    def abandon(self) -> None:
        """End the query without waiting."""
        self._reader.abandon()


READS: Run = {op.Fetch: fetch, op.FetchMany: fetch_many, op.Select: select, op.Count: count, op.Exists: exists}
