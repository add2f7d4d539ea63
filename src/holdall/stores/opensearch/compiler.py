"""Operations into requests: conditions into filters, orders into sorts, positions into what ``search_after`` takes. Pure, by tables.

Leaves are two-valued here: None is a missing value that no leaf but ``exists`` matches, and ``must_not`` is the exact complement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from holdall.capabilities import Capability
from holdall.errors import LimitExceeded, UnsupportedOperation
from holdall.query.operations import Select
from holdall.query.planner import All, Normal, Test, next_text, normalise
from holdall.query.predicates import And, Leaf, OrderTerm, Predicate
from holdall.record.documents import loads
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.types import Kind
from holdall.stores.opensearch.mapping import Shape, shape_of
from holdall.stores.opensearch.tokens import leaf, number_text, path_of, whole
from holdall.stores.opensearch.values import is_long_text, type_of

Query = dict[str, Any]
MATCH_ALL: Query = {"match_all": {}}
MATCH_NONE: Query = {"match_none": {}}
WINDOW = 10_000
"""Hits that one search can reach with ``from`` and ``size``."""
_CLAUSES = 500
"""Conditions in one query: the server stops at 1,024, and counts most of ours twice, by their index and by their column."""
_DEPTH = 70
"""Conditions within one another: JSON goes to 254 levels in orjson, and each condition takes three."""
_TERMS = 65_536
_BOUND_BYTES = 1000
_WILDCARD = 300
_LONG = 2**63 - 1
_INT = 2**31 - 1


class Compiler:
    """Compiles what concerns one model."""

    def __init__(self, info: ModelInfo) -> None:
        self.shape: Shape = shape_of(info)
        self._clauses = 0

    # -- conditions --------------------------------------------------------------------------------------------------------------------

    def filter(self, predicate: Predicate) -> Query:
        """Return the query of a condition, for use in filter context.

        Raises:
            LimitExceeded: a value or the whole is larger than what the server takes.
            UnsupportedOperation: a field cannot be filtered by.
        """
        self._clauses = 0
        return self._normal(normalise(predicate))

    def _normal(self, normal: Normal, depth: int = 0) -> Query:
        if depth > _DEPTH:
            raise LimitExceeded(
                f"{self.shape.info.label}: the conditions of one query that are within one another", limit=_DEPTH, value=depth
            )
        if isinstance(normal, bool):
            return MATCH_ALL if normal else MATCH_NONE
        if isinstance(normal, Test):
            return self._counted(self._negated(self._test(normal), normal.negated))
        items = [self._normal(item, depth + 1) for item in normal.items]
        if isinstance(normal, All):
            return {"bool": {"filter": items}}
        return {"bool": {"should": items, "minimum_should_match": 1}}

    def _counted(self, query: Query) -> Query:
        self._clauses += _leaves(query)
        if self._clauses > _CLAUSES:
            raise LimitExceeded(f"{self.shape.info.label}: the conditions of one query", limit=_CLAUSES, value=self._clauses)
        return query

    @staticmethod
    def _negated(query: Query, negated: bool) -> Query:  # noqa: FBT001
        return {"bool": {"must_not": [query]}} if negated else query

    def _test(self, test: Test) -> Query:
        spec = test.field
        name = self.shape.name(spec)
        if spec.document is not None:
            return _document(name, test)
        if test.operator == "is_null":
            return absent(f"{name}#p" if is_long_text(spec) else name)
        if is_long_text(spec):
            raise self._stored_only(spec, "filtered by")
        return _SCALAR[test.operator](self.shape, spec, name, test.value)

    def _stored_only(self, spec: FieldSpec, what: str) -> UnsupportedOperation:
        return UnsupportedOperation(
            f"{self.shape.info.label}.{spec.name} cannot be {what} on OpenSearch: its max_length is above what can be indexed, so that "
            "it is stored alone; declare a max_length of at most 8191, or Field(search=…) and query.search()",
            missing=(Capability.FILTER,),
        )

    # -- orders ------------------------------------------------------------------------------------------------------------------------

    def sort(self, order: Sequence[OrderTerm]) -> list[dict[str, Any]]:
        """Return the sort of an order; raises ``UnsupportedOperation`` for a text that is stored alone."""
        return [item for term in order for item in self._sort_items(term)]

    def _sort_items(self, term: OrderTerm) -> list[dict[str, Any]]:
        spec = term.field
        if is_long_text(spec):
            raise self._stored_only(spec, "ordered by")
        name, missing = self.shape.name(spec), "_first" if term.nulls_first else "_last"
        own = {name: {"order": "desc" if term.descending else "asc", "missing": missing}}
        # A missing long sorts as the largest or smallest one, and would tie with it.
        return [{f"{name}#p": {"order": "asc", "missing": missing}}, own] if _has_mark(spec) else [own]

    def after(self, order: Sequence[OrderTerm], position: Sequence[Any]) -> list[Any]:
        """Return what ``search_after`` takes for the plain values of an order's fields."""
        return [item for term, value in zip(order, position, strict=True) for item in self._after_items(term, value)]

    def _after_items(self, term: OrderTerm, value: Any) -> list[Any]:
        spec = term.field
        mark = [1 if value is not None else _extreme(_INT, large=not term.nulls_first)] if _has_mark(spec) else []
        if value is None:
            return [*mark, _MISSING[type_of(spec.type)](term.nulls_first == term.descending)]
        native = self.shape.native(spec, value)
        return [*mark, int(native) if spec.type.kind is Kind.BOOL else native]

    # -- whole requests ----------------------------------------------------------------------------------------------------------------

    def search(self, operation: Select, *, size: int, order: Sequence[OrderTerm] | None = None) -> dict[str, Any]:
        """Return the body of a search of at most so many hits."""
        terms = operation.order if order is None else order
        body: dict[str, Any] = {
            "size": size,
            "query": filtered(self.filter(operation.predicate)),
            # By nothing: the order of the index costs nothing.
            "sort": self.sort(terms) or [{"_doc": "asc"}],
            "_source": self.source(operation.decoder.fields),
            "track_total_hits": False,
        }
        if operation.after is not None:
            body["search_after"] = self.after(terms, operation.after)
        return body

    def source(self, fields: Sequence[FieldSpec]) -> Any:
        """Return which fields of the documents are sent; all with their shadows: to leave these out costs the server more."""
        if len(fields) == len(self.shape.names):
            return True
        return [self.shape.name(spec) for spec in fields]

    def key_order(self) -> tuple[OrderTerm, ...]:
        """Return the order by key."""
        return tuple(OrderTerm(spec, descending=False, nulls_first=False) for spec in self.shape.info.key)


