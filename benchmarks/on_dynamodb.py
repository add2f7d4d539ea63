"""The lines on DynamoDB Local, beside aioboto3's client and resource, aiodynamo and PynamoDB: ``python -m benchmarks.on_dynamodb``.

The server answers from the same machine, so that calls per second say little; what counts is the client's processor time of each call.
The first contender is the low-level client as its documentation shows it, without turning its attribute values into objects.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# aioboto3 makes its classes at run time.

import argparse
import asyncio
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
from benchmarks.clients import Line, Way, measure, table
from holdall import Backend, Field, Model
from tests.servers.dynamodb import DynamoDbServer

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

        ways = (
            Way("aioboto3 client", lambda n: self.client.get_item(TableName="readings", Key=key(n), ConsistentRead=True), _got),
            Way("aioboto3 resource", lambda n: self.table.get_item(Key={"group": "g0", "number": n}, ConsistentRead=True), _got),
            Way("aiodynamo", lambda n: self.other.get_item("readings", {"group": "g0", "number": n}, consistent_read=True), _is_number),
            Way("PynamoDB, a thread", lambda n: asyncio.to_thread(PynamoReading.get, "g0", n, consistent_read=True), _is_number),
            Way("holdall", lambda n: self.backend.get(Reading, ("g0", n)), _is_number),
        )
        return Line("dynamodb get", ways, self.numbers(), TASKS, TARGETS)

    def _put(self) -> Line:
        condition = "attribute_not_exists(#g)"

        def client(number: int) -> Any:
            names = {"#g": "group"}
            return self.client.put_item(
                TableName="readings", Item=low("new", number), ConditionExpression=condition, ExpressionAttributeNames=names
            )

        ways = (
            Way("aioboto3 client", client, _nothing),
            Way(
                "aioboto3 resource",
                lambda n: self.table.put_item(
                    Item=plain("new", n), ConditionExpression=condition, ExpressionAttributeNames={"#g": "group"}
                ),
                _nothing,
            ),
            Way("aiodynamo", lambda n: self.other.put_item("readings", plain("new", n)), _nothing),
            Way("PynamoDB, a thread", lambda n: asyncio.to_thread(pynamo_reading("new", n).save), _nothing),
            Way("holdall", lambda n: self.backend.create(reading("new", n)), _nothing),
        )
        return Line("dynamodb put", ways, self.new(), TASKS, TARGETS)

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

        ways = (
            Way("aioboto3 client", client, _hundred),
            Way("aioboto3 resource", resource, _hundred),
            Way("aiodynamo", other, _hundred),
            Way("PynamoDB, a thread", lambda n: asyncio.to_thread(pynamo, n), _hundred),
            Way("holdall", lambda n: self.backend.query(Reading).filter(group=f"g{n % GROUPS}").all(), _hundred),
        )
        return Line("dynamodb query of 100", ways, self.numbers(), TASKS, TARGETS)

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

        ways = (
            Way("aioboto3 client", client, _hundred),
            Way("aioboto3 resource", resource, _hundred),
            Way("aiodynamo", other, _hundred),
            Way("PynamoDB, a thread", lambda _: asyncio.to_thread(pynamo), _hundred),
            Way("holdall", lambda _: self.backend.get_many(Reading, keys), _hundred),
        )
        return Line("dynamodb batch of 100", ways, self.numbers(), TASKS, TARGETS)


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


async def compare(url: str, samples: int, seconds: float) -> None:
    """Measure and print every line."""
    async with dynamodb_lines(url) as lines:
        for line in lines:
            print(table(line, await measure(line, samples, seconds)), flush=True)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_dynamodb", description=__doc__)
    parser.add_argument("--full", action="store_true", help="seven samples of a second, instead of five of a fifth")
    samples, seconds = (7, 1.0) if parser.parse_args().full else (5, 0.2)
    server = DynamoDbServer().start()
    try:
        print(f"DynamoDB Local {server.version}")
        asyncio.run(compare(server.url(), samples, seconds))
    finally:
        server.delete()


if __name__ == "__main__":
    main()
