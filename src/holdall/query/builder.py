"""``QueryBuilder``: an immutable description of a query; awaiting it, or one of its terminal methods, runs it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Self, TypeVar, cast

import pydantic

from holdall.errors import CorruptRecordError, MultipleResultsError, NotFoundError, QueryError
from holdall.query import cursors
from holdall.query.expressions import Column, Condition, Order
from holdall.query.operations import Count, DeleteWhere, Exists, Lock, Select, UpdateWhere
from holdall.query.planner import is_empty
from holdall.query.predicates import TRUE, And, Leaf, Not, OrderTerm, Predicate
from holdall.query.resolve import resolve_all, resolve_assignments, resolve_order, total_order
from holdall.query.runner import Explanation, Runner
from holdall.query.search import Asked, Fuzziness, SearchBuilder
from holdall.query.stream import Stream
from holdall.query.writes import stamped
from holdall.record.decoder import shape_fields, shape_specs
from holdall.record.metadata import ModelInfo
from holdall.record.record import validate

T_co = TypeVar("T_co", covariant=True)
V = TypeVar("V")
_MOST = 2**63 - 1  # what every store takes as a limit


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """One page of a query.

    Attributes:
        items: at most ``size`` objects.
        next, previous: cursors for ``page(after=…)``; None at the ends.
    """

    items: list[T_co]
    next: str | None
    previous: str | None


class QueryBuilder(Generic[T_co]):
    """A query of one model. Every method but the terminal coroutines returns a new query and does no I/O."""

    __slots__ = (
        "_consistent",
        "_info",
        "_limit",
        "_local_rows",
        "_lock",
        "_names",
        "_offset",
        "_order",
        "_predicate",
        "_runner",
        "_scan",
        "_shape",
    )

    def __init__(self, runner: Runner, info: ModelInfo) -> None:
        self._runner = runner
        self._info = info
        self._predicate: Predicate = TRUE
        self._order: tuple[OrderTerm, ...] | None = None
        self._limit: int | None = None
        self._offset: int | None = None
        self._lock: Lock | None = None
        self._names: tuple[str, ...] | None = None
        self._shape: Any = None
        self._scan = False
        self._consistent = False
        self._local_rows: int | None = None

    def _with(self, **changed: Any) -> Self:
        made = object.__new__(type(self))
        for name in QueryBuilder.__slots__:  # a third of the time of copy.copy
            setattr(made, name, getattr(self, name))
        for name, value in changed.items():
            setattr(made, name, value)
        return made

    # -- describing ------------------------------------------------------------------------------------------------------------------

    def filter(self, *conditions: Condition, **lookups: object) -> Self:
        """Keep what matches all conditions and lookups, besides those before.

        Raises:
            QueryError: an unknown field or operator, or a value of another type.
            ValidationError: a value that no store may keep.
        """
        return self._and(resolve_all(self._info, conditions, lookups))

    def exclude(self, *conditions: Condition, **lookups: object) -> Self:
        """Keep what does not match them all: the exact complement of ``filter`` with the same arguments."""
        return self._and(Not(resolve_all(self._info, conditions, lookups)))

    def _and(self, predicate: Predicate) -> Self:
        before = self._predicate
        if isinstance(before, And) and not before.items:
            return self._with(_predicate=predicate)
        return self._with(_predicate=And((*before.items, predicate) if isinstance(before, And) else (before, predicate)))

    def order_by(self, *terms: str | Order | Column[Any]) -> Self:
        """Order by names (``-name`` descends) or ``col(…).asc()`` and ``desc()``; replaces the order before. None comes last."""
        return self._with(_order=resolve_order(self._info, terms))

    def limit(self, count: int) -> Self:
        """Give at most that many."""
        return self._with(_limit=_number("limit", count))

    def offset(self, count: int) -> Self:
        """Skip that many."""
        return self._with(_offset=_number("offset", count))

    def for_update(self, *, nowait: bool = False, skip_locked: bool = False) -> Self:
        """Lock what is read until the session's transaction ends; needs a session.

        ``nowait`` raises ``LockNotAvailable`` instead of waiting; ``skip_locked`` leaves out what others have locked.
        """
        if nowait and skip_locked:
            msg = "for_update() takes nowait or skip_locked, not both"
            raise QueryError(msg)
        return self._with(_lock=Lock(nowait, skip_locked))

    def allow_scan(self) -> Self:
        """Permit reading a whole table where the store has no other way. Stores that choose their own way need no permission."""
        return self._with(_scan=True)

    def consistent(self) -> Self:
        """Demand an answer that shows every write acknowledged before. Most stores give no other; one whose indexes lag reads the table."""
        return self._with(_consistent=True)

    def allow_local(self, *, max_rows: int) -> Self:
        """Permit to finish the query on the client, over at most that many rows. Stores that can do all of it themselves do."""
        return self._with(_local_rows=_number("max_rows", max_rows))

    def values(self, *names: str) -> QueryBuilder[dict[str, Any]]:
        """Give dicts of these fields; without names, of all."""
        wanted = names or tuple(spec.name for spec in self._info.fields)
        for name in wanted:
            self._info.field(name)
        return cast("QueryBuilder[dict[str, Any]]", self._with(_names=tuple(dict.fromkeys(wanted)), _shape=dict))

    def into(self, shape: type[V]) -> QueryBuilder[V]:
        """Give instances of a dataclass, ``msgspec.Struct``, ``NamedTuple``, ``TypedDict`` or pydantic model; only its fields are read."""
        names = shape_fields(shape)
        shape_specs(self._info, names, shape)
        return cast("QueryBuilder[V]", self._with(_names=names, _shape=shape))

    def search(
        self,
        text: str | None = None,
        *,
        fields: Iterable[str] = (),
        operator: Literal["or", "and"] = "or",
        fuzziness: Fuzziness | None = None,
    ) -> SearchBuilder[T_co]:
        """Search what matches for a text, ranked; without one, for facets and suggestions alone.

        Args:
            fields: where to look; those with ``Field(search=…)`` unless told.
            operator: "and" wants all words in one field, "or" any.
            fuzziness: how many letters of a word may differ; "auto" goes by its length.

        Raises:
            QueryError: a field that cannot be searched.
        """
        if self._lock is not None:
            msg = "search() takes no for_update(); read what it finds with a lock"
            raise QueryError(msg)
        asked = Asked(self._runner, self._info, self._predicate, self._order or (), self._names, self._shape, self._limit, self._offset)
        builder: SearchBuilder[T_co] = SearchBuilder(asked)
        return builder if text is None else builder.search(text, fields=fields, operator=operator, fuzziness=fuzziness)

    # -- running ---------------------------------------------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, list[T_co]]:
        """Run the query, as ``all()``."""
        return self.all().__await__()

    async def all(self, *, strict: bool = False, cache: bool | None = None) -> list[T_co]:
        """Return what matches.

        Args:
            strict: validate every object again; raises ``CorruptRecordError``.
            cache: True gives the session's answer to the same query, where it has one, with the same objects, and lets it keep this one;
                False asks the database in any case. None is as the session was opened (``query_cache``).

        Raises:
            QueryError: ``cache=True`` outside a session.
        """
        operation = self._select()
        if cache is not None:
            operation = operation._replace(cache=cache)
        found: list[T_co] = [] if is_empty(operation) else await self._runner.run_operation(operation)
        return _validated(self._info, found) if strict and self._shape is None else found

    async def first(self) -> T_co | None:
        """Return the first, by the order or else by key; None when nothing matches."""
        found: list[T_co] = await self._with(_limit=1 if self._limit is None else min(1, self._limit)).all()
        return found[0] if found else None

    async def last(self) -> T_co | None:
        """Return the last, by the order or else by key; None when nothing matches."""
        self._refuse_window("last()")
        order = tuple(term.reversed() for term in total_order(self._info, self._stated_order()))
        return await self._with(_order=order).first()

    async def one(self) -> T_co:
        """Return the only one that matches.

        Raises:
            NotFoundError: there is none.
            MultipleResultsError: there are several.
        """
        found = await self.one_or_none()
        if found is None:
            raise NotFoundError(self._info.label)
        return found

    async def one_or_none(self) -> T_co | None:
        """Return the only one that matches, or None; raises ``MultipleResultsError``."""
        query = self._with(_limit=2 if self._limit is None else min(2, self._limit))
        operation = query._select()  # noqa: SLF001  - the class's own
        if self._limit is None and self._offset is None:
            operation = operation._replace(order=())  # which two they are does not matter
        found: list[T_co] = [] if is_empty(operation) else await self._runner.run_operation(operation)
        if len(found) > 1:
            raise MultipleResultsError(self._info.label)
        return found[0] if found else None

    async def get(self, key: Any) -> T_co:
        """Return the one with this key, if it matches; raises ``NotFoundError``."""
        plain = self._info.plain_key(key)
        leaves = (Leaf(spec, (), spec.type, "eq", value) for spec, value in zip(self._info.key, plain, strict=True))
        found: list[T_co] = await self._and(And(tuple(leaves)))
        if not found:
            raise NotFoundError(self._info.label, key)
        return found[0]

    async def count(self) -> int:
        """Return how many match, exactly."""
        self._refuse_window("count()")
        operation = Count(self._info, self._predicate, self._scan, self._consistent)
        return 0 if is_empty(operation) else cast("int", await self._runner.run_operation(operation))

    async def exists(self) -> bool:
        """Tell whether anything matches."""
        self._refuse_window("exists()")
        operation = Exists(self._info, self._predicate, self._scan, self._consistent)
        return False if is_empty(operation) else cast("bool", await self._runner.run_operation(operation))

    async def update(self, **values: object) -> int:
        """Change all that match, in one statement; return how many.

        Values may be ``F`` expressions. Versions are counted up, and ``auto_now`` fields set.
        """
        self._refuse_window("update()")
        operation = UpdateWhere(self._info, self._predicate, stamped(self._info, resolve_assignments(self._info, values)), self._scan)
        return 0 if is_empty(operation) else cast("int", await self._runner.run_operation(operation))

    async def delete(self) -> int:
        """Remove all that match, in one statement; return how many."""
        self._refuse_window("delete()")
        operation = DeleteWhere(self._info, self._predicate, self._scan)
        return 0 if is_empty(operation) else cast("int", await self._runner.run_operation(operation))

    def stream(self, *, batch: int = 500) -> Stream[T_co]:
        """Return an async iterator that holds at most one batch of that many objects."""
        rows = _number("batch", batch, least=1)
        operation = self._select()
        return Stream(None if is_empty(operation) else lambda: self._runner.open_stream(operation, rows))

    async def page(self, *, size: int = 50, after: str | None = None) -> Page[T_co]:
        """Return a page by keyset: it is stable under ties, None and inserts, and costs the same at any depth.

        Args:
            size: how many at most.
            after: ``next`` or ``previous`` of a page of the same query.

        Raises:
            QueryError: the cursor was changed, or is another query's.
        """
        size = _number("size", size, least=1)
        self._refuse_window("page()")
        order = total_order(self._info, self._stated_order())
        digest = cursors.fingerprint(self._info.name, describe(self._predicate), [(term.field.name, *term[1:]) for term in order])
        key = self._runner.cursor_key
        position = None if after is None else cursors.read(after, digest, order, key)
        backward = position is not None and position.backward
        operation = self._page_operation(order, position, min(size, _MOST - 1) + 1)
        rows: list[Any] = [] if is_empty(operation) else await self._runner.run_operation(operation)
        more, rows = len(rows) > size, rows[:size]
        if backward:
            rows.reverse()
        pairs = [(item, place) for item, place in rows] if self._shape is not None else [(item, _place(item, order)) for item in rows]

        def cursor(index: int, *, backward: bool) -> str:
            return cursors.write(digest, order, cursors.Position(pairs[index][1], backward), key)

        has_next = bool(pairs) and (more or backward)
        has_previous = bool(pairs) and (position is not None if not backward else more)
        return Page(
            [item for item, _ in pairs],
            cursor(-1, backward=False) if has_next else None,
            cursor(0, backward=True) if has_previous else None,
        )

    def _page_operation(self, order: tuple[OrderTerm, ...], position: cursors.Position | None, limit: int) -> Select:
        operation = self._with(_order=order, _limit=limit)._select(placed=order)  # noqa: SLF001  - the class's own
        if position is None:
            return operation
        if position.backward:
            order = tuple(term.reversed() for term in order)
        return operation._replace(order=order, after=position.values)

    def explain(self) -> Explanation:
        """Say, without I/O, what ``all()`` would send and what it needs. No value is shown."""
        return self._runner.explain_operation(self._select())

    # -- refusing what would mislead ---------------------------------------------------------------------------------------------------

    def __bool__(self) -> NoReturn:
        """Refuse: it would hide I/O."""
        msg = "a query has no truth value; use 'await query.exists()'"
        raise TypeError(msg)

    if not TYPE_CHECKING:  # else they would accept len() and for

        def __len__(self) -> int:
            """Refuse: it would hide I/O."""
            msg = "len() of a query would hide I/O; use 'await query.count()', or len() of the awaited list"
            raise TypeError(msg)

        def __iter__(self) -> Any:
            """Refuse: it would hide I/O."""
            msg = "a query is not iterated by a plain 'for'; use 'for … in await query', or 'async for … in query.stream()'"
            raise TypeError(msg)

        def __aiter__(self) -> Any:
            """Refuse: say how."""
            msg = "use 'async for … in query.stream()'"
            raise TypeError(msg)

    def _refuse_window(self, what: str) -> None:
        if self._limit is not None or self._offset is not None:
            msg = f"{what} acts on all that matches, and this query has a limit or an offset; leave them out"
            raise QueryError(msg)

    # -- operations ------------------------------------------------------------------------------------------------------------------

    def _stated_order(self) -> tuple[OrderTerm, ...]:
        return resolve_order(self._info, self._info.order_by) if self._order is None else self._order

    def _select(self, placed: tuple[OrderTerm, ...] | None = None) -> Select:
        order = self._stated_order()
        if order or self._limit is not None or self._offset is not None:
            order = total_order(self._info, order)
        shape: Any = self._shape
        names = self._names
        if placed is not None and names is not None:
            names, shape = (*names, *(term.field.name for term in placed if term.field.name not in names)), Placed(shape, names, placed)
        decoder = self._runner.decoder(self._info, names, shape)
        found = Select(self._info, self._predicate, decoder, order, self._limit, self._offset, None, self._lock)
        return found._replace(scan=self._scan, consistent=self._consistent) if self._scan or self._consistent else found


class Placed:
    """A shape together with the values that place it in an order, for the cursors of pages."""

    def __init__(self, shape: Any, names: tuple[str, ...], order: tuple[OrderTerm, ...]) -> None:
        self._key = (shape, names, tuple(term.field.name for term in order))
        # A pydantic model's constructor would validate; loading does not.
        self._make: Callable[..., Any] = shape
        if isinstance(shape, type) and issubclass(shape, pydantic.BaseModel):
            self._make = shape.model_construct
        self._names = names
        self._order = order

    def __eq__(self, other: object) -> bool:
        """Compare by shape and order."""
        return isinstance(other, Placed) and self._key == other._key

    def __hash__(self) -> int:
        """Hash by shape and order."""
        return hash(self._key)

    def __call__(self, **values: Any) -> tuple[Any, tuple[Any, ...]]:
        """Return (the object, its place)."""
        place = tuple(_plain(term, values[term.field.name]) for term in self._order)
        return self._make(**{name: values[name] for name in self._names}), place


def _plain(term: OrderTerm, value: Any) -> Any:
    return None if value is None else term.field.plain(value)


def _place(item: Any, order: tuple[OrderTerm, ...]) -> tuple[Any, ...]:
    values = item.__dict__
    return tuple(_plain(term, values[term.field.name]) for term in order)


def _number(name: str, value: object, *, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        msg = f"{name} is a number from {least}, not {value!r}"
        raise QueryError(msg)
    return min(value, _MOST)


def describe(predicate: Predicate) -> Any:
    """Return a condition as plain data whose ``repr`` is the same in every process."""
    if isinstance(predicate, Leaf):
        # A set has another order in every process.
        value = sorted(map(repr, predicate.value)) if predicate.operator in ("in", "has_any", "has_all") else predicate.value
        return (predicate.field.name, predicate.path, predicate.operator, value)
    items: Iterable[Predicate] = (predicate.item,) if isinstance(predicate, Not) else predicate.items
    return (type(predicate).__name__, *(describe(item) for item in items))


def _validated(info: ModelInfo, found: list[V]) -> list[V]:
    for item in found:
        validate_again(info, item)
    return found


def validate_again(info: ModelInfo, item: Any) -> None:
    """Run pydantic's validation over a loaded object, for ``strict=True``.

    Raises:
        CorruptRecordError: it does not pass.
    """
    values = item.__dict__
    try:
        validate(info.model, {name: _unpacked(values[name]) for name in info.by_name})
    except pydantic.ValidationError as exc:
        first = exc.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else info.key[0].name
        key = tuple(values[spec.name] for spec in info.key)
        raise CorruptRecordError(info.label, key[0] if len(key) == 1 else key, field, first["msg"]) from exc


def _unpacked(value: Any) -> Any:
    """Return a value with nested models as dicts, because pydantic takes an instance for valid whatever it holds."""
    if isinstance(value, pydantic.BaseModel):
        return {name: _unpacked(item) for name, item in {**value.__dict__, **(value.__pydantic_extra__ or {})}.items()}
    if isinstance(value, dict):
        found: dict[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]  - isinstance knows no item types
        return {key: _unpacked(item) for key, item in found.items()}
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return [_unpacked(item) for item in items]
    return value
