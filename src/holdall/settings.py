"""URLs into typed settings; unknown schemes and parameters are refused."""

from __future__ import annotations

import contextlib
import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from holdall.errors import ConfigurationError
from holdall.naming import near_miss

_TRUTH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every store can be told; a store adds its own fields. Each field is a URL parameter and a keyword argument of ``open``.

    Attributes:
        coalesce: reads by key that start in the same turn of the event loop become one operation.
        read_only: the backend refuses writes, and the server of the database refuses them, too.
        cursor_key: signs the cursors of ``page()``; the workers of a service share it. Without it a cursor only detects mistakes.
    """

    schemes: ClassVar[tuple[str, ...]] = ()

    coalesce: bool = True
    read_only: bool = False
    cursor_key: str | None = field(default=None, repr=False)

    @classmethod
    def from_url(cls, url: SplitResult, options: Mapping[str, Any], first: Settings | None = None) -> Self:
        """Return the settings of a URL; keyword arguments win over its parameters.

        A read-only backend of the same kind of store as ``first`` takes from there what neither states; where the database is, host to
        path, is stated as a whole.

        Raises:
            ConfigurationError: a parameter is unknown, given twice or not of its type.
        """
        hints = get_type_hints(cls)
        known = {item.name: hints[item.name] for item in dataclasses.fields(cls) if item.name not in cls.url_parts()}
        values: dict[str, Any] = dict(cls.parts(url))
        pairs = parse_qsl(url.query, keep_blank_values=True)
        for name, text in pairs:
            if name in known and sum(name == other for other, _ in pairs) > 1:
                msg = f"the parameter {name!r} stands twice in the URL"
                raise ConfigurationError(msg)
            values[_known(name, known, url)] = _parse(name, text, known[name]) if name in known else None
        for name, value in options.items():
            hint = known[_known(name, known, url)]
            values[name] = _check(name, value, hint)
        if isinstance(first, cls) and values.get("read_only"):
            values = cls._completed(values, first)
        made = cls(**values)
        made.validate()
        return made

    @classmethod
    def _completed(cls, values: Mapping[str, Any], first: Settings) -> dict[str, Any]:
        place = cls.place()
        stated = any(values.get(name) is not None for name in place)
        missing = [item.name for item in dataclasses.fields(cls) if item.name not in (values if stated else values.keys() - place)]
        return {**values, **{name: getattr(first, name) for name in missing if not (stated and name in place)}}

    @classmethod
    def place(cls) -> frozenset[str]:
        """Return the fields that say where the database is."""
        return cls.url_parts()

    def is_at_the_place_of(self, other: Settings) -> bool:
        """Tell whether both name the same database."""
        return type(self) is type(other) and all(getattr(self, name) == getattr(other, name) for name in self.place())

    def validate(self) -> None:
        """Raise ``ConfigurationError`` for settings that contradict each other."""

    @classmethod
    def url_parts(cls) -> frozenset[str]:
        """Return the fields that the URL gives by its parts, and not by parameters."""
        return frozenset()

    @classmethod
    def parts(cls, url: SplitResult) -> Mapping[str, Any]:
        """Return the settings that the URL's parts give: path, host and so on."""
        if url.netloc or url.path.strip("/"):
            msg = f"a {url.scheme}:// URL has no host and no path"
            raise ConfigurationError(msg)
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings(Settings):
    """What a store with a pool of connections can be told. Times are in seconds; None means no limit.

    Attributes:
        pool_min_size, pool_max_size: connections kept open, and open at most, per event loop.
        acquire_timeout: how long to wait for a connection before ``PoolTimeout``.
        connect_timeout: how long a connection may take to open.
        statement_timeout: how long a statement may run before ``StatementTimeout``.
        max_idle: after which an unused connection is closed. ``max_lifetime``: after which any is replaced.
    """

    pool_min_size: int = 0
    pool_max_size: int = 10
    acquire_timeout: float = 10.0
    connect_timeout: float = 10.0
    statement_timeout: float | None = None
    max_idle: float | None = 600.0
    max_lifetime: float | None = 3600.0

    def validate(self) -> None:
        """Raise ``ConfigurationError`` for settings that contradict each other."""
        if self.pool_max_size < 1 or self.pool_min_size > self.pool_max_size:
            msg = f"pool_max_size={self.pool_max_size} must be at least 1 and at least pool_min_size={self.pool_min_size}"
            raise ConfigurationError(msg)
        for name in ("acquire_timeout", "connect_timeout", "statement_timeout"):
            if getattr(self, name) == 0:
                msg = f"{name}=0 would let nothing happen; leave it out for the default"
                raise ConfigurationError(msg)


