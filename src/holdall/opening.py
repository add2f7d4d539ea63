"""Backends from URLs, and the named ones that models bind to."""

from __future__ import annotations

from typing import Any

from holdall.backend import Backend
from holdall.errors import ConfigurationError
from holdall.naming import near_miss
from holdall.settings import Settings, find_descriptor, find_store
from holdall.store import Sharing, Store

_named: dict[str, Backend] = {}


def open(url: str, **options: Any) -> Backend:
    """Return the backend of a URL. No I/O: it connects when it is entered, opened or first used.

    Args:
        url: ``memory://``, ``sqlite:///path`` (``sqlite://`` alone is in memory), ``postgresql://user:password@host:port/database`` …
        options: the store's settings, which may also be parameters of the URL.

    Raises:
        ConfigurationError: an unknown scheme or parameter, or a value that it does not take.
        MissingDriverError: the driver is not installed; the text says what to install.
    """
    descriptor, settings = find_store(url, options)
    return Backend(descriptor.make(settings), settings)


def configure(url: str | None = None, *, name: str = "default", **options: Any) -> Backend:
    """Open a backend and make it the one of that name, for models to bind to; replaces the one before.

    A second one with ``read_only=True`` reads the data of the first: the settings that it does not state are those of the backend
    "default", or else of the one that was configured first, and without a URL so is the place of the database. Close it before the first.

    Args:
        url: as in ``open``; only a second backend with ``read_only=True`` can do without.
        name: what ``get_backend`` and ``Meta.backend`` call it.
        options: as in ``open``.

    Raises:
        ConfigurationError: as ``open``, or there is no URL and no first backend.
    """
    first = _first_beside(name)
    descriptor, settings = _resolve(url, options, first)
    if settings.read_only and first is not None and settings.is_at_the_place_of(first.settings) and isinstance(first.store, Sharing):
        store: Store = first.store.share(settings)
    else:
        store = descriptor.make(settings)
    backend = _named[name] = Backend(store, settings)
    return backend


def _first_beside(name: str) -> Backend | None:
    others = {other: backend for other, backend in _named.items() if other != name}
    return others.get("default") or next(iter(others.values()), None)


def _resolve(url: str | None, options: dict[str, Any], first: Backend | None) -> tuple[Any, Settings]:
    if url is not None:
        return find_store(url, options, None if first is None else first.settings)
    if first is None or options.get("read_only") is not True:
        msg = "configure() needs a URL; only a second backend with read_only=True takes the first one's"
        raise ConfigurationError(msg)
    return find_store(f"{find_descriptor(first.settings).name}://", options, first.settings)


def get_backend(name: str = "default") -> Backend:
    """Return the backend of that name.

    Raises:
        ConfigurationError: there is none.
    """
    backend = _named.get(name)
    if backend is None:
        call = "holdall.configure(url)" if name == "default" else f"holdall.configure(url, name={name!r})"
        msg = f"no backend {name!r} is configured; call {call} first{near_miss(name, _named)}"
        raise ConfigurationError(msg)
    return backend
