"""One resource per event loop, made when first asked for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

from holdall.errors import PoolClosed

from . import forks

R = TypeVar("R")


class PerLoop(Generic[R]):
    """Map the running event loop to its own resource.

    A resource whose loop shuts down (``asyncio.run``, ``Runner``) or is found closed is terminated, without a warning.
    """

    __slots__ = ("__weakref__", "_guards", "_make", "_resources", "_shut", "_terminate")

    def __init__(self, make: Callable[[], R], terminate: Callable[[R], None]) -> None:
        self._make = make
        self._terminate = terminate
        self._resources: dict[asyncio.AbstractEventLoop, R] = {}
        self._guards: dict[asyncio.AbstractEventLoop, AsyncGenerator[None]] = {}
        self._shut = False
        forks.watch(self)

    def shut(self) -> None:
        """Make no more resources: whoever still has a way to one must not open it anew."""
        self._shut = True

    def reopen(self) -> None:
        """Make resources again."""
        self._shut = False

    def get(self) -> R:
        """Return the running loop's resource, made now if need be. Raises: PoolClosed after ``shut()``."""
        loop = asyncio.get_running_loop()
        try:
            return self._resources[loop]
        except KeyError:
            return self._add(loop)

    def peek(self) -> R | None:
        """Return the running loop's resource if it has one."""
        return self._resources.get(asyncio.get_running_loop())

    def pop(self) -> R | None:
        """Forget the running loop's resource and return it, to be closed by the caller."""
        loop = asyncio.get_running_loop()
        resource = self._resources.pop(loop, None)
        self._dismiss(loop)
        return resource

    def terminate_all(self) -> None:
        """Terminate the resources of every loop; each in its own thread when it runs in another one."""
        here = asyncio.get_running_loop()
        while self._resources:
            loop, resource = self._resources.popitem()
            if loop is here or not loop.is_running():
                self._terminate(resource)
                self._dismiss(loop)
            else:
                loop.call_soon_threadsafe(self._finish, loop, resource)

    def leave_to_parent(self) -> object:
        """Forget what a forked child inherited; the parent goes on using it."""
        inherited = (self._resources, self._guards)
        self._resources, self._guards = {}, {}
        return inherited

    def _add(self, loop: asyncio.AbstractEventLoop) -> R:
        if self._shut:
            raise PoolClosed("the backend is closed; open it by 'async with backend:' or 'await backend.open()'")
        self._forget_closed()
        resource = self._resources[loop] = self._make()
        guard = self._guards[loop] = self._until_shutdown(loop)
        # Runs to the yield, which registers the generator: the loop closes it at its shutdown, its only public hook.
        with contextlib.suppress(StopIteration):
            guard.asend(None).send(None)
        return resource

    async def _until_shutdown(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            resource = self._resources.pop(loop, None)
            self._guards.pop(loop, None)
            if resource is not None:
                self._terminate(resource)
                await asyncio.sleep(0)  # an aborted transport closes its socket in the loop's next turn, which may be the last

    def _finish(self, loop: asyncio.AbstractEventLoop, resource: R) -> None:
        self._terminate(resource)
        self._dismiss(loop)

    def _dismiss(self, loop: asyncio.AbstractEventLoop) -> None:
        guard = self._guards.pop(loop, None)
        if guard is not None:
            # Its resource is out of the map, so that it ends without a suspension.
            with contextlib.suppress(StopIteration):
                guard.aclose().send(None)

    def _forget_closed(self) -> None:
        for loop in [loop for loop in list(self._resources) if loop.is_closed()]:
            self._terminate(self._resources.pop(loop))
            self._dismiss(loop)
