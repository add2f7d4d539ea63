"""OpenSearch beside opensearch-py, plain and its DSL: ``python -m benchmarks.on_opensearch [--full]``.

A request's time is mostly the server's, so that the processor time of this process stands beside the rate, and targets compare it.
"""

import argparse
import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from itertools import count, cycle
from random import Random
from typing import Any, cast

from opensearchpy import AsyncOpenSearch, Boolean, Double, Keyword, Long
from opensearchpy._async.helpers.document import AsyncDocument
from opensearchpy._async.helpers.search import AsyncSearch
from opensearchpy.helpers import async_bulk

import holdall
from benchmarks.clients import Line, Way, measure, table
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
            Line("get", self._gets(), cycle(known), targets={"opensearch-py": 1.0}),
            Line(f"search, {HITS} hits", self._searches(), cycle(known), targets={"opensearch-py, dicts": 1.2}),
            Line(f"bulk, {BULK:,} records", self._bulks(), count(1, BULK), targets={"opensearch-py": 3.0}),
        ]

    def _gets(self) -> list[Way]:
        people = _PEERS["people"]

        async def plain(number: int) -> Any:
            return (await self.client.get(index=people, id=str(number)))["_source"]

        return [
            Way("opensearch-py", plain, _is_person),
            Way("opensearch-py DSL", lambda number: PersonDocument.get(str(number), using=self.client, index=people), _is_person),
            Way("holdall", lambda number: self.backend.get(Person, number), _is_person),
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
            Way("opensearch-py, dicts", plain, _are_people),
            Way("opensearch-py DSL", dsl, _are_people),
            Way("holdall, dicts", lambda number: query(number).values().all(), _are_people),
            Way("holdall, models", lambda number: query(number).all(), _are_people),
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
            Way("opensearch-py", plain, self._are_stored, actions),
            Way("opensearch-py DSL", dsl, self._are_stored, documents),
            Way(
                "holdall",
                self.backend.create_many,
                self._are_stored,
                lambda number: [person(Newcomer, each) for each in range(number, number + BULK)],
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
