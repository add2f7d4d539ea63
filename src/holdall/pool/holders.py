"""Say who holds a connection: found out only when somebody asks, so that a lease costs nothing for it."""

from __future__ import annotations

import asyncio
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

_LIBRARY_FOLDERS = (
    f"{Path(__file__).parent.parent}/",
    f"{Path(asyncio.__file__).parent}/",
    *{f"{sysconfig.get_path(name)}/" for name in ("purelib", "platlib")},
)
# How a coroutine, an async generator and a generator name their frame and what they wait for.
_LINKS = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))


def describe_task(task: asyncio.Task[Any] | None) -> str:
    """Name the task and the innermost line outside libraries on which it waits now."""
    if task is None:
        return "a callback outside any task"
    if task.done():
        return f"{task.get_name()} (finished without giving it back)"
    frames = list(_frames(task.get_coro()))
    own = [frame for frame in frames if not frame.f_code.co_filename.startswith(_LIBRARY_FOLDERS)] or frames[:1]
    if not own:
        return task.get_name()
    frame = own[-1]
    return f"{task.get_name()} at {Path(frame.f_code.co_filename).name}:{frame.f_lineno} in {frame.f_code.co_name}"


def _frames(awaitable: object) -> Iterator[FrameType]:
    while awaitable is not None:
        for frame_name, next_name in _LINKS:
            if hasattr(awaitable, frame_name):
                frame: FrameType | None = getattr(awaitable, frame_name)
                if frame is not None:
                    yield frame
                awaitable = getattr(awaitable, next_name)
                break
        else:
            return
