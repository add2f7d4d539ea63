"""Updates and deletes of all that a query matches, exact while others write.

The server's own ``_update_by_query`` misses what is not refreshed and skips, or stops at, what others change. So: refresh, read ids and
sequence numbers at a point in time, write each record on the condition that it is as it was read, and look again at those that were not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdall.errors import BackendError, HoldallError, ValidationError
from holdall.query import operations as op
from holdall.query import oracle
from holdall.query.predicates import Arithmetic
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.stores.opensearch.client import Pauses, is_busy
from holdall.stores.opensearch.compiler import WINDOW, Query, filtered
from holdall.stores.opensearch.errors import error_of_item, index_is_gone, translate
from holdall.stores.opensearch.mapping import Row
from holdall.stores.opensearch.reading import PAGE
from holdall.stores.opensearch.requests import CONFLICT, MISSING, Lines, ModelRequests, Run
from holdall.stores.opensearch.unique import Held, Reservations, claims_of
from holdall.stores.opensearch.writing import replace


@dataclass(frozen=True)
class Plan:
    """What is done to each record that matches.

    Attributes:
        predicate: compiled.
        fields: of the documents that are read: True for all, False for none.
        action: "update" or "delete".
        body: from a document to the body of its action, or None.
        unique: the documents hold values whose reservations go with them.
        each: writes one record as it was read, instead of all of a page at once; False when it has changed meanwhile.
    """

    predicate: Query
    fields: bool
    action: str
    body: Callable[[Mapping[str, Any]], Any] | None
    unique: bool
    each: Callable[[Mapping[str, Any]], Awaitable[bool]] | None = None


class _Round:
    """One pass over what matches; the ids that are to be looked at again."""

    def __init__(self) -> None:
        self.conflicts: list[str] = []
        self.interrupted = False


async def update_where(requests: ModelRequests, operation: op.UpdateWhere) -> int:
    """Change every record that matches."""
    info, shape = requests.info, requests.shape
    assignments = dict(operation.assignments)
    predicate = requests.compiler.filter(operation.predicate)
    constants = {spec: value for spec, value in assignments.items() if not isinstance(value, Arithmetic | FieldSpec)}
    shape.check(list(constants), list(constants.values()))
    part = shape.part(list(constants), list(constants.values())) if constants else {}
    if any(set(assignments).intersection(fields) for fields in info.uniques):
        return await _update_unique_where(requests, predicate, assignments)
    if len(constants) == len(assignments):
        constant = {"doc": part}
        return await _apply(requests, Plan(predicate, False, "update", lambda _: constant, unique=False))
    return await _update_computed(requests, predicate, assignments)


async def _update_computed(requests: ModelRequests, predicate: Query, assignments: Mapping[FieldSpec, Any]) -> int:
    """Compute here, on the condition that the record is as it was read: Painless would wrap a sum around, and round a Decimal."""
    fields = list(assignments)

    def body(source: Mapping[str, Any]) -> dict[str, Any]:
        return {"doc": requests.shape.part(fields, values_of(requests, assignments, source))}

    plan = Plan(predicate, True, "update", body, unique=False)
    if _can_fail(requests.info, assignments):
        await _check_all(requests, plan)  # so that a value that does not fit stops all before anything is written
    return await _apply(requests, plan)


def _can_fail(info: ModelInfo, assignments: Mapping[FieldSpec, Any]) -> bool:
    """Tell whether a computed value may not fit; the version, which every update counts up, is no reason to read everything twice."""
    return any(isinstance(value, Arithmetic | FieldSpec) for spec, value in assignments.items() if spec is not info.version)


def values_of(requests: ModelRequests, assignments: Mapping[FieldSpec, Any], source: Mapping[str, Any]) -> list[Any]:
    """Return the plain values that assignments give a document; raises ``ValidationError``."""
    row = requests.shape.plain_row(source)
    return [_computed(requests.info, spec, expression, row) for spec, expression in assignments.items()]


def _computed(info: ModelInfo, spec: FieldSpec, expression: Any, row: Row) -> Any:
    value = oracle.compute(expression, row)
    if value is expression:
        return value
    if value is None and spec is info.version:
        return 1  # of a record that was stored before its model had a version
    if value is None and not spec.nullable:
        raise ValidationError("None in a field that cannot be None", model=info.label, field=spec.name)
    return oracle.check_rules(spec, value, info.label)


async def _check_all(requests: ModelRequests, plan: Plan) -> None:
    body = plan.body
    assert body is not None

    async def check(hits: Sequence[Any]) -> None:
        for hit in hits:
            body(hit["_source"])

    while not await whole_pass(requests, plan, None, check):
        pass  # the index was exchanged for a new one


async def delete_where(requests: ModelRequests, operation: op.DeleteWhere) -> int:
    """Remove every record that matches, and the reservations of its unique values."""
    predicate = requests.compiler.filter(operation.predicate)
    unique = bool(requests.info.uniques)
    return await _apply(requests, Plan(predicate, unique, "delete", None, unique))


# -- the loop --------------------------------------------------------------------------------------------------------------------------


class _Scan:
    """What matches, page by page, with sequence numbers, at one point in time."""

    def __init__(self, requests: ModelRequests, plan: Plan, ids: Sequence[str] | None) -> None:
        query = filtered(plan.predicate)
        if ids is not None:
            query = {"bool": {"filter": [plan.predicate, {"ids": {"values": list(ids)}}]}}
        self._requests = requests
        self._point: str | None = None
        self._body: dict[str, Any] = {
            "size": PAGE,
            "query": query,
            "sort": requests.compiler.sort(requests.compiler.key_order()),
            "_source": plan.fields,
            "seq_no_primary_term": True,
            "track_total_hits": False,
        }

    @property
    def began(self) -> bool:
        return self._point is not None

    async def next(self) -> list[Any]:
        if self._point is None:
            self._point = await self._requests.open_point()
        return await self._requests.page(self._point, self._body)

    async def close(self) -> None:
        point, self._point = self._point, None
        if point is not None:
            await self._requests.close_point(point)

    def abandon(self) -> None:
        point, self._point = self._point, None
        if point is not None:
            self._requests.abandon_point(point)


async def _apply(requests: ModelRequests, plan: Plan) -> int:
    done: set[str] = set()
    ids: list[str] | None = None
    pauses = Pauses(requests.settings.retry_timeout)
    while True:
        before = len(done)
        found = await _round(requests, plan, ids, done)
        if not found.conflicts and not found.interrupted:
            return len(done)
        ids = None if found.interrupted or len(found.conflicts) > WINDOW else found.conflicts
        if len(done) > before:
            pauses = Pauses(requests.settings.retry_timeout)  # it goes on
        if not await pauses.wait():
            raise BackendError(
                f"{requests.info.label}: others changed {len(found.conflicts)} records again and again; {len(done)} are done"
            )


async def _round(requests: ModelRequests, plan: Plan, ids: Sequence[str] | None, done: set[str]) -> _Round:
    """Go over what matches once."""
    state = _Round()

    async def write(hits: Sequence[Any]) -> None:
        await _write(requests, plan, [hit for hit in hits if hit["_id"] not in done], done, state)

    if not await whole_pass(requests, plan, ids, write):
        state.interrupted = True
    return state


async def whole_pass(
    requests: ModelRequests, plan: Plan, ids: Sequence[str] | None, work: Callable[[Sequence[Any]], Awaitable[None]]
) -> bool:
    """Give all pages to ``work``; False when a new index has taken the old one's place meanwhile."""
    await requests.refresh()
    scan = _Scan(requests, plan, ids)
    try:
        while hits := await scan.next():
            await work(hits)
    except BaseException as error:
        began = scan.began
        scan.abandon()
        if began and isinstance(error, HoldallError) and index_is_gone(error.__cause__):
            return False
        raise
    await scan.close()
    return True


