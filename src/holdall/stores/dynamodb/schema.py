"""Tables: what models want, and what is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from holdall.errors import BackendError, ConfigurationError, LimitExceeded
from holdall.record.metadata import FieldSpec
from holdall.store import Difference
from holdall.stores.dynamodb.capabilities import MOST_INDEXES
from holdall.stores.dynamodb.expressions import Names, limited
from holdall.stores.dynamodb.layout import EXPIRY_ATTRIBUTE, Key, Layout, Place
from holdall.stores.dynamodb.reading import live
from holdall.stores.dynamodb.sending import together
from holdall.stores.dynamodb.transport import ServiceError, Transport

_PAUSE = 0.5
_SIDE_KEYS = {"u": "HASH"}


class Table:
    """A table as models want it.

    Attributes:
        stored_name: its name without the prefix, which differences show.
        keys: attribute and role. ``types``: of the attributes in keys. ``indexes``: the keys of each.
        expires: whether the service removes items by their time.
    """

    def __init__(self, name: str, stored_name: str, keys: Mapping[str, str], types: Mapping[str, str]) -> None:
        self.name = name
        self.stored_name = stored_name
        self.keys = dict(keys)
        self.types = dict(types)
        self.indexes: dict[str, dict[str, str]] = {}
        self.expires = False

    def refuse_other(self, keys: Mapping[str, str], label: str) -> None:
        """Raise ``ConfigurationError`` when a model wants other keys."""
        if self.keys != keys:
            raise ConfigurationError(f"{label} wants the keys {list(keys)} for table {self.name!r}, and another model {list(self.keys)}")

    def add(self, place: Place, label: str) -> None:
        """Add an index."""
        keys, types = _keys_of(place)
        assert place.name is not None
        if self.indexes.setdefault(place.name, keys) != keys:
            raise ConfigurationError(f"{label}: the index {place.name!r} of table {self.name!r} has other keys in another model")
        self.types.update(types)
        if len(self.indexes) > MOST_INDEXES:
            raise LimitExceeded(f"the indexes of table {self.name!r}", limit=MOST_INDEXES, value=len(self.indexes))

    def request(self) -> dict[str, Any]:
        """Return the parameters of ``CreateTable``."""
        body: dict[str, Any] = {
            "TableName": self.name,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": tag} for name, tag in self.types.items()],
            "KeySchema": _schema(self.keys),
        }
        if self.indexes:
            body["GlobalSecondaryIndexes"] = [
                {"IndexName": name, "KeySchema": _schema(keys), "Projection": {"ProjectionType": "ALL"}}
                for name, keys in self.indexes.items()
            ]
        return body


def _keys_of(place: Place) -> tuple[dict[str, str], dict[str, str]]:
    roles = zip(place.keys, ("HASH", "RANGE"), strict=False)
    return {key.attribute: role for key, role in roles}, {key.attribute: key.type for key in place.keys}


def _schema(keys: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": role} for name, role in keys.items()]


def tables_of(layouts: Sequence[Layout]) -> list[Table]:
    """Return the tables of models, those of unique values included.

    Raises:
        ConfigurationError: models that share a table do not fit one another.
    """
    found: dict[str, Table] = {}
    for layout in layouts:
        label = layout.info.label
        keys, types = _keys_of(layout.place)
        table = found.setdefault(layout.table, Table(layout.table, layout.stored_name, keys, types))
        table.refuse_other(keys, label)
        for place in layout.indexes:
            table.add(place, label)
        table.expires = table.expires or layout.info.expires is not None
        if layout.info.uniques:
            side = found.setdefault(layout.side, Table(layout.side, f"{layout.stored_name}.unique", _SIDE_KEYS, {"u": "S"}))
            side.refuse_other(_SIDE_KEYS, label)
            side.expires = side.expires or layout.info.expires is not None
    _refuse_collisions(layouts)
    _refuse_strangers(layouts)
    return list(found.values())


def _refuse_strangers(layouts: Sequence[Layout]) -> None:
    """Refuse models that come to one table by chance, or of which one does not say that it shares it: it would see the others' items."""
    first: dict[str, Layout] = {}
    for layout in layouts:
        other = first.setdefault(layout.table, layout)
        if (layout.entity is None) != (other.entity is None) or (layout.entity is None and layout.info.name != other.info.name):
            msg = (
                f"{other.info.label} and {layout.info.label} have the same table {layout.table!r}; rename one, or give both a SingleTable "
                "in Meta.store_options"
            )
            raise ConfigurationError(msg)


