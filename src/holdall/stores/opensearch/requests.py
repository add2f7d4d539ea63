"""What the store's parts share: one model's requests to the server, with errors in our words and partial answers refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import orjson

from holdall.errors import BackendError, HoldallError
from holdall.query.operations import Key
from holdall.record.decoder import Decoder
from holdall.record.metadata import ModelInfo
from holdall.stores.opensearch.client import Client, Pauses, is_busy
from holdall.stores.opensearch.compiler import Compiler
from holdall.stores.opensearch.errors import ServerError, error_of_item, translate
from holdall.stores.opensearch.mapping import Shape, shape_of
from holdall.stores.opensearch.naming import alias_of, only_of, reservations_of
from holdall.stores.opensearch.rows import Rows
from holdall.stores.opensearch.settings import OpenSearchSettings

KEEP_ALIVE = "1m"
CONFLICT = 409
MISSING = 404
_BULK_PARTS = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason"
_NO_ERRORS = b'{"errors":false'
_dumps, _NEWLINE = orjson.dumps, orjson.OPT_APPEND_NEWLINE
Item = Mapping[str, Any]
Run = Mapping[type[Any], Callable[["ModelRequests", Any], Awaitable[Any]]]
"""From a class of operations to what carries them out."""


class Lines:
    """The lines of bulk requests: appended to one buffer, because thousands of small texts cost more to keep than to write."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.count = 0

    def create(self, id: str, document: Any) -> None:
        """Append the create of a document."""
        self.buffer += b'{"create":{"_id":%b}}\n%b' % (_dumps(id), _dumps(document, None, _NEWLINE))
        self.count += 1

    def add(self, action: Mapping[str, Any], document: Any = None) -> None:
        """Append an action, and its document if it has one."""
        self.buffer += orjson.dumps(action)
        self.buffer += b"\n"
        if document is not None:
            self.buffer += orjson.dumps(document)
            self.buffer += b"\n"
        self.count += 1


