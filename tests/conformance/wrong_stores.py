"""Stores that are wrong on purpose: each is the memory store with one thing broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from holdall import Capability
from holdall.capabilities import Limits
from holdall.query import operations as op
from holdall.query.predicates import TRUE, And, Leaf, Not, Or, Predicate
from holdall.store import BeginOptions, Store, Transaction

Change = Callable[[Any], Any]
Execute = Callable[[Any], Any]


@dataclass(frozen=True)
class Fault:
    """One way to be wrong.

    Attributes:
        operation: changes an operation on its way to the store.
        around: carries out an operation in its own way, by means of the store's.
        begin: changes how transactions begin.
        broken: methods of transactions, and what they do instead.
        capabilities: what is declared, if it is not what the memory store declares.
    """

    operation: Change | None = None
    around: Callable[[Execute, Any], Any] | None = None
    begin: Callable[[BeginOptions], BeginOptions] | None = None
    broken: Mapping[str, Callable[[Any], Any]] | None = None
    capabilities: frozenset[Capability] | None = None


class WrongStore:
    """A store with a fault."""

    limits: Limits

    def __init__(self, inner: Store, fault: Fault) -> None:
        self._inner = inner
        self._fault = fault
        self.capabilities = inner.capabilities if fault.capabilities is None else fault.capabilities

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def execute(self, operation: Any) -> Any:
        return await _execute(self._fault, self._inner.execute, operation)

    async def stream(self, operation: Any, batch: int) -> Any:
        return await self._inner.stream(self._fault.operation(operation) if self._fault.operation else operation, batch)

    def begin(self, options: BeginOptions) -> Any:
        options = self._fault.begin(options) if self._fault.begin else options
        return WrongTransaction(self._inner.begin(options), self._fault)


class WrongTransaction:
    """A transaction with a fault."""

    def __init__(self, inner: Transaction, fault: Fault) -> None:
        self._inner = inner
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        broken = (self._fault.broken or {}).get(name)
        return getattr(self._inner, name) if broken is None else broken(self._inner)

    async def execute(self, operation: Any) -> Any:
        return await _execute(self._fault, self._inner.execute, operation)

    async def stream(self, operation: Any, batch: int) -> Any:
        return await self._inner.stream(self._fault.operation(operation) if self._fault.operation else operation, batch)


async def _execute(fault: Fault, execute: Execute, operation: Any) -> Any:
    if fault.operation is not None:
        operation = fault.operation(operation)
    return await (execute(operation) if fault.around is None else fault.around(execute, operation))


# -- faults of conditions --------------------------------------------------------------------------------------------------------------


def leaves(change: Callable[[Leaf], Predicate]) -> Fault:
    """Change every comparison of every condition."""

    def walk(predicate: Predicate) -> Predicate:
        if isinstance(predicate, Leaf):
            return change(predicate)
        if isinstance(predicate, Not):
            return Not(walk(predicate.item))
        return type(predicate)(tuple(walk(item) for item in predicate.items))

    return Fault(
        operation=lambda operation: (
            operation._replace(predicate=walk(operation.predicate)) if hasattr(operation, "predicate") else operation
        )
    )


def _is(leaf: Leaf, *operators: str) -> bool:
    return leaf.operator in operators and not leaf.path and leaf.field.document is None


def _ignore_between(leaf: Leaf) -> Predicate:
    return TRUE if leaf.operator == "between" else leaf


def _without_case(leaf: Leaf) -> Predicate:
    return leaf._replace(operator="iexact") if _is(leaf, "eq") and isinstance(leaf.value, str) and leaf.field.name == "name" else leaf


def _without_none(leaf: Leaf) -> Predicate:
    return leaf._replace(value=tuple(value for value in leaf.value if value is not None)) if _is(leaf, "in") else leaf


def _with_wildcards(leaf: Leaf) -> Predicate:
    if leaf.operator != "contains" or leaf.path or not isinstance(leaf.value, str) or not leaf.value.strip("%"):
        return TRUE if leaf.operator == "contains" and leaf.value else leaf
    return And(tuple(leaf._replace(value=part) for part in leaf.value.split("%")))


def _month_of_local_time(leaf: Leaf) -> Predicate:
    return leaf._replace(value=leaf.value % 12 + 1) if leaf.operator == "month" else leaf


def _three_valued(predicate: Predicate, *, negated: bool = False) -> Predicate:
    """Negate as SQL does: a comparison with None is neither true nor false."""
    if isinstance(predicate, Not):
        return _three_valued(predicate.item, negated=not negated)
    if isinstance(predicate, Leaf):
        if not negated:
            return predicate
        none = predicate._replace(operator="is_null", value=None)
        return (
            And((Not(predicate), Not(none)))
            if _is(predicate, "eq") and predicate.value is not None and predicate.field.nullable
            else Not(predicate)
        )
    items = tuple(_three_valued(item, negated=negated) for item in predicate.items)
    return And(items) if isinstance(predicate, And) != negated else Or(items)


def _drop_none(operation: Any) -> Any:
    return operation._replace(predicate=_three_valued(operation.predicate)) if hasattr(operation, "predicate") else operation


# -- faults of queries -----------------------------------------------------------------------------------------------------------------


def selects(change: Callable[[op.Select], op.Select]) -> Fault:
    """Change every query."""
    return Fault(operation=lambda operation: change(operation) if isinstance(operation, op.Select) else operation)


def _nulls_first(select: op.Select) -> op.Select:
    return select._replace(order=tuple(term._replace(nulls_first=True) for term in select.order))


def _without_tie_breaks(select: op.Select) -> op.Select:
    return (
        select._replace(order=select.order[:1])
        if len(select.order) > 1 and not select.after and select.order[0].field.name == "age"
        else select
    )


async def _limit_first(execute: Execute, operation: Any) -> Any:
    if not isinstance(operation, op.Select) or operation.limit is None or operation.after is not None:
        return await execute(operation)
    rows = await execute(operation._replace(predicate=TRUE))
    wanted = await execute(operation._replace(limit=None, offset=None))
    keys = [getattr(row, "id", row) for row in wanted]
    return [row for row in rows if getattr(row, "id", row) in keys]


async def _count_capped(execute: Execute, operation: Any) -> Any:
    found = await execute(operation)
    return min(found, 1000) if isinstance(operation, op.Count) else found


def _shared(seen: dict[Any, Any]) -> Callable[[Execute, Any], Any]:
    async def around(execute: Execute, operation: Any) -> Any:
        if not isinstance(operation, op.Fetch):
            if not isinstance(operation, op.Select | op.FetchMany | op.Count | op.Exists):
                seen.clear()
            return await execute(operation)
        key = (operation.info, operation.key)
        if key not in seen:
            seen[key] = await execute(operation)
        return seen[key]

    return around


# -- faults of writes ------------------------------------------------------------------------------------------------------------------


def stored(kind: type[Any], change: Change) -> Fault:
    """Change every value of a type that is written."""

    def changed(value: Any) -> Any:
        return change(value) if isinstance(value, kind) else value

    def write(operation: Any) -> Any:
        if isinstance(operation, op.Insert | op.InsertAbsent | op.Upsert):
            return operation._replace(row=tuple(map(changed, operation.row)))
        if isinstance(operation, op.InsertMany):
            return operation._replace(rows=[tuple(map(changed, row)) for row in operation.rows])
        if isinstance(operation, op.Update):
            return operation._replace(values=tuple(map(changed, operation.values)))
        return operation

    return Fault(operation=write)


def _stripped(text: str) -> str:
    return text.rstrip(" ")


def _milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _as_float(number: Decimal) -> Decimal:
    return Decimal(repr(float(number))) if len(number.as_tuple().digits) > 15 else number


def _whole_days(span: timedelta) -> timedelta:
    return timedelta(days=span.days)


async def _update_dropped(execute: Execute, operation: Any) -> Any:
    return True if isinstance(operation, op.Update) and len(operation.info.key) > 1 else await execute(operation)


def _without_version(operation: Any) -> Any:
    return operation._replace(version=None) if isinstance(operation, op.Update | op.Delete) else operation


async def _update_creates(execute: Execute, operation: Any) -> Any:
    done = await execute(operation)
    if done or not isinstance(operation, op.Update) or operation.version is not None:
        return done
    given = dict(zip((*operation.info.key, *operation.fields), (*operation.key, *operation.values), strict=True))
    await execute(op.Insert(operation.info, tuple(given.get(spec, "" if spec.name == "name" else 0) for spec in operation.info.fields)))
    return True


async def _upsert_by_unique(execute: Execute, operation: Any) -> Any:
    if isinstance(operation, op.Upsert) and operation.info.name == "suite_member" and operation.row[1] is not None:
        email = operation.info.by_name["email"]
        await execute(op.DeleteWhere(operation.info, Leaf(email, (), email.type, "eq", operation.row[email.position])))
    return await execute(operation)


async def _create_overwrites(execute: Execute, operation: Any) -> Any:
    if isinstance(operation, op.Insert):
        await execute(op.Upsert(operation.info, operation.row, (), ()))
        return None if operation.info.generated is None else operation.row[operation.info.generated.position]
    return await execute(operation)


async def _count_changes_only(execute: Execute, operation: Any) -> Any:
    if not isinstance(operation, op.UpdateWhere):
        return await execute(operation)
    same = And(
        tuple(Leaf(spec, (), spec.type, "eq", value) for spec, value in operation.assignments.items() if not isinstance(value, tuple))
    )
    unchanged = await execute(op.Count(operation.info, And((operation.predicate, same)))) if same.items else 0
    return await execute(operation) - unchanged


async def _bulk_halfway(execute: Execute, operation: Any) -> Any:
    if not isinstance(operation, op.InsertMany) or len(operation.rows) <= 1000:
        return await execute(operation)
    for start in range(0, len(operation.rows), 1000):
        await execute(operation._replace(rows=operation.rows[start : start + 1000]))
    return None


# -- faults of transactions ------------------------------------------------------------------------------------------------------------


def _without_nowait(operation: Any) -> Any:
    lock = getattr(operation, "lock", None)
    return operation if lock is None else operation._replace(lock=lock._replace(nowait=False))


def _without_locks(operation: Any) -> Any:
    return operation._replace(lock=None) if getattr(operation, "lock", None) is not None else operation


async def _nothing(*_: Any) -> None:
    pass


def _leak(_: Any) -> Any:
    return lambda: None


NOTHING_DECLARED = frozenset[Capability]()

WRONG: Mapping[str, Callable[[], Fault]] = {
    "ignores a filter": lambda: leaves(_ignore_between),
    "compares case-insensitively": lambda: leaves(_without_case),
    "drops None from inequality": lambda: Fault(operation=_drop_none),
    "ignores None in membership": lambda: leaves(_without_none),
    "takes % for a wildcard": lambda: leaves(_with_wildcards),
    "counts months from zero": lambda: leaves(_month_of_local_time),
    "sorts nulls first": lambda: selects(_nulls_first),
    "breaks no ties": lambda: selects(_without_tie_breaks),
    "ignores the offset": lambda: selects(lambda select: select._replace(offset=None)),
    "limits before it filters": lambda: Fault(around=_limit_first),
    "counts with a limit": lambda: Fault(around=_count_capped),
    "returns shared objects": lambda: Fault(around=_shared({})),
    "strips trailing spaces": lambda: stored(str, _stripped),
    "loses microseconds": lambda: stored(datetime, _milliseconds),
    "keeps decimals as floats": lambda: stored(Decimal, _as_float),
    "loses the time of timedeltas": lambda: stored(timedelta, _whole_days),
    "drops updates by composite keys": lambda: Fault(around=_update_dropped),
    "ignores the version": lambda: Fault(operation=_without_version),
    "creates what an update misses": lambda: Fault(around=_update_creates),
    "upserts by a unique field": lambda: Fault(around=_upsert_by_unique),
    "overwrites on create": lambda: Fault(around=_create_overwrites),
    "counts changed rows, not matched ones": lambda: Fault(around=_count_changes_only),
    "stops bulk writes halfway": lambda: Fault(around=_bulk_halfway),
    "commits on error": lambda: Fault(broken={"rollback": lambda inner: inner.commit}),
    "ignores nowait": lambda: Fault(operation=_without_nowait),
    "ignores locks": lambda: Fault(operation=_without_locks),
    "leaks the right to write on cancel": lambda: Fault(broken={"abandon": _leak}),
    "undoes nothing at a savepoint": lambda: Fault(broken={"rollback_to": lambda _: _nothing}),
    "writes in read-only sessions": lambda: Fault(begin=lambda options: BeginOptions(options.isolation, timeout=options.timeout)),
    "has no snapshots": lambda: Fault(begin=lambda options: BeginOptions(None, options.read_only)),
}
