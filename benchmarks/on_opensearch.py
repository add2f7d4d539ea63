"""OpenSearch beside opensearch-py, plain and its DSL: ``python -m benchmarks.on_opensearch [--full]``.

A request's time is mostly the server's, so that the processor time of this process stands beside the rate, and targets compare it.
"""

import argparse
import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import count, cycle
from random import Random
from statistics import median
from time import perf_counter, process_time
from typing import Any, cast

from opensearchpy import AsyncOpenSearch, Boolean, Double, Keyword, Long
from opensearchpy._async.helpers.document import AsyncDocument
from opensearchpy._async.helpers.search import AsyncSearch
from opensearchpy.helpers import async_bulk

import holdall
from benchmarks.people import COLUMNS, values_of
from holdall import Backend, Field, Model
from tests.servers.opensearch import OpenSearchServer

PEOPLE = 5000
HITS = 100
BULK = 1000
_PEERS = {"people": "peer_people", "newcomers": "peer_newcomers"}
_MAPPING = {
    "dynamic": "strict",
    "properties": {
        **{name: {"type": "long"} for name in ("id", "age", "created")},
        **{name: {"type": "keyword"} for name in ("email", "name", "balance", "tag")},
        "score": {"type": "double"},
        "active": {"type": "boolean"},
    },
}


class Person(Model):
    """A record as many services have it."""

    id: int = Field(primary_key=True)
    email: str
    name: str
    age: int
    score: float
    active: bool
    created: datetime
    balance: Decimal = Field(max_digits=12, decimal_places=2)
    tag: str | None = None

    class Meta:  # noqa: D106 - options
        name = "people"


class Newcomer(Person):
    """The same, in an index that begins empty."""

    class Meta(Person.Meta):  # noqa: D106 - options
        name = "newcomers"


class PersonDocument(AsyncDocument):
    """The same, in the driver's DSL."""

    id = Long()
    email = Keyword()
    name = Keyword()
    age = Long()
    score = Double()
    active = Boolean()
    created = Long()
    balance = Keyword()
    tag = Keyword()


@dataclass(frozen=True)
class Way:
    """One way to do a line's work: ``call`` is given what ``prepare`` makes of a number outside the clock."""

    name: str
    call: Callable[[Any], Awaitable[Any]]
    prepare: Callable[[int], Any] = int
    target: float | None = None  # how many times less processor time than the first way


@dataclass(frozen=True)
class Line:
    """The same work in several ways; the first is what the others are compared with. ``check`` raises when it was not done."""

    name: str
    ways: Sequence[Way]
    numbers: Iterator[int]
    check: Callable[[Any, int], Awaitable[None]]


@dataclass
class Figures:
    """Seconds of each call's processor and wall time, by sample."""

    processor: list[float] = field(default_factory=list[float])
    wall: list[float] = field(default_factory=list[float])


def source_of(number: int) -> dict[str, Any]:
    """Return a person as a document of the peers: times as microseconds, amounts as text."""
    found: dict[str, Any] = dict(zip(COLUMNS, values_of(number), strict=True))
    return found | {"created": int(found["created"].timestamp() * 1_000_000), "balance": str(found["balance"])}


def person(model: type[Person], number: int) -> Person:
    """Return a person who is not stored."""
    return model(**dict(zip(COLUMNS, values_of(number), strict=True)))


class Bench:
    """The lines on one node."""

    def __init__(self, client: AsyncOpenSearch, backend: Backend) -> None:
        self.client = client
        self.backend = backend

    def lines(self) -> list[Line]:
        """Return all of them."""
        known = list(range(1, PEOPLE + 1 - HITS))
        Random(7).shuffle(known)
        return [
            Line("get", self._gets(), cycle(known), _is_person),
            Line(f"search, {HITS} hits", self._searches(), cycle(known), _are_people),
            Line(f"bulk, {BULK:,} records", self._bulks(), count(1, BULK), self._are_stored),
        ]

    def _gets(self) -> list[Way]:
        people = _PEERS["people"]

        async def plain(number: int) -> Any:
            return (await self.client.get(index=people, id=str(number)))["_source"]

        return [
            Way("opensearch-py", plain),
            Way("opensearch-py DSL", lambda number: PersonDocument.get(str(number), using=self.client, index=people)),
            Way("holdall", lambda number: self.backend.get(Person, number), target=1.0),
        ]

    def _searches(self) -> list[Way]:
        people = _PEERS["people"]

        async def plain(number: int) -> Any:
            body = {"query": {"bool": {"filter": [{"range": {"id": {"gte": number, "lt": number + HITS}}}]}}, "size": HITS, "sort": ["id"]}
            return [hit["_source"] for hit in (await self.client.search(index=people, body=body))["hits"]["hits"]]

        async def dsl(number: int) -> Any:
            search = AsyncSearch(using=self.client, index=people, doc_type=PersonDocument)
            found = search.filter("range", id={"gte": number, "lt": number + HITS}).sort("id")[0:HITS]
            return list(await found.execute())

        def query(number: int) -> Any:
            return self.backend.query(Person).filter(id__gte=number, id__lt=number + HITS).order_by("id").limit(HITS)

        return [
            Way("opensearch-py, dicts", plain),
            Way("opensearch-py DSL", dsl),
            Way("holdall, models", lambda number: query(number).all(), target=1.2),
            Way("holdall, dicts", lambda number: query(number).values().all()),
        ]

    def _bulks(self) -> list[Way]:
        newcomers = _PEERS["newcomers"]

        def actions(number: int) -> list[Any]:
            documents = [source_of(each) for each in range(number, number + BULK)]
            return [line for source in documents for line in ({"index": {"_id": str(source["id"])}}, source)]

        async def plain(lines: list[Any]) -> None:
            assert not (await self.client.bulk(body=lines, index=newcomers))["errors"]

        def documents(number: int) -> list[PersonDocument]:
            numbers = range(number, number + BULK)
            return [PersonDocument(meta={"id": str(each), "index": newcomers}, **source_of(each)) for each in numbers]

        async def dsl(found: list[PersonDocument]) -> None:
            await async_bulk(self.client, (document.to_dict(include_meta=True) for document in found), chunk_size=BULK)

        return [
            Way("opensearch-py", plain, actions),
            Way("opensearch-py DSL", dsl, documents),
            Way(
                "holdall",
                self.backend.create_many,
                lambda number: [person(Newcomer, each) for each in range(number, number + BULK)],
                target=3.0,
            ),
        ]

    async def _are_stored(self, _: Any, number: int) -> None:
        """See that the last record is there, in one of the indexes."""
        key = number + BULK - 1
        peers = await self.client.exists(index=_PEERS["newcomers"], id=str(key))
        ours = await self.backend.get_or_none(Newcomer, key)
        assert peers or (ours is not None and ours.balance == values_of(key)[7])


