"""Cancel every public operation on DynamoDB at every suspension, in every way, and look at what is left behind.

Each round has a partition of its own, because what a cancelled write has sent may be applied a moment later. Afterwards no task runs, no connection
is in use, the pool counts as many as are open before the server, every read gets its own answer, and records and unique values agree.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import anyio.lowlevel
import pytest

import holdall
import holdall.testing
from holdall import Backend, F, Field, Index, Model
from holdall.query.builder import QueryBuilder
from holdall.query.stream import Stream
from holdall.record.metadata import model_info
from holdall.stores.dynamodb.layout import layout_of
from holdall.stores.dynamodb.uniques import Uniques
from tests.stress.remote import POOL_SIZE, SHELVES, RemoteRig, Work, unswept
from tests.stress.ways import WAYS, Way


class Part(Model):
    box: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    name: str | None = Field(default=None, unique=True)
    balance: int = 100
    place: str = ""
    version: int = Field(default=1, version=True)

    class Meta:
        name = "sweep_part"
        indexes = (Index("place", "balance"),)


class Shelf(Model):
    """What is read as a whole, and never written."""

    id: int = Field(primary_key=True)

    class Meta:
        name = "sweep_shelf"


class Scrap(Model):
    id: int = Field(primary_key=True)

    class Meta:
        name = "sweep_scrap"


class Numbered(NamedTuple):
    number: int
    name: str | None


MODELS = (Part, Shelf)
MANY = 60  # records of two transactions
_boxes = map("box {}".format, itertools.count(1))


# -- operations ------------------------------------------------------------------------------------------------------------------------


def parts(backend: Backend, box: str) -> QueryBuilder[Part]:
    return backend.query(Part).filter(box=box).order_by("number")


async def changed(backend: Backend, box: str) -> Part:
    part = await backend.get(Part, (box, 1))
    part.balance += 1
    part.name = f"{box} new"
    return part


async def _save(backend: Backend, box: str) -> None:
    await backend.save(await changed(backend, box))


async def _update(backend: Backend, box: str) -> None:
    await backend.update(await changed(backend, box))


async def _delete(backend: Backend, box: str) -> None:
    await backend.delete(await backend.get(Part, (box, 2)))


async def _delete_many(backend: Backend, box: str) -> None:
    await backend.delete_many(await parts(backend, box))


async def _refresh(backend: Backend, box: str) -> None:
    part = await backend.get_or_none(Part, (box, 1))
    assert part is not None
    await backend.refresh(part)


async def _page(backend: Backend, box: str) -> None:
    page = await parts(backend, box).page(size=1)
    await parts(backend, box).page(size=1, after=page.next)


async def _stream(backend: Backend, box: str) -> None:
    assert len([part async for part in parts(backend, box).stream(batch=1)]) == 3


async def _stream_segments(backend: Backend, box: str) -> None:
    del box
    assert sorted([shelf.id async for shelf in backend.query(Shelf).allow_scan().stream(batch=5)]) == list(SHELVES)


async def _stream_break(backend: Backend, box: str) -> None:
    del box
    async for _ in backend.query(Shelf).allow_scan().stream(batch=2):
        break
    async with backend.query(Shelf).allow_scan().stream(batch=2) as stream:
        await anext(stream)
    await stream.aclose()


async def _batch(backend: Backend, box: str) -> None:
    part, other = await parts(backend, box).limit(2)
    async with backend.write_batch() as batch:
        part.name, other.name = other.name, part.name
        part.balance += 1
        batch.save(part)
        batch.save(other)
        batch.create(Part(box=box, number=7, name=f"{box} 7"))


async def _scrap(backend: Backend, box: str) -> None:
    del box
    await backend.initialize(Scrap)
    await backend.check(Scrap)
    await backend.upsert(Scrap(id=1))
    await backend.clear(Scrap)
    await backend.drop(Scrap)


OPERATIONS: dict[str, Work] = {
    "ping": lambda backend, _: backend.ping(),
    "get": lambda backend, box: backend.get(Part, (box, 1)),
    "get_or_none": lambda backend, box: backend.get_or_none(Part, (box, 9)),
    "get_many": lambda backend, box: backend.get_many(Part, [(box, number) for number in range(150)]),
    "refresh": _refresh,
    "all": lambda backend, box: parts(backend, box).all(),
    "all by an index": lambda backend, box: backend.query(Part).filter(place=box).order_by("-balance").all(),
    "first": lambda backend, box: parts(backend, box).first(),
    "last": lambda backend, box: parts(backend, box).last(),
    "one by a unique value": lambda backend, box: backend.query(Part).filter(name=f"{box} 1").one(),
    "one_or_none": lambda backend, box: parts(backend, box).filter(number=9).one_or_none(),
    "get by query": lambda backend, box: parts(backend, box).get((box, 1)),
    "into": lambda backend, box: parts(backend, box).into(Numbered).all(),
    "limit under a filter": lambda backend, box: parts(backend, box).filter(balance__gt=100).limit(1).all(),
    "count": lambda backend, box: parts(backend, box).count(),
    "exists": lambda backend, box: parts(backend, box).exists(),
    "page": _page,
    "stream": _stream,
    "stream of segments": _stream_segments,
    "stream with break": _stream_break,
    "create": lambda backend, box: backend.create(Part(box=box, number=7, name=f"{box} 7")),
    "save": _save,
    "update": _update,
    "upsert of a new record": lambda backend, box: backend.upsert(Part(box=box, number=7, name=f"{box} 7")),
    "upsert": lambda backend, box: backend.upsert(Part(box=box, number=1, name=f"{box} new", balance=101)),
    "delete": _delete,
    "get_or_create": lambda backend, box: backend.get_or_create(Part, {"box": box, "number": 7}, defaults={"name": f"{box} 7"}),
    "get_or_create by a unique value": lambda backend, box: backend.get_or_create(
        Part, {"name": f"{box} 7"}, defaults={"box": box, "number": 7}
    ),
    "create_many": lambda backend, box: backend.create_many(
        [Part(box=box, number=number, name=f"{box} {number}") for number in range(10, 10 + MANY)]
    ),
    "delete_many": _delete_many,
    "update by key": lambda backend, box: parts(backend, box).filter(number=1).update(balance=F("balance") + 1),
    "update of a unique value": lambda backend, box: parts(backend, box).filter(number=1).update(name=f"{box} new"),
    "update by query": lambda backend, box: parts(backend, box).update(balance=F("balance") + 1, place="elsewhere"),
    "delete by query": lambda backend, box: parts(backend, box).filter(number__gt=1).delete(),
    "write_batch": _batch,
    "initialize": lambda backend, _: backend.initialize(*MODELS),
    "initialize, check, clear, drop": _scrap,
}


# -- what is left ----------------------------------------------------------------------------------------------------------------------


class Rig(RemoteRig):
    """Looks at DynamoDB's records and reservations."""

    async def stored(self) -> str:
        """Return a new box with three parts."""
        box = next(_boxes)
        await self.witness.create_many([Part(box=box, number=number, name=f"{box} {number}", place=box) for number in (1, 2, 3)])
        return box

    async def check_stored(self, box: str) -> None:
        """Records and reservations agree, as soon as what was sent is applied."""
        async with asyncio.timeout(10):
            while not await self._agrees(box):
                await anyio.lowlevel.checkpoint()

    def cool(self) -> None:
        """Close what is idle."""
        store: Any = self.backend.store
        store._links.get().transport.carrier._pool._abort_idle()

    async def _agrees(self, box: str) -> bool:
        """Tell whether records and reservations agree, and no record is half of what was written."""
        store: Any = self.witness.store
        layout = layout_of(model_info(Part), "")
        records = await parts(self.witness, box)
        names = [f"{box} {end}" for end in (*range(1, 4), 7, "new", *range(10, 10 + MANY))]
        specs = layout.info.uniques[0]
        row = dict.fromkeys(layout.info.fields)
        by_text = {Uniques(layout, {}, None).reservation(specs, [*{**row, specs[0]: name}.values()]): name for name in names}
        body = {layout.side: {"Keys": [{"u": {"S": text}} for text in by_text], "ConsistentRead": True}}
        answer = await store._links.get().transport.call("BatchGetItem", {"RequestItems": body})
        held = {by_text[item["u"]["S"]]: int(item["k"]["M"]["number"]["N"]) for item in answer["Responses"][layout.side]}
        many = sum(record.number >= 10 for record in records)
        assert all(record.balance in (100, 101) for record in records)
        return held == {record.name: record.number for record in records if record.name is not None} and many in (0, 50, MANY)