def filtered(query: Query) -> Query:
    """Return the query that scores nothing."""
    return query if query is MATCH_ALL else {"bool": {"filter": [query]}}


def absent(name: str) -> Query:
    """Return the query of what has no such field."""
    return {"bool": {"must_not": [{"exists": {"field": name}}]}}


def key_wanted(info: ModelInfo, predicate: Predicate) -> tuple[Any, ...] | None:
    """Return the plain key if the condition is that the key is this one and nothing else: such a record is read in real time."""
    leaves = predicate.items if isinstance(predicate, And) else (predicate,)
    found: dict[FieldSpec, Any] = {}
    for item in leaves:
        if not isinstance(item, Leaf) or item.operator != "eq" or not item.field.storage.primary_key or item.field in found:
            return None
        found[item.field] = item.value
    return tuple([found[spec] for spec in info.key]) if len(found) == len(info.key) else None


def _has_mark(spec: FieldSpec) -> bool:
    return spec.nullable and type_of(spec.type) == "long"


def _extreme(most: int, *, large: bool) -> int:
    return most if large else -most - 1


# What a missing value sorts as, given whether that is the smallest there is.
_MISSING: Mapping[str, Callable[[bool], Any]] = {
    "long": lambda large: _extreme(_LONG, large=large),
    "boolean": lambda large: _extreme(_INT, large=large),
    "double": lambda large: "Infinity" if large else "-Infinity",
    "keyword": lambda _: None,
}


# -- leaves of plain fields ------------------------------------------------------------------------------------------------------------

Leafs = Callable[[Shape, FieldSpec, str, Any], Query]


def _range(operator: str) -> Leafs:
    def compile(shape: Shape, spec: FieldSpec, name: str, value: Any) -> Query:
        return {"range": {name: {operator: _bound(name, shape.native(spec, value))}}}

    return compile


def _bound(name: str, value: Any) -> Any:
    if isinstance(value, str) and len(value) > _BOUND_BYTES // 4 and len(value.encode()) > _BOUND_BYTES:
        raise LimitExceeded(f"the value that {name!r} is compared with, in bytes", limit=_BOUND_BYTES, value=len(value.encode()))
    return value


def _terms(shape: Shape, spec: FieldSpec, name: str, value: Any) -> Query:
    return _any_of(name, [shape.native(spec, item) for item in value])


def _any_of(name: str, terms: Sequence[Any]) -> Query:
    if len(terms) > _TERMS:
        raise LimitExceeded(f"the values that {name!r} is looked up in", limit=_TERMS, value=len(terms))
    return {"terms": {name: terms}}


def _leaves(query: Query) -> int:
    """Return how many conditions the server will find in a query."""
    inner = query.get("bool")
    if inner is None:
        return 1
    return sum(_leaves(item) for occur in ("filter", "must", "must_not", "should") for item in inner.get(occur, ()))


def literal(text: str) -> str:
    """Return a text as a part of a pattern that matches it and nothing else."""
    return "".join(f"\\{character}" if character in "\\*?" else character for character in text)


def wildcard(name: str, pattern: str) -> Query:
    """Return the match of a pattern; raises ``LimitExceeded``, because the server makes an automaton of it."""
    if len(pattern) > _WILDCARD:
        raise LimitExceeded(f"the text that is looked for within {name!r}, in characters", limit=_WILDCARD, value=len(pattern))
    return {"wildcard": {name: {"value": pattern}}}


