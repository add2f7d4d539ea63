"""Unique values: each is an item of a side table, written in the same transaction. ``u`` is the value, ``k`` the key of its owner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from holdall.errors import DuplicateKeyError, LimitExceeded
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.stores.dynamodb.conditions import Action, Outcome, Row, absent, conditional, is_failed
from holdall.stores.dynamodb.expressions import Names, atom, some
from holdall.stores.dynamodb.keys import PLAIN, moment_text, part_text
from holdall.stores.dynamodb.layout import EXPIRY_ATTRIBUTE, Layout, expiry
from holdall.stores.dynamodb.reading import Body
from holdall.stores.dynamodb.values import AttributeValue, Item

_UNIQUE_BYTES = 2048


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
            raise LimitExceeded(
                f"the unique value of {self.layout.info.label}.{shown} in bytes", limit=_UNIQUE_BYTES, value=len(text.encode())
            )
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
        condition = absent(names, "u", None if self.layout.info.expires is None else "x", self._now)
        if own:
            condition = some((condition, atom(f"{names.name('k')} = {names.value(self._owner)}")))
        return {"Put": conditional({"TableName": self.layout.side, "Item": item}, names, condition, self.layout.info.label)}

    def _give_up(self, text: str) -> Action:
        names = Names()
        condition = some((atom(f"attribute_not_exists({names.name('u')})"), atom(f"{names.name('k')} = {names.value(self._owner)}")))
        body: Body = {"TableName": self.layout.side, "Key": {"u": {"S": text}}}
        return {"Delete": conditional(body, names, condition, self.layout.info.label)}


def duplicate(info: ModelInfo, specs: Sequence[FieldSpec], row: Row) -> DuplicateKeyError:
    """Return the error for values that are taken."""
    return DuplicateKeyError(info.label, [spec.name for spec in specs], [spec.python(row[spec.position]) for spec in specs])


def taken(info: ModelInfo, specs: Iterable[Sequence[FieldSpec]], reasons: Sequence[Mapping[str, Any]], row: Row) -> Outcome | None:
    """Return whose value is taken, given the fields of each action and what became of it."""
    for fields, reason in zip(specs, reasons, strict=True):
        if is_failed(reason):
            return Outcome(error=duplicate(info, fields, row))
    return None
