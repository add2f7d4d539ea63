"""What a condition means for one model: a tree of checked leaves, which the oracle evaluates and the planner normalises."""

from __future__ import annotations

from typing import Any, NamedTuple

from holdall.record.metadata import FieldSpec
from holdall.record.types import FieldType


class Leaf(NamedTuple):
    """One comparison.

    Attributes:
        field: what is compared. ``path``: where in the document, if it is one. ``type``: the type found there, None for untyped JSON.
        operator: ``eq lt lte gt gte in between is_null contains icontains startswith istartswith endswith iendswith iexact has has_any
            has_all year month day``.
        value: plain; inside documents, and for documents themselves, the canonical JSON text for ``eq in has has_any has_all``,
            else a number, bool or text. ``in`` and ``has_…`` take tuples, in which None stands for None.
    """

    field: FieldSpec
    path: tuple[str | int, ...]
    type: FieldType | None
    operator: str
    value: Any


class And(NamedTuple):
    """All hold; of nothing: true."""

    items: tuple[Predicate, ...]


class Or(NamedTuple):
    """At least one holds; of nothing: false."""

    items: tuple[Predicate, ...]


class Not(NamedTuple):
    """It does not hold."""

    item: Predicate


Predicate = Leaf | And | Or | Not
TRUE = And(())
FALSE = Or(())


class OrderTerm(NamedTuple):
    """One term of a total order."""

    field: FieldSpec
    descending: bool
    nulls_first: bool

    def reversed(self) -> OrderTerm:
        """Return the term of the opposite order."""
        return OrderTerm(self.field, not self.descending, not self.nulls_first)


class Arithmetic(NamedTuple):
    """A computed value of an update; operands are ``FieldSpec`` (the stored value), ``Arithmetic`` or plain values."""

    operator: str
    left: Any
    right: Any
