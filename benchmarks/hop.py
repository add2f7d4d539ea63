"""Raw ``sqlite3`` behind the simplest thread that one would write by hand: a queue in, ``call_soon_threadsafe`` out."""

import asyncio
import sqlite3
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

R = TypeVar("R")
_Job = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]


class Hop:
    """One connection and one thread; every call is one hop there and back."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run)
        self._thread.start()

    async def call(self, function: Callable[..., R], *args: Any) -> R:
        """Run ``function(connection, *args)`` in the thread."""
        future: asyncio.Future[R] = self._loop.create_future()
        self._jobs.put((future, function, args))
        return await future

    def close(self) -> None:
        """End the thread after what was asked."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        while (job := self._jobs.get()) is not None:
            future, function, args = job
            try:
                result = function(connection, *args)
            except sqlite3.Error as exc:
                self._loop.call_soon_threadsafe(_fail, future, exc)
            else:
                self._loop.call_soon_threadsafe(_answer, future, result)
        connection.close()


def _answer(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
