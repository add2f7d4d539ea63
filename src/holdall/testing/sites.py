"""Where in the user's code a call came from: found only while somebody records."""

from __future__ import annotations

import asyncio
import inspect
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import NamedTuple

# A frame of these stands between the user's code and ours.
_FRAMEWORKS = frozenset({"_pytest", "aiohttp", "anyio", "fastapi", "httpcore", "httpx", "pluggy", "pytest_asyncio", "sniffio", "starlette"})
_OURS = f"{Path(__file__).parents[1]}/"
_STANDARD = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib"))
_INSTALLED = tuple(f"{sysconfig.get_path(name)}/" for name in ("purelib", "platlib"))
_LOOP = tuple(f"{Path(asyncio.__file__).parent}/{name}.py" for name in ("base_events", "events", "runners"))
ORIGIN_DEPTH = 16  # frames that a coroutine remembers of its making


class Site(NamedTuple):
    """A line of the user's code."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        path = Path(self.file)
        here = Path.cwd()
        return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{self.line} in {self.function}"


def find_site() -> Site | None:
    """Return the innermost line of user code that led here; None when there is none, as in a task that a library has made."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if file in _LOOP:
            break  # below are the loop and whoever has started it, not the task
        if not _is_library(file):
            return Site(file, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return _origin_of_task()


def _origin_of_task() -> Site | None:
    """Return where the task's coroutine was made: what gather() and create_task() were given."""
    task = asyncio.current_task()
    origin = None if task is None else getattr(task.get_coro(), "cr_origin", None)
    for file, line, function in origin or ():
        if file in _LOOP:
            return None
        if not _is_library(file):
            return Site(file, line, function)
    return None


@lru_cache(maxsize=4096)
def _is_library(file: str) -> bool:
    if file.startswith(_OURS):
        return True
    for folder in _INSTALLED:  # before the standard library's, in which it may lie
        if file.startswith(folder):
            return file.removeprefix(folder).split("/", 1)[0] in _FRAMEWORKS
    return file.startswith((*_STANDARD, "<"))
