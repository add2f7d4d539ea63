"""The indexes of a model: what is created, and how what is there differs from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from holdall.record.metadata import ModelInfo
from holdall.store import Difference
from holdall.stores.opensearch import unique
from holdall.stores.opensearch.mapping import shape_of
from holdall.stores.opensearch.naming import alias_of, index_of, only_of, reservations_of
from holdall.stores.opensearch.settings import OpenSearchSettings


class NewIndex(NamedTuple):
    """An index to be created."""

    alias: str
    name: str
    body: Mapping[str, Any]


def aliases(info: ModelInfo, settings: OpenSearchSettings) -> Sequence[str]:
    """Return the aliases of a model: of its records, and of its unique values."""
    alias = alias_of(info, settings.prefix)
    return (alias, reservations_of(alias))


def creation(info: ModelInfo, settings: OpenSearchSettings) -> Sequence[NewIndex]:
    """Return what a model needs."""
    alias, reservations = aliases(info, settings)
    found = [_first(alias, shape_of(info).mapping, settings)]
    if info.uniques:
        found.append(_first(reservations, unique.mapping_of(unique_sets(info)), settings))
    return found


def unique_sets(info: ModelInfo) -> list[str]:
    """Return the names of the sets of fields that are unique together."""
    return [unique.set_name(shape_of(info), fields) for fields in info.uniques]


def without_reservations(index: NewIndex) -> NewIndex:
    """Return an index of unique values that says that there are records whose values are not in it."""
    return index._replace(body={**index.body, "mappings": unique.mapping_of(())})


def _first(alias: str, mapping: Mapping[str, Any], settings: OpenSearchSettings) -> NewIndex:
    name = index_of(alias, 1)
    return NewIndex(alias, name, _body((alias, only_of(name)), mapping, settings))


def body_of(info: ModelInfo, name: str, settings: OpenSearchSettings) -> dict[str, Any]:
    """Return the body of a new index of that name for a model's records, which the model's alias does not lead to yet."""
    return _body((only_of(name),), shape_of(info).mapping, settings)


def _body(aliases: Sequence[str], mapping: Mapping[str, Any], settings: OpenSearchSettings) -> dict[str, Any]:
    index = {"number_of_shards": settings.shards, "number_of_replicas": settings.replicas}
    index = {name: value for name, value in index.items() if value is not None}
    return {"aliases": {alias: {} for alias in aliases}, "mappings": dict(mapping), "settings": {"index": index}}


def differences(info: ModelInfo, index: NewIndex, answer: Mapping[str, Any]) -> list[Difference]:
    """Return how the mappings behind an alias differ from the new one; the server leaves defaults out, and so does this."""
    if not answer:
        return [Difference("table", info.name, index.alias, _fields(index.body["mappings"]), None)]
    wanted = _normal(index.body["mappings"]["properties"])
    found: list[Difference] = []
    for name in sorted(answer):
        there = _normal(answer[name]["mappings"].get("properties", {}))
        found += [
            Difference("column", info.name, field, _shown(wanted.get(field)), _shown(there.get(field)))
            for field in sorted(wanted.keys() | there.keys())
            if wanted.get(field) != there.get(field)
        ]
        missing = unique.reserved_in(index.body["mappings"]) - unique.reserved_in(answer[name]["mappings"])
        found += [Difference("constraint", info.name, fields, "unique", None) for fields in sorted(missing)]
    return found


def _fields(mapping: Mapping[str, Any]) -> str:
    return ", ".join(mapping["properties"])


def _normal(properties: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: _without_defaults(item) for name, item in properties.items()}


def _without_defaults(item: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in item.items() if (key, value) not in _DEFAULTS}
    if "fields" in found:
        found["fields"] = _normal(found["fields"])
    return found


_DEFAULTS = (("index", True), ("doc_values", True), ("coerce", True), ("analyzer", "default"), ("analyzer", "standard"))


def _shown(item: Mapping[str, Any] | None) -> str | None:
    return None if item is None else orjson.dumps(item, option=orjson.OPT_SORT_KEYS).decode()
