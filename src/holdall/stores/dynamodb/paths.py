"""The planner of access paths: which table or index answers a condition in an order, and by which lookups. Pure.

A lookup is one ``Query`` of one partition. Where a condition names several values of a key (``in``), or None stands where an index has it
at the other end, a path has several lookups, one behind the other.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from holdall.capabilities import Capability
from holdall.errors import UnsupportedOperation
from holdall.query.planner import All, Any_, Normal, Test
from holdall.query.predicates import OrderTerm
from holdall.record.metadata import FieldSpec
from holdall.stores.dynamodb.layout import Key, Layout, Place
from holdall.stores.dynamodb.ranges import NOTHING, Range, SortCondition, composed, is_empty, native, range_of
from holdall.stores.dynamodb.values import AttributeValue, Item

_MOST_LOOKUPS = 100
_RANGES = frozenset(("lt", "lte", "gt", "gte"))


class Lookup(NamedTuple):
    """One partition, and a range of its sort key.

    Attributes:
        values: the plain values that it fixes, of the fields in keys.
        nulls: whether the first field of the order is None (True) or not (False) here; None for either.
    """

    partition: AttributeValue
    condition: SortCondition | None
    values: Mapping[FieldSpec, Any]
    nulls: bool | None = None


@dataclass(frozen=True)
class Path:
    """How a condition is answered.

    Attributes:
        kind: "get" by whole keys, "query" by partitions, "unique" by the record that holds a unique value, "scan" of the table.
        place: what is looked up. ``lookups``: in the order of the answer.
        forward: whether the sort key ascends.
        rest: what remains to be filtered.
        unique: the fields of the unique value.
    """

    kind: Literal["get", "query", "unique", "scan"]
    place: Place
    lookups: tuple[Lookup, ...] = ()
    forward: bool = True
    rest: Normal = True
    unique: tuple[FieldSpec, ...] = ()
    consumed: int = 0
    values: Mapping[FieldSpec, Any] = field(default_factory=dict[FieldSpec, Any])


class Wanted:
    """What a condition says about single fields, at its top."""

    def __init__(self, normal: Normal) -> None:
        self.items: tuple[Normal, ...] = normal.items if isinstance(normal, All) else () if normal is True else (normal,)
        self.equal: dict[FieldSpec, Any] = {}
        self.among: dict[FieldSpec, tuple[Any, ...]] = {}
        self.ranges: dict[FieldSpec, list[Test]] = {}
        self.by: dict[FieldSpec, list[Normal]] = {}  # the items that ``equal`` and ``among`` say
        self.is_contradictory = normal is False
        for item in self.items:
            if isinstance(item, Test) and not item.path and item.field.document is None:
                self._add(item)
        for spec in self.equal:
            self._drop_implied(spec)
        for spec in self.among:
            self._narrow(spec)
        self.bounds = {spec: range_of(tests) for spec, tests in self.ranges.items()}
        self.is_contradictory = self.is_contradictory or any(map(is_empty, self.bounds.values()))

    def _add(self, test: Test) -> None:
        spec = test.field
        if test.operator in _RANGES:
            self.ranges.setdefault(spec, []).append(test)
        elif test.operator in ("eq", "is_null") and not test.negated:
            if spec in self.equal and self.equal[spec] != test.value:
                self.is_contradictory = True
            self.equal[spec] = test.value
            self.by.setdefault(spec, []).append(test)
        elif test.operator == "in" and not test.negated:
            said: tuple[Any, ...] = test.value
            self.among[spec] = tuple(value for value in self.among.get(spec, said) if value in said)
            self.by.setdefault(spec, []).append(test)

    def _drop_implied(self, spec: FieldSpec) -> None:
        """Leave out what the one value of a field decides already."""
        value = self.equal[spec]
        others = [*self.ranges.pop(spec, ()), *(item for item in self.by[spec] if isinstance(item, Test) and item.operator == "in")]
        if not all(_passes(test, value) for test in others):
            self.is_contradictory = True
        self.among.pop(spec, None)
        self.items = tuple(item for item in self.items if not any(item is other for other in others))

    def _narrow(self, spec: FieldSpec) -> None:
        """Make one membership of all that is said of a field with several values."""
        others = self.ranges.pop(spec, [])
        memberships = self.by[spec]
        self.among[spec] = tuple(value for value in self.among[spec] if all(_passes(test, value) for test in others))
        self.is_contradictory = self.is_contradictory or not self.among[spec]
        if others or len(memberships) > 1:
            first = memberships[0]
            assert isinstance(first, Test)
            whole = first._replace(value=self.among[spec])
            gone = [*others, *memberships]
            self.items = (*(item for item in self.items if not any(item is other for other in gone)), whole)
            self.by[spec] = [whole]

    def without(self, consumed: Iterable[Normal]) -> Normal:
        """Return what remains when some items are seen to."""
        taken = {id(item) for item in consumed}
        left = tuple(item for item in self.items if id(item) not in taken)
        return True if not left else left[0] if len(left) == 1 else All(left)

    def taken(self, specs: Iterable[FieldSpec]) -> list[Normal]:
        """Return the items that fix these fields."""
        return [item for spec in specs for item in self.by.get(spec, ())]


def _passes(test: Test, value: Any) -> bool:
    if value is None:
        return False
    return value in test.value if test.operator == "in" else bool(_COMPARE[test.operator](value, test.value))


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {"lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge}


def find(
    layout: Layout, normal: Normal, order: Sequence[OrderTerm], *, scan: bool, consistent: bool, is_window: bool = False
) -> Path | None:
    """Return the cheapest path; None when nothing can match. ``is_window`` says that the order decides which records there are.

    Raises:
        UnsupportedOperation: there is none; the text names the index that would make one.
    """
    wanted = Wanted(normal)
    if wanted.is_contradictory:
        return None
    places = (layout.place,) if consistent else (layout.place, *layout.indexes)
    found = [path for place in places if (path := _serve(place, wanted, order)) is not None]
    unique = _by_unique(layout, wanted)
    if unique is not None:
        found.append(unique)
    if found:
        return min(found, key=_cost)
    terms = [term for term in order if term.field not in wanted.equal]
    if scan and not terms:
        return Path("scan", layout.place, rest=normal)
    remedies = [*_indexes_for(layout, wanted, terms)]
    if consistent and layout.indexes:
        remedies.append("leave out consistent(), which an index cannot answer")
    if terms and not is_window:
        remedies.append("leave the order out, by order_by() without terms")
    if not terms:
        remedies.append("add allow_scan(), which reads the whole table")
    raise _refusal(layout, wanted, terms, remedies, scan=scan)


_RANK = {"get": 0, "unique": 1, "query": 2, "scan": 3}


def _cost(path: Path) -> tuple[int, int, int, bool]:
    return (_RANK[path.kind], -path.consumed, len(path.lookups), path.place.name is not None)


def mentions(normal: Normal, specs: Iterable[FieldSpec]) -> bool:
    """Tell whether a condition looks at one of the fields."""
    if isinstance(normal, bool):
        return False
    if isinstance(normal, Test):
        return normal.field in specs
    return any(mentions(item, specs) for item in normal.items)


def _by_unique(layout: Layout, wanted: Wanted) -> Path | None:
    for specs in layout.info.uniques:
        if all(wanted.equal.get(spec) is not None for spec in specs):
            values = {spec: wanted.equal[spec] for spec in specs}
            # The value is asked for again, because the record may have changed since the reservation was read.
            if mentions(wanted.without(()), layout.info.key):
                continue
            return Path("unique", layout.place, rest=wanted.without(()), unique=specs, consumed=len(specs), values=values)
    return None


# -- one table or index ----------------------------------------------------------------------------------------------------------------


class _Fixed(NamedTuple):
    """The fields of a place's keys that a condition fixes, in order: by one value, or by several."""

    partition: tuple[FieldSpec, ...]
    sort: tuple[FieldSpec, ...]
    among: tuple[FieldSpec, ...]  # those with several
    parts: int  # how many parts of the sort key are fixed


