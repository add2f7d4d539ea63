"""A new index of a model's records, built while the old one serves.

All is copied, then what has changed since, again and again; when little is left, the old index refuses writes for the last pass, which then
is complete, and the alias moves. Writers that are refused try again, and find the new index.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from holdall.errors import BackendError, HoldallError
from holdall.stores.opensearch.errors import ServerError, translate
from holdall.stores.opensearch.indexes import body_of
from holdall.stores.opensearch.naming import index_of, number_of, only_of
from holdall.stores.opensearch.requests import Lines, ModelRequests

_FEW = 100
_PASSES = 20
_PAGE = 1000
_LONG = 86_400.0
# By an alias, because the server would make an index of a name that is gone.
_HOW = "?refresh=false&require_alias=true"


async def reindex(requests: ModelRequests) -> None:
    """Build the new index and put it in the place of the old one.

    Raises:
        BackendError: the records do not fit the model's mapping, or another one is reindexing; the old index goes on as it was.
    """
    old = await _index_behind_alias(requests)
    copying = _Copying(requests, old, index_of(requests.alias, number_of(old) + 1))
    try:
        await copying.create()
        await copying.fill()
        await copying.exchange()
    except BaseException:
        with suppress(HoldallError):  # what has failed is the error to be told
            await requests.client.complete(copying.undo())
        raise
    await requests.client.complete(copying.remove_old())


def _path(index: str) -> str:
    return quote(index, safe="")


async def _index_behind_alias(requests: ModelRequests) -> str:
    found: Mapping[str, Any] = await requests.ask("GET", f"/_alias/{requests.path}")
    if len(found) != 1:
        raise BackendError(f"{requests.info.label}: the alias {requests.alias!r} stands for {sorted(found)}, not for one index")
    return next(iter(found))


class _Copying:
    """One exchange of an old index for a new one."""

    def __init__(self, requests: ModelRequests, old: str, new: str) -> None:
        self._requests = requests
        self._old = old
        self._new = new
        self._copied_to = -1  # every change with a number up to this one is in the new index
        self._created = False
        self._step: asyncio.Task[None] | None = None  # a change of the cluster that may be under way

    async def _changed(self, work: Coroutine[Any, Any, None]) -> None:
        """Change the cluster; what is undone after a cancel must know how it went."""
        self._step = self._requests.client.spawn(work)
        await asyncio.wait([self._step])
        self._step.result()

    async def create(self) -> None:
        """Create the new index, whose name is the lock against another one who does the same."""
        await self._changed(self._create())
        await self._changed(self._block(blocked=None))  # one that died may have left the block

    async def _create(self) -> None:
        requests = self._requests
        try:
            await requests.client.request("PUT", f"/{_path(self._new)}", body_of(requests.info, self._new, requests.settings))
        except ServerError as exc:
            if exc.type != "resource_already_exists_exception":
                raise translate(exc, requests.info.label) from exc
            raise BackendError(
                f"{requests.info.label}: there is an index {self._new!r} already; another one is reindexing now, or has died while it did: "
                "then delete that index"
            ) from exc
        self._created = True

    async def fill(self) -> None:
        """Copy all, then what has changed since, until little is left."""
        for _ in range(_PASSES):
            if await self._copy() <= _FEW:
                return

    async def exchange(self) -> None:
        """Copy the rest while the old index refuses writes, remove what is gone there, and move the alias."""
        await self._changed(self._block(blocked=True))
        await self._copy()
        await self._requests.send("POST", f"/{_path(self._new)}/_refresh")
        if await self._count(self._old) != await self._count(self._new):
            await self._remove_gone()
        await self._changed(self._move_alias())

    async def _move_alias(self) -> None:
        alias = self._requests.alias
        actions = [{"remove": {"index": self._old, "alias": alias}}, {"add": {"index": self._new, "alias": alias}}]
        await self._requests.send("POST", "/_aliases", {"actions": actions})

    async def remove_old(self) -> None:
        """Delete the old index, which nothing leads to any more."""
        await self._requests.send("DELETE", f"/{_path(self._old)}")

    async def undo(self) -> None:
        """Let the old index go on alone, unless the alias has moved."""
        if self._step is not None:
            await asyncio.wait([self._step])
        if not self._created:
            return
        # Behind every change of the cluster that was asked for, also one whose answer was lost.
        await self._requests.ask("GET", "/_cluster/health?level=cluster&wait_for_events=languid")
        if await _index_behind_alias(self._requests) != self._old:
            await self.remove_old()
            return
        await self._block(blocked=None)
        await self._stop_copying()
        await self._requests.send("DELETE", f"/{_path(self._new)}?ignore_unavailable=true")

    async def _stop_copying(self) -> None:
        """Stop what the server still copies for us: it does not notice that nobody waits."""
        found = await self._requests.ask("GET", "/_tasks?actions=indices:data/write/reindex&detailed=true")
        for node in found["nodes"].values():
            for task, told in node["tasks"].items():
                if f"to [{only_of(self._new)}]" in told.get("description", ""):
                    await self._requests.send("POST", f"/_tasks/{quote(task, safe='')}/_cancel?wait_for_completion=true")

    async def _block(self, *, blocked: bool | None) -> None:
        if blocked:
            # Unlike the setting, this returns when no write is under way any more.
            await self._requests.send("PUT", f"/{_path(self._old)}/_block/write")
        else:
            await self._requests.send("PUT", f"/{_path(self._old)}/_settings", {"index.blocks.write": None})

    async def _copy(self) -> int:
        """Copy what has changed since the last pass; return how many records."""
        reached = await self._checkpoint()
        await self._requests.send("POST", f"/{_path(self._old)}/_refresh")
        query: dict[str, Any] = {"range": {"_seq_no": {"gt": self._copied_to}}} if self._copied_to >= 0 else {"match_all": {}}
        body = {"source": {"index": self._old, "size": _PAGE, "query": query}, "dest": {"index": only_of(self._new)}}
        try:
            done = await self._requests.client.request("POST", f"/_reindex{_HOW}", body, timeout=_LONG)
        except ServerError as exc:
            raise translate(exc, self._requests.info.label) from exc
        if done["failures"]:
            raise BackendError(
                f"{self._requests.info.label}: {len(done['failures'])} records cannot be copied: {done['failures'][0]['cause']}"
            )
        self._copied_to = reached
        return int(done["total"])

    async def _checkpoint(self) -> int:
        """Return the number up to which every change of every shard is done: later ones may still be under way."""
        stats = await self._requests.ask(
            "GET", f"/{_path(self._old)}/_stats?level=shards&filter_path=indices.*.shards.*.seq_no,indices.*.shards.*.routing"
        )
        shards = stats["indices"][self._old]["shards"].values()
        return min(int(copy["seq_no"]["local_checkpoint"]) for copies in shards for copy in copies if copy["routing"]["primary"])

    async def _count(self, index: str) -> int:
        return int((await self._requests.ask("POST", f"/{_path(index)}/_count"))["count"])

    async def _remove_gone(self) -> None:
        """Remove from the new index what was copied and has been removed from the old one since."""
        sort = self._requests.compiler.sort(self._requests.compiler.key_order())
        body: dict[str, Any] = {"size": _PAGE, "sort": sort, "_source": False, "track_total_hits": False}
        while True:
            path = f"/{_path(self._new)}/_search?allow_partial_search_results=false"
            hits = (await self._requests.ask("POST", path, body))["hits"]["hits"]
            if not hits:
                return
            body["search_after"] = hits[-1]["sort"]
            await self._remove_missing([hit["_id"] for hit in hits])

    async def _remove_missing(self, ids: list[str]) -> None:
        answer = await self._requests.ask("POST", f"/{_path(self._old)}/_mget?_source=false", {"ids": ids})
        lines = Lines()
        for item in answer["docs"]:
            if not item["found"]:
                lines.add({"delete": {"_id": item["_id"]}})
        if lines.count:
            await self._requests.bulk(lines, index=self._new)
