"""``fresh``: a database of the block's own; and what the pytest plugin does to give each test a clean backend."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Protocol, runtime_checkable

from holdall.backend import Backend
from holdall.errors import ConfigurationError
from holdall.record.metadata import model_info
from holdall.record.record import Record
from holdall.settings import Settings, find_descriptor
from holdall.testing.pinned import pinned


@runtime_checkable
class MakesScratch(Protocol):
    """What the ``Descriptor`` of a store may have beside its duties: empty databases for tests."""

    async def make_scratch(self, settings: Any, /) -> Any:
        """Make an empty database beside the one of the settings, and return the settings of it."""
        ...

    async def remove_scratch(self, settings: Any, scratch: Any, /) -> None:
        """Remove the database that ``make_scratch`` made of the settings."""
        ...


@asynccontextmanager
async def fresh(backend: Backend, *models: type[Record]) -> AsyncGenerator[Backend]:
    """Open a backend on an empty database of the block's own, which goes at its end: a new file, a new database of the server, new memory.

    On a store that makes no such databases the tables of the models are dropped before and after.

    Args:
        models: initialised before.
    """
    scratches = Scratches()
    try:
        async with scratches.used_by(backend), backend:
            if not scratches.makes(backend):
                await backend.drop(*models)
            await backend.initialize(*models)
            yield backend
            if not scratches.makes(backend):
                await backend.drop(*models)
    finally:
        await scratches.remove()


class Scratches:
    """Scratch databases, one for each settings that ask, until they are removed."""

    def __init__(self) -> None:
        self._made: dict[Settings, Settings] = {}

    @staticmethod
    def makes(backend: Backend) -> bool:
        """Tell whether the backend's store can have one."""
        return isinstance(find_descriptor(backend.settings), MakesScratch)

    @asynccontextmanager
    async def used_by(self, backend: Backend) -> AsyncGenerator[None]:
        """Put one under a backend for the block, where its store can have one."""
        descriptor: Any = find_descriptor(backend.settings)
        if not isinstance(descriptor, MakesScratch):
            yield
            return
        settings = self._made.get(backend.settings)
        if settings is None:
            settings = self._made[backend.settings] = await descriptor.make_scratch(backend.settings)
        before = backend.store
        backend.use_store(descriptor.make(settings))  # type: ignore[attr-defined]  # a Descriptor, too
        try:
            yield
        finally:
            backend.use_store(before)

    async def remove(self) -> None:
        """Remove them all."""
        while self._made:
            settings, scratch = self._made.popitem()
            await find_descriptor(settings).remove_scratch(settings, scratch)


@asynccontextmanager
async def isolated(backend: Backend, models: Iterable[type[Record]], *, mode: str, shared: Scratches | None) -> AsyncGenerator[Backend]:
    """Open the backend for one test.

    Args:
        mode: "rollback" or "fresh".
        shared: where the worker's own databases are kept, when tests run in several processes.
    """
    if mode == "fresh":
        async with fresh(backend, *models):
            yield backend
    elif shared is None:
        async with pinned(backend, *models):
            yield backend
    else:
        async with shared.used_by(backend), pinned(backend, *models):
            yield backend


def find_models(names: Iterable[str]) -> list[type[Record]]:
    """Return the models of ``package.module:Model`` and all those that a ``package.module`` defines.

    Raises:
        ConfigurationError: a name leads to no model.
    """
    found: dict[type[Record], None] = {}
    for name in names:
        module_name, _, model_name = name.partition(":")
        module = importlib.import_module(module_name)
        defined = [item for item in vars(module).values() if getattr(item, "__module__", None) == module_name]
        candidates: list[Any] = [getattr(module, model_name, None)] if model_name else defined
        models = [item for item in candidates if inspect.isclass(item) and issubclass(item, Record) and _is_stored(item)]
        if not models:
            msg = f"{name!r} is no model and no module that defines one"
            raise ConfigurationError(msg)
        found.update(dict.fromkeys(models))
    return list(found)


def _is_stored(model: type[Record]) -> bool:
    """Tell a model from an abstract base, which has no key."""
    try:
        model_info(model)
    except ConfigurationError:
        return False
    return True
