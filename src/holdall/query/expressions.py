"""What users write: columns, conditions, ``Q``, ``F`` and orders. Building them does no I/O and checks nothing but their form."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Generic, Literal, NoReturn, TypeAlias, TypeVar, cast, overload

from holdall.errors import QueryError

T = TypeVar("T")
V = TypeVar("V")
Nulls = Literal["first", "last"]


class Condition:
    """Something that holds for a record or not. Combine conditions by ``&``, ``|`` and ``~``."""

    __slots__ = ()

    def __and__(self, other: Condition) -> Condition:
        """Require both."""
        return _combine("and", self, other)

    def __or__(self, other: Condition) -> Condition:
        """Require at least one."""
        return _combine("or", self, other)

    def __invert__(self) -> Condition:
        """Negate the condition."""
        return Negation(self)

    def __bool__(self) -> NoReturn:
        """Refuse: a condition has no truth value."""
        msg = "a condition has no truth value; combine conditions by & | ~ instead of 'and', 'or', 'not', and do not chain comparisons"
        raise TypeError(msg)


def _combine(operator: Literal["and", "or"], left: Condition, right: object) -> Condition:
    if not isinstance(right, Condition):
        msg = f"a condition combines with conditions only, not with {right!r}"
        raise QueryError(msg)
    # Flat, so that thousands of conditions joined one by one do not nest thousands deep.
    return Combination(operator, (*_parts(operator, left), *_parts(operator, right)))


def _parts(operator: str, item: Condition) -> tuple[Condition, ...]:
    return item.items if isinstance(item, Combination) and item.operator == operator else (item,)


class Combination(Condition):
    """``and`` or ``or`` of conditions."""

    __slots__ = ("items", "operator")

    def __init__(self, operator: Literal["and", "or"], items: tuple[Condition, ...]) -> None:
        self.operator = operator
        self.items = items


class Negation(Condition):
    """The complement of a condition."""

    __slots__ = ("item",)

    def __init__(self, item: Condition) -> None:
        self.item = item


class Comparison(Condition):
    """A column, an operator by its lookup name, and a value."""

    __slots__ = ("column", "operator", "value")

    def __init__(self, column: Column[Any], operator: str, value: object) -> None:
        self.column = column
        self.operator = operator
        self.value = value


class Q(Condition):
    """Lookups as a condition: ``Q(age__gte=18) | Q(city="London")``. All of one ``Q`` must hold."""

    __slots__ = ("conditions", "lookups")

    def __init__(self, *conditions: Condition, **lookups: object) -> None:
        self.conditions = conditions
        self.lookups = lookups


class Order:
    """One term of an order."""

    __slots__ = ("column", "descending", "nulls")

    def __init__(self, column: Column[Any], *, descending: bool, nulls: Nulls) -> None:
        if nulls not in ("first", "last"):
            msg = f"nulls={nulls!r} is neither 'first' nor 'last'"
            raise QueryError(msg)
        self.column = column
        self.descending = descending
        self.nulls: Nulls = nulls


class Column(Generic[T]):
    """A field of a model, read on the class; ``col()`` gives it its type.

    ``column["a"]["b"]`` reaches into a document.
    """

    __slots__ = ("model", "name", "path")

    def __init__(self, model: type[Any], name: str, path: tuple[str | int, ...] = ()) -> None:
        self.model = model
        self.name = name
        self.path = path

    def __repr__(self) -> str:
        """Return ``Model.field``."""
        return f"{self.model.__name__}.{self.name}" + "".join(f"[{part!r}]" for part in self.path)

    def __bool__(self) -> NoReturn:
        """Refuse: a column has no truth value."""
        msg = f"{self!r} is a column and has no truth value; compare it, or call is_null()"
        raise TypeError(msg)

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Match equal values; with None: None."""
        return Comparison(self, "eq", other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Match exactly what is not equal, None included."""
        return Comparison(self, "ne", other)

    __hash__ = object.__hash__

    @overload
    def __gt__(self: DecimalColumn, other: Decimal | int) -> Condition: ...
    @overload
    def __gt__(self, other: T) -> Condition: ...
    def __gt__(self, other: object) -> Condition:
        """Match greater values, never None."""
        return Comparison(self, "gt", other)

    @overload
    def __ge__(self: DecimalColumn, other: Decimal | int) -> Condition: ...
    @overload
    def __ge__(self, other: T) -> Condition: ...
    def __ge__(self, other: object) -> Condition:
        """Match greater or equal values, never None."""
        return Comparison(self, "gte", other)

    @overload
    def __lt__(self: DecimalColumn, other: Decimal | int) -> Condition: ...
    @overload
    def __lt__(self, other: T) -> Condition: ...
    def __lt__(self, other: object) -> Condition:
        """Match lesser values, never None."""
        return Comparison(self, "lt", other)

    @overload
    def __le__(self: DecimalColumn, other: Decimal | int) -> Condition: ...
    @overload
    def __le__(self, other: T) -> Condition: ...
    def __le__(self, other: object) -> Condition:
        """Match lesser or equal values, never None."""
        return Comparison(self, "lte", other)

    def __getitem__(self, key: str | int) -> Column[Any]:
        """Reach into a document: a key of a dict, a member of a nested model, or an index of a list."""
        if not _is_step(key):
            msg = f"{self!r}[{key!r}]: a path goes by str keys, or by indexes from 0"
            raise QueryError(msg)
        return Column(self.model, self.name, (*self.path, key))

    def __iter__(self) -> NoReturn:
        """Refuse: a column cannot be iterated."""
        msg = f"{self!r} is a column and cannot be iterated"
        raise TypeError(msg)

    def in_(self, values: Iterable[T]) -> Condition:
        """Match any of the values; None may be among them."""
        return Comparison(self, "in", values)

    def not_in(self, values: Iterable[T]) -> Condition:
        """Match exactly what ``in_`` does not."""
        return Comparison(self, "not_in", values)

    @overload
    def between(self: DecimalColumn, low: Decimal | int, high: Decimal | int) -> Condition: ...
    @overload
    def between(self, low: T, high: T) -> Condition: ...
    def between(self, low: object, high: object) -> Condition:
        """Match from low to high, both included."""
        return Comparison(self, "between", (low, high))

    def is_null(self, value: bool = True) -> Condition:  # noqa: FBT001, FBT002
        """Match None; ``is_null(False)``: anything else."""
        return Comparison(self, "is_null", value)

    def contains(self, text: str) -> Condition:
        """Match where the text is a part, taken literally."""
        return Comparison(self, "contains", text)

    def icontains(self, text: str) -> Condition:
        """Match as ``contains``, after ``str.casefold`` of both."""
        return Comparison(self, "icontains", text)

    def startswith(self, text: str) -> Condition:
        """Match what begins with the text, taken literally."""
        return Comparison(self, "startswith", text)

    def istartswith(self, text: str) -> Condition:
        """Match as ``startswith``, after ``str.casefold`` of both."""
        return Comparison(self, "istartswith", text)

    def endswith(self, text: str) -> Condition:
        """Match what ends with the text, taken literally."""
        return Comparison(self, "endswith", text)

    def iendswith(self, text: str) -> Condition:
        """Match as ``endswith``, after ``str.casefold`` of both."""
        return Comparison(self, "iendswith", text)

    def iexact(self, text: str) -> Condition:
        """Match equal texts, after ``str.casefold`` of both."""
        return Comparison(self, "iexact", text)

    def has(self: Column[list[V]] | Column[list[V] | None], item: V) -> Condition:
        """Match lists that have the item."""
        return Comparison(cast("Column[Any]", self), "has", item)

    def has_any(self: Column[list[V]] | Column[list[V] | None], items: Iterable[V]) -> Condition:
        """Match lists that have at least one of the items."""
        return Comparison(cast("Column[Any]", self), "has_any", items)

    def has_all(self: Column[list[V]] | Column[list[V] | None], items: Iterable[V]) -> Condition:
        """Match lists that have all of the items."""
        return Comparison(cast("Column[Any]", self), "has_all", items)

    def year(self, value: int) -> Condition:
        """Match this year, in UTC."""
        return Comparison(self, "year", value)

    def month(self, value: int) -> Condition:
        """Match this month (1 to 12) of any year, in UTC."""
        return Comparison(self, "month", value)

    def day(self, value: int) -> Condition:
        """Match this day (1 to 31) of any month, in UTC."""
        return Comparison(self, "day", value)

    def asc(self, *, nulls: Nulls = "last") -> Order:
        """Order ascending, None last unless asked otherwise."""
        return Order(self, descending=False, nulls=nulls)

    def desc(self, *, nulls: Nulls = "last") -> Order:
        """Order descending, None last unless asked otherwise."""
        return Order(self, descending=True, nulls=nulls)


DecimalColumn: TypeAlias = Column[Decimal] | Column[Decimal | None]


def _is_step(key: object) -> bool:
    return isinstance(key, str) or (isinstance(key, int) and not isinstance(key, bool) and key >= 0)


def col(field: T, /) -> Column[T]:
    """Return the column that it is given, typed as one: ``col(Customer.age) >= 18``.

    Raises:
        QueryError: it is not a column, such as the value of an instance's field.
    """
    if not isinstance(field, Column):
        msg = f"col() takes a field read on a model's class, such as Customer.age, not {field!r}"
        raise QueryError(msg)
    return cast("Column[T]", field)


class F:
    """The stored value of a field, in ``update``: ``update(balance=F("balance") + 10)``.

    ``+``, ``-`` and ``*`` with numbers and other ``F``; None stays None.
    """

    __slots__ = ("left", "name", "operator", "right")

    def __init__(self, name: str) -> None:
        self.name = name
        self.operator: Literal["+", "-", "*"] | None = None
        self.left: object = None
        self.right: object = None

    @classmethod
    def _of(cls, operator: Literal["+", "-", "*"], left: object, right: object) -> F:
        made = cls("")
        made.operator, made.left, made.right = operator, left, right
        return made

    def __repr__(self) -> str:
        """Return the expression as it is written."""
        return f"F({self.name!r})" if self.operator is None else f"({self.left!r} {self.operator} {self.right!r})"

    def __add__(self, other: object) -> F:
        """Add."""
        return self._of("+", self, other)

    def __radd__(self, other: object) -> F:
        """Add."""
        return self._of("+", other, self)

    def __sub__(self, other: object) -> F:
        """Subtract."""
        return self._of("-", self, other)

    def __rsub__(self, other: object) -> F:
        """Subtract."""
        return self._of("-", other, self)

    def __mul__(self, other: object) -> F:
        """Multiply."""
        return self._of("*", self, other)

    def __rmul__(self, other: object) -> F:
        """Multiply."""
        return self._of("*", other, self)

    def __bool__(self) -> NoReturn:
        """Refuse: an expression has no truth value."""
        msg = "F() has no truth value"
        raise TypeError(msg)