def _serve(place: Place, wanted: Wanted, order: Sequence[OrderTerm]) -> Path | None:
    fixed = _fixed(place, wanted)
    if fixed is None:
        return None
    free = _free_part(place.sort, fixed)
    terms = [term for term in order if term.field not in wanted.equal]
    whole = place.name is None and fixed.parts == (0 if place.sort is None else len(place.sort.parts))
    if whole and not fixed.among:
        terms = []  # one record is in any order
    lead, terms = terms[: len(fixed.among)], terms[len(fixed.among) :]
    if order and [term.field for term in lead] != list(fixed.among)[: len(lead)]:
        return None
    direction = _direction(place, fixed, wanted, terms)
    if direction is None:
        return None
    bounds = NOTHING if free is None else wanted.bounds.get(free, NOTHING)
    consumed: list[Normal] = wanted.taken((*fixed.partition, *fixed.sort))
    if free is not None and bounds is not NOTHING:
        consumed += wanted.ranges[free]
    rest = wanted.without(consumed)
    if place.name is None and mentions(rest, [key.specs[0] for key in place.keys if key.style is None]):
        return None
    segments = _segments(free, bounds, terms)
    lookups = tuple(_lookups(place, wanted, fixed, bounds, segments, lead))
    if whole and rest is not True and len(lookups) > _MOST_LOOKUPS:
        return None
    return Path("get" if whole else "query", place, lookups, direction == "forward", rest, consumed=len(consumed))


