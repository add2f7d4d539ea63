"""How each operation is carried out: one function each, in one table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from holdall.errors import DuplicateKeyError, HoldallError, SerializationError
from holdall.pool import own_copy
from holdall.query import operations as op
from holdall.record.metadata import ModelInfo
from holdall.stores.dynamodb.capabilities import MOST_ACTIONS, MOST_REQUEST_BYTES
from holdall.stores.dynamodb.conditions import Outcome, Write, is_failed
from holdall.stores.dynamodb.errors import fail
from holdall.stores.dynamodb.layout import Layout
from holdall.stores.dynamodb.reading import Reads, now_of
from holdall.stores.dynamodb.sending import Sender, refuse_too_large, together
from holdall.stores.dynamodb.transport import OutcomeUnknown, ServiceError
from holdall.stores.dynamodb.uniques import duplicate
from holdall.stores.dynamodb.values import Item
from holdall.stores.dynamodb.where import delete_where, update_where
from holdall.stores.dynamodb.writing import DeleteWrite, InsertWrite, UpdateWrite, UpsertWrite, in_batch


class Context(NamedTuple):
    """What carries out an operation."""

    sender: Sender
    reads: Reads
    layout_of: Callable[[ModelInfo], Layout]
    consistent: bool


Run = Callable[[Context, Any], Awaitable[Any]]
_BATCH_ATTEMPTS = 10


def decoded(layout: Layout, operation: Any, items: Sequence[Item]) -> list[Any]:
    """Return the objects of items."""
    row = layout.row if operation.decoder.tracks else layout.row_of(operation.decoder.fields)
    return operation.decoder.many([row(item) for item in items])  # type: ignore[no-any-return]


async def _fetch(context: Context, operation: op.Fetch) -> Any:
    layout = context.layout_of(operation.info)
    item = await context.sender.item(layout, layout.key(operation.key), consistent=context.consistent)
    if item is None or not layout.is_live(item, now_of(layout)):
        return None
    return operation.decoder.one(layout.row(item))


async def _fetch_many(context: Context, operation: op.FetchMany) -> list[Any]:
    layout = context.layout_of(operation.info)
    now = now_of(layout)
    found = await context.sender.by_keys(layout, [layout.key(key) for key in operation.keys], consistent=context.consistent)
    if now is not None or layout.entity is not None:
        found = [item for item in found if layout.is_live(item, now)]
    return decoded(layout, operation, found)


async def _select(context: Context, operation: op.Select) -> list[Any]:
    plan = context.reads.plan(operation)
    return decoded(plan.layout, operation, await context.sender.items(plan, operation, operation.limit))


async def _count(context: Context, operation: op.Count) -> int:
    return await context.sender.count(context.reads.plan(operation), operation)


async def _exists(context: Context, operation: op.Exists) -> bool:
    return await context.sender.count(context.reads.plan(operation), operation, most=1) > 0


# -- single writes ---------------------------------------------------------------------------------------------------------------------


async def _insert(context: Context, operation: op.Insert) -> None:
    layout = context.layout_of(operation.info)
    await context.sender.run(InsertWrite(layout, operation.row, now_of(layout)))


async def _insert_absent(context: Context, operation: op.InsertAbsent) -> tuple[bool, None]:
    try:
        await _insert(context, op.Insert(operation.info, operation.row))
    except DuplicateKeyError as error:
        if error.fields == tuple(spec.name for spec in operation.unique):
            return False, None
        raise
    return True, None


async def _upsert(context: Context, operation: op.Upsert) -> Any:
    layout = context.layout_of(operation.info)
    return await context.sender.run(UpsertWrite(layout, operation, now_of(layout)))


async def _learn(context: Context, write: UpdateWrite | DeleteWrite, key: op.Key) -> bool:
    """Read what is stored, for a write that has to know it; return whether there is anything."""
    if not write.needs_before:
        return True
    layout = context.layout_of(write.info)
    item = await context.sender.item(layout, layout.key(key), consistent=True)
    if item is None or not layout.is_live(item, now_of(layout)):
        return False
    write.before = layout.plain(item)
    return True


async def _update(context: Context, operation: op.Update) -> bool:
    layout = context.layout_of(operation.info)
    write = UpdateWrite(layout, operation, now_of(layout))
    return await _learn(context, write, operation.key) and await context.sender.run(write)


async def _delete(context: Context, operation: op.Delete) -> bool:
    layout = context.layout_of(operation.info)
    write = DeleteWrite(layout, operation, now_of(layout))
    return await _learn(context, write, operation.key) and await context.sender.run(write)


# -- bulk writes -----------------------------------------------------------------------------------------------------------------------


async def _insert_many(context: Context, operation: op.InsertMany) -> None:
    """Store the rows by transactions of what fits one. An error says which rows were stored before."""
    layout = context.layout_of(operation.info)
    _refuse_repeated(layout.info, operation.rows)
    now = now_of(layout)
    writes = [InsertWrite(layout, row, now) for row in operation.rows]
    done = 0
    try:
        for chunk in _chunks(writes):
            await _insert_chunk(context, chunk)
            done += len(chunk)
    except HoldallError as error:
        error.written = range(done)
        raise


async def _insert_chunk(context: Context, writes: Sequence[InsertWrite]) -> None:
    groups = [write.actions() for write in writes]
    try:
        reasons = await context.sender.send([action for group in groups for action in group])
    except (ServiceError, OutcomeUnknown, OSError) as error:
        fail(error, writes[0].info.label)  # here, because the error has to say what was written before
    if reasons is None:
        return
    for outcome in _outcomes(writes, groups, reasons):
        if outcome is not None and outcome.error is not None:
            raise outcome.error


def _outcomes(writes: Sequence[Write], groups: Sequence[Sequence[Any]], reasons: Sequence[Mapping[str, Any]]) -> list[Outcome | None]:
    found: list[Outcome | None] = []
    at = 0
    for write, group in zip(writes, groups, strict=True):
        mine = reasons[at : at + len(group)]
        found.append(write.failed(mine) if any(map(is_failed, mine)) else None)
        at += len(group)
    return found


def _chunks(writes: Sequence[InsertWrite]) -> list[list[InsertWrite]]:
    """Divide writes so that each part is one transaction, in actions and in bytes."""
    found: list[list[InsertWrite]] = [[]]
    actions = size = 0
    for write in writes:
        if actions + write.weight > MOST_ACTIONS or size + write.size > MOST_REQUEST_BYTES:
            found.append([])
            actions = size = 0
        found[-1].append(write)
        actions += write.weight
        size += write.size
    return found


def _refuse_repeated(info: ModelInfo, rows: Sequence[Sequence[Any]]) -> None:
    """Refuse rows of the same key or unique value before any is written: a transaction takes each item once."""
    for specs in (info.key, *info.uniques):
        seen: set[tuple[Any, ...]] = set()
        for row in rows:
            values = tuple([row[spec.position] for spec in specs])
            if values in seen and None not in values:
                raise duplicate(info, specs, row)
            seen.add(values)


async def _delete_many(context: Context, operation: op.DeleteMany) -> int:
    async def remove(key: op.Key) -> bool:
        return await _delete(context, op.Delete(operation.info, key, None))

    return sum(await together(partial(remove, key) for key in operation.keys))


async def _batch(context: Context, operation: op.Batch) -> list[Any]:
    """Send the writes as one transaction."""
    layouts = [context.layout_of(single.info) for single in operation.writes]
    writes: list[Any] = [
        _WRITES[type(single)](layout, single, now_of(layout)) for layout, single in zip(layouts, operation.writes, strict=True)
    ]
    sides = frozenset(layout.side for layout in layouts)
    # Before what is stored is read for them, they have this many actions at least.
    groups = [write.actions() for write in writes]
    _refuse_taken_twice(writes, groups, sides)
    refuse_too_large(_folded([action for group in groups for action in group], sides))
    for single, write in zip(operation.writes, writes, strict=True):
        if isinstance(single, op.Update | op.Delete):
            await _learn(context, write, single.key)
    for attempt in range(_BATCH_ATTEMPTS):
        groups = [write.actions() for write in writes]
        _refuse_taken_twice(writes, groups, sides)
        actions = _folded([action for group in groups for action in group], sides)
        refuse_too_large(actions)
        reasons = await context.sender.send(actions, with_token=True)
        if reasons is None:
            return [write.done() for write in writes]
        outcomes = _outcomes(writes, groups, _unfolded(groups, reasons, sides))
        errors = [
            None if outcome is None or outcome.again else in_batch(write, outcome) for write, outcome in zip(writes, outcomes, strict=True)
        ]
        # A value that is taken may be given up by a write that does not know yet what is stored.
        is_sure = not any(outcome is not None and outcome.again for outcome in outcomes)
        if any(errors) and (is_sure or attempt == _BATCH_ATTEMPTS - 1):
            raise _batch_error(errors)
        gone = [place for place, outcome in enumerate(outcomes) if outcome is not None and outcome.error is None and not outcome.again]
        if gone and not any(errors):
            return await _without(context, operation, gone)
        await context.sender.transport.pause(attempt // 2)
    raise SerializationError("the batch met others of the same records again and again; try it later")


def _batch_error(errors: Sequence[HoldallError | None]) -> HoldallError:
    first = next(error for error in errors if error is not None)
    raised: Any = own_copy(first)  # an error that holds itself could not be pickled
    raised.reasons = list(errors)
    return raised  # type: ignore[no-any-return]


async def _without(context: Context, operation: op.Batch, gone: Sequence[int]) -> list[Any]:
    """Send a batch again without the deletes whose records are gone, which give False."""
    left = [write for place, write in enumerate(operation.writes) if place not in gone]
    results = iter(await _batch(context, op.Batch(left)) if left else [])
    return [False if place in gone else next(results) for place in range(len(operation.writes))]


_WRITES: Mapping[type[Any], Callable[[Layout, Any, str | None], Any]] = {
    op.Insert: lambda layout, operation, now: InsertWrite(layout, operation.row, now),
    op.Upsert: UpsertWrite,
    op.Update: UpdateWrite,
    op.Delete: DeleteWrite,
}


def _place_of(action: Mapping[str, Any], sides: Container[str]) -> tuple[Any, ...] | None:
    """Return what tells a reservation from others; None for an action of a record."""
    ((_, body),) = action.items()
    table: str = body["TableName"]
    return (table, (body.get("Key") or body["Item"])["u"]["S"]) if table in sides else None


def _folded(actions: Sequence[Any], sides: Container[str]) -> list[Any]:
    """Make one action of the two by which one record gives up a unique value and another takes it: an item may occur once."""
    found: dict[Any, Any] = {}
    for number, action in enumerate(actions):
        place = _place_of(action, sides)
        key = number if place is None else place
        other = found.get(key)
        found[key] = action if other is None else _taken_over(action, other)
    return list(found.values())


def _taken_over(one: Any, other: Any) -> Any:
    put, delete = (one, other) if "Put" in one else (other, one)
    if "Put" not in put:
        return put  # two give up one value: what one of them believes of itself is out of date, which its own condition tells
    body, gives = dict(put["Put"]), delete["Delete"]
    for part in ("ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues"):
        body[part] = gives[part]
    return {"Put": body}


def _refuse_taken_twice(writes: Sequence[Any], groups: Sequence[Sequence[Any]], sides: Container[str]) -> None:
    """Refuse writes that take a value which one before them takes; raises ``DuplicateKeyError`` with the reasons of all."""
    seen: set[Any] = set()
    reasons: list[Any] = []
    for action in (action for group in groups for action in group):
        place = _place_of(action, sides) if "Put" in action else None
        reasons.append({"Code": "ConditionalCheckFailed" if place in seen else "None"})
        if place is not None:
            seen.add(place)
    if any(map(is_failed, reasons)):
        raise _batch_error([None if outcome is None else outcome.error for outcome in _outcomes(writes, groups, reasons)])


def _unfolded(groups: Sequence[Sequence[Any]], reasons: Sequence[Any], sides: Container[str]) -> list[Any]:
    """Return one reason for each action before they were folded."""
    actions = [action for group in groups for action in group]
    places: dict[Any, int] = {}
    found: list[Any] = []
    for number, action in enumerate(actions):
        place = _place_of(action, sides)
        key = number if place is None else place
        found.append(reasons[places.setdefault(key, len(places))])
    return found


RUN: Mapping[type[Any], Run] = {
    op.Fetch: _fetch,
    op.FetchMany: _fetch_many,
    op.Select: _select,
    op.Count: _count,
    op.Exists: _exists,
    op.Insert: _insert,
    op.InsertMany: _insert_many,
    op.InsertAbsent: _insert_absent,
    op.Upsert: _upsert,
    op.Update: _update,
    op.Delete: _delete,
    op.DeleteMany: _delete_many,
    op.UpdateWhere: update_where,
    op.DeleteWhere: delete_where,
    op.Batch: _batch,
}
