"""The planner: what an operation needs of a store, and the normal form in which stores compile conditions.

Pure: it knows no store. The normal form has negation only at leaves, and says explicitly where None counts, so that SQL's third truth value
never shows: positive leaves compile plainly, and ``x != 5`` becomes ``x <> 5 OR x IS NULL`` where x can be None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from holdall.capabilities import Capability, with_implied
from holdall.query.operations import (
    NEEDS,
    Count,
    DeleteWhere,
    Exists,
    Fetch,
    Lock,
    Operation,
    Search,
    Select,
    UpdateWhere,
)
from holdall.query.predicates import FALSE, And, Arithmetic, Leaf, Not, Or, OrderTerm, Predicate
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.types import Kind


class Test(NamedTuple):
    """A leaf of the normal form.

    Attributes:
        operator: ``eq lt lte gt gte in is_null contains icontains startswith istartswith endswith iendswith iexact has has_any has_all
            month day``;
            ``between`` and ``startswith`` remain inside documents only, elsewhere they have become ranges, as ``year`` has.
        negated: the complement. On plain fields and whole documents None never matches a negated test; where it should, ``is_null``
            stands beside it.
            On paths into documents the complement is exact, with whatever is missing or of another type.
    """

    field: FieldSpec
    path: tuple[str | int, ...]
    type: Any
    operator: str
    value: Any
    negated: bool


class All(NamedTuple):
    """Every item holds."""

    items: tuple[Normal, ...]


class Any_(NamedTuple):  # noqa: N801  - ``Any`` is typing's
    """Some item holds."""

    items: tuple[Normal, ...]


Normal = Test | All | Any_ | bool


def normalise(predicate: Predicate, *, negated: bool = False) -> Normal:
    """Return the normal form; True or False where the condition is constant."""
    if isinstance(predicate, Not):
        return normalise(predicate.item, negated=not negated)
    if isinstance(predicate, Leaf):
        return _leaf(predicate, negated=negated)
    conjunction = isinstance(predicate, And) != negated
    return _combine((normalise(item, negated=negated) for item in predicate.items), conjunction=conjunction)


def _combine(items: Iterable[Normal], *, conjunction: bool) -> Normal:
    kind = All if conjunction else Any_
    found: list[Normal] = []
    for item in items:
        if isinstance(item, bool):
            if item is not conjunction:
                return item
        elif isinstance(item, kind):
            found.extend(item.items)
        else:
            found.append(item)
    if not found:
        return conjunction
    return found[0] if len(found) == 1 else kind(tuple(found))


def _leaf(leaf: Leaf, *, negated: bool) -> Normal:
    if leaf.path:
        return _path_leaf(leaf, negated=negated)
    rewrite = _REWRITES.get(leaf.operator)
    if rewrite is not None:
        rewritten = rewrite(leaf)
        if rewritten is not None:
            return normalise(rewritten, negated=negated)
    spec = leaf.field
    if leaf.operator == "is_null":
        return Test(spec, (), leaf.type, "is_null", None, negated) if spec.nullable else negated
    if not negated:
        return Test(*leaf, negated=False)
    opposite = _OPPOSITE.get(leaf.operator)
    test: Normal = Test(*leaf._replace(operator=opposite), negated=False) if opposite else Test(*leaf, negated=True)
    return Any_((test, Test(spec, (), leaf.type, "is_null", None, False))) if spec.nullable else test


_OPPOSITE: Mapping[str, str] = {"lt": "gte", "lte": "gt", "gt": "lte", "gte": "lt"}


def _path_leaf(leaf: Leaf, *, negated: bool) -> Normal:
    if leaf.operator == "in":
        present = tuple(dict.fromkeys(value for value in leaf.value if value is not None and value != "null"))
        items: list[Normal] = [Test(*leaf._replace(value=present), negated=negated)] if present else []
        if len(present) < len(dict.fromkeys(leaf.value)):
            items.append(Test(leaf.field, leaf.path, leaf.type, "is_null", None, negated))
        return _combine(items, conjunction=negated)
    if leaf.operator == "has_any" and not leaf.value:
        return negated
    return Test(*leaf, negated=negated)


def _membership(leaf: Leaf) -> Predicate | None:
    values = tuple(dict.fromkeys(leaf.value))
    present = tuple(value for value in values if value is not None)
    if not values:
        return FALSE
    if len(present) == 1 and len(values) == 1:
        return leaf._replace(operator="eq", value=present[0])
    if len(present) == len(values):
        return None if len(values) == len(leaf.value) else leaf._replace(value=values)
    null = leaf._replace(operator="is_null", value=None)
    return Or((leaf._replace(value=present), null)) if present else null


def _between(leaf: Leaf) -> Predicate:
    low, high = leaf.value
    return And((leaf._replace(operator="gte", value=low), leaf._replace(operator="lte", value=high))) if low <= high else FALSE


def _prefix(leaf: Leaf) -> Predicate:
    """Make a range, which an index serves, of a prefix."""
    if not leaf.value:
        return _not_null(leaf)
    low = leaf._replace(operator="gte")
    end = next_text(leaf.value)
    return low if end is None else And((low, leaf._replace(operator="lt", value=end)))


def _empty_text(leaf: Leaf) -> Predicate | None:
    return None if leaf.value else _not_null(leaf)


def _not_null(leaf: Leaf) -> Predicate:
    return Not(leaf._replace(operator="is_null", value=None))


def next_text(prefix: str) -> str | None:
    """Return the least text above every text that begins with the prefix, by code points; None when there is none."""
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            # Surrogates are no characters, so that the one after U+D7FF is U+E000.
            return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
        prefix = prefix[:-1]
    return None


def _year(leaf: Leaf) -> Predicate:
    year = leaf.value
    if not 1 <= year <= 9999:
        return FALSE
    low = leaf._replace(operator="gte", value=_first_of(year, leaf.field.type.kind))
    return low if year == 9999 else And((low, leaf._replace(operator="lt", value=_first_of(year + 1, leaf.field.type.kind))))


def _first_of(year: int, kind: Kind) -> date:
    return date(year, 1, 1) if kind is Kind.DATE else datetime(year, 1, 1, tzinfo=UTC)


def _impossible_part(leaf: Leaf) -> Predicate | None:
    return None if 1 <= leaf.value <= _LAST_PART[leaf.operator] else FALSE


_LAST_PART = {"month": 12, "day": 31}


def _no_items(leaf: Leaf) -> Predicate | None:
    if leaf.value:
        return None
    return _not_null(leaf) if leaf.operator == "has_all" else FALSE


_REWRITES: Mapping[str, Callable[[Leaf], Predicate | None]] = {
    "in": _membership,
    "between": _between,
    "startswith": _prefix,
    **dict.fromkeys(("contains", "endswith", "icontains", "istartswith", "iendswith"), _empty_text),
    "year": _year,
    **dict.fromkeys(_LAST_PART, _impossible_part),
    **dict.fromkeys(("has_any", "has_all"), _no_items),
}


# -- what an operation needs -----------------------------------------------------------------------------------------------------------

_LEAF_NEEDS: Mapping[str, Capability] = {
    **dict.fromkeys(("contains", "startswith"), Capability.TEXT_MATCH),
    "endswith": Capability.TEXT_SUFFIX,
    **dict.fromkeys(("icontains", "istartswith", "iendswith", "iexact"), Capability.CASEFOLD),
    **dict.fromkeys(("has", "has_any", "has_all"), Capability.LIST_MEMBERSHIP),
    **dict.fromkeys(("month", "day"), Capability.DATE_PARTS),
}


def _predicate_needs(predicate: Predicate) -> Iterable[Capability]:
    if isinstance(predicate, Leaf):
        yield Capability.FILTER
        if predicate.path:
            yield Capability.DOCUMENT_PATHS
        elif predicate.field.document is not None and predicate.operator in ("eq", "in"):
            yield Capability.DOCUMENT_EQUALITY
        if predicate.operator in _LEAF_NEEDS:
            yield _LEAF_NEEDS[predicate.operator]
        return
    for item in (predicate.item,) if isinstance(predicate, Not) else predicate.items:
        yield from _predicate_needs(item)


def _lock_needs(lock: Lock | None) -> Iterable[Capability]:
    if lock is not None:
        yield Capability.ROW_LOCKS
        if lock.nowait:
            yield Capability.LOCK_NOWAIT
        if lock.skip_locked:
            yield Capability.SKIP_LOCKED


def _query_needs(operation: Select | Count | Exists) -> Iterable[Capability]:
    yield from _predicate_needs(operation.predicate)
    if operation.consistent:
        yield Capability.CONSISTENT


def _select_needs(operation: Select) -> Iterable[Capability]:
    yield from _query_needs(operation)
    yield from _lock_needs(operation.lock)
    if operation.order:
        yield Capability.ORDER
    if operation.offset:
        yield Capability.OFFSET
    if operation.after is not None:
        yield Capability.PAGES


def _update_needs(operation: UpdateWhere) -> Iterable[Capability]:
    yield from _predicate_needs(operation.predicate)
    if any(isinstance(value, Arithmetic | FieldSpec) for value in operation.assignments.values()):
        yield Capability.EXPRESSIONS


# What hangs on what the operation holds.
_MORE_NEEDS: Mapping[type[Any], Callable[[Any], Iterable[Capability]]] = {
    Fetch: lambda operation: _lock_needs(operation.lock),
    Select: _select_needs,
    Count: _query_needs,
    Exists: _query_needs,
    UpdateWhere: _update_needs,
    Search: lambda operation: _predicate_needs(operation.predicate),
    DeleteWhere: lambda operation: _predicate_needs(operation.predicate),
}


def needs(operation: Operation) -> frozenset[Capability]:
    """Return the capabilities that a store must declare to carry out the operation."""
    found = NEEDS[type(operation)]
    more = _MORE_NEEDS.get(type(operation))
    return found if more is None else found.union(more(operation))


def missing(operation: Operation, declared: frozenset[Capability]) -> frozenset[Capability]:
    """Return what the operation needs and a store does not declare.

    An order is left to a store that orders by its indexes alone: it looks for one that serves, and refuses where there is none.
    """
    found = needs(operation) - with_implied(declared)
    return found - {Capability.ORDER} if Capability.INDEX_ORDER in declared else found


@lru_cache(maxsize=1024)
def model_needs(info: ModelInfo) -> frozenset[Capability]:
    """Return the capabilities that a store must declare to keep records of the model."""
    found: set[Capability] = set()
    if info.generated is not None:
        found.add(Capability.GENERATED_KEYS)
    if info.uniques:
        found.add(Capability.UNIQUE)
    if info.expires is not None:
        found.add(Capability.EXPIRY)
    if any(spec.reference is not None and spec.reference.enforce for spec in info.fields):
        found.add(Capability.FOREIGN_KEYS)
    return frozenset(found)


def is_empty(operation: Select | Count | Exists | UpdateWhere | DeleteWhere) -> bool:
    """Tell whether the operation matches nothing whatever is stored, so that it needs no I/O (R9)."""
    if isinstance(operation, Select) and operation.limit == 0:
        return True
    return normalise(operation.predicate) is False


def index_serves(info: ModelInfo, order: tuple[OrderTerm, ...]) -> bool:
    """Tell whether a declared index, a unique field or the key begins with the order, so that a store need not sort."""
    wanted = [(term.field.name, term.descending) for term in order]
    keys = [spec.name for spec in info.key]
    candidates = [[(name.removeprefix("-"), name.startswith("-")) for name in index.fields] for index in info.indexes]
    candidates += [[(spec.name, False)] for spec in info.fields if spec.storage.index or spec.storage.unique]
    candidates += [[(name, False) for name in keys]]
    return any(_serves([*candidate, *((name, None) for name in keys)], wanted) for candidate in candidates)


def _serves(candidate: list[Any], wanted: list[tuple[str, bool]]) -> bool:
    heads = [pair for pair in candidate if pair[1] is not None]
    shown = wanted[: len(heads)]
    forward = all(have == want for have, want in zip(heads, shown, strict=False))
    backward = all(have[0] == want[0] and have[1] != want[1] for have, want in zip(heads, shown, strict=False))
    rest = [name for name, _ in wanted[len(heads) :]]
    return (forward or backward) and all(name in {name for name, _ in candidate} for name in rest)