def _fixed(place: Place, wanted: Wanted) -> _Fixed | None:
    """Return what the condition fixes of the keys; None when it does not fix the partition."""
    among: list[FieldSpec] = []
    count = 1
    for spec in place.partition.specs:
        if spec in wanted.equal:
            continue
        if spec not in wanted.among:
            return None
        among.append(spec)
        count *= len(wanted.among[spec])
    sort: list[FieldSpec] = []
    parts = 0
    for part in () if place.sort is None else place.sort.parts:
        if isinstance(part, FieldSpec):
            if part in wanted.among and part not in wanted.equal and count * len(wanted.among[part]) <= _MOST_LOOKUPS:
                among.append(part)
                count *= len(wanted.among[part])
            elif part not in wanted.equal:
                break
            sort.append(part)
        parts += 1
    # Whole keys are read in batches, however many they are.
    if count > _MOST_LOOKUPS and place.sort is not None:
        return None
    return _Fixed(place.partition.specs, tuple(sort), tuple(among), parts)


def _free_part(sort: Key | None, fixed: _Fixed) -> FieldSpec | None:
    if sort is None or fixed.parts == len(sort.parts):
        return None
    part = sort.parts[fixed.parts]
    return part if isinstance(part, FieldSpec) else None


def _direction(place: Place, fixed: _Fixed, wanted: Wanted, terms: Sequence[OrderTerm]) -> Literal["forward", "backward"] | None:
    """Return how the sort key has to be read for an order; None when it is not in it."""
    parts = () if place.sort is None else place.sort.parts[fixed.parts :]
    free = [part for part in parts if isinstance(part, FieldSpec) and part not in wanted.equal]
    if [term.field for term in terms] != free[: len(terms)] or len({term.descending for term in terms}) > 1:
        return None
    # None is last in the key. Only where it is the first thing to order by can it be fetched apart.
    if any(map(_moves_none, terms[1:])):
        return None
    return "backward" if terms and terms[0].descending else "forward"


def _moves_none(term: OrderTerm) -> bool:
    """Tell whether an order wants None at the other end than a key has it."""
    return term.field.nullable and term.nulls_first != term.descending


def _segments(free: FieldSpec | None, bounds: Range, terms: Sequence[OrderTerm]) -> tuple[bool | None, ...]:
    """Return which of (values, None) are looked up, and in which order; (None,) for both at once."""
    if not terms or free is None or bounds is not NOTHING or not free.nullable or terms[0].nulls_first == terms[0].descending:
        return (None,)
    return (True, False) if terms[0].nulls_first else (False, True)


def _lookups(
    place: Place, wanted: Wanted, fixed: _Fixed, bounds: Range, segments: Sequence[bool | None], lead: Sequence[OrderTerm]
) -> Iterable[Lookup]:
    choices = [wanted.among[spec] for spec in fixed.among]
    for position, term in enumerate(lead):
        choices[position] = tuple(sorted(choices[position], reverse=term.descending))
    for chosen in itertools.product(*choices):
        values = {**{spec: wanted.equal[spec] for spec in (*fixed.partition, *fixed.sort) if spec in wanted.equal}}
        values.update(zip(fixed.among, chosen, strict=True))
        partition = place.partition.value(values.__getitem__)
        for nulls in segments:
            condition = None
            if place.sort is not None:
                found = _condition(place.sort, fixed, values, bounds, nulls)
                if found is None:
                    continue
                condition = None if found == _ANY else found
            yield Lookup(partition, condition, values, nulls)


