"""Three slots of pydantic's that stay empty in a record that was loaded, and are filled when somebody asks.

Filling them takes a third of the time that a loaded instance takes to make, and most of its memory: the set of the fields that were given
is larger than the fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pydantic


class _LazySlot:
    """Stands before a slot of ``BaseModel``'s in a subclass: reading what is empty fills it. ``_lazy`` adds how it is written."""

    __slots__ = ("_default", "_read", "_write")

    def __init__(self, slot: Any, default: Callable[[Any], Any]) -> None:
        self._default = default
        self._read = slot.__get__
        self._write = slot.__set__

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        """Return what the slot holds."""
        if instance is None:
            return self
        try:
            return self._read(instance)
        except AttributeError:
            value = self._default(type(instance))
            self._write(instance, value)
            return value


def _lazy(name: str, default: Callable[[Any], Any]) -> Any:
    slot = pydantic.BaseModel.__dict__[name]
    # The slot's own function, without a frame of ours: validation fills all three.
    return type(name, (_LazySlot,), {"__slots__": (), "__set__": staticmethod(slot.__set__)})(slot, default)


def _extra(cls: Any) -> dict[str, Any] | None:
    return {} if cls.model_config.get("extra") == "allow" else None


LAZY_SLOTS: dict[str, Any] = {
    "__pydantic_fields_set__": _lazy("__pydantic_fields_set__", lambda cls: set(cls.__pydantic_fields__)),
    "__pydantic_extra__": _lazy("__pydantic_extra__", _extra),
    "__pydantic_private__": _lazy("__pydantic_private__", lambda _: None),
}
