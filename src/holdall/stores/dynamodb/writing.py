"""Writes of single records as actions: pure. Each knows its condition, the unique values that go with it, and what a failure means.

A unique value is an item of a side table, written in the same transaction: ``u`` is the value, ``k`` the key of its owner. A write whose
condition fails is told what is stored, so that it can be made anew without another read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from holdall.errors import ConflictError, DuplicateKeyError, HoldallError, LimitExceeded, NotFoundError
from holdall.query import operations as op
from holdall.query import oracle
from holdall.query.planner import Normal
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.stores.dynamodb.capabilities import MOST_ITEM_BYTES
from holdall.stores.dynamodb.expressions import Names, Node, atom, compiled, every, limited, some
from holdall.stores.dynamodb.keys import PLAIN, moment_text, part_text
from holdall.stores.dynamodb.layout import EXPIRY_ATTRIBUTE, Layout, Place, expiry
from holdall.stores.dynamodb.reading import Body, live
from holdall.stores.dynamodb.values import AttributeValue, Item, codec_of

Row = Sequence[Any]
Action = dict[str, Body]  # {"Put": …}, {"Update": …}, {"Delete": …}
_UNIQUE_BYTES = 2048


class Outcome(NamedTuple):
    """What became of a write: its result, or the error that it raises, or ``again`` when it is to be made anew."""

    result: Any = None
    error: HoldallError | None = None
    again: bool = False


AGAIN = Outcome(again=True)


class Write(Protocol):
    """A write of one record."""

    info: ModelInfo

    def actions(self) -> list[Action]:
        """Return its actions, that of the record itself first."""
        ...

    def done(self) -> Any:
        """Return its result, when it was applied."""
        ...

    def failed(self, reasons: Sequence[Mapping[str, Any]]) -> Outcome | None:
        """Return what the failures of its actions mean; None when none of them failed."""
        ...


def is_failed(reason: Mapping[str, Any]) -> bool:
    """Tell whether the condition of an action failed."""
    return reason.get("Code") in ("ConditionalCheckFailed", "ConditionalCheckFailedException")


def check_rules(info: ModelInfo, row: Row, fields: Iterable[FieldSpec] | None = None) -> None:
    """Check the rules of fields, which SQL stores have as constraints; raises ``ValidationError``."""
    for spec in info.fields if fields is None else fields:
        if spec.bounds and row[spec.position] is not None:
            oracle.check_rules(spec, spec.python(row[spec.position]), info.label)


def checked_item(layout: Layout, row: Row) -> Item:
    """Return the item of a row; raises ``LimitExceeded`` when it is larger than the service takes."""
    item = layout.item(row)
    size = item_size(item)
    if size > MOST_ITEM_BYTES:
        raise LimitExceeded(f"the bytes of a record of {layout.info.label}", limit=MOST_ITEM_BYTES, value=size)
    return item


def item_size(item: Item) -> int:
    """Return how many bytes the service counts for an item, at most."""
    return sum(len(name) + _size(value) for name, value in item.items())


def _size(value: AttributeValue) -> int:
    ((tag, inner),) = value.items()
    if tag == "M":
        return 3 + sum(1 + len(name) + _size(item) for name, item in inner.items())
    if tag == "L":
        return 3 + sum(1 + _size(item) for item in inner)
    if tag == "S":
        return len(inner) if inner.isascii() else len(inner.encode())
    if tag == "B":
        return len(inner) * 3 // 4
    return 21 if tag == "N" else 1


# -- conditions ------------------------------------------------------------------------------------------------------------------------


def equals(names: Names, spec: FieldSpec, value: Any) -> Node:
    """Return the condition that a field has just this plain value."""
    path = names.path(spec, ())
    return atom(f"attribute_not_exists({path})") if value is None else atom(f"{path} = {names.value(codec_of(spec).value(value))}")


def exists(layout: Layout, names: Names, now: str | None) -> Node:
    """Return the condition that the record is there, and has not expired."""
    return every((atom(f"attribute_exists({names.name(layout.place.partition.attribute)})"), live(layout, names, now)))


def _absent(names: Names, attribute: str, expires: str | None, now: str | None) -> Node:
    """Return the condition that an item is not there, or has expired: the service removes those at its leisure."""
    found: list[Node] = [atom(f"attribute_not_exists({names.name(attribute)})")]
    if expires is not None and now is not None:
        found.append(atom(f"{names.name(expires)} <= {names.value({'S': now})}"))
    return some(found)


def _conditional(body: Body, names: Names, condition: Node, label: str) -> Body:
    text = limited(condition, f"a write of {label}")
    if text is not None:
        body["ConditionExpression"] = text
        body["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return names.fill(body)


# -- unique values ---------------------------------------------------------------------------------------------------------------------


class Uniques:
    """The unique values that a write gives up and takes."""

    def __init__(self, layout: Layout, key: Item, now: str | None) -> None:
        self.layout = layout
        self._owner: AttributeValue = {"M": dict(key)}
        self._now = now

    def reservation(self, specs: Sequence[FieldSpec], row: Row) -> str | None:
        """Return the key of a reservation; None for values of which one is None."""
        values = [row[spec.position] for spec in specs]
        if None in values:
            return None
        names = [self.layout.entity or "", *(spec.stored_name for spec in specs)]
        texts = [part_text(spec.type, value, PLAIN) for spec, value in zip(specs, values, strict=True)]
        text = PLAIN.separator.join([*map(PLAIN.escape, names), *texts])
        if len(text) * 4 > _UNIQUE_BYTES and len(text.encode()) > _UNIQUE_BYTES:
            shown = ", ".join(spec.name for spec in specs)
            raise LimitExceeded(f"the unique value of {self.layout.info.label}.{shown} in bytes", limit=_UNIQUE_BYTES, value=len(text.encode()))
        return text

    def changes(self, before: Row | None, after: Row | None) -> list[tuple[tuple[FieldSpec, ...], Action]]:
        """Return the actions, each with its fields, that lead from the values of one row to those of another."""
        found: list[tuple[tuple[FieldSpec, ...], Action]] = []
        expires = self.layout.info.expires
        stays = expires is None or (before is not None and after is not None and before[expires.position] == after[expires.position])
        for specs in self.layout.info.uniques:
            old = None if before is None else self.reservation(specs, before)
            new = None if after is None else self.reservation(specs, after)
            if old == new and (stays or new is None):
                continue
            if new is not None and after is not None:
                found.append((specs, self._take(new, after, own=old == new)))
            if old is not None and old != new:
                found.append((specs, self._give_up(old)))
        return found

    def _take(self, text: str, row: Row, *, own: bool) -> Action:
        names = Names()
        item: Item = {"u": {"S": text}, "k": self._owner}
        until = None if self.layout.info.expires is None else row[self.layout.info.expires.position]
        if until is not None:
            item["x"], item[EXPIRY_ATTRIBUTE] = {"S": moment_text(until)}, expiry(until)
        condition = _absent(names, "u", None if self.layout.info.expires is None else "x", self._now)
        if own:
            condition = some((condition, atom(f"{names.name('k')} = {names.value(self._owner)}")))
        return {"Put": _conditional({"TableName": self.layout.side, "Item": item}, names, condition, self.layout.info.label)}

    def _give_up(self, text: str) -> Action:
        names = Names()
        condition = some((atom(f"attribute_not_exists({names.name('u')})"), atom(f"{names.name('k')} = {names.value(self._owner)}")))
        body: Body = {"TableName": self.layout.side, "Key": {"u": {"S": text}}}
        return {"Delete": _conditional(body, names, condition, self.layout.info.label)}


def duplicate(info: ModelInfo, specs: Sequence[FieldSpec], row: Row) -> DuplicateKeyError:
    """Return the error for values that are taken."""
    return DuplicateKeyError(info.label, [spec.name for spec in specs], [spec.python(row[spec.position]) for spec in specs])


def _taken(info: ModelInfo, specs: Iterable[Sequence[FieldSpec]], reasons: Sequence[Mapping[str, Any]], row: Row) -> Outcome | None:
    for fields, reason in zip(specs, reasons, strict=True):
        if is_failed(reason):
            return Outcome(error=duplicate(info, fields, row))
    return None


# -- writes ----------------------------------------------------------------------------------------------------------------------------


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
        condition = _absent(names, self._layout.place.partition.attribute, None if expires is None else expires.stored_name, self._now)
        body = _conditional({"TableName": self._layout.table, "Item": self._item}, names, condition, self.info.label)
        return [{"Put": body}, *(action for _, action in self._sides)]

    def done(self) -> None:
        """Give nothing: keys are not generated."""

    def failed(self, reasons: Sequence[Mapping[str, Any]]) -> Outcome | None:
        """Return whose value is taken."""
        return _taken(self.info, [self.info.key, *(specs for specs, _ in self._sides)], reasons, self.row)


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
            condition = _absent(names, layout.place.partition.attribute, expires, self._now)
        body = _conditional({"TableName": layout.table, "Item": checked_item(layout, self._row)}, names, condition, info.label)
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
        return _taken(self.info, self._specs, others, self._row)


class UpdateWrite:
    """Change fields of one record.

    Args:
        extra: another condition that the record must keep.
        sources: fields that the new values were computed from, and that must be as they were.
    """

    def __init__(
        self, layout: Layout, operation: op.Update, now: str | None, extra: Normal = True, sources: frozenset[FieldSpec] = frozenset()
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
        if layout.info.uniques and layout.info.expires in fields:
            self._uniques = {spec for specs in layout.info.uniques for spec in specs} | {layout.info.expires}  # type: ignore[arg-type]
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
        body: Body = {"TableName": layout.table, "Key": self._key, "UpdateExpression": update_text(names, items)}
        sides = Uniques(layout, self._key, self._now).changes(before, self._after) if self._uniques and before is not None else []
        self._specs = [specs for specs, _ in sides]
        body = _conditional(body, names, every((exists(layout, names, self._now), *self._conditions(names))), self.info.label)
        return [{"Update": body}, *(action for _, action in sides)]

    def _conditions(self, names: Names) -> Iterable[Node]:
        operation, version, before = self._operation, self.info.version, self.before
        yield compiled(self._extra, names)
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
        return _taken(self.info, self._specs, others, self._after)


class DeleteWrite:
    """Remove one record."""

    def __init__(self, layout: Layout, operation: op.Delete, now: str | None, extra: Normal = True) -> None:
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
        if self._operation.version is not None and self.info.version is not None:
            conditions.append(equals(names, self.info.version, self._operation.version))
        if before is not None:
            specs = dict.fromkeys(spec for specs in self.info.uniques for spec in specs)
            conditions += [equals(names, spec, before[spec.position]) for spec in specs]
        body = _conditional({"TableName": layout.table, "Key": self._key}, names, every(conditions), self.info.label)
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


def update_text(names: Names, items: Mapping[str, AttributeValue | None]) -> str:
    """Return the update expression that sets attributes, and removes those that are None."""
    sets = [f"{names.name(attribute)} = {names.value(value)}" for attribute, value in items.items() if value is not None]
    removes = [names.name(attribute) for attribute, value in items.items() if value is None]
    texts = (["SET " + ", ".join(sets)] if sets else []) + (["REMOVE " + ", ".join(removes)] if removes else [])
    return " ".join(texts)


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