_ANY = SortCondition("", ())


def _condition(sort: Key, fixed: _Fixed, values: Mapping[FieldSpec, Any], bounds: Range, nulls: bool | None) -> SortCondition | None:  # noqa: FBT001  - three truths
    """Return the condition of the sort key: ``_ANY`` for all of the partition, None for nothing."""
    if sort.style is None:
        if fixed.parts:
            return SortCondition("=", (sort.value(values.__getitem__),))
        return _ANY if bounds is NOTHING else native(sort, bounds)
    bound = [sort.part(part, None if isinstance(part, str) else values[part]) for part in sort.parts[: fixed.parts]]
    return composed(sort, bound, bounds, nulls) or _ANY


# -- pages -----------------------------------------------------------------------------------------------------------------------------


def start_behind(layout: Layout, path: Path, order: Sequence[OrderTerm], after: Sequence[Any]) -> tuple[tuple[Lookup, ...], Item | None]:
    """Return the lookups that are left behind a position of a page, and where the first of them starts."""
    at = dict(zip((term.field for term in order), after, strict=True))
    free = _free_spec(path, order)
    for number, lookup in enumerate(path.lookups):
        values = {**at, **lookup.values}
        if any(spec in at and at[spec] != value for spec, value in lookup.values.items()):
            continue
        if lookup.nulls is not None and free is not None and (at[free] is None) != lookup.nulls:
            continue
        if path.kind != "query":
            return path.lookups[number + 1 :], None
        keys = {key.attribute: key.value(values.__getitem__) for place in (path.place, layout.place) for key in place.keys}
        return path.lookups[number:], keys
    return (), None


def _free_spec(path: Path, order: Sequence[OrderTerm]) -> FieldSpec | None:
    fixed: Mapping[FieldSpec, Any] = path.lookups[0].values if path.lookups else {}
    return next((term.field for term in order if term.field not in fixed), None)


# -- refusals --------------------------------------------------------------------------------------------------------------------------


def _refusal(layout: Layout, wanted: Wanted, terms: Sequence[OrderTerm], remedies: Sequence[str], *, scan: bool) -> UnsupportedOperation:
    info = layout.info
    conditions = sorted(
        {item.field.name for item in wanted.items if isinstance(item, Test)} | ({"alternatives"} if _has_alternatives(wanted) else set())
    )
    what = f"filter {info.label} by {', '.join(conditions)}" if conditions else f"read all of {info.label}"
    if terms:
        shown = ", ".join(repr(("-" if term.descending else "") + term.field.name) for term in terms)
        what = f"order {info.label} by {shown}" if scan or not conditions else f"{what} in the order of {shown}"
    missing = {Capability.ORDER} if terms else set[Capability]()
    reason = f"neither the key of table {layout.table!r} nor an index of it serves that"
    return UnsupportedOperation(f"cannot {what} on dynamodb: {reason}; {' or '.join(remedies)}", missing=missing)


def _has_alternatives(wanted: Wanted) -> bool:
    return any(isinstance(item, Any_) for item in wanted.items)


def _indexes_for(layout: Layout, wanted: Wanted, terms: Sequence[OrderTerm]) -> Iterable[str]:
    """Yield the cheapest index that would make a path, or what keeps every index from it."""
    key = set(layout.info.key)
    first = [spec for spec in (*wanted.equal, *wanted.among) if spec not in key]
    tail = [("-" if term.descending else "") + term.field.name for term in terms if term.field not in key]
    if len({term.descending for term in terms}) > 1:
        yield "order in one direction, because a key is read forwards or backwards as a whole"
    elif (term := next(filter(_moves_none, terms[1:]), None)) is not None:
        how = "desc(nulls='first')" if term.descending else "asc(nulls='last')"
        yield f"say where None stands as a key has it, by col({layout.info.label}.{term.field.name}).{how}"
    elif first or (wanted.equal and tail):
        names = [first[0].name if first else next(iter(wanted.equal)).name]
        others = [spec.name for spec in first[1:] if not tail]
        ranges = [spec.name for spec in wanted.bounds if spec.name not in {name.removeprefix("-") for name in tail} and not tail]
        fields = dict.fromkeys([*names, *others, *tail, *ranges])
        yield f"declare Index({', '.join(map(repr, fields))})"
    else:
        yield "compare a field of the key or the first field of an index by equality"