def _within(value: str) -> str:
    return f"*{literal(value)}*"


def _at_end(value: str) -> str:
    return f"*{literal(value)}"


def _prefix_range(name: str, text: str) -> Query:
    end = next_text(text)
    bounds = {"gte": _bound(name, text)}
    return {"range": {name: bounds if end is None else {**bounds, "lt": end}}}


_SCALAR: Mapping[str, Leafs] = {
    "eq": lambda shape, spec, name, value: {"term": {name: shape.native(spec, value)}},
    "in": _terms,
    **{operator: _range(operator) for operator in ("lt", "lte", "gt", "gte")},
    "contains": lambda _, __, name, value: wildcard(name, _within(value)),
    "endswith": lambda _, __, name, value: wildcard(name, _at_end(value)),
    "iexact": lambda _, __, name, value: {"term": {f"{name}#i": value.casefold()}},
    "icontains": lambda _, __, name, value: wildcard(f"{name}#i", _within(value.casefold())),
    "istartswith": lambda _, __, name, value: _prefix_range(f"{name}#i", value.casefold()),
    "iendswith": lambda _, __, name, value: wildcard(f"{name}#i", _at_end(value.casefold())),
    "month": lambda _, __, name, value: {"term": {f"{name}#m": value}},
    "day": lambda _, __, name, value: {"term": {f"{name}#d": value}},
}


# -- leaves within documents -----------------------------------------------------------------------------------------------------------


def _document(name: str, test: Test) -> Query:
    if not test.path and test.operator in _WHOLE:
        return _WHOLE[test.operator](f"{name}#c", test.value)
    return _INSIDE[test.operator](f"{name}#j", path_of(test.path), test.value)


_WHOLE: Mapping[str, Callable[[str, Any], Query]] = {
    "is_null": lambda name, _: absent(name),
    "eq": lambda name, value: {"term": {name: whole(value)}},
    "in": lambda name, value: _any_of(name, [whole(item) for item in value]),
}


def _tagged(value: Any) -> tuple[str, str]:
    """Return the letter of a value's type, and the text that sorts as it does."""
    if isinstance(value, bool):
        return "b", str(int(value))
    return ("n", number_text(value)) if isinstance(value, int | float) else ("s", value)


def _inside_range(operator: str) -> Callable[[str, str, Any], Query]:
    def compile(name: str, path: str, value: Any) -> Query:
        tag, text = _tagged(value)
        # Only values of the same type: from its letter up to the next one.
        bounds = {"gte": path + tag} if operator.startswith("l") else {"lt": path + chr(ord(tag) + 1)}
        return {"range": {name: {**bounds, operator: _bound(name, path + tag + text)}}}

    return compile


def _inside_between(name: str, path: str, value: Any) -> Query:
    (tag, low), (other, high) = map(_tagged, value)
    if tag != other or low > high:
        return MATCH_NONE
    return {"range": {name: {"gte": _bound(name, path + tag + low), "lte": path + tag + high}}}


def _inside_text(tag: str, pattern: Callable[[str], str]) -> Callable[[str, str, Any], Query]:
    return lambda name, path, value: wildcard(name, literal(path) + tag + pattern(value.casefold() if tag == "i" else value))


def _elements(path: str, items: Sequence[str]) -> list[str]:
    return [f"{path}e{whole(item)}" for item in items]


_INSIDE: Mapping[str, Callable[[str, str, Any], Query]] = {
    "is_null": lambda name, path, _: {"bool": {"must_not": [{"prefix": {name: _bound(name, path)}}]}},
    "eq": lambda name, path, value: {"term": {name: path + leaf(loads(value))}},
    "in": lambda name, path, value: _any_of(name, [path + leaf(loads(item)) for item in value]),
    **{operator: _inside_range(operator) for operator in ("lt", "lte", "gt", "gte")},
    "between": _inside_between,
    "contains": _inside_text("s", _within),
    "endswith": _inside_text("s", _at_end),
    "startswith": lambda name, path, value: {"prefix": {name: _bound(name, f"{path}s{value}")}},
    "iexact": lambda name, path, value: {"term": {name: f"{path}i{value.casefold()}"}},
    "icontains": _inside_text("i", _within),
    "iendswith": _inside_text("i", _at_end),
    "istartswith": lambda name, path, value: {"prefix": {name: _bound(name, f"{path}i{value.casefold()}")}},
    "has": lambda name, path, value: {"term": {name: f"{path}e{whole(value)}"}},
    "has_any": lambda name, path, value: _any_of(name, _elements(path, value)),
    "has_all": lambda name, path, value: {
        "bool": {"filter": [{"prefix": {name: _bound(name, f"{path}l")}} if path != path_of(()) else MATCH_ALL]}
        | {"must": [{"term": {name: token}} for token in _elements(path, value)]}
    },
}
