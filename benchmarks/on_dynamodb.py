"""The lines on DynamoDB Local, beside aioboto3's client and resource, aiodynamo and PynamoDB: ``python -m benchmarks.on_dynamodb``.

The server answers from the same machine, so that calls per second say little; what counts is the client's processor time of each call.
The first contender is the low-level client as its documentation shows it, without turning its attribute values into objects.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# aioboto3 makes its classes at run time.

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aioboto3  # type: ignore[import-untyped]
import aiohttp
from aiodynamo.client import Client
from aiodynamo.credentials import Key as AwsKey
from aiodynamo.credentials import StaticCredentials
from aiodynamo.expressions import HashKey
from aiodynamo.http.aiohttp import AIOHTTP
from aiodynamo.models import BatchGetRequest
from boto3.dynamodb.conditions import Key  # type: ignore[import-untyped]
from pynamodb.attributes import BooleanAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.models import Model as PynamoModel
from yarl import URL

import holdall
from benchmarks.harness import Contender, Effort, Line, Result, measure
from benchmarks.report import heading, table
from holdall import Backend, Field, Model
from tests.servers.dynamodb import DynamoDbServer

QUICK = Effort(samples=7, seconds=0.25, warm_up=0.2)
FULL = Effort(samples=7, seconds=1.0, warm_up=0.5)
TASKS = 16
ROWS = 100
GROUPS = 10
_START = datetime(2024, 1, 1, tzinfo=UTC)
# How many times less processor time than the contender of that name: performance.md's line of DynamoDB.
TARGETS: Mapping[str, float] = {"aioboto3 client": 3.0, "aioboto3 resource": 3.5}


class Reading(Model):
    """A record as services keep them in DynamoDB: a partition, an order in it, and some values."""

    group: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    email: str
    name: str
    age: int
    active: bool
    created: datetime
    balance: Decimal = Field(max_digits=12, decimal_places=2)
    tag: str | None = None

    class Meta:  # noqa: D106 - options
        name = "readings"


class PynamoReading(PynamoModel):
    """The same for PynamoDB."""

    group = UnicodeAttribute(hash_key=True)
    number = NumberAttribute(range_key=True)
    email = UnicodeAttribute()
    name = UnicodeAttribute()
    age = NumberAttribute()
    active = BooleanAttribute()
    created = UnicodeAttribute()
    balance = NumberAttribute()
    tag = UnicodeAttribute(null=True)

    class Meta:  # noqa: D106  # pyright: ignore[reportIncompatibleVariableOverride]  - options; filled in before the first call
        table_name = "readings"


def values_of(group: str, number: int) -> dict[str, Any]:
    """Return the values of a record; that of ``created`` comes from the caller."""
    found: dict[str, Any] = {
        "group": group,
        "number": number,
        "email": f"person{number}@example.org",
        "name": f"Person {number}",
        "age": number % 90,
        "active": number % 3 == 0,
        "balance": Decimal(number * 37 % 1_000_000).scaleb(-2),
    }
    if number % 4:
        found["tag"] = f"tag{number % 10}"
    return found


def reading(group: str, number: int) -> Reading:
    """Return a record that is not stored."""
    return Reading(**values_of(group, number), created=_START)


def plain(group: str, number: int) -> dict[str, Any]:
    """Return the same as the values that aioboto3's resource and aiodynamo take."""
    return {**values_of(group, number), "created": "2024-01-01T00:00:00.000000Z"}


def pynamo_reading(group: str, number: int) -> PynamoReading:
    """Return the same for PynamoDB, which takes no Decimals."""
    values: Any = plain(group, number)
    values["balance"] = float(values["balance"])
    return PynamoReading(**values)


def low(group: str, number: int) -> dict[str, Any]:
    """Return the same as attribute values."""
    tags = {str: "S", int: "N", Decimal: "N"}
    found: dict[str, Any] = {}
    for name, value in plain(group, number).items():
        found[name] = {"BOOL": value} if isinstance(value, bool) else {tags[type(value)]: str(value)}
    return found


