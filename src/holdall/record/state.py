"""What an instance knows about its stored self: a slot beside pydantic's own, which takes no part in ``==``.

The slot holds ``(origin, row)``: a row as it was read or written, and what turns it into a plain row. Rows are immutable, so that keeping
one costs nothing at load, and changes in place of lists and dicts are found by comparing when somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from holdall.record.metadata import model_info
from holdall.record.values import WrongTypeError

if TYPE_CHECKING:
    from holdall.record.record import Record

PlainRow = tuple[Any, ...]


class Origin(Protocol):
    """Turns a store's row into a plain row."""

    def plain(self, row: Any) -> PlainRow:
        """Return the plain row."""
        ...


State = tuple[Origin | None, Any]


def plain_state(record: Record) -> PlainRow | None:
    """Return the plain row that is stored of the record; None when it is not stored."""
    state = record.__holdall_state__
    if state is None:
        return None
    origin, row = state
    return row if origin is None else origin.plain(row)


def is_stored(record: Record, /) -> bool:
    """Tell whether the record is stored, as far as the instance knows."""
    return record.__holdall_state__ is not None


def changes(record: Record, /) -> dict[str, tuple[Any, Any]]:
    """Return the fields that differ from what is stored: name to (old value, new value), changes in place included.

    A record that is not stored has no old values: the result holds every field, with None as old.
    """
    info = model_info(type(record))
    old = plain_state(record)
    values = record.__dict__
    if old is None:
        return {spec.name: (None, values.get(spec.name)) for spec in info.fields}
    found: dict[str, tuple[Any, Any]] = {}
    for spec in info.fields:
        before = old[spec.position]
        now = values.get(spec.name)
        try:
            same = spec.plain(now) == before
        except (WrongTypeError, ValueError):
            same = False
        if not same:
            found[spec.name] = (spec.python(before), now)
    return found
