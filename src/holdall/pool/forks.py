"""What must happen in the child after a fork: let go of everything that belongs to the parent, and never touch it."""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import Protocol


class Inheritable(Protocol):
    """Something that holds the parent's connections."""

    def leave_to_parent(self) -> object:
        """Forget what was inherited and return it, so that it can be kept; called in the child."""
        ...


_watched: weakref.WeakSet[Inheritable] = weakref.WeakSet()
_kept: list[object] = []


def watch(owner: Inheritable) -> None:
    """Have ``owner.leave_to_parent()`` called in every child that this process forks."""
    _watched.add(owner)


def _leave_to_parent() -> None:
    for owner in list(_watched):
        _keep_for_ever(owner.leave_to_parent())


def _keep_for_ever(inherited: object) -> None:
    # A finalizer in the child would say goodbye on the parent's socket, or take it out of the epoll set that both share.
    # A module's list alone is emptied when the interpreter ends, so a reference is added that nobody gives back.
    _kept.append(inherited)
    with contextlib.suppress(ImportError):
        import ctypes  # noqa: PLC0415 - only a forked child needs it, and not every Python has it

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