@pytest.fixture
async def rig(dynamodb_url: str) -> AsyncGenerator[Rig]:
    endpoint = urlsplit(parse_qs(urlsplit(dynamodb_url).query)["endpoint_url"][0])
    assert endpoint.hostname is not None
    assert endpoint.port is not None
    async with holdall.testing.Proxy(endpoint.hostname, endpoint.port) as proxy:
        address = f"http://{proxy.host}:{proxy.port}"
        options: dict[str, Any] = {"endpoint_url": address, "pool_max_size": POOL_SIZE, "page_size": 2, "coalesce": False}
        async with holdall.open(dynamodb_url) as witness, holdall.open(dynamodb_url, **options) as backend:
            await witness.drop(*MODELS, Scrap)
            await witness.initialize(*MODELS)
            await witness.create_many([Shelf(id=number) for number in SHELVES])
            yield Rig(backend, witness, proxy, Shelf)
            await witness.drop(*MODELS, Scrap)


# -- the sweep -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_cancelled_operation_harms_nothing(rig: Rig, name: str) -> None:
    assert await rig.sweep(OPERATIONS[name], itertools.product(WAYS, (False, True))) >= 1


async def test_a_cancelled_close_leaves_nothing(rig: Rig) -> None:
    await rig.sweep_close()


async def test_a_cancelled_open_leaves_nothing(rig: Rig) -> None:
    await rig.sweep_open()


@pytest.mark.parametrize("way", WAYS)
async def test_a_cancelled_wait_for_a_connection_harms_nobody(rig: Rig, way: Way) -> None:
    await rig.sweep_wait(way, OPERATIONS["get"])


def test_the_sweep_has_every_public_operation() -> None:
    ours = "other parts of the library call it"
    beside = {"run_operation": ours, "open_stream": ours, "reindex": "DynamoDB refuses it", "run": "DynamoDB has no sessions"}
    # Opening and closing are swept by the rig.
    beside |= {"open": "the rig's", "close": "the rig's"}

    assert unswept(sys.modules[__name__], (Backend, QueryBuilder, Stream), beside) == set()
