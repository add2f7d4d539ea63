"""Conditions of writes, what their failures mean, and the sizes of items: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from holdall.errors import HoldallError, LimitExceeded
from holdall.query import oracle
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.stores.dynamodb.capabilities import MOST_ITEM_BYTES
from holdall.stores.dynamodb.expressions import Names, Node, atom, every, limited, some
from holdall.stores.dynamodb.layout import Layout
from holdall.stores.dynamodb.reading import Body, live
from holdall.stores.dynamodb.values import Item, codec_of, value_size

Row = Sequence[Any]
Action = dict[str, Body]  # {"Put": …}, {"Update": …}, {"Delete": …}


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
    """Return how many bytes the service counts for an item, within a few: it has the last word."""
    return sum(len(name) + value_size(value) for name, value in item.items())


def action_size(action: Action) -> int:
    """Return how many bytes of items an action sends, about."""
    ((_, body),) = action.items()
    return sum(item_size(body[part]) for part in ("Item", "Key", "ExpressionAttributeValues") if part in body)


# -- conditions ------------------------------------------------------------------------------------------------------------------------


def equals(names: Names, spec: FieldSpec, value: Any) -> Node:
    """Return the condition that a field has just this plain value."""
    path = names.path(spec, ())
    return atom(f"attribute_not_exists({path})") if value is None else atom(f"{path} = {names.value(codec_of(spec).value(value))}")


def exists(layout: Layout, names: Names, now: str | None) -> Node:
    """Return the condition that the record is there, and has not expired."""
    return every((atom(f"attribute_exists({names.name(layout.place.partition.attribute)})"), live(layout, names, now)))


def absent(names: Names, attribute: str, expires: str | None, now: str | None) -> Node:
    """Return the condition that an item is not there, or has expired: the service removes those at its leisure."""
    found: list[Node] = [atom(f"attribute_not_exists({names.name(attribute)})")]
    if expires is not None and now is not None:
        found.append(atom(f"{names.name(expires)} <= {names.value({'S': now})}"))
    return some(found)


def conditional(body: Body, names: Names, condition: Node, label: str) -> Body:
    """Return a request with a condition, which tells what is stored when it fails."""
    text = limited(condition, f"a write of {label}")
    if text is not None:
        body["ConditionExpression"] = text
        body["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return names.fill(body)
