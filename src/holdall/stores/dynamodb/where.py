"""Updates and deletes by query: the records are found, then written one by one, each on the condition that it still matches.

That is exact for each record, and not atomic over all of them. What cannot be kept so is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Context, Decimal
from functools import partial
from typing import Any

from holdall.errors import SerializationError, UnsupportedOperation, ValidationError
from holdall.query import operations as op
from holdall.query import oracle
from holdall.query.planner import Normal, normalise
from holdall.query.predicates import Arithmetic
from holdall.record.metadata import FieldSpec
from holdall.record.types import Kind
from holdall.record.values import INT_MAX, INT_MIN
from holdall.stores.dynamodb.conditions import exists
from holdall.stores.dynamodb.expressions import Names, Node, atom, compiled, every, limited, updating
from holdall.stores.dynamodb.layout import Layout
from holdall.stores.dynamodb.reading import Body, Plan
from holdall.stores.dynamodb.sending import Sender, together
from holdall.stores.dynamodb.transport import ServiceError
from holdall.stores.dynamodb.uniques import Uniques
from holdall.stores.dynamodb.values import Item, codec_of
from holdall.stores.dynamodb.writing import DeleteWrite, UpdateWrite

Row = Sequence[Any]
_ATTEMPTS = 50
_EXACT = Context(prec=100)


async def update_where(context: Any, operation: op.UpdateWhere) -> int:
    """Change every record that matches; return how many."""
    plan: Plan = context.reads.plan(operation)
    layout = plan.layout
    check_assignments(layout, operation, by_key=plan.is_by_key)
    if plan.path is None:
        return 0
    normal = normalise(operation.predicate)
    if counts_up(plan, operation):
        found = await _add(context.sender, plan, operation, normal)
        if found is not None:
            return found
    found_rows = [layout.plain(item) for item in await context.sender.items(plan, operation)]
    # A record whose key in an index moves is met twice, and must not be counted up twice.
    rows = list({_key(layout, row): row for row in found_rows}.values())
    changes = [_values(layout, operation.assignments, row) for row in rows]  # all are checked before the first is written
    done = await together(partial(_change, context.sender, plan, operation, *each) for each in zip(rows, changes, strict=True))
    return sum(done)


def check_assignments(layout: Layout, operation: op.UpdateWhere, *, by_key: bool) -> None:
    """Refuse what an update of records one by one cannot keep, whatever is stored.

    Raises:
        UnsupportedOperation: the kind of assignment. LimitExceeded, ValidationError: its value.
    """
    label = layout.info.label
    uniques = {spec for specs in layout.info.uniques for spec in specs}
    for spec, value in operation.assignments.items():
        if isinstance(value, Arithmetic) and spec.type.kind is Kind.FLOAT:
            msg = f"cannot compute the float {label}.{spec.name} by F on dynamodb, whose sums are decimal; read it, change it and save it"
            raise UnsupportedOperation(msg)
        if spec in uniques and not by_key:
            msg = (
                f"cannot update the unique field {label}.{spec.name} by a query on dynamodb, where the records before one whose value is "
                "taken would stay changed; filter by the whole key, or save the records one by one"
            )
            raise UnsupportedOperation(msg)
    literals = {
        spec: value for spec, value in operation.assignments.items() if value is not None and not isinstance(value, Arithmetic | FieldSpec)
    }
    for spec, value in literals.items():
        codec_of(spec).value(value)  # raises for what the service cannot keep
    Uniques(layout, {}, None).changes(None, [literals.get(spec) for spec in layout.info.fields])


async def delete_where(context: Any, operation: op.DeleteWhere) -> int:
    """Remove every record that matches; return how many."""
    plan: Plan = context.reads.plan(operation)
    if plan.path is None:
        return 0
    done = 0
    async for items in context.sender.pages(plan, operation):
        rows = [plan.layout.plain(item) for item in items]
        done += sum(await together(partial(_remove, context.sender, plan, operation, row) for row in rows))
    return done


# -- one record ------------------------------------------------------------------------------------------------------------------------


def _key(layout: Layout, row: Row) -> op.Key:
    return tuple([row[spec.position] for spec in layout.info.key])


def _values(layout: Layout, assignments: Mapping[FieldSpec, Any], row: Row) -> dict[FieldSpec, Any]:
    """Return the plain values that a record of this row gets.

    Raises:
        ValidationError: one does not fit its field.
    """
    found: dict[FieldSpec, Any] = {}
    label = layout.info.label
    for spec, expression in assignments.items():
        value = oracle.compute(expression, row)
        if value is None and not spec.nullable:
            msg = "None in a field that cannot be None"
            raise ValidationError(msg, model=label, field=spec.name)
        found[spec] = value if value is expression and not spec.bounds else oracle.check_rules(spec, spec.python(value), label)
    return found


def _sources(expression: Any) -> Iterable[FieldSpec]:
    if isinstance(expression, FieldSpec):
        yield expression
    elif isinstance(expression, Arithmetic):
        yield from _sources(expression.left)
        yield from _sources(expression.right)


async def _change(sender: Sender, plan: Plan, operation: op.UpdateWhere, row: Row, values: Mapping[FieldSpec, Any]) -> bool:
    layout, normal = plan.layout, normalise(operation.predicate)
    sources = {spec for expression in operation.assignments.values() for spec in _sources(expression)}
    for _ in range(_ATTEMPTS):
        update = op.Update(layout.info, _key(layout, row), tuple(values), tuple(values.values()), None, tuple(row))
        write = UpdateWrite(layout, update, plan.now, normal, frozenset(sources))
        reasons = await sender.send(write.actions())
        if reasons is None:
            return True
        again = _again(operation, write.failed(reasons), write.before)
        if again is None:
            return False
        row = again
        values = _values(layout, operation.assignments, row)
    raise _unsettled(layout)


async def _remove(sender: Sender, plan: Plan, operation: op.DeleteWhere, row: Row) -> bool:
    layout, normal = plan.layout, normalise(operation.predicate)
    for _ in range(_ATTEMPTS):
        write = DeleteWrite(layout, op.Delete(layout.info, _key(layout, row), None, tuple(row)), plan.now, normal)
        reasons = await sender.send(write.actions())
        if reasons is None:
            return True
        again = _again(operation, write.failed(reasons), write.before)
        if again is None:
            return False
        row = again
    raise _unsettled(layout)


def _again(operation: Any, outcome: Any, before: Row | None) -> Row | None:
    """Return the row to try again with, or None when the record is gone or matches no more."""
    if outcome is not None and outcome.error is not None:
        raise outcome.error
    if outcome is not None and not outcome.again:
        return None
    return before if before is not None and oracle.matches(operation.predicate, before) else None


def _unsettled(layout: Layout) -> SerializationError:
    return SerializationError(f"the write of {layout.info.label} met others of the same record {_ATTEMPTS} times; try it later")


# -- counting up by one request --------------------------------------------------------------------------------------------------------


def counts_up(plan: Plan, operation: op.UpdateWhere) -> bool:
    """Tell whether one request can do it."""
    return plan.is_by_key and _is_plain(plan.layout, operation.assignments)


def _is_plain(layout: Layout, assignments: Mapping[FieldSpec, Any]) -> bool:
    """Tell whether all that is computed is a field plus or minus a number, and no index or unique value depends on what changes."""
    uniques = {spec for specs in layout.info.uniques for spec in specs}
    computed = [(spec, value) for spec, value in assignments.items() if isinstance(value, Arithmetic | FieldSpec)]
    if not computed or any(layout.dependants[spec] or spec in uniques or spec is layout.info.expires for spec in assignments):
        return False
    return all(_step(spec, value) is not None for spec, value in computed)


def _step(spec: FieldSpec, value: Any) -> Any:
    """Return what is added to a field, or None."""
    if not isinstance(value, Arithmetic) or spec.type.kind not in (Kind.INT, Kind.DECIMAL):
        return None
    if value.left is spec and not isinstance(value.right, Arithmetic | FieldSpec):
        return {"+": value.right, "-": _negative(value.right)}.get(value.operator)
    if value.right is spec and value.operator == "+" and not isinstance(value.left, Arithmetic | FieldSpec):
        return value.left
    return None


def _negative(value: Any) -> Any:
    return value.copy_negate() if isinstance(value, Decimal) else -value  # the minus of a Decimal rounds to 28 digits


async def _add(sender: Sender, plan: Plan, operation: op.UpdateWhere, normal: Normal) -> int | None:
    """Count up fields of one record by one request; None when that did not go, so that somebody has to look why."""
    layout = plan.layout
    names = Names()
    sets: list[str] = []
    removes: list[str] = []
    conditions: list[Node] = [exists(layout, names, plan.now), compiled(normal, names)]
    for spec, value in operation.assignments.items():
        path = names.path(spec, ())
        step = _step(spec, value)
        if step is not None:
            sets.append(f"{path} = {path} + {names.value(codec_of(spec).value(step))}")
            low, high = _limits(spec, step)
            conditions.append(atom(f"{path} BETWEEN {names.value(low)} AND {names.value(high)}"))
        elif value is None:
            removes.append(path)
        else:
            _values(layout, {spec: value}, ())
            sets.append(f"{path} = {names.value(codec_of(spec).value(value))}")
    text = updating(sets, removes, layout.info.label)
    body: Body = {"TableName": layout.table, "Key": plan.keys[0] if plan.keys else _lookup_key(plan), "UpdateExpression": text}
    body["ConditionExpression"] = limited(every(conditions), f"a write of {layout.info.label}")
    try:
        await sender.transport.call("UpdateItem", names.fill(body))
    except ServiceError as error:
        if error.name != "ConditionalCheckFailedException":
            raise
        return None
    return 1


def _lookup_key(plan: Plan) -> Item:
    assert plan.path is not None
    values = plan.path.lookups[0].values
    return {key.attribute: key.value(values.__getitem__) for key in plan.layout.place.keys}


def _limits(spec: FieldSpec, step: Any) -> tuple[Item, Item]:
    """Return between which values a field may be so that it keeps its rules when the step is added."""
    least, most = _bounds(spec)
    write = codec_of(spec).value
    if spec.type.kind is Kind.DECIMAL:
        return write(_EXACT.subtract(least, step)), write(_EXACT.subtract(most, step))
    return write(least - step), write(most - step)


def _bounds(spec: FieldSpec) -> tuple[Any, Any]:
    """Return the least and the greatest value of a field of whole numbers or decimals."""
    if spec.type.kind is Kind.DECIMAL:
        unit = _EXACT.scaleb(Decimal(1), -spec.type.places)
        high = _EXACT.multiply(Decimal(10**spec.type.digits - 1), unit)
        return _narrowed(spec, _EXACT.minus(high), high, lambda bound, by: _EXACT.add(Decimal(bound), by * unit))
    return _narrowed(spec, INT_MIN, INT_MAX, _whole)


def _whole(bound: Any, by: int) -> int:
    whole: int = math.floor(bound) if by > 0 or bound == math.floor(bound) else math.ceil(bound)
    return whole + by


def _narrowed(spec: FieldSpec, low: Any, high: Any, moved: Callable[[Any, int], Any]) -> tuple[Any, Any]:
    for bound in spec.bounds:
        if bound.operator in (">=", ">"):
            low = max(low, moved(bound.value, int(bound.operator == ">")))
        elif bound.operator in ("<=", "<"):
            high = min(high, moved(bound.value, -int(bound.operator == "<")))
    return low, high