class ModelRequests:
    """One model's requests.

    Attributes:
        alias: what all requests go by. ``path``: the same, for URLs.
    """

    def __init__(self, client: Client, settings: OpenSearchSettings, info: ModelInfo) -> None:
        self.client = client
        self.settings = settings
        self.info = info
        self.shape: Shape = shape_of(info)
        self.compiler = Compiler(info)
        self.alias = alias_of(info, settings.prefix)
        self.path = quote(self.alias, safe="")
        self.reservations = reservations_of(self.alias)
        # An unknown name would otherwise become an index with a mapping that the server guesses.
        self.write = f"?require_alias=true&refresh={settings.refresh or 'false'}"
        self._rows: dict[Decoder, Rows] = {}

    def rows(self, decoder: Decoder) -> Rows:
        """Return what turns documents into the decoder's objects."""
        found = self._rows.get(decoder)
        if found is None:
            if len(self._rows) > 100:
                self._rows.clear()  # decoders made on the fly must not pile up
            found = self._rows[decoder] = Rows(self.shape, decoder)
        return found

    def id_of(self, key: Key) -> str:
        """Return the id of the document with a plain key."""
        return self.shape.id_of(key)

    def document_path(self, action: str, key: Key) -> str:
        """Return the path of a request about one document."""
        return f"/{self.path}/{action}/{quote(self.id_of(key), safe='')}"

    # -- sending -----------------------------------------------------------------------------------------------------------------------

    async def send(self, method: str, path: str, body: Any = None, fine: bytes | None = None) -> Any:
        """Send a request that writes; raises our errors."""
        try:
            return await self.client.request(method, path, body, fine=fine)
        except ServerError as exc:
            raise translate(exc, self.info.label) from exc

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that reads; raises our errors, also for an answer that is not whole."""
        try:
            return whole_answer(await self.client.read(method, path, body))
        except ServerError as exc:
            raise translate(exc, self.info.label) from exc

    async def refresh(self) -> None:
        """Make searches see every write that was acknowledged."""
        await self.send("POST", f"/{self.path}/_refresh")

    async def get(self, id: str, source: str = "") -> Mapping[str, Any] | None:
        """Read one document in real time: the whole answer, or None."""
        try:
            found = await self.client.read("GET", f"/{self.path}/_doc/{quote(id, safe='')}{source}")
        except ServerError as exc:
            raise translate(exc, self.info.label) from exc
        return found if found["found"] else None

    async def search(self, body: Mapping[str, Any]) -> list[Any]:
        """Return the hits of a search."""
        # Without filter_path, which costs the server more than it spares us.
        found = await self.ask("POST", f"/{self.path}/_search?allow_partial_search_results=false", body)
        hits: list[Any] = found["hits"]["hits"]
        return hits

    async def create_all(self, lines: Lines) -> list[Item] | None:
        """Send creates; return one result each as ``bulk`` does, or None when all went well."""
        path = f"/{self.path}/_bulk{self.write}"
        found = await self.send("POST", f"{path}&{_BULK_PARTS}", bytes(lines.buffer), _NO_ERRORS)
        return None if found is None else await self._results(lines, found, path)

    async def bulk(self, lines: Lines, index: str | None = None) -> list[Item]:
        """Send actions; return one result each, in their order. Those that a busy server refused are sent again.

        Args:
            index: instead of the alias: an index that must not be mistaken for a later one.
        """
        target = f"/{self.path if index is None else quote(only_of(index), safe='')}/_bulk{self.write}"
        return await self._results(lines, await self.send("POST", f"{target}&{_BULK_PARTS}", bytes(lines.buffer)), target)

    async def _results(self, lines: Lines, found: Any, target: str) -> list[Item]:
        items = [next(iter(item.values())) for item in found["items"]]
        if found["errors"] and any("error" in item and is_busy(error_of_item(item)) for item in items):
            return await self._again(lines, items, target)
        return items

    async def _again(self, lines: Lines, items: list[Item], target: str) -> list[Item]:
        """Send again what was refused by a busy server, with pauses."""
        actions = _split(bytes(lines.buffer))
        pauses = Pauses(self.settings.retry_timeout)
        while True:
            busy = [place for place, item in enumerate(items) if "error" in item and is_busy(error_of_item(item))]
            if not busy or not await pauses.wait():
                return items
            try:
                found = await self.send("POST", f"{target}&{_BULK_PARTS}", b"".join(actions[place] for place in busy))
            except HoldallError as exc:
                if isinstance(exc.__cause__, ServerError):
                    return items  # refused as a whole: each as it was before
                exc.written = [place for place, item in enumerate(items) if "error" not in item]
                raise
            for place, item in zip(busy, found["items"], strict=True):
                items[place] = next(iter(item.values()))

    # -- reading all of it -------------------------------------------------------------------------------------------------------------

    async def open_point(self) -> str:
        """Open a point in time: what is read by it stays as it is now. One that comes when the caller has been cancelled is given up."""
        unwanted = asyncio.Event()
        opening = self.client.spawn(self._open_point(unwanted))
        try:
            await asyncio.wait([opening])
        except BaseException:
            unwanted.set()
            if opening.done() and opening.exception() is None:
                self.abandon_point(opening.result())
            raise
        return opening.result()

    async def _open_point(self, unwanted: asyncio.Event) -> str:
        found = await self.ask("POST", f"/{self.path}/_search/point_in_time?keep_alive={KEEP_ALIVE}&allow_partial_pit_creation=false")
        point = str(found["pit_id"])
        if unwanted.is_set():
            await self._close_point(point)
        return point

    async def close_point(self, point: str) -> None:
        """Give a point in time up, also when the caller is cancelled meanwhile."""
        await self.client.complete(self._close_point(point))

    def abandon_point(self, point: str) -> None:
        """Give a point in time up without waiting."""
        self.client.spawn(self._close_point(point))

    async def _close_point(self, point: str) -> None:
        with suppress(ServerError, HoldallError):  # it expires by itself, a minute later
            await self.client.request("DELETE", "/_search/point_in_time", {"pit_id": [point]})

    async def page(self, point: str, body: dict[str, Any]) -> list[Any]:
        """Return the next hits of a point in time, and let the body go on behind them."""
        body["pit"] = {"id": point, "keep_alive": KEEP_ALIVE}
        found = await self.ask("POST", "/_search?allow_partial_search_results=false", body)
        hits: list[Any] = found["hits"]["hits"]
        if hits:
            body["search_after"] = hits[-1]["sort"]
        return hits


def whole_answer(answer: Any) -> Any:
    """Return an answer to a read, unless some shards or all of the time were missing: the server calls that a success."""
    shards: Any = answer.get("_shards")
    if answer.get("timed_out") or (shards is not None and shards.get("failed")):
        failures: Sequence[Any] = shards.get("failures", ()) if shards else ()
        reason = failures[0].get("reason", {}).get("reason", "") if failures else "it ran into its time limit"
        raise BackendError(f"OpenSearch gave a part of the answer only: {reason}")
    return answer


def _split(buffer: bytes) -> list[bytes]:
    """Return the actions of a bulk body, each with its document."""
    found: list[bytes] = []
    lines = buffer.split(b"\n")[:-1]
    position = 0
    while position < len(lines):
        with_document = not lines[position].startswith(b'{"delete"')
        end = position + (2 if with_document else 1)
        found.append(b"\n".join(lines[position:end]) + b"\n")
        position = end
    return found


def sources(hits: Iterable[Any]) -> list[Any]:
    """Return the documents of hits."""
    return [hit["_source"] for hit in hits]
