"""What an operation will send, in words; no value is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from holdall.query import operations as op
from holdall.record.metadata import ModelInfo
from holdall.stores.dynamodb.layout import Layout
from holdall.stores.dynamodb.reading import Plan, Reads, Request
from holdall.stores.dynamodb.where import check_assignments, counts_up

_SINGLE: Mapping[type[Any], str] = {
    op.Fetch: "GetItem",
    op.FetchMany: "BatchGetItem",
    op.Insert: "PutItem",
    op.InsertMany: "TransactWriteItems",
    op.InsertAbsent: "PutItem",
    op.Upsert: "PutItem",
    op.Update: "UpdateItem",
    op.Delete: "DeleteItem",
    op.DeleteMany: "DeleteItem",
}
_WRITES = (op.Insert, op.InsertAbsent, op.Upsert, op.Update, op.Delete, op.DeleteMany)
_EXPRESSIONS = (
    ("KeyConditionExpression", "key condition"),
    ("FilterExpression", "filter"),
    ("ProjectionExpression", "attributes"),
)


def explain(reads: Reads, layout_of: Callable[[ModelInfo], Layout], operation: Any, budget: int) -> str:
    """Return the requests of an operation. ``budget`` bounds those of a query with a limit.

    Raises:
        UnsupportedOperation: there is no way to carry it out.
    """
    if isinstance(operation, op.Select | op.Count | op.Exists | op.UpdateWhere | op.DeleteWhere):
        plan = reads.plan(operation)
        if isinstance(operation, op.UpdateWhere):
            check_assignments(plan.layout, operation, by_key=plan.is_by_key)
        return "\n".join(_of_plan(plan, operation, budget))
    if isinstance(operation, op.Batch):
        return f"TransactWriteItems of {len(operation.writes)} records and their unique values"
    layout = layout_of(operation.info)
    name = "TransactWriteItems" if layout.info.uniques and isinstance(operation, _WRITES) else _SINGLE[type(operation)]
    return f"{name} of table {layout.table!r}"


def _of_plan(plan: Plan, operation: Any, budget: int) -> Iterable[str]:
    path = plan.path
    if path is None:
        yield "nothing is sent"
        return
    if isinstance(operation, op.UpdateWhere) and counts_up(plan, operation):
        yield f"UpdateItem of table {plan.layout.table!r} by 1 key, on the condition that the record matches"
        yield "requests: 1, and when the condition fails a read that tells why"
        return
    if path.kind == "get" and path.rest is True:
        yield f"{'GetItem' if len(plan.keys) == 1 else 'BatchGetItem'} of table {plan.layout.table!r} by {len(plan.keys)} keys"
        yield f"requests: {-(-len(plan.keys) // 100)}, and those for what the service leaves out"
    elif path.kind == "unique":
        yield f"GetItem of table {plan.layout.side!r}, then Query of table {plan.layout.table!r} by the key of the owner"
        yield "consistency: strong"
        yield "requests: 2, and a third to be sure when the record does not match"
    else:
        yield from _of_request(plan.requests[0])
        yield _bound(len(plan.requests), operation, budget)
    if isinstance(operation, op.UpdateWhere | op.DeleteWhere):
        yield "then one write for each record, on the condition that it still matches"


def _of_request(request: Request) -> Iterable[str]:
    body = request.body
    where = f"index {body['IndexName']!r} of table {body['TableName']!r}" if "IndexName" in body else f"table {body['TableName']!r}"
    backward = ", backwards" if body.get("ScanIndexForward") is False else ""
    yield f"{request.target} of {where}{backward}"
    names: Mapping[str, str] = body.get("ExpressionAttributeNames", {})
    for part, title in _EXPRESSIONS:
        if part in body:
            text = body[part]
            for placeholder in sorted(names, key=len, reverse=True):
                text = text.replace(placeholder, names[placeholder])
            yield f"{title}: {text}"
    if request.surplus is not None:
        yield f"left out: the one item at the end of the range of {request.surplus[0]!r}"
    yield f"consistency: {'strong' if body.get('ConsistentRead') else 'eventual'}"


def _bound(lookups: int, operation: Any, budget: int) -> str:
    limit = operation.limit if isinstance(operation, op.Select) else None
    shown = f"{lookups} lookup{'s' * (lookups != 1)}"
    if limit is not None:
        return f"requests: {budget} at most, which is the request_budget, for {shown} and a limit"
    return f"requests: {shown}, each of one request per MB that is read"
