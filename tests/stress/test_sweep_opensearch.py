"""Cancel every public operation on OpenSearch at every suspension, in every way, and look at what is left behind.

Each round has records of its own. Afterwards no task runs, no connection is in use, the pool counts as many as are open before the server, no point
in time is open, every read gets its own answer, each record has the reservations of its unique values, and what is reserved for no record
can be had after the grace.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest

import holdall
import holdall.testing
from holdall import Backend, F, Field, Model
from holdall.query.builder import QueryBuilder
from holdall.query.search import SearchBuilder
from holdall.query.stream import Stream
from holdall.record.metadata import model_info
from holdall.stores.opensearch.requests import ModelRequests
from holdall.stores.opensearch.unique import claims_of
from tests.stress.remote import POOL_SIZE, SHELVES, RemoteRig, Work, unswept
from tests.stress.ways import WAYS, Way


class Part(Model):
    id: int = Field(primary_key=True)
    box: int
    name: str | None = Field(default=None, unique=True)
    balance: int = 100
    version: int = Field(default=1, version=True)

    class Meta:
        name = "sweep_part"


class Shelf(Model):
    """What is read as a whole, and never written."""

    id: int = Field(primary_key=True)
    text: str = Field(default="", search="english")

    class Meta:
        name = "sweep_shelf"


class Scrap(Model):
    id: int = Field(primary_key=True)

    class Meta:
        name = "sweep_scrap"


class Numbered(NamedTuple):
    id: int
    name: str | None


MODELS = (Part, Shelf)
MANY = 12  # records of several requests
GRACE = 0.5
_boxes = itertools.count(1)


# -- operations ------------------------------------------------------------------------------------------------------------------------


def key(box: int, number: int) -> int:
    return 100 * box + number


def name(box: int, end: object) -> str:
    return f"{box} {end}"


def part(box: int, number: int) -> Part:
    return Part(id=key(box, number), box=box, name=name(box, number))


def parts(backend: Backend, box: int) -> QueryBuilder[Part]:
    return backend.query(Part).filter(box=box).order_by("id").consistent()


async def changed(backend: Backend, box: int) -> Part:
    found = await backend.get(Part, key(box, 1))
    found.balance += 1
    found.name = name(box, "new")
    return found


async def _save(backend: Backend, box: int) -> None:
    await backend.save(await changed(backend, box))


async def _save_plain(backend: Backend, box: int) -> None:
    found = await backend.get(Part, key(box, 1))
    found.balance += 1
    await backend.save(found)


async def _update(backend: Backend, box: int) -> None:
    await backend.update(await changed(backend, box))


async def _delete(backend: Backend, box: int) -> None:
    await backend.delete(await backend.get(Part, key(box, 2)))


async def _delete_many(backend: Backend, box: int) -> None:
    await backend.delete_many(await parts(backend, box))


async def _refresh(backend: Backend, box: int) -> None:
    found = await backend.get_or_none(Part, key(box, 1))
    assert found is not None
    await backend.refresh(found)


async def _page(backend: Backend, box: int) -> None:
    page = await parts(backend, box).page(size=1)
    await parts(backend, box).page(size=1, after=page.next)


async def _stream(backend: Backend, box: int) -> None:
    assert len([found async for found in parts(backend, box).stream(batch=1)]) == 3


async def _stream_break(backend: Backend, box: int) -> None:
    async for _ in parts(backend, box).stream(batch=1):
        break
    async with parts(backend, box).stream(batch=1) as stream:
        await anext(stream)
    await stream.aclose()


async def _scrap(backend: Backend, box: int) -> None:
    del box
    await backend.initialize(Scrap)
    await backend.check(Scrap)
    await backend.upsert(Scrap(id=1))
    await backend.clear(Scrap)
    await backend.drop(Scrap)


OPERATIONS: dict[str, Work] = {
    "ping": lambda backend, _: backend.ping(),
    "get": lambda backend, box: backend.get(Part, key(box, 1)),
    "get_or_none": lambda backend, box: backend.get_or_none(Part, key(box, 9)),
    "get_many": lambda backend, box: backend.get_many(Part, [key(box, number) for number in range(5)]),
    "refresh": _refresh,
    "all": lambda backend, box: parts(backend, box).all(),
    "all from far away": lambda backend, box: parts(backend, box).offset(9_999).limit(5).all(),
    "first": lambda backend, box: parts(backend, box).first(),
    "last": lambda backend, box: parts(backend, box).last(),
    "one": lambda backend, box: parts(backend, box).filter(name=name(box, 1)).one(),
    "one_or_none": lambda backend, box: parts(backend, box).filter(balance=0).one_or_none(),
    "get by query": lambda backend, box: parts(backend, box).get(key(box, 1)),
    "into": lambda backend, box: parts(backend, box).into(Numbered).all(),
    "count": lambda backend, box: parts(backend, box).count(),
    "exists": lambda backend, box: parts(backend, box).exists(),
    "page": _page,
    "stream": _stream,
    "stream with break": _stream_break,
    "search": lambda backend, _: backend.query(Shelf).search("fox").highlight("text").all(),
    "create": lambda backend, box: backend.create(part(box, 7)),
    "save": _save,
    "save of plain fields": _save_plain,
    "update": _update,
    "upsert of a new record": lambda backend, box: backend.upsert(part(box, 7)),
    "upsert": lambda backend, box: backend.upsert(Part(id=key(box, 1), box=box, name=name(box, "new"), balance=101)),
    "delete": _delete,
    "get_or_create": lambda backend, box: backend.get_or_create(Part, {"id": key(box, 7)}, defaults={"box": box, "name": name(box, 7)}),
    "get_or_create by a unique value": lambda backend, box: backend.get_or_create(
        Part, {"name": name(box, 7)}, defaults={"id": key(box, 7), "box": box}
    ),
    "create_many": lambda backend, box: backend.create_many([part(box, number) for number in range(10, 10 + MANY)]),
    "delete_many": _delete_many,
    "update by query": lambda backend, box: parts(backend, box).update(balance=F("balance") + 1),
    "update of a unique value": lambda backend, box: parts(backend, box).filter(id=key(box, 1)).update(name=name(box, "new")),
    "delete by query": lambda backend, box: parts(backend, box).filter(id__gt=key(box, 1)).delete(),
    "initialize": lambda backend, _: backend.initialize(*MODELS),
    "initialize, check, clear, drop": _scrap,
    "reindex": lambda backend, _: backend.reindex(Shelf),
}


# -- what is left ----------------------------------------------------------------------------------------------------------------------


class Rig(RemoteRig):
    """Looks at OpenSearch's records, reservations and points in time."""

    def __init__(self, backend: Backend, witness: Backend, proxy: holdall.testing.Proxy, shelf: type[Model]) -> None:
        super().__init__(backend, witness, proxy, shelf)
        self._stale: set[str] = set()

    async def stored(self) -> int:
        """Return a new box with three parts."""
        box = next(_boxes)
        await self.witness.create_many([part(box, number) for number in (1, 2, 3)])
        return box

    async def check_stored(self, box: int) -> None:
        """Look at points in time and records."""
        await self._check_points()
        await self._check_records(box)

    def cool(self) -> None:
        """Distrust what is idle."""
        store: Any = self.backend.store
        for connection in store._loops.get().client._transport.connection_pool.connections:
            connection.pool._suspect_idle()

    def _requests(self) -> ModelRequests:
        store: Any = self.witness.store
        requests: ModelRequests = store._loops.get().requests(model_info(Part))
        return requests

    async def _check_points(self) -> None:
        """No point in time is open: a consumer that is gone would keep what it reads on the server's disk."""
        requests = self._requests()
        found = await requests.client.read("GET", f"/{requests.path}/_stats/search?filter_path=_all.total.search.*_c*")
        assert found["_all"]["total"]["search"]["point_in_time_current"] == 0
        assert found["_all"]["total"]["search"]["open_contexts"] == 0

    async def _check_records(self, box: int) -> None:
        """Records are whole and have their reservations; what else is reserved will be asked for later."""
        found = await self.witness.get_many(Part, [key(box, number) for number in (1, 2, 3, 7, *range(10, 10 + MANY))])
        records = {record.id: record for record in found if record is not None}
        assert all(record.balance in (100, 101) for record in records.values())
        owners = await self._owners([name(box, end) for end in (1, 2, 3, 7, "new", *range(10, 10 + MANY))])
        for record in records.values():
            assert record.name is not None
            assert owners.pop(record.name) == str(record.id)
        self._stale |= owners.keys()

    async def _owners(self, names: list[str]) -> dict[str, str]:
        """Return for which record each name is reserved."""
        requests = self._requests()
        blank = [None] * len(requests.info.fields)
        place = next(spec.position for spec in requests.info.fields if spec.name == "name")
        rows = [(*blank[:place], text, *blank[place + 1 :]) for text in names]
        by_id = {id: text for text, row in zip(names, rows, strict=True) for id in claims_of(requests.shape, row)}
        answer = await requests.client.read("POST", f"/{quote(requests.reservations, safe='')}/_mget", {"ids": list(by_id)})
        return {by_id[item["_id"]]: item["_source"]["owner"] for item in answer["docs"] if item["found"]}

    async def check_stale(self) -> None:
        """What is reserved for no record can be had after the grace."""
        stale = sorted(self._stale)
        async with asyncio.timeout(GRACE + 10):
            await self.witness.create_many([Part(id=-number, box=0, name=text) for number, text in enumerate(stale)])


