"""Conditions as the service's expressions. Its ``<>`` and ``NOT`` are exact complements, of what is missing, too, as ours are (R1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from holdall.errors import LimitExceeded, UnsupportedOperation, ValidationError
from holdall.query.planner import All, Any_, Normal, Test
from holdall.record.metadata import FieldSpec
from holdall.record.types import Kind
from holdall.stores.dynamodb.values import NULL, AttributeValue, codec_of, document_value, json_value, value_size

_MOST_OPERANDS = 100
_MOST_OPERATORS = 300
MOST_BYTES = 4096
_MOST_LIST_BYTES = 400 * 1024  # of one value
_PLACEHOLDER = re.compile(r"[#:]\d+")
_EXPRESSIONS = ("KeyConditionExpression", "FilterExpression", "ConditionExpression", "UpdateExpression", "ProjectionExpression")
_COMPARISONS: Mapping[str, str] = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


class Text(NamedTuple):
    """An expression: its text, whether it is a conjunction or alternative ("and", "or") or neither, and how many operators it has."""

    text: str
    kind: str
    operators: int


Node = Text | bool


class NeverTrue(Exception):
    """A condition is false whatever is stored."""


class Names:
    """The placeholders of one request: names of attributes and values."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: dict[str, AttributeValue] = {}
        self._known: dict[str, str] = {}

    def name(self, attribute: str) -> str:
        """Return the placeholder of an attribute's name."""
        found = self._known.get(attribute)
        if found is None:
            found = self._known[attribute] = f"#{len(self.names)}"
            self.names[found] = attribute
        return found

    def value(self, value: AttributeValue) -> str:
        """Return the placeholder of a value."""
        found = f":{len(self.values)}"
        self.values[found] = value
        return found

    def path(self, spec: FieldSpec, path: Iterable[str | int]) -> str:
        """Return the path of a field, or into its document."""
        found = self.name(spec.stored_name)
        for part in path:
            found += f"[{part}]" if isinstance(part, int) else f".{self.name(part or chr(0))}"
        return found

    def fill(self, request: dict[str, Any]) -> dict[str, Any]:
        """Add the placeholders to a request; those that nothing uses, because a condition turned out constant, would be refused."""
        used = set(_PLACEHOLDER.findall(" ".join([request[part] for part in _EXPRESSIONS if part in request])))
        names = {placeholder: name for placeholder, name in self.names.items() if placeholder in used}
        values = {placeholder: value for placeholder, value in self.values.items() if placeholder in used}
        if names:
            request["ExpressionAttributeNames"] = names
        if values:
            request["ExpressionAttributeValues"] = values
        return request


def atom(text: str, operators: int = 1) -> Text:
    """Return an expression that needs no parentheses."""
    return Text(text, "", operators)


def every(items: Iterable[Node]) -> Node:
    """Return the expression that all hold."""
    return _joined(items, "and", unit=True)


def some(items: Iterable[Node]) -> Node:
    """Return the expression that at least one holds."""
    return _joined(items, "or", unit=False)


def _joined(items: Iterable[Node], kind: str, *, unit: bool) -> Node:
    found: list[Text] = []
    for item in items:
        if isinstance(item, bool):
            if item is not unit:
                return item
        else:
            found.append(item)
    if not found:
        return unit
    if len(found) == 1:
        return found[0]
    texts = [f"({item.text})" if item.kind not in ("", kind) else item.text for item in found]
    return Text(f" {kind.upper()} ".join(texts), kind, sum(item.operators for item in found) + len(found) - 1)


def opposite(item: Node) -> Node:
    """Return the complement."""
    return not item if isinstance(item, bool) else atom(f"NOT ({item.text})", item.operators + 1)