def _number_of(item: Any) -> int:
    key: Any = cast("dict[str, Any]", item)["id"] if isinstance(item, dict) else item.id
    return int(key)


async def _is_person(found: Any, number: int) -> None:
    assert _number_of(found) == number


async def _are_people(found: Any, number: int) -> None:
    assert [_number_of(item) for item in found] == list(range(number, number + HITS))


# -- measuring -------------------------------------------------------------------------------------------------------------------------


async def measure(line: Line, samples: int, seconds: float) -> dict[str, Figures]:
    """Check and warm every way, then let them take turns in shuffled order."""
    found = {way.name: Figures() for way in line.ways}
    for way in line.ways:
        number = next(line.numbers)
        await line.check(await way.call(way.prepare(number)), number)
        await _sample(way, line, seconds / 2)
    random = Random(1)
    for _ in range(samples):
        for way in random.sample(list(line.ways), len(line.ways)):
            processor, wall = await _sample(way, line, seconds)
            found[way.name].processor.append(processor)
            found[way.name].wall.append(wall)
    return found


async def _sample(way: Way, line: Line, seconds: float) -> tuple[float, float]:
    gc.collect(1)
    calls, processor, wall = 0, 0.0, 0.0
    while wall < seconds:
        argument = way.prepare(next(line.numbers))
        begun, worked = perf_counter(), process_time()
        await way.call(argument)
        wall += perf_counter() - begun
        processor += process_time() - worked
        calls += 1
    return processor / calls, wall / calls


def table(line: Line, found: dict[str, Figures]) -> str:
    """Return the figures of a line; the least processor time counts, because what else runs on the machine adds little to it."""
    base = min(found[line.ways[0].name].processor)
    rows = [line.name]
    for way in line.ways:
        figures = found[way.name]
        least = min(figures.processor)
        ratio = base / least
        verdict = "" if way.target is None else f"  target {way.target:.1f} {'ok' if ratio >= way.target else 'missed'}"
        times = f"cpu {least * 1e6:>8,.0f} µs  wall {median(figures.wall) * 1e6:>9,.0f} µs"
        rows.append(f"  {way.name:24} {times}  {ratio:>5.2f}× less cpu{verdict}")
    return "\n".join(rows)


@asynccontextmanager
async def opened(node: OpenSearchServer) -> AsyncGenerator[Bench]:
    """Fill both people's indexes."""
    client = AsyncOpenSearch(hosts=[{"host": node.host, "port": node.port}])
    async with holdall.open(node.url("ours_"), coalesce=False) as backend:
        try:
            for index in _PEERS.values():
                await client.indices.create(index=index, body={"mappings": _MAPPING})
            await backend.initialize(Person, Newcomer)
            people = range(1, PEOPLE + 1)
            await backend.create_many([person(Person, number) for number in people])
            await async_bulk(client, ({"_index": _PEERS["people"], "_id": str(number), **source_of(number)} for number in people))
            await client.indices.refresh()
            yield Bench(client, backend)
        finally:
            await client.close()


async def compare(node: OpenSearchServer, samples: int, seconds: float) -> None:
    """Measure and print every line."""
    async with opened(node) as bench:
        for line in bench.lines():
            print(table(line, await measure(line, samples, seconds)), flush=True)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_opensearch", description=__doc__)
    parser.add_argument("--full", action="store_true", help="seven samples of a second, instead of five of a fifth")
    samples, seconds = (7, 1.0) if parser.parse_args().full else (5, 0.2)
    with OpenSearchServer() as node:
        print(f"OpenSearch {node.version}, one node, {PEOPLE:,} records")
        asyncio.run(compare(node, samples, seconds))


if __name__ == "__main__":
    main()