class Clients:
    """Everything that is compared, open."""

    def __init__(self, client: Any, resource: Any, other: Client, backend: Backend) -> None:
        self.client = client
        self.table = resource
        self.other = other
        self.backend = backend
        self._new = count(1)

    def numbers(self) -> Iterator[int]:
        """Return the numbers of stored records, in an order that looks random."""
        random = Random(7)
        while True:
            yield random.randrange(ROWS)

    def new(self) -> Iterator[int]:
        """Return numbers that no sample has used."""
        return self._new

    def lines(self) -> list[Line]:
        """Return every line."""
        return [self._get(), self._put(), self._query(), self._batch()]

    def _get(self) -> Line:
        def key(number: int) -> dict[str, Any]:
            return {"group": {"S": "g0"}, "number": {"N": str(number)}}

        contenders = (
            Contender("aioboto3 client", lambda n: self.client.get_item(TableName="readings", Key=key(n), ConsistentRead=True), _got),
            Contender("aioboto3 resource", lambda n: self.table.get_item(Key={"group": "g0", "number": n}, ConsistentRead=True), _got),
            Contender(
                "aiodynamo", lambda n: self.other.get_item("readings", {"group": "g0", "number": n}, consistent_read=True), _is_number
            ),
            Contender("PynamoDB, a thread", lambda n: asyncio.to_thread(PynamoReading.get, "g0", n, consistent_read=True), _is_number),
            Contender("holdall", lambda n: self.backend.get(Reading, ("g0", n)), _is_number),
        )
        return Line(f"dynamodb get, {TASKS} tasks", contenders, self.numbers, TASKS)

    def _put(self) -> Line:
        condition = "attribute_not_exists(#g)"

        def client(number: int) -> Any:
            names = {"#g": "group"}
            return self.client.put_item(
                TableName="readings", Item=low("new", number), ConditionExpression=condition, ExpressionAttributeNames=names
            )

        contenders = (
            Contender("aioboto3 client", client, _nothing),
            Contender(
                "aioboto3 resource",
                lambda n: self.table.put_item(
                    Item=plain("new", n), ConditionExpression=condition, ExpressionAttributeNames={"#g": "group"}
                ),
                _nothing,
            ),
            Contender("aiodynamo", lambda n: self.other.put_item("readings", plain("new", n)), _nothing),
            Contender("PynamoDB, a thread", lambda n: asyncio.to_thread(pynamo_reading("new", n).save), _nothing),
            Contender("holdall", lambda n: self.backend.create(reading("new", n)), _nothing),
        )
        return Line(f"dynamodb put, {TASKS} tasks", contenders, self.new, TASKS)

    def _query(self) -> Line:
        async def client(number: int) -> Any:
            values = {":g": {"S": f"g{number % GROUPS}"}}
            found = await self.client.query(
                TableName="readings",
                KeyConditionExpression="#g = :g",
                ExpressionAttributeNames={"#g": "group"},
                ExpressionAttributeValues=values,
                ConsistentRead=True,
            )
            return found["Items"]

        async def resource(number: int) -> Any:
            return (await self.table.query(KeyConditionExpression=Key("group").eq(f"g{number % GROUPS}"), ConsistentRead=True))["Items"]

        async def other(number: int) -> Any:
            key = HashKey("group", f"g{number % GROUPS}")
            return [item async for item in self.other.query("readings", key, consistent_read=True)]

        def pynamo(number: int) -> Any:
            return list(PynamoReading.query(f"g{number % GROUPS}", consistent_read=True))

        contenders = (
            Contender("aioboto3 client", client, _hundred),
            Contender("aioboto3 resource", resource, _hundred),
            Contender("aiodynamo", other, _hundred),
            Contender("PynamoDB, a thread", lambda n: asyncio.to_thread(pynamo, n), _hundred),
            Contender("holdall", lambda n: self.backend.query(Reading).filter(group=f"g{n % GROUPS}").all(), _hundred),
        )
        return Line(f"dynamodb query of 100, {TASKS} tasks", contenders, self.numbers, TASKS)

    def _batch(self) -> Line:
        low_keys = [{"group": {"S": "g0"}, "number": {"N": str(number)}} for number in range(ROWS)]
        plain_keys = [{"group": "g0", "number": number} for number in range(ROWS)]
        keys = [("g0", number) for number in range(ROWS)]

        async def client(_: int) -> Any:
            wanted = {"readings": {"Keys": low_keys, "ConsistentRead": True}}
            return (await self.client.batch_get_item(RequestItems=wanted))["Responses"]["readings"]

        async def resource(_: int) -> Any:
            wanted = {"readings": {"Keys": plain_keys, "ConsistentRead": True}}
            return (await self.table.meta.client.batch_get_item(RequestItems=wanted))["Responses"]["readings"]

        async def other(_: int) -> Any:
            return (await self.other.batch_get({"readings": BatchGetRequest(plain_keys, consistent_read=True)})).items["readings"]

        def pynamo() -> Any:
            return list(PynamoReading.batch_get(keys, consistent_read=True))

        contenders = (
            Contender("aioboto3 client", client, _hundred),
            Contender("aioboto3 resource", resource, _hundred),
            Contender("aiodynamo", other, _hundred),
            Contender("PynamoDB, a thread", lambda _: asyncio.to_thread(pynamo), _hundred),
            Contender("holdall", lambda _: self.backend.get_many(Reading, keys), _hundred),
        )
        return Line(f"dynamodb batch of 100, {TASKS} tasks", contenders, self.numbers, TASKS)