def compiled(normal: Normal, names: Names) -> Node:
    """Return the expression of a condition.

    Raises:
        UnsupportedOperation: it compares with a number that the service does not know.
    """
    if isinstance(normal, bool):
        return normal
    if isinstance(normal, All):
        return every(compiled(item, names) for item in _gathered(normal.items, negated=True))
    if isinstance(normal, Any_):
        return some(compiled(item, names) for item in _gathered(normal.items, negated=False))
    try:
        found = _TESTS.get(normal.operator, _ordered)(normal, names)
    except ValidationError as exc:
        msg = f"cannot filter by {normal.field.name!r} on dynamodb: {exc}"
        raise UnsupportedOperation(msg) from exc
    return opposite(found) if normal.negated and normal.operator not in _NEGATE_THEMSELVES else found


def _gathered(items: Sequence[Normal], *, negated: bool) -> Iterable[Normal]:
    """Make one membership of the equalities of one field, of which there may be hundreds and the service takes few."""
    found: dict[Any, list[Test]] = {}
    for item in items:
        if isinstance(item, Test) and item.operator in ("eq", "in") and item.negated is negated:
            found.setdefault((item.field, item.path), []).append(item)
    for item in items:
        group = found.get((item.field, item.path)) if isinstance(item, Test) else None
        if group is None or len(group) == 1 or item not in group:
            yield item
        elif item is group[0]:
            assert isinstance(item, Test)
            values = [value for test in group for value in (test.value if test.operator == "in" else (test.value,))]
            yield item._replace(operator="in", value=tuple(dict.fromkeys(values)))


def limited(node: Node, what: str) -> str | None:
    """Return the text of an expression; None when it is always true.

    Raises:
        LimitExceeded: it is larger than the service takes. NeverTrue: nothing can match.
    """
    if isinstance(node, bool):
        if node:
            return None
        raise NeverTrue
    if node.operators > _MOST_OPERATORS:
        raise LimitExceeded(
            f"the operators in the condition of {what} (ask for fewer values, or in several queries)", limit=300, value=node.operators
        )
    if len(node.text) > MOST_BYTES:
        raise LimitExceeded(
            f"the bytes of the condition of {what} (ask for fewer values, or in several queries)", limit=MOST_BYTES, value=len(node.text)
        )
    return node.text


def updating(sets: Sequence[str], removes: Sequence[str], label: str) -> str:
    """Return the update expression of some parts.

    Raises:
        LimitExceeded: it is larger than the service takes.
    """
    found = " ".join(f"{word} {', '.join(parts)}" for word, parts in (("SET", sets), ("REMOVE", removes)) if parts)
    if len(found) > MOST_BYTES:
        what = f"the bytes of an update of {label} (change fewer fields at a time, or write the whole record with upsert())"
        raise LimitExceeded(what, limit=MOST_BYTES, value=len(found))
    return found


# -- leaves ----------------------------------------------------------------------------------------------------------------------------


def _operand(test: Test, value: Any) -> AttributeValue:
    """Return the attribute value that a field, or a part of its document, is compared with by equality."""
    return codec_of(test.field).value(value) if test.field.document is None else document_value(value)


def _equal(test: Test, names: Names) -> Node:
    operator = "<>" if test.negated else "="
    return atom(f"{names.path(test.field, test.path)} {operator} {names.value(_operand(test, test.value))}")


def _member(test: Test, names: Names) -> Node:
    values = [_operand(test, value) for value in test.value]
    if not values:
        return False
    path = names.path(test.field, test.path)
    if len(values) > _MOST_OPERANDS:
        size = value_size({"L": values})
        if size > _MOST_LIST_BYTES:
            raise LimitExceeded(f"the bytes of the values that {test.field.name!r} is compared with", limit=_MOST_LIST_BYTES, value=size)
        return atom(f"contains({names.value({'L': values})}, {path})")
    return atom(f"{path} IN ({', '.join(map(names.value, values))})")


