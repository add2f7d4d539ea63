"""The query cache of a session: the same query asked again is answered with the same objects, without the database.

It stands in front of the session's transaction, so that statements reach it in their turn: of identical reads that tasks start together,
one runs and the others find its answer. A write to the model of a query, a delete that reaches it through references, raw SQL and a
savepoint that is undone drop the answers that they may have made wrong. Reads by key are no queries, and always run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple, cast

from holdall.query.operations import Count, Delete, DeleteMany, DeleteWhere, Exists, Fetch, FetchMany, Operation, Raw, Select
from holdall.query.predicates import Leaf, Not, Predicate
from holdall.query.stream import RowStream
from holdall.record.metadata import ModelInfo
from holdall.store import Transaction

MAX_ANSWERS = 1000

Query = Select | Count | Exists


class _Answer(NamedTuple):
    info: ModelInfo
    number: int  # of the answer, in the order in which they were kept
    found: Any


class QueryCache:
    """A transaction in front of another that keeps the answers of queries until the transaction ends.

    ``inner`` gives the other one for each statement. ``every`` keeps the answers of all queries that do not say ``cache=False``; otherwise
    only of those that say ``cache=True``.
    """

    def __init__(self, inner: Callable[[], Transaction], *, every: bool) -> None:
        self._inner = inner
        self._every = every
        self._answers: dict[Any, _Answer] = {}  # the oldest first
        self._number = 0
        self._savepoints: list[tuple[str, int]] = []

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open now."""
        return self._inner().is_open

    async def execute(self, operation: Operation) -> Any:
        """Answer a query, from before if it was asked before; let anything else drop what it may change."""
        if isinstance(operation, Select | Count | Exists):
            return await (self._answer(operation) if self._kept(operation) else self._inner().execute(operation))
        if not isinstance(operation, Fetch | FetchMany):
            self._drop_changed_by(operation)
        return await self._inner().execute(operation)

    async def stream(self, operation: Select, batch: int) -> RowStream:
        """Start a query; its rows are not kept."""
        return await self._inner().stream(operation, batch)

    def _kept(self, operation: Query) -> bool:
        if not isinstance(operation, Select):
            return self._every
        # A locking read is made for its effect.
        return operation.lock is None and (self._every if operation.cache is None else operation.cache)

    async def _answer(self, operation: Query) -> Any:
        key = _key(operation)
        answer = self._answers.get(key)
        if answer is None:
            found = await self._inner().execute(operation)
            if len(self._answers) >= MAX_ANSWERS:
                del self._answers[next(iter(self._answers))]
            self._number += 1
            answer = self._answers[key] = _Answer(operation.info, self._number, found)
        # The objects are shared; the list is the caller's own.
        return list(answer.found) if isinstance(operation, Select) else answer.found

    # -- what makes answers wrong ------------------------------------------------------------------------------------------------------

    def _drop_changed_by(self, operation: Operation) -> None:
        if not self._answers:
            return
        if isinstance(operation, Raw):
            self._answers.clear()  # nobody knows what raw SQL changes
            return
        name = operation.info.name
        deletes = isinstance(operation, Delete | DeleteMany | DeleteWhere)
        self._answers = {key: answer for key, answer in self._answers.items() if not _touches(answer.info, name, deletes=deletes)}

    async def commit(self) -> None:
        """Commit; the next transaction may see other data."""
        self.forget()
        await self._inner().commit()

    async def rollback(self) -> None:
        """Roll back, and forget what was seen."""
        self.forget()
        await self._inner().rollback()

    def abandon(self) -> None:
        """Roll back without waiting, and forget what was seen."""
        self.forget()
        self._inner().abandon()

    def forget(self) -> None:
        """Drop every answer."""
        self._answers.clear()
        self._savepoints.clear()

    async def savepoint(self, name: str) -> None:
        """Set a savepoint, and remember which answers are from before it."""
        await self._inner().savepoint(name)
        self._savepoints.append((name, self._number))

    async def release(self, name: str) -> None:
        """Give up a savepoint."""
        self._number_at(name)
        await self._inner().release(name)

    async def rollback_to(self, name: str) -> None:
        """Undo what was done since a savepoint, and drop the answers that may have seen it."""
        number = self._number_at(name)
        self._answers = {key: answer for key, answer in self._answers.items() if answer.number <= number}
        await self._inner().rollback_to(name)

    def _number_at(self, name: str) -> int:
        """Take a savepoint out, and those inside it; one from before the cache was there precedes every answer."""
        while self._savepoints:
            found, number = self._savepoints.pop()
            if found == name:
                return number
        return 0


def _touches(info: ModelInfo, name: str, *, deletes: bool) -> bool:
    """Tell whether a write to a table may change records of the model. Several models may share a table, so that names are compared."""
    return info.name == name or (deletes and name in _cascading_into(info))


@lru_cache(maxsize=1024)
def _cascading_into(info: ModelInfo) -> frozenset[str]:
    """Return the tables of which a deleted record may remove or change records of the model, through any number of references."""
    found: set[str] = set()
    waiting = [info]
    while waiting:
        for spec, target in waiting.pop().references:
            reference = spec.reference
            if reference is not None and reference.enforce and reference.on_delete != "restrict" and target.name not in found:
                found.add(target.name)
                waiting.append(target)
    return frozenset(found)


# -- when two queries are the same -----------------------------------------------------------------------------------------------------


def _key(operation: Query) -> Any:
    """Return what tells the query from others: kind, model, condition with typed values, and, of what it gives, shape, order and window."""
    key = (type(operation), operation.info, _condition(operation.predicate))
    if not isinstance(operation, Select):
        return key
    order = tuple((term.field.name, term.descending, term.nulls_first) for term in operation.order)
    return (*key, operation.decoder, order, operation.limit, operation.offset, _typed(operation.after))


def _condition(predicate: Predicate) -> Any:
    if isinstance(predicate, Leaf):
        return (predicate.field.name, predicate.path, predicate.operator, _typed(predicate.value))
    items = (predicate.item,) if isinstance(predicate, Not) else predicate.items
    return (type(predicate), *(_condition(item) for item in items))


def _typed(value: Any) -> Any:
    """Return the value with its type, because 1, True, 1.0 and Decimal(1) are equal and mean different things."""
    if isinstance(value, tuple | list):
        return (tuple, *[_typed(item) for item in cast("Iterable[Any]", value)])
    return (type(value), value)
