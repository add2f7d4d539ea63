"""The OpenSearch store: carries out operations by the tables of its parts, and keeps indexes and their aliases."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from holdall.capabilities import WRITING
from holdall.errors import UnsupportedOperation
from holdall.pool import PerLoop
from holdall.query import operations as op
from holdall.record.metadata import ModelInfo
from holdall.store import BeginOptions, Difference, Transaction
from holdall.stores.opensearch import by_query, indexes, reading, searching, writing
from holdall.stores.opensearch.adopting import adopt
from holdall.stores.opensearch.capabilities import CAPABILITIES, LIMITS, WITH_REFRESH
from holdall.stores.opensearch.client import Client
from holdall.stores.opensearch.errors import ServerError, translate
from holdall.stores.opensearch.explaining import explain
from holdall.stores.opensearch.reading import OpenSearchStream
from holdall.stores.opensearch.reindexing import reindex
from holdall.stores.opensearch.requests import ModelRequests, Run
from holdall.stores.opensearch.settings import OpenSearchSettings
from holdall.stores.opensearch.values import decode

_RUN: Run = {**reading.READS, **writing.WRITES, **by_query.WRITES, **searching.READS}


class OpenSearchStore:
    """Documents in an OpenSearch cluster."""

    limits = LIMITS
    values = staticmethod(decode)

    def __init__(self, settings: OpenSearchSettings) -> None:
        self.settings = settings
        declared = WITH_REFRESH if settings.refresh else CAPABILITIES
        self.capabilities = declared - WRITING if settings.read_only else declared
        self._loops: PerLoop[_Loop] = PerLoop(lambda: _Loop(settings), _Loop.terminate)

    # -- opening and closing -----------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Ask the server who it is."""
        self._loops.reopen()
        await self.ping()

    async def close(self, timeout: float) -> None:
        """Close the connections of the running event loop, and those of loops that have ended."""
        self._loops.shut()
        loop = self._loops.pop()
        try:
            if loop is not None:
                await loop.client.close(timeout)
        finally:
            self._loops.terminate_all()

    async def ping(self) -> None:
        """Make one round trip."""
        await self._ask("GET", "/")

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        try:
            return await self._loops.get().client.request(method, path, body)
        except ServerError as exc:
            raise translate(exc, None) from exc

    def stats(self) -> Mapping[str, Any]:
        """Return figures of the connections of the running event loop."""
        loop = self._loops.peek()
        return {} if loop is None else loop.client.stats()

    # -- operations --------------------------------------------------------------------------------------------------------------------

    def execute(self, operation: op.Operation) -> Awaitable[Any]:
        """Carry out one operation."""
        return _RUN[type(operation)](self._loops.get().requests(operation.info), operation)  # type: ignore[union-attr]  # no Raw comes here

    async def stream(self, operation: op.Select, batch: int) -> OpenSearchStream:
        """Start a query that is read at one point in time."""
        return OpenSearchStream(self._loops.get().requests(operation.info), operation, batch)

    def begin(self, options: BeginOptions) -> Transaction:
        """Raise: there are no transactions, and none is declared."""
        del options
        raise UnsupportedOperation("OpenSearch has no transactions")

    def explain(self, operation: op.Operation) -> str:
        """Return the request, without values."""
        return explain(operation, self.settings)

    # -- indexes -----------------------------------------------------------------------------------------------------------------------

    async def prepare(self, models: Sequence[ModelInfo]) -> None:
        """Create the indexes that are missing, with their aliases; reserve what has become unique."""
        # What cannot be stored is refused before any I/O.
        for info, (records, *reserved) in [(info, indexes.creation(info, self.settings)) for info in models]:
            there = await self._is_there(records)
            # Before the records' index: who finds that one without the other knows that there may be records without reservations.
            for index in reserved:
                await self._create(indexes.without_reservations(index) if there else index)
            await self._create(records)
            if there:
                await adopt(self._loops.get().requests(info))

    async def _is_there(self, index: indexes.NewIndex) -> bool:
        try:
            return bool(await self._loops.get().client.read("GET", f"/_alias/{quote(index.alias, safe='')}"))
        except ServerError as exc:
            if exc.status != 404:
                raise translate(exc, None) from exc
            return False

    async def _create(self, index: indexes.NewIndex) -> None:
        if await self._is_there(index):
            return
        try:
            await self._loops.get().client.request("PUT", f"/{quote(index.name, safe='')}", index.body)
        except ServerError as exc:
            if exc.type != "resource_already_exists_exception":  # another one was quicker
                raise translate(exc, None) from exc

    async def drop(self, models: Sequence[ModelInfo]) -> None:
        """Remove the indexes of the models, those of their unique values too."""
        for info in models:
            for alias in indexes.aliases(info, self.settings):
                await self._delete(f"{alias}~v*")

    async def drop_prefix(self, prefix: str) -> None:
        """Remove all indexes whose names begin so."""
        await self._delete(f"{prefix}*")

    async def _delete(self, pattern: str) -> None:
        client = self._loops.get().client
        try:
            # Names, not the pattern: clusters may forbid to delete by one.
            names = sorted(await client.read("GET", f"/{quote(pattern, safe='*')}/_settings?filter_path=*.settings.index.uuid"))
            for start in range(0, len(names), 20):
                path = quote(",".join(names[start : start + 20]), safe=",")
                await client.request("DELETE", f"/{path}?ignore_unavailable=true")
        except ServerError as exc:
            if exc.status != 404:
                raise translate(exc, None) from exc

    async def compare(self, models: Sequence[ModelInfo]) -> list[Difference]:
        """Compare the mappings with those that ``prepare`` would make."""
        found: list[Difference] = []
        for info in models:
            for index in indexes.creation(info, self.settings):
                try:
                    answer: Mapping[str, Any] = await self._loops.get().client.read("GET", f"/{quote(index.alias, safe='')}/_mapping")
                except ServerError as exc:
                    if exc.status != 404:
                        raise translate(exc, info.label) from exc
                    answer = {}
                found += indexes.differences(info, index, answer)
        return found

    async def reindex(self, info: ModelInfo) -> None:
        """Build a new index of a model's records while the old one serves, and put it in its place."""
        await reindex(self._loops.get().requests(info))


class _Loop:
    """What belongs to one event loop."""

    def __init__(self, settings: OpenSearchSettings) -> None:
        self.client = Client(settings)
        self._settings = settings
        self._models: dict[ModelInfo, ModelRequests] = {}

    def requests(self, info: ModelInfo) -> ModelRequests:
        found = self._models.get(info)
        if found is None:
            found = self._models[info] = ModelRequests(self.client, self._settings, info)
        return found

    def terminate(self) -> None:
        self.client.terminate()
