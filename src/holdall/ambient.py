"""The ambient session of a task: which session ``backend.get(…)`` uses inside ``async with backend.session()``.

Context variables are inherited by child tasks, so that every entry names the task that may use it; entries of other backends lie below it.
"""

from __future__ import annotations

from asyncio import Task, current_task
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from holdall.errors import SessionConflict
from holdall.work import Work


class Entry:
    """One backend's ambient session, the work that it does, and who may use it."""

    __slots__ = ("backend", "below", "owner", "removed", "session", "work")

    def __init__(self, backend: object, session: object, work: Work, below: Entry | None) -> None:
        self.backend = backend
        self.session = session
        self.work = work
        self.owner: Task[Any] | None = current_task()
        self.below = below
        self.removed = False  # it has ended, or was taken out by hand, and others may lie above it


current: ContextVar[Entry | None] = ContextVar("holdall_ambient_session", default=None)


def find(backend: object) -> Entry | None:
    """Return the entry of a backend's ambient session; None when there is none.

    Raises:
        SessionConflict: it belongs to another task, from which this one was started.
    """
    entry = current.get()
    while entry is not None:
        if entry.backend is backend:
            if entry.owner is not current_task():
                raise SessionConflict(_conflict(entry))
            if not entry.removed:
                return entry
        entry = entry.below
    return None


def _conflict(entry: Entry) -> str:
    task = current_task()
    owner = "?" if entry.owner is None else entry.owner.get_name()
    return (
        f"the task {'?' if task is None else task.get_name()!r} was started inside a session that belongs to the task {owner!r}; "
        "pass the session on and call its own methods (session.get(…) works from any task), adopt it by 'with session.use():', "
        "or work outside it by 'with holdall.detach():'. "
        "asyncio.wait_for starts a task on Python 3.11: use 'async with asyncio.timeout(…)' instead"
    )


def enter(backend: object, session: object, work: Work) -> Entry:
    """Make a session the ambient one of this task."""
    entry = Entry(backend, session, work, current.get())
    current.set(entry)
    return entry


def leave(entry: Entry) -> None:
    """Put back what was before; an entry that others were stored above is passed over from now on, and goes with them."""
    entry.removed = True
    if current.get() is not entry:
        return  # a context that has moved on, such as another task's
    below = entry.below
    while below is not None and below.removed and below.owner is entry.owner:
        below = below.below
    current.set(below)


@contextmanager
def restored() -> Generator[None]:
    """Put back at the end of this block what was ambient at its start, whatever was left in between."""
    before = current.get()
    try:
        yield
    finally:
        current.set(before)


@contextmanager
def detach() -> Generator[None]:
    """Work outside any ambient session within this block: each call is on its own, as in a fresh task."""
    with restored():
        current.set(None)
        yield
