"""Reads as requests: pure. A path becomes one request per lookup; pages of the service are followed by whoever sends them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from holdall.query import operations as op
from holdall.query.planner import Normal, normalise
from holdall.record.metadata import FieldSpec
from holdall.stores.dynamodb.expressions import MOST_BYTES, Names, NeverTrue, Node, atom, compiled, every, limited, some
from holdall.stores.dynamodb.keys import moment_text
from holdall.stores.dynamodb.layout import TYPE_ATTRIBUTE, Layout
from holdall.stores.dynamodb.paths import Lookup, Path, find, start_behind
from holdall.stores.dynamodb.values import AttributeValue, Item

Body = dict[str, Any]


class Request(NamedTuple):
    """One request.

    Attributes:
        target: the service's operation. ``body``: its parameters.
        is_filtered: a page of the answer may hold fewer items than were looked at.
        surplus: (attribute, value) of an item in the answer that is not meant.
    """

    target: str
    body: Body
    is_filtered: bool = False
    surplus: tuple[str, AttributeValue] | None = None


@dataclass(frozen=True)
class Plan:
    """How a read is carried out.

    Attributes:
        layout, path: where it reads; without a path nothing can match.
        requests: one behind the other. Empty for reads by whole keys and by unique values.
        keys: the whole keys, in the order of the answer.
        now: the moment at which records must not have expired; None where they do not.
        consistent: whether keys are read so that every write before shows.
    """

    layout: Layout
    path: Path | None
    requests: tuple[Request, ...] = ()
    keys: tuple[Item, ...] = ()
    now: str | None = None
    consistent: bool = True

    @property
    def is_by_key(self) -> bool:
        """Whether it is about one record, by its whole key."""
        return self.path is not None and self.path.kind == "get" and len(self.path.lookups) == 1


def now_of(layout: Layout) -> str | None:
    """Return the text of this moment for a model whose records expire."""
    return None if layout.info.expires is None else moment_text(datetime.now(UTC))


def live(layout: Layout, names: Names, now: str | None) -> Node:
    """Return the condition that an item is of the model and has not expired."""
    found: list[Node] = []
    if layout.entity is not None:
        found.append(atom(f"{names.name(TYPE_ATTRIBUTE)} = {names.value({'S': layout.entity})}"))
    if layout.info.expires is not None and now is not None:
        until = names.path(layout.info.expires, ())
        found.append(some((atom(f"attribute_not_exists({until})"), atom(f"{until} > {names.value({'S': now})}"))))
    return every(found)


class Reads:
    """Makes the plans of one store."""

    def __init__(self, layout_of: Any, *, scan: bool, consistent: bool) -> None:
        self._layout_of = layout_of
        self._scan = scan
        self._consistent = consistent

    def plan(self, operation: op.Select | op.Count | op.Exists | op.UpdateWhere | op.DeleteWhere) -> Plan:
        """Return the plan of a query.

        Raises:
            UnsupportedOperation: there is no path. LimitExceeded: the condition is too large.
        """
        layout: Layout = self._layout_of(operation.info)
        path = self._path(layout, operation)
        if path is None:
            return Plan(layout, None)
        lookups, start = path.lookups, None
        if isinstance(operation, op.Select) and operation.after is not None:
            lookups, start = start_behind(layout, path, operation.order, operation.after)
            if not lookups:
                return Plan(layout, None)
        now = now_of(layout)
        if path.kind == "get" and path.rest is True:
            keys = tuple(_key(layout, lookup) for lookup in lookups)
            return Plan(layout, path, keys=keys, now=now, consistent=self._is_consistent(operation))
        requests: tuple[Request, ...] = ()
        try:
            if path.kind == "unique":
                self.by_owner(Plan(layout, path, now=now), {}, operation)  # for what it refuses, before the reservation is read
            else:
                requests = self._requests(layout, path, lookups, now, operation)
        except NeverTrue:
            return Plan(layout, None)
        if start is not None and requests:
            requests[0].body["ExclusiveStartKey"] = start
        return Plan(layout, path, requests, now=now)

    def _path(self, layout: Layout, operation: Any) -> Path | None:
        reads = isinstance(operation, op.Select | op.Count | op.Exists)
        selects = isinstance(operation, op.Select)
        return find(
            layout,
            normalise(operation.predicate),
            operation.order if selects else (),
            scan=operation.scan or self._scan,
            consistent=reads and operation.consistent,
            is_window=selects and (operation.limit is not None or operation.after is not None),
        )

    def _requests(self, layout: Layout, path: Path, lookups: Sequence[Lookup], now: str | None, operation: Any) -> tuple[Request, ...]:
        consistent = self._is_consistent(operation)
        make = _Maker(layout, path, now, _shown(operation), counts=isinstance(operation, op.Count), consistent=consistent)
        return (make.scan(),) if path.kind == "scan" else tuple(make.query(lookup) for lookup in lookups)

    def _is_consistent(self, operation: Any) -> bool:
        """Tell whether tables are read so that every write before shows: as the settings or the query say, and always for writes."""
        return self._consistent or not isinstance(operation, op.Select | op.Count | op.Exists) or operation.consistent

    def by_owner(self, plan: Plan, owner: Item, operation: Any) -> Request:
        """Return the request for the record that holds a unique value, if it matches the rest."""
        assert plan.path is not None
        return _Maker(plan.layout, plan.path, plan.now, _shown(operation), counts=False, consistent=True).owner(owner)


def _shown(operation: Any) -> tuple[FieldSpec, ...] | None:
    """Return the fields that are wanted; None for whole items."""
    return operation.decoder.fields if isinstance(operation, op.Select) and not operation.decoder.tracks else None


def _key(layout: Layout, lookup: Lookup) -> Item:
    return {key.attribute: key.value(lookup.values.__getitem__) for key in layout.place.keys}


class _Maker:
    """Makes the requests of a path, which differ in their key conditions alone."""

    def __init__(
        self, layout: Layout, path: Path, now: str | None, shown: tuple[FieldSpec, ...] | None, *, counts: bool, consistent: bool
    ) -> None:
        self._layout = layout
        self._path = path
        self._now = now
        self._shown = shown
        self._counts = counts
        self._consistent = consistent and path.place.name is None

    def query(self, lookup: Lookup) -> Request:
        """Return the request of one lookup."""
        names, path = Names(), self._path
        place = path.place
        texts = [f"{names.name(place.partition.attribute)} = {names.value(lookup.partition)}"]
        surplus = None
        if lookup.condition is not None and place.sort is not None:
            attribute = names.name(place.sort.attribute)
            values = [names.value(value) for value in lookup.condition.values]
            texts.append(
                _CONDITIONS.get(lookup.condition.operator, "{a} {o} {v[0]}").format(a=attribute, o=lookup.condition.operator, v=values)
            )
            if lookup.condition.surplus is not None:
                surplus = (place.sort.attribute, lookup.condition.surplus)
        body: Body = {"TableName": self._layout.table, "KeyConditionExpression": " AND ".join(texts)}
        if place.name is not None:
            body["IndexName"] = place.name
        if not path.forward:
            body["ScanIndexForward"] = False
        return self._finish("Query", body, names, path.rest, surplus)

    def owner(self, owner: Item) -> Request:
        """Return the request for one whole key, with the filter."""
        names = Names()
        text = " AND ".join(f"{names.name(attribute)} = {names.value(value)}" for attribute, value in owner.items())
        return self._finish("Query", {"TableName": self._layout.table, "KeyConditionExpression": text}, names, self._path.rest, None)

    def scan(self) -> Request:
        """Return the request that reads the whole table."""
        return self._finish("Scan", {"TableName": self._layout.table}, Names(), self._path.rest, None)

    def _finish(self, target: str, body: Body, names: Names, rest: Normal, surplus: tuple[str, AttributeValue] | None) -> Request:
        condition = limited(every((compiled(rest, names), live(self._layout, names, self._now))), f"a query of {self._layout.info.label}")
        if condition is not None:
            body["FilterExpression"] = condition
        if self._consistent:
            body["ConsistentRead"] = True
        shown: Iterable[FieldSpec] | None = self._shown
        if self._counts and surplus is None:
            body["Select"] = "COUNT"
        elif self._counts:
            shown = self._layout.info.key
        if shown is not None and "Select" not in body:
            attributes = dict.fromkeys([*(spec.stored_name for spec in shown), *((surplus[0],) if surplus else ())])
            text = ", ".join(map(names.name, attributes))
            if len(text) <= MOST_BYTES:  # more is not taken, and whole items hold them, too
                body["ProjectionExpression"] = text
        return Request(target, names.fill(body), condition is not None, surplus)


_CONDITIONS: Mapping[str, str] = {"BETWEEN": "{a} BETWEEN {v[0]} AND {v[1]}", "begins_with": "begins_with({a}, {v[0]})"}