def _refuse_collisions(layouts: Sequence[Layout]) -> None:
    """Refuse models of one table whose templates can make the same key: they would overwrite one another."""
    shared = [layout for layout in layouts if layout.entity is not None]
    for number, one in enumerate(shared):
        for other in shared[:number]:
            if one.table == other.table and all(_may_meet(*pair) for pair in zip(one.place.keys, other.place.keys, strict=False)):
                msg = (
                    f"{other.info.label} and {one.info.label} could have the same key in table {one.table!r}; "
                    "begin one of their keys with a literal of its own"
                )
                raise ConfigurationError(msg)


def _may_meet(one: Key, other: Key) -> bool:
    if len(one.parts) != len(other.parts):
        return False
    pairs = zip(one.parts, other.parts, strict=True)
    return all(isinstance(left, FieldSpec) or isinstance(right, FieldSpec) or left == right for left, right in pairs)


# -- creating and removing -------------------------------------------------------------------------------------------------------------


async def prepare(transport: Transport, layouts: Sequence[Layout], patience: float) -> None:
    """Create the tables that are missing, and wait until all are active.

    Raises:
        ConfigurationError: a table is there, and is not what the models want.
    """
    tables = tables_of(layouts)
    await together(partial(_refuse_unreserved, transport, layout) for layout in layouts if layout.info.uniques)
    await together(partial(_prepare, transport, table, patience) for table in tables)


async def _refuse_unreserved(transport: Transport, layout: Layout) -> None:
    """Refuse to begin with unique values when there are records: nothing reserves theirs, so that they could be stored again."""
    if await describe(transport, layout.side) is not None:
        return
    found = await describe(transport, layout.table)
    if found is not None and found["TableStatus"] == "ACTIVE" and await _has_records(transport, layout):
        raise ConfigurationError(
            f"{layout.info.label} has unique fields, and table {layout.table!r} records whose values nothing reserves; "
            "read them, clear() the model, initialize() it and create them anew"
        )


