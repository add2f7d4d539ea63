"""Plans carried out: requests one behind the other, pages followed, writes made anew until they fit what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from holdall.errors import HoldallError, LimitExceeded, SerializationError
from holdall.query import oracle
from holdall.stores.dynamodb.capabilities import MOST_ACTIONS, MOST_KEYS, MOST_REQUEST_BYTES
from holdall.stores.dynamodb.conditions import Action, Write, action_size, is_failed
from holdall.stores.dynamodb.layout import Layout
from holdall.stores.dynamodb.reading import Body, Plan, Reads, Request
from holdall.stores.dynamodb.transport import ServiceError, Transport
from holdall.stores.dynamodb.uniques import Uniques
from holdall.stores.dynamodb.values import Item

T = TypeVar("T")
_AT_ONCE = 16
_ATTEMPTS = 30
_LARGEST_LIMIT = 2**31 - 1
_SINGLE = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}


async def together(work: Iterable[Callable[[], Awaitable[T]]], at_once: int = _AT_ONCE) -> list[T]:
    """Carry out several things, some at once, and return their results in order.

    After an error nothing more is begun. It is raised when all that was begun is over.
    """
    turns = asyncio.Semaphore(at_once)
    failed = False

    async def in_turn(step: Callable[[], Awaitable[T]]) -> T | None:
        nonlocal failed
        async with turns:
            if failed:
                return None
            try:
                return await step()
            except BaseException:  # also a cancel, behind which nothing more is begun
                failed = True
                raise

    found = await asyncio.gather(*map(in_turn, work), return_exceptions=True)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return found  # type: ignore[return-value]  # no error is among them


class Reader:
    """Follows the pages of the requests of a plan.

    Args:
        size: how many items one request may look at; None leaves it to the service.
        budget: how many requests may be sent; None for any number.
    """

    def __init__(self, transport: Transport, requests: Sequence[Request], size: int | None, budget: int | None = None) -> None:
        self._transport = transport
        self._requests = list(requests)
        self._size = size
        self._budget = budget
        self._sent = 0
        self._start: Item | None = None

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to ask."""
        return not self._requests

    async def next(self, wanted: int | None = None) -> Any:
        """Send the next request and return its answer; ``wanted`` says how many items will do."""
        request = self._requests[0]
        self._sent += 1
        if self._budget is not None and self._sent > self._budget:
            raise LimitExceeded(
                "the requests of a query with a limit, whose filter leaves out most of what is read (narrow it by a key or an index, or "
                "raise request_budget)",
                limit=self._budget,
                value=self._sent,
            )
        body = dict(request.body)
        if self._start is not None:
            body["ExclusiveStartKey"] = self._start
        size = self._size if request.is_filtered or request.surplus or wanted is None else min(wanted, self._size or wanted)
        if size is not None:
            body["Limit"] = min(size, _LARGEST_LIMIT)
        answer = await self._transport.call(request.target, body)
        self._start = answer.get("LastEvaluatedKey")
        if self._start is None:
            self._requests.pop(0)
        if request.surplus is not None and "Items" in answer:
            attribute, value = request.surplus
            answer["Items"] = [item for item in answer["Items"] if item.get(attribute) != value]
        return answer


