"""Writes of single records as actions: pure. Each knows its condition, the unique values that go with it, and what a failure means.

A write whose condition fails is told what is stored, so that it can be made anew without another read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from holdall.errors import ConflictError, HoldallError, NotFoundError
from holdall.query import operations as op
from holdall.query import oracle
from holdall.query.planner import Normal
from holdall.record.metadata import FieldSpec
from holdall.stores.dynamodb.conditions import (
    AGAIN,
    Action,
    Outcome,
    Row,
    absent,
    check_rules,
    checked_item,
    conditional,
    equals,
    exists,
    is_failed,
    item_size,
)
from holdall.stores.dynamodb.expressions import Names, Node, atom, compiled, every, updating
from holdall.stores.dynamodb.layout import EXPIRY_ATTRIBUTE, Layout, expiry
from holdall.stores.dynamodb.reading import Body
from holdall.stores.dynamodb.uniques import Uniques, taken
from holdall.stores.dynamodb.values import AttributeValue, codec_of

ALWAYS: Normal = True


class InsertWrite:
    """Store a new record."""

    def __init__(self, layout: Layout, row: Row, now: str | None) -> None:
        self.info = layout.info
        self.row = row
        check_rules(layout.info, row)
        self._item = checked_item(layout, row)
        self._layout = layout
        self._now = now
        key = {part.attribute: self._item[part.attribute] for part in layout.place.keys}
        self._sides = Uniques(layout, key, now).changes(None, row) if layout.info.uniques else []

    @property
    def weight(self) -> int:
        """How many actions it has."""
        return 1 + len(self._sides)

    @property
    def size(self) -> int:
        """How many bytes of a transaction it takes, about."""
        return item_size(self._item) + 1000 * self.weight

    def actions(self) -> list[Action]:
        """Return its actions."""
        names = Names()
        expires = self.info.expires
        condition = absent(names, self._layout.place.partition.attribute, None if expires is None else expires.stored_name, self._now)
        body = conditional({"TableName": self._layout.table, "Item": self._item}, names, condition, self.info.label)
        return [{"Put": body}, *(action for _, action in self._sides)]

    def done(self) -> None:
        """Give nothing: keys are not generated."""

    def failed(self, reasons: Sequence[Mapping[str, Any]]) -> Outcome | None:
        """Return whose value is taken."""
        return taken(self.info, [self.info.key, *(specs for specs, _ in self._sides)], reasons, self.row)


class UpsertWrite:
    """Store a record, or overwrite the one with its key."""

    def __init__(self, layout: Layout, operation: op.Upsert, now: str | None) -> None:
        self.info = layout.info
        self._layout = layout
        self._operation = operation
        self._now = now
        self._before: Row | None = None
        self._row: Row = operation.row
        self._specs: list[tuple[FieldSpec, ...]] = []
        check_rules(layout.info, operation.row)
        self._key = layout.key([operation.row[spec.position] for spec in layout.info.key])
        self._guarded = {*operation.keep, *(spec for specs in layout.info.uniques for spec in specs)}
        if layout.info.uniques and layout.info.expires is not None:
            self._guarded.add(layout.info.expires)  # reservations hold the time, too
        if layout.info.version is not None:
            self._guarded.add(layout.info.version)

    def actions(self) -> list[Action]:
        """Return its actions: as for a new record, until one is known to be there."""
        names = Names()
        layout, info, before = self._layout, self.info, self._before
        expires = None if info.expires is None else info.expires.stored_name
        condition: Node = True
        if before is not None:
            self._row = self._merged(before)
            condition = every((exists(layout, names, self._now), *(equals(names, spec, before[spec.position]) for spec in self._guarded)))
        elif self._guarded:
            condition = absent(names, layout.place.partition.attribute, expires, self._now)
        body = conditional({"TableName": layout.table, "Item": checked_item(layout, self._row)}, names, condition, info.label)
        sides = Uniques(layout, self._key, self._now).changes(before, self._row)
        self._specs = [specs for specs, _ in sides]
        return [{"Put": body}, *(action for _, action in sides)]

    def _merged(self, before: Row) -> Row:
        kept = {spec.position: before[spec.position] for spec in self._operation.keep}
        if self.info.version is not None:
            kept[self.info.version.position] = before[self.info.version.position] + 1
        return tuple([kept.get(position, value) for position, value in enumerate(self._operation.row)])

    def done(self) -> list[Any]:
        """Return the values that the caller asked for."""
        return [self._row[spec.position] for spec in self._operation.returning]

    def failed(self, reasons: Sequence[Mapping[str, Any]]) -> Outcome | None:
        """Say to begin anew with what is stored, or whose value is taken."""
        first, *others = reasons
        if is_failed(first):
            item = first.get("Item")
            self._before = self._layout.plain(item) if item and self._layout.is_live(item, self._now) else None
            return AGAIN
        return taken(self.info, self._specs, others, self._row)


class UpdateWrite:
    """Change fields of one record.

    Args:
        extra: another condition that the record must keep.
        sources: fields that the new values were computed from, and that must be as they were.
    """

    def __init__(
        self, layout: Layout, operation: op.Update, now: str | None, extra: Normal = ALWAYS, sources: frozenset[FieldSpec] = frozenset()
    ) -> None:
        self.info = layout.info
        self._extra = extra
        self._sources = sources
        self._layout = layout
        self._operation = operation
        self._now = now
        self._key = layout.key(operation.key)
        self._specs: list[tuple[FieldSpec, ...]] = []
        self._after: Row = ()
        fields = set(operation.fields)
        self._places = list(dict.fromkeys(place for spec in operation.fields for place in layout.dependants[spec]))
        self._uniques = {spec for specs in layout.info.uniques if not fields.isdisjoint(specs) for spec in specs}
        expires = layout.info.expires
        if layout.info.uniques and expires is not None and expires in fields:
            self._uniques = {spec for specs in layout.info.uniques for spec in specs}
        if self._uniques and expires is not None:
            self._uniques.add(expires)  # reservations hold the time, too
        self.before: Row | None = operation.before
        self._check_rules()

    @property
    def needs_before(self) -> bool:
        """Whether it has to know what is stored: for unique values that change, and keys of indexes made of several fields."""
        return self.before is None and bool(self._uniques or self._others())

    def _check_rules(self) -> None:
        values = dict(zip(self._operation.fields, self._operation.values, strict=True))
        for spec, value in values.items():
            if spec.bounds and value is not None:
                oracle.check_rules(spec, spec.python(value), self.info.label)
        known = [values.get(spec) for spec in self.info.fields]
        Uniques(self._layout, self._key, self._now).changes(None, known)  # refuses a value that is too long

    def _others(self) -> set[FieldSpec]:
        """Return the fields of the indexes that change, whose values the write does not hold."""
        found = {spec for place in self._places for key in place.keys for spec in key.specs}
        return found - set(self._operation.fields) - set(self.info.key)

    def actions(self) -> list[Action]:
        """Return its actions."""
        operation, layout, names = self._operation, self._layout, Names()
        values = dict(zip(operation.fields, operation.values, strict=True))
        values.update(zip(self.info.key, operation.key, strict=True))
        before = self.before
        self._after = tuple([values.get(spec, None if before is None else before[spec.position]) for spec in self.info.fields])
        items: dict[str, AttributeValue | None] = {}
        for spec in operation.fields:
            value = values[spec]
            items[spec.stored_name] = None if value is None else codec_of(spec).value(value)
            if spec is self.info.expires:
                items[EXPIRY_ATTRIBUTE] = None if value is None else expiry(value)
        for place in self._places:
            items.update(layout.index_item(place, self._after))
        body: Body = {"TableName": layout.table, "Key": self._key, "UpdateExpression": update_text(names, items, self.info.label)}
        sides = Uniques(layout, self._key, self._now).changes(before, self._after) if self._uniques and before is not None else []
        self._specs = [specs for specs, _ in sides]
        body = conditional(body, names, every((exists(layout, names, self._now), *self._conditions(names))), self.info.label)
        return [{"Update": body}, *(action for _, action in sides)]

    def _conditions(self, names: Names) -> Iterable[Node]:
        operation, version, before = self._operation, self.info.version, self.before
        yield compiled(self._extra, names)
        if self.needs_before:
            yield unknown(self._layout, names)
        if operation.version is not None and version is not None:
            yield equals(names, version, operation.version)
        if before is not None:
            # The version does not do: a record that was removed and created anew counts from the start.
            specs = sorted(self._uniques | self._others() | self._sources, key=lambda spec: spec.position)
            yield from (equals(names, spec, before[spec.position]) for spec in specs)

    def done(self) -> bool:
        """Return True: there was one."""
        return True

    def failed(self, reasons: Sequence[Mapping[str, Any]]) -> Outcome | None:
        """Say that there is none, or another version; or to begin anew with what is stored; or whose value is taken."""
        first, *others = reasons
        if is_failed(first):
            item, version = first.get("Item"), self.info.version
            if not item or not self._layout.is_live(item, self._now):
                return Outcome(result=False)
            self.before = self._layout.plain(item)
            if self._operation.version is not None and version is not None and self.before[version.position] != self._operation.version:
                return Outcome(result=False)
            return AGAIN
        return taken(self.info, self._specs, others, self._after)


class DeleteWrite:
    """Remove one record."""

    def __init__(self, layout: Layout, operation: op.Delete, now: str | None, extra: Normal = ALWAYS) -> None:
        self.info = layout.info
        self._extra = extra
        self._layout = layout
        self._operation = operation
        self._now = now
        self._key = layout.key(operation.key)
        self.before: Row | None = operation.before

    @property
    def needs_before(self) -> bool:
        """Whether it has to know what is stored: the unique values that are to be given up."""
        return self.before is None and bool(self.info.uniques)

    def actions(self) -> list[Action]:
        """Return its actions."""
        names, layout, before = Names(), self._layout, self.before
        conditions: list[Node] = [exists(layout, names, self._now), compiled(self._extra, names)]
        if self.needs_before:
            conditions.append(unknown(layout, names))
        if self._operation.version is not None and self.info.version is not None:
            conditions.append(equals(names, self.info.version, self._operation.version))
        if before is not None:
            specs = dict.fromkeys(spec for specs in self.info.uniques for spec in specs)
            conditions += [equals(names, spec, before[spec.position]) for spec in specs]
        body = conditional({"TableName": layout.table, "Key": self._key}, names, every(conditions), self.info.label)
        sides = Uniques(layout, self._key, self._now).changes(before, None) if before is not None else []
        return [{"Delete": body}, *(action for _, action in sides)]

    def done(self) -> bool:
        """Return True: there was one."""
        return True

    def failed(self, reasons: Sequence[Mapping[str, Any]]) -> Outcome | None:
        """Say that there is none, or another version; or to begin anew with what is stored."""
        first, *others = reasons
        if is_failed(first):
            item, version = first.get("Item"), self.info.version
            if not item or not self._layout.is_live(item, self._now):
                return Outcome(result=False)
            self.before = self._layout.plain(item)
            if self._operation.version is not None and version is not None and self.before[version.position] != self._operation.version:
                return Outcome(result=False)
            return AGAIN
        # A reservation that is another's now: the record has changed since it was read.
        return AGAIN if any(map(is_failed, others)) else None


def unknown(layout: Layout, names: Names) -> Node:
    """Return a condition that fails where there is a record, which the failure then shows: what it holds beside it has to be known."""
    return atom(f"attribute_not_exists({names.name(layout.place.partition.attribute)})")


def update_text(names: Names, items: Mapping[str, AttributeValue | None], label: str) -> str:
    """Return the update expression that sets attributes, and removes those that are None."""
    sets = [f"{names.name(attribute)} = {names.value(value)}" for attribute, value in items.items() if value is not None]
    return updating(sets, [names.name(attribute) for attribute, value in items.items() if value is None], label)


def in_batch(write: Any, outcome: Outcome) -> HoldallError | None:
    """Return what an outcome means in a batch, where a record that is not there is a failure for all writes but deletes."""
    if outcome.error is not None:
        return outcome.error
    operation: Any = write._operation  # noqa: SLF001  - of this module
    found = write.before
    key = operation.key[0] if len(operation.key) == 1 else operation.key
    version = write.info.version
    if found is not None and operation.version is not None and version is not None and found[version.position] != operation.version:
        return ConflictError(write.info.label, key, operation.version)
    return NotFoundError(write.info.label, key) if isinstance(write, UpdateWrite) else None
