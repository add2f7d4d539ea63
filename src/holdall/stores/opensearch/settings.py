"""The settings of ``opensearch://``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from urllib.parse import SplitResult, unquote

from holdall.errors import ConfigurationError
from holdall.settings import PoolSettings, host_and_port

Refresh = Literal["wait_for", "true"]
_PREFIX = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSearchSettings(PoolSettings):
    """What ``opensearch://user:password@host:port`` can be told. Times are in seconds.

    Attributes:
        prefix: what the names of all indexes begin with.
        refresh: "wait_for" lets each write wait until searches see it, "true" makes them see it at once, which costs the server more.
            Without it searches lag behind writes by the index's refresh interval.
        tls: speak HTTPS. ``verify``: check the server's certificate. ``ca_file``: against these authorities.
        shards, replicas: of the indexes that ``initialize`` creates; None leaves it to the server.
        retry_timeout: how long a request that an overloaded server has refused (429) is sent again, with pauses.
        unique_grace: how long the writer of a unique value may take between reserving it and storing its record. After that, another one
            may take the value over: choose it far above the clocks' differences.
        bulk_bytes: how much one bulk request carries.
        wire: "aiohttp" is opensearch-py's own connection, for what ours does not do; ours costs the client a fraction.
    """

    schemes: ClassVar[tuple[str, ...]] = ("opensearch",)

    host: str = "localhost"
    port: int = 9200
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    prefix: str = ""
    refresh: Refresh | None = None
    tls: bool = False
    verify: bool = True
    ca_file: str | None = None
    shards: int | None = None
    replicas: int | None = None
    pool_max_size: int = 20
    statement_timeout: float | None = 30.0
    retry_timeout: float = 30.0
    unique_grace: float = 10.0
    bulk_bytes: int = 5_000_000
    wire: Literal["holdall", "aiohttp"] = "holdall"

    @classmethod
    def url_parts(cls) -> frozenset[str]:
        """Return the fields that the URL gives by its parts."""
        return frozenset(("host", "port", "user", "password"))

    @classmethod
    def place(cls) -> frozenset[str]:
        """Return the fields that say where the indexes are."""
        return cls.url_parts() | {"prefix"}

    @classmethod
    def parts(cls, url: SplitResult) -> Mapping[str, Any]:
        """Return host, port, user and password."""
        if url.path.strip("/"):
            raise ConfigurationError("an opensearch:// URL has no path; the names of indexes begin with the parameter prefix")
        host, port = host_and_port(url)
        found = {
            "host": host,
            "port": port,
            "user": unquote(url.username) if url.username else None,
            "password": unquote(url.password) if url.password else None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def validate(self) -> None:
        """Raise ``ConfigurationError`` for settings that contradict each other."""
        # Not super(): a dataclass with slots is another class than the one that this method was defined in.
        PoolSettings.validate(self)
        if self.prefix and not _PREFIX.fullmatch(self.prefix):
            raise ConfigurationError(
                f"prefix={self.prefix!r} must be small letters, digits, '_', '-' and '.', with a letter or digit first"
            )
        if self.bulk_bytes < 1000:
            raise ConfigurationError(f"bulk_bytes={self.bulk_bytes} must be at least 1000")