async def _got(result: Any, number: int) -> None:
    found = result["Item"]["number"]
    assert int(found["N"] if isinstance(found, dict) else found) == number


async def _is_number(result: Any, number: int) -> None:
    assert int(result["number"] if isinstance(result, dict) else result.number) == number


async def _hundred(result: Any, _: int) -> None:
    assert len(result) == ROWS
    assert None not in result


async def _nothing(_result: Any, _number: int) -> None:
    """Look at nothing: each put is of a new key, and one that exists would be an error."""


@asynccontextmanager
async def dynamodb_lines(url: str) -> AsyncGenerator[Sequence[Line]]:
    """Give the lines on a server, with its table filled."""
    parts = urlsplit(url)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    endpoint, key, secret = options["endpoint_url"], options["access_key_id"], options["secret_access_key"]
    PynamoReading.Meta.region, PynamoReading.Meta.host = parts.netloc, endpoint  # type: ignore[attr-defined]
    PynamoReading.Meta.aws_access_key_id, PynamoReading.Meta.aws_secret_access_key = key, secret  # type: ignore[attr-defined]
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(holdall.open(url, coalesce=False))
        await backend.drop(Reading)
        await backend.initialize(Reading)
        for group in range(GROUPS):
            await backend.create_many([reading(f"g{group}", number) for number in range(ROWS)])
        session = aioboto3.Session(key, secret, region_name=parts.netloc)
        opened: Any = session.client("dynamodb", endpoint_url=endpoint)
        client = await stack.enter_async_context(opened)
        resource = await stack.enter_async_context(session.resource("dynamodb", endpoint_url=endpoint))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        other = Client(AIOHTTP(http), StaticCredentials(AwsKey(key, secret)), parts.netloc, URL(endpoint))
        yield Clients(client, await resource.Table("readings"), other, backend).lines()


def savings(results: Sequence[Result]) -> str:
    """Return how many times less processor time holdall takes than each of the others."""
    ours = min(results[-1].processor)
    texts: list[str] = []
    for result in results[:-1]:
        ratio = min(result.processor) / ours
        target = TARGETS.get(result.contender)
        verdict = "" if target is None else f"  (target {target:.1f}: {'ok' if ratio >= target else 'missed'})"
        texts.append(f"    {ratio:5.2f} times less processor time than {result.contender}{verdict}")
    return "\n".join(texts)


async def compare(url: str, effort: Effort) -> None:
    """Measure every line and print it."""
    async with dynamodb_lines(url) as lines:
        for line in lines:
            results = await measure(line, effort, Random())
            print(table(results), flush=True)
            print(savings(results), flush=True)


def main(words: Sequence[str]) -> None:
    """Start a private server and compare on it; ``--full`` takes samples of a second."""
    server = DynamoDbServer().start()
    print(heading())
    try:
        asyncio.run(compare(server.url(), FULL if "--full" in words else QUICK))
    finally:
        server.delete()


if __name__ == "__main__":
    main(sys.argv[1:])