def _null(test: Test, names: Names) -> Node:
    path = names.path(test.field, test.path)
    if not test.path:
        return atom(f"attribute_{'exists' if test.negated else 'not_exists'}({path})")
    null = names.value(NULL)
    if test.negated:
        return Text(f"attribute_exists({path}) AND {path} <> {null}", "and", 3)
    return Text(f"attribute_not_exists({path}) OR {path} = {null}", "or", 3)


def _ordered(test: Test, names: Names) -> Node:
    if isinstance(test.value, bool):
        return _ordered_bool(test, names)
    path = names.path(test.field, test.path)
    value = codec_of(test.field).value(test.value) if test.field.document is None else json_value(test.value)
    return atom(f"{path} {_COMPARISONS[test.operator]} {names.value(value)}")


def _ordered_bool(test: Test, names: Names) -> Node:
    """Compare bools, which the service does not order."""
    passing = [value for value in (False, True) if _BOOLS[test.operator](value, test.value)]
    path = names.path(test.field, test.path) if passing else ""
    write: Callable[[bool], AttributeValue] = json_value if test.field.document is not None else codec_of(test.field).value
    return some(atom(f"{path} = {names.value(write(value))}") for value in passing)


_BOOLS: Mapping[str, Callable[[bool, bool], bool]] = {
    "lt": lambda left, right: left < right,
    "lte": lambda left, right: left <= right,
    "gt": lambda left, right: left > right,
    "gte": lambda left, right: left >= right,
}


def _between(test: Test, names: Names) -> Node:
    low, high = test.value
    return every(_ordered(test._replace(operator=operator, value=value), names) for operator, value in (("gte", low), ("lte", high)))


def _of_type(test: Test, names: Names, tag: str, items: Iterable[Node]) -> Node:
    """Add the type, where a path may lead to any: the service's functions look into text and lists alike."""
    if not test.path:
        return every(items)
    return every((atom(f"attribute_type({names.path(test.field, test.path)}, {names.value({'S': tag})})"), *items))


def _within(test: Test, names: Names) -> Node:
    found = [] if not test.value else [atom(f"contains({names.path(test.field, test.path)}, {names.value({'S': test.value})})")]
    return _of_type(test, names, "S", found)


def _beginning(test: Test, names: Names) -> Node:
    found = [] if not test.value else [atom(f"begins_with({names.path(test.field, test.path)}, {names.value({'S': test.value})})")]
    return _of_type(test, names, "S", found)


def _having(join: Callable[[Iterable[Node]], Node], *, several: bool) -> Callable[[Test, Names], Node]:
    def compile_test(test: Test, names: Names) -> Node:
        texts = test.value if several else (test.value,)
        path = names.path(test.field, test.path) if texts or test.path else ""
        found = join([atom(f"contains({path}, {names.value(json_value(orjson.loads(text)))})") for text in texts])
        return found if found is False else _of_type(test, names, "L", [found])

    return compile_test


def _month(test: Test, names: Names) -> Node:
    return atom(f"contains({names.path(test.field, ())}, {names.value({'S': f'-{test.value:02}-'})})")


def _day(test: Test, names: Names) -> Node:
    path = names.path(test.field, ())

    def holds(text: str) -> Text:
        return atom(f"contains({path}, {names.value({'S': text})})")

    day = f"-{test.value:02}"
    if test.field.type.kind is Kind.DATETIME:
        return holds(f"{day}T")
    if test.value > 12:
        return holds(day)
    # A month of the same number looks the same, unless another part follows.
    return some((every((holds(day), opposite(holds(f"{day}-")))), holds(day + day)))


_NEGATE_THEMSELVES = frozenset(("eq", "is_null"))
_TESTS: Mapping[str, Callable[[Test, Names], Node]] = {
    "eq": _equal,
    "in": _member,
    "is_null": _null,
    "between": _between,
    "contains": _within,
    "startswith": _beginning,
    "has": _having(some, several=False),
    "has_any": _having(some, several=True),
    "has_all": _having(every, several=True),
    "month": _month,
    "day": _day,
}