async def _has_records(transport: Transport, layout: Layout) -> bool:
    names = Names()
    body: dict[str, Any] = {"TableName": layout.table, "Select": "COUNT"}
    condition = limited(live(layout, names, None), f"a query of {layout.info.label}")
    body |= {"Limit": 1} if condition is None else {"FilterExpression": condition}
    names.fill(body)
    while True:
        answer = await transport.call("Scan", body)
        if answer["Count"] or not answer.get("LastEvaluatedKey"):
            return bool(answer["Count"])
        body["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


async def _prepare(transport: Transport, table: Table, patience: float) -> None:
    try:
        async with asyncio.timeout(patience):
            while True:
                found = await describe(transport, table.name)
                if found is None:
                    await _create(transport, table)
                elif found["TableStatus"] in ("ACTIVE", "UPDATING"):
                    break
                else:
                    await asyncio.sleep(_PAUSE)
    except TimeoutError as exc:
        raise BackendError(f"the table {table.name!r} was not active within {patience:g} s; raise capacity_timeout") from exc
    for difference in _differences(table, found):
        raise ConfigurationError(f"{difference}; initialize() changes no table that is there, because its records lack what an index needs")
    if table.expires:
        await _let_expire(transport, table.name)


async def _create(transport: Transport, table: Table) -> None:
    try:
        await transport.call("CreateTable", table.request())
    except ServiceError as error:
        if error.name != "ResourceInUseException":  # another one creates it
            raise


async def _let_expire(transport: Transport, name: str) -> None:
    """Let the service remove what has expired. To say so again is an error of the service."""
    if await _expires(transport, name):
        return
    specification = {"AttributeName": EXPIRY_ATTRIBUTE, "Enabled": True}
    try:
        await transport.call("UpdateTimeToLive", {"TableName": name, "TimeToLiveSpecification": specification})
    except ServiceError as error:
        if error.name != "ValidationException" or not await _expires(transport, name):
            raise


async def _expires(transport: Transport, name: str) -> bool:
    found = await transport.call("DescribeTimeToLive", {"TableName": name})
    return found.get("TimeToLiveDescription", {}).get("TimeToLiveStatus") in ("ENABLED", "ENABLING")


async def describe(transport: Transport, name: str) -> dict[str, Any] | None:
    """Return what the service says of a table; None when there is none."""
    try:
        found: dict[str, Any] = (await transport.call("DescribeTable", {"TableName": name}))["Table"]
    except ServiceError as error:
        if error.name == "ResourceNotFoundException":
            return None
        raise
    return found


async def drop(transport: Transport, layouts: Sequence[Layout], patience: float) -> None:
    """Remove the tables of models. Of a shared table the records of the models go, and the table stays."""
    names: dict[str, None] = {}
    for layout in layouts:
        if layout.entity is None:
            names[layout.table] = None
            if layout.info.uniques:
                names[layout.side] = None
    await delete_tables(transport, names, patience)


async def delete_tables(transport: Transport, names: Iterable[str], patience: float) -> None:
    """Delete tables, and wait until they are gone."""
    await together(partial(_delete, transport, name, patience) for name in names)


async def _delete(transport: Transport, name: str, patience: float) -> None:
    async with asyncio.timeout(patience):
        while True:
            try:
                await transport.call("DeleteTable", {"TableName": name})
            except ServiceError as error:
                if error.name == "ResourceNotFoundException":
                    return
                if error.name != "ResourceInUseException":  # it is being made, or deleted by another
                    raise
            if await describe(transport, name) is None:
                return
            await asyncio.sleep(_PAUSE)


async def names_of(transport: Transport, prefix: str) -> list[str]:
    """Return the names of all tables that begin with a prefix."""
    found: list[str] = []
    body: dict[str, Any] = {}
    while True:
        answer = await transport.call("ListTables", body)
        found += [name for name in answer["TableNames"] if name.startswith(prefix)]
        if not answer.get("LastEvaluatedTableName"):
            return found
        body = {"ExclusiveStartTableName": answer["LastEvaluatedTableName"]}


# -- comparing -------------------------------------------------------------------------------------------------------------------------


def _differences(table: Table, found: Mapping[str, Any]) -> list[Difference]:
    """Return how a table differs from what models want; indexes of others do no harm."""
    types = {item["AttributeName"]: item["AttributeType"] for item in found["AttributeDefinitions"]}
    result: list[Difference] = []
    wanted, has = _shown(table.keys, table.types), _shown(_read_keys(found["KeySchema"]), types)
    if wanted != has:
        result.append(Difference("table", table.stored_name, table.stored_name, wanted, has))
    indexes = {index["IndexName"]: index for index in found.get("GlobalSecondaryIndexes") or ()}
    for name, keys in table.indexes.items():
        wanted = _shown(keys, table.types) + " with all attributes"
        index = indexes.get(name)
        has_index = None if index is None else f"{_shown(_read_keys(index['KeySchema']), types)} with {_projection(index)}"
        if wanted != has_index:
            result.append(Difference("index", table.stored_name, name, wanted, has_index))
    return result


def _read_keys(schema: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {item["AttributeName"]: item["KeyType"] for item in schema}


def _shown(keys: Mapping[str, str], types: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {types.get(name)} {role}" for name, role in sorted(keys.items(), key=lambda item: item[1]))


def _projection(index: Mapping[str, Any]) -> str:
    kind = index.get("Projection", {}).get("ProjectionType")
    return "all attributes" if kind == "ALL" else f"the projection {kind}"


async def compare(transport: Transport, layouts: Sequence[Layout]) -> list[Difference]:
    """Return how the tables differ from what ``prepare`` makes of the models."""
    result: list[Difference] = []
    for table in tables_of(layouts):
        found = await describe(transport, table.name)
        if found is None:
            result.append(Difference("table", table.stored_name, table.stored_name, _shown(table.keys, table.types), None))
            continue
        result += _differences(table, found)
        extra = {index["IndexName"] for index in found.get("GlobalSecondaryIndexes") or ()} - table.indexes.keys()
        result += [Difference("index", table.stored_name, name, None, "an index of the table") for name in sorted(extra)]
        if table.expires != await _expires(transport, table.name):
            shown = ("removes what has expired", "keeps what has expired")
            wanted, has = shown if table.expires else reversed(shown)
            result.append(Difference("table", table.stored_name, table.stored_name, wanted, has))
    return result