class Sender:
    """Carries out the plans of one store on one transport."""

    def __init__(self, transport: Transport, reads: Reads, *, page_size: int | None, budget: int) -> None:
        self.transport = transport
        self._reads = reads
        self.page_size = page_size
        self._budget = budget

    # -- reading -----------------------------------------------------------------------------------------------------------------------

    async def item(self, layout: Layout, key: Item, *, consistent: bool) -> Item | None:
        """Return an item by its key, expired or not."""
        body: Body = {"TableName": layout.table, "Key": key}
        if consistent:
            body["ConsistentRead"] = True
        found: Item | None = (await self.transport.call("GetItem", body)).get("Item")
        return found

    async def items(self, plan: Plan, operation: Any, limit: int | None = None) -> list[Item]:
        """Return what a plan finds, up to a limit."""
        if plan.path is None:
            return []
        if plan.path.kind == "get" and plan.path.rest is True:
            return await self._by_keys(plan, limit)
        if plan.path.kind == "unique":
            return (await self._owned(plan, operation))[:limit]
        reader = Reader(self.transport, plan.requests, self.page_size, None if limit is None else self._budget)
        found: list[Item] = []
        while not reader.is_done and (limit is None or len(found) < limit):
            answer = await reader.next(None if limit is None else limit - len(found))
            found += answer["Items"]
        return found if limit is None else found[:limit]

    async def pages(self, plan: Plan, operation: Any) -> AsyncIterator[list[Item]]:
        """Give what a plan finds page by page, for those who go through all of it by themselves."""
        if plan.path is None or plan.path.kind == "unique" or (plan.path.kind == "get" and plan.path.rest is True):
            yield await self.items(plan, operation)
            return
        reader = Reader(self.transport, plan.requests, self.page_size)
        while not reader.is_done:
            yield (await reader.next())["Items"]

    async def _by_keys(self, plan: Plan, limit: int | None) -> list[Item]:
        layout, keys = plan.layout, plan.keys
        if len(keys) == 1:
            found: Sequence[Item | None] = [await self.item(layout, *keys, consistent=plan.consistent)]
        else:
            by_key = {_hashable(layout, item): item for item in await self.by_keys(layout, keys, consistent=plan.consistent)}
            found = [by_key.get(_hashable(layout, key)) for key in keys]
        items = [item for item in found if item is not None and layout.is_live(item, plan.now)]
        return items if limit is None else items[:limit]

    async def _owned(self, plan: Plan, operation: Any) -> list[Item]:
        """Return the record that holds a unique value, if it matches the rest. The value may move to another between two requests."""
        assert plan.path is not None
        layout = plan.layout
        row: list[Any] = [plan.path.values.get(spec) for spec in layout.info.fields]
        text = Uniques(layout, {}, None).reservation(plan.path.unique, row)
        side: Body = {"TableName": layout.side, "Key": {"u": {"S": text}}}
        found: Item | None = (await self.transport.call("GetItem", {**side, "ConsistentRead": True})).get("Item")
        if found is None:
            return []
        request = self._reads.by_owner(plan, found["k"]["M"], operation)
        items: list[Item] = (await Reader(self.transport, [request], None).next())["Items"]
        for _ in range(_ATTEMPTS):
            if items or found is None:
                break
            owner = found["k"]
            both = [{"Get": side}, {"Get": {"TableName": layout.table, "Key": owner["M"]}}]
            answers = (await self.transport.call("TransactGetItems", {"TransactItems": both}))["Responses"]
            found, item = [answer.get("Item") for answer in answers]
            if found is not None and found["k"] == owner:  # so that the record, of the same moment, is the right one
                return [item] if item and self._matches(plan, operation, item) else []
        else:
            raise SerializationError(f"a unique value of {layout.info.label} moved {_ATTEMPTS} times while it was read; try it later")
        return items

    @staticmethod
    def _matches(plan: Plan, operation: Any, item: Item) -> bool:
        return plan.layout.is_live(item, plan.now) and oracle.matches(operation.predicate, plan.layout.plain(item))

    async def by_keys(self, layout: Layout, keys: Sequence[Item], *, consistent: bool) -> list[Item]:
        """Return items by their keys, those that exist, in any order; expired ones as well."""
        if len(keys) <= MOST_KEYS:
            return await self._batch(layout, keys, consistent)
        chunks = [keys[start : start + MOST_KEYS] for start in range(0, len(keys), MOST_KEYS)]
        return [item for items in await together(partial(self._batch, layout, chunk, consistent) for chunk in chunks) for item in items]

    async def _batch(self, layout: Layout, keys: Sequence[Item], consistent: bool) -> list[Item]:  # noqa: FBT001  - of partial
        """Read up to a hundred keys; what the service leaves out is asked for again, after a pause, up to a bound."""
        wanted: Body = {layout.table: {"Keys": list(keys), "ConsistentRead": consistent}}
        found: list[Item] = []
        fruitless = 0
        while wanted:
            answer = await self.transport.call("BatchGetItem", {"RequestItems": wanted})
            items = answer.get("Responses", {}).get(layout.table, [])
            found += items
            wanted = answer.get("UnprocessedKeys") or {}
            if not wanted:
                break
            fruitless = 0 if items else fruitless + 1
            if fruitless >= 8:
                left = len(wanted[layout.table]["Keys"])
                raise ServiceError(
                    "ProvisionedThroughputExceededException", f"{left} keys were not read after {fruitless} attempts", 400, {}
                )
            await self.transport.pause(fruitless + 1)
        return found

    async def count(self, plan: Plan, operation: Any, *, most: int | None = None) -> int:
        """Count what a plan finds; ``most`` is enough."""
        if plan.path is None:
            return 0
        if plan.path.kind == "get" and plan.path.rest is True:
            return len(await self._by_keys(plan, None))
        if plan.path.kind == "unique":
            return len(await self._owned(plan, operation))
        reader = Reader(self.transport, plan.requests, self.page_size)
        found = 0
        while not reader.is_done and (most is None or found < most):
            answer = await reader.next(None if most is None else most - found)
            found += len(answer["Items"]) if "Items" in answer else answer["Count"]
        return found

    # -- writing -----------------------------------------------------------------------------------------------------------------------

    async def run(self, write: Write) -> Any:
        """Carry out one write, anew as often as what is stored has changed before it."""
        for attempt in range(_ATTEMPTS):
            reasons = await self.send(write.actions())
            outcome = None if reasons is None else write.failed(reasons)
            if reasons is None:
                return write.done()
            if outcome is None:
                break
            if outcome.error is not None:
                raise outcome.error
            if not outcome.again:
                return outcome.result
            if attempt > 1:
                await self.transport.pause(attempt // 4)
        raise _unsettled(write.info.label)

    async def send(self, actions: Sequence[Action], *, with_token: bool = False) -> list[dict[str, Any]] | None:
        """Send actions as one; return None, or one reason per action when a condition has failed.

        Args:
            with_token: a single action is a transaction, too, which costs twice as much, and can be repeated when its answer is lost.

        Raises:
            LimitExceeded: more actions than the service takes as one.
        """
        if len(actions) > MOST_ACTIONS:
            refuse_too_large(actions)
        try:
            if len(actions) == 1 and not with_token:
                ((kind, body),) = actions[0].items()
                await self.transport.call(_SINGLE[kind], body)
            else:
                await self.transport.call("TransactWriteItems", {"TransactItems": list(actions), "ClientRequestToken": str(uuid4())})
        except ServiceError as error:
            if error.name == "ConditionalCheckFailedException":
                return [{"Code": "ConditionalCheckFailed", "Item": error.body.get("Item")}]
            if any(map(is_failed, error.reasons)):
                return error.reasons
            raise
        return None


def refuse_too_large(actions: Sequence[Action]) -> None:
    """Refuse what the service does not take as one; raises ``LimitExceeded``."""
    if len(actions) > MOST_ACTIONS:
        raise LimitExceeded(
            "the actions of one transaction, which are its records and their unique values (divide it)",
            limit=MOST_ACTIONS,
            value=len(actions),
        )
    size = sum(action_size(action) for action in actions)
    if size > MOST_REQUEST_BYTES:
        raise LimitExceeded("the bytes of one transaction (divide it)", limit=MOST_REQUEST_BYTES, value=size)


def _unsettled(label: str) -> HoldallError:
    return SerializationError(f"the write of {label} met others of the same record {_ATTEMPTS} times; try it later")


def _hashable(layout: Layout, item: Item) -> tuple[Any, ...]:
    found: list[Any] = []
    for key in layout.place.keys:
        ((tag, text),) = item[key.attribute].items()
        found.append((tag, Decimal(text) if tag == "N" else text))
    return tuple(found)