@pytest.fixture
async def rig(opensearch_url: str) -> AsyncGenerator[Rig]:
    parts = urlsplit(opensearch_url)
    assert parts.hostname is not None
    assert parts.port is not None
    lagging = opensearch_url.replace("refresh=wait_for", "refresh=")
    options: dict[str, Any] = {"pool_max_size": POOL_SIZE, "coalesce": False, "unique_grace": GRACE, "bulk_bytes": 1000}
    async with (
        holdall.testing.Proxy(parts.hostname, parts.port) as proxy,
        holdall.open(lagging, unique_grace=GRACE) as witness,
        holdall.open(proxy.url(lagging), **options) as backend,
    ):
        await witness.drop(*MODELS, Scrap)
        await witness.initialize(*MODELS)
        await witness.create_many([Shelf(id=number, text="a fox") for number in SHELVES])
        yield Rig(backend, witness, proxy, Shelf)
        await witness.drop(*MODELS, Scrap)


# -- the sweep -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_cancelled_operation_harms_nothing(rig: Rig, operation: str) -> None:
    assert await rig.sweep(OPERATIONS[operation], [*((way, False) for way in WAYS), (WAYS[0], True)]) >= 1
    await rig.check_stale()


@pytest.mark.parametrize("way", [WAYS[0], WAYS[-1]])
async def test_a_cancelled_reindex_blocks_nobody(rig: Rig, way: Way) -> None:
    k = 1
    while await way(rig.backend.reindex(Part), k):
        box = await rig.stored()
        async with asyncio.timeout(5):
            await rig.witness.save(await changed(rig.witness, box))
        await rig.verify(box)
        k += 3
    assert k > 1


async def test_a_cancelled_close_leaves_nothing(rig: Rig) -> None:
    await rig.sweep_close()


async def test_a_cancelled_open_leaves_nothing(rig: Rig) -> None:
    await rig.sweep_open()


@pytest.mark.parametrize("way", WAYS)
async def test_a_cancelled_wait_for_a_connection_harms_nobody(rig: Rig, way: Way) -> None:
    await rig.sweep_wait(way, OPERATIONS["get"])


def test_the_sweep_has_every_public_operation() -> None:
    ours = "other parts of the library call it"
    beside = {"run_operation": ours, "open_stream": ours, "run": "OpenSearch has no sessions"}
    # Opening and closing are swept by the rig.
    beside |= {"open": "the rig's", "close": "the rig's"}

    assert unswept(sys.modules[__name__], (Backend, QueryBuilder, SearchBuilder, Stream), beside) == set()
