"""Backends from URLs, and the named ones that models bind to."""

from __future__ import annotations

from typing import Any

from holdall.backend import Backend
from holdall.errors import ConfigurationError
from holdall.naming import near_miss
from holdall.settings import find_store

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


def configure(url: str, *, name: str = "default", **options: Any) -> Backend:
    """Open a backend and make it the one of that name, for models to bind to; replaces the one before."""
    backend = open(url, **options)
    _named[name] = backend
    return backend


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