def _known(name: str, known: Mapping[str, Any], url: SplitResult) -> str:
    if name not in known:
        msg = f"{url.scheme}:// has no parameter {name!r}{near_miss(name, known)}"
        raise ConfigurationError(msg)
    return name


def _types(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _literals(hint: Any) -> tuple[Any, ...]:
    return tuple(value for kind in _types(hint) for value in get_args(kind))


def _parse(name: str, text: str, hint: Any) -> Any:
    """Read a parameter's text as the type of its setting; an empty text is None where that is allowed."""
    kinds = _types(hint)
    if text == "" and type(None) in kinds:
        return None
    try:
        if bool in kinds:
            return _TRUTH[text.lower()]
        for kind in (int, float):
            if kind in kinds:
                return _check(name, kind(text), hint)
    except (KeyError, ValueError) as exc:
        raise _wrong(name, text, hint) from exc
    return _check(name, text, hint)


def _check(name: str, value: Any, hint: Any) -> Any:
    kinds = _types(hint)
    plain = tuple(kind for kind in kinds if isinstance(kind, type))
    literals = _literals(hint)
    number: Any = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    fits = value in literals if literals and value is not None else isinstance(value, plain)
    if isinstance(value, bool) and bool not in plain:
        fits = False
    if not fits and float in plain and number is not None:
        fits, value = True, float(number)
    if not fits or (number is not None and not number >= 0):  # NaN is not
        raise _wrong(name, value, hint)
    return value


def _wrong(name: str, value: Any, hint: Any) -> ConfigurationError:
    shown = getattr(hint, "__name__", None) or str(hint).replace("typing.", "")
    secret = "key" in name or "password" in name or "token" in name
    return ConfigurationError(f"{name}={'…' if secret else repr(value)} is not a value for it; it takes {shown}, and numbers from 0")


def host_and_port(url: SplitResult) -> tuple[str | None, int | None]:
    """Return the host and port of a URL.

    Raises:
        ConfigurationError: the port is not a number.
    """
    with contextlib.suppress(ValueError):  # its text would show the port, which is the password where somebody has forgotten the host
        return (unquote(url.hostname) if url.hostname else None), url.port
    msg = f"the port of the {url.scheme}:// URL is not a number from 0 to 65535"
    raise ConfigurationError(msg)


@lru_cache(maxsize=1)
def _descriptors() -> Mapping[str, Any]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - it brings email, csv and zipfile: for those who open a backend

    return {point.name: point for point in entry_points(group="holdall.stores")}


def find_store(url: str, options: Mapping[str, Any], first: Settings | None = None) -> tuple[Any, Settings]:
    """Return the descriptor and the settings that a URL names; ``first`` as in ``from_url``. No driver is imported.

    Raises:
        ConfigurationError: the URL, its scheme or a parameter is wrong.
    """
    scheme, separator, _ = url.partition("://")
    points = _descriptors()
    if not separator or scheme not in points:
        known = ", ".join(f"{name}://" for name in sorted(points))
        msg = f"{scheme if separator else 'the URL'} {'is not a known scheme' if separator else 'has no scheme'}; use one of {known}"
        raise ConfigurationError(msg)
    parsed = None
    with contextlib.suppress(ValueError):  # its text may show the password
        parsed = urlsplit(url)
    if parsed is None:
        msg = f"the {scheme}:// URL cannot be parsed; look for brackets and odd characters in its host"
        raise ConfigurationError(msg)
    if parsed.fragment:
        msg = f"the {scheme}:// URL has a fragment (#); write # as %23"
        raise ConfigurationError(msg)
    descriptor = points[scheme].load()
    return descriptor, descriptor.settings.from_url(parsed, options, first)


def find_descriptor(settings: Settings) -> Any:
    """Return the descriptor of the store that takes these settings.

    Raises:
        ConfigurationError: none does.
    """
    for point in _descriptors().values():
        descriptor = point.load()
        if descriptor.settings is type(settings):
            return descriptor
    msg = f"no registered store takes {type(settings).__name__}"
    raise ConfigurationError(msg)