async def _write(requests: ModelRequests, plan: Plan, hits: Sequence[Any], done: set[str], state: _Round) -> None:
    """Write some records as they were read; they are all of one index."""
    if plan.each is not None:
        for hit in hits:
            if await plan.each(hit):
                done.add(hit["_id"])
            else:
                state.conflicts.append(hit["_id"])
        return
    for some, lines in list(_bounded(requests, plan, hits)):
        await _write_some(requests, plan, some, lines, done, state)


def _bounded(requests: ModelRequests, plan: Plan, hits: Sequence[Any]) -> Iterator[tuple[list[Any], Lines]]:
    """Divide records by what one bulk request carries."""
    some: list[Any] = []
    lines = Lines()
    for hit in hits:
        condition = {"_id": hit["_id"], "if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]}
        lines.add({plan.action: condition}, None if plan.body is None else plan.body(hit["_source"] if plan.fields else {}))
        some.append(hit)
        if len(lines.buffer) >= requests.settings.bulk_bytes:
            yield some, lines
            some, lines = [], Lines()
    if some:
        yield some, lines


async def _write_some(requests: ModelRequests, plan: Plan, hits: Sequence[Any], lines: Lines, done: set[str], state: _Round) -> None:
    reserved = {item.claim.id: item for item in await _reserved(requests, hits)} if plan.unique else {}
    try:
        items = await requests.bulk(lines, index=hits[0]["_index"])
    except HoldallError as exc:
        exc.written = ()  # places in this page, which nobody knows
        raise
    applied: list[Any] = []
    for hit, item in zip(hits, items, strict=True):
        if "error" not in item and item["status"] < 300:
            done.add(hit["_id"])
            applied.append(hit)
        elif item["status"] == CONFLICT or ("error" in item and is_busy(error_of_item(item))):
            state.conflicts.append(hit["_id"])
        elif item["status"] != MISSING:
            error = error_of_item(item)
            raise translate(error, requests.info.label) from error
        elif "error" in item and index_is_gone(error_of_item(item)):
            state.interrupted = True
    if plan.unique:
        shape = requests.shape
        gone = [id for hit in applied for id in claims_of(shape, shape.plain_row(hit["_source"]))]
        await Reservations(requests).release([reserved[id] for id in gone if id in reserved])


async def _reserved(requests: ModelRequests, hits: Iterable[Any]) -> list[Held]:
    """Return the reservations that go with records."""
    shape = requests.shape
    claims = [(claim, hit["_id"]) for hit in hits for claim in claims_of(shape, shape.plain_row(hit["_source"])).values()]
    return await Reservations(requests).owned(claims)


async def _update_unique_where(requests: ModelRequests, predicate: Query, assignments: Mapping[FieldSpec, Any]) -> int:
    """Change unique fields: record by record, each with its reservations."""
    shape, fields = requests.shape, tuple(assignments)

    async def change(hit: Mapping[str, Any]) -> bool:
        values = values_of(requests, assignments, hit["_source"])
        after = list(shape.plain_row(hit["_source"]))
        for spec, value in zip(fields, values, strict=True):
            after[spec.position] = value
        return await replace(requests, hit, tuple(after), shape.part(fields, values))

    plan = Plan(predicate, True, "update", lambda source: values_of(requests, assignments, source), unique=True, each=change)
    await _check_all(requests, plan)
    return await _apply(requests, plan)


WRITES: Run = {op.UpdateWhere: update_where, op.DeleteWhere: delete_where}
