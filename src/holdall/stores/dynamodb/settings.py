"""The settings of ``dynamodb://``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from holdall.errors import ConfigurationError
from holdall.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9_.-]*")


def check_endpoint(url: str) -> None:
    """Raise ``ConfigurationError`` for a URL that is more or less than the address of a server."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    else:
        is_address = is_address and parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
    if not is_address:
        shown = url.rpartition("@")[2]  # what stands before may be a password
        raise ConfigurationError(f"endpoint_url={shown!r} is not http:// or https:// with a host and a port alone, without a path")


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamoSettings(Settings):
    """What ``dynamodb://region?endpoint_url=…`` can be told; what is missing is left to the AWS configuration. Times are in seconds.

    Attributes:
        region, endpoint_url, profile: where the service is, and whose credentials are used.
        access_key_id, secret_access_key, session_token: credentials, in place of those of the configuration.
        client: what carries requests: "own", a small transport, or "aioboto3", the low-level client.
        table_prefix: begins the names of all tables.
        consistent_reads: reads by key and of tables see every write before them; False halves their price.
        allow_scan: every query may read a whole table, without saying so; for tests and tools.
        request_budget: requests that a query with a limit may send before it raises ``LimitExceeded``.
        page_size: items that one request looks at; None leaves it to the service, which stops after 1 MB.
        scan_segments: parts of a table that a stream reads side by side.
        max_attempts: how often a request is sent, the first time included; None is what the AWS configuration says.
        connect_timeout, read_timeout: of one request.
        pool_max_size: connections per event loop. ``acquire_timeout``: how long a request waits for one before ``PoolTimeout``.
        capacity_timeout: how long ``initialize`` waits for a table to become active.
    """

    schemes: ClassVar[tuple[str, ...]] = ("dynamodb",)

    region: str | None = None
    endpoint_url: str | None = None
    profile: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    client: Literal["own", "aioboto3"] = "own"
    table_prefix: str = ""
    consistent_reads: bool = True
    allow_scan: bool = False
    request_budget: int = 100
    page_size: int | None = None
    scan_segments: int = 4
    max_attempts: int | None = None
    connect_timeout: float = 5.0
    read_timeout: float = 20.0
    pool_max_size: int = 50
    acquire_timeout: float = 10.0
    capacity_timeout: float = 120.0

    def validate(self) -> None:
        """Raise ``ConfigurationError`` for settings that contradict each other."""
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ConfigurationError("access_key_id and secret_access_key go together; state both, or leave both to the AWS configuration")
        if self.session_token is not None and self.access_key_id is None:
            raise ConfigurationError("session_token belongs to an access_key_id; state both, or leave both to the AWS configuration")
        if self.profile is not None and self.access_key_id is not None:
            raise ConfigurationError("profile and access_key_id both say whose credentials are used; leave one out")
        if not _NAME.fullmatch(self.table_prefix):
            msg = f"table_prefix={self.table_prefix!r} begins the names of tables, which are of letters, digits and _ . -"
            raise ConfigurationError(msg)
        if self.endpoint_url is not None:
            check_endpoint(self.endpoint_url)
        for name in (
            "request_budget",
            "page_size",
            "scan_segments",
            "max_attempts",
            "pool_max_size",
            "connect_timeout",
            "read_timeout",
            "acquire_timeout",
            "capacity_timeout",
        ):
            if getattr(self, name) == 0:
                raise ConfigurationError(f"{name}=0 would let nothing happen; leave it out for the default")

    @classmethod
    def url_parts(cls) -> frozenset[str]:
        """Return the fields that the URL gives by its parts."""
        return frozenset(("region",))

    @classmethod
    def place(cls) -> frozenset[str]:
        """Return the fields that say where the tables are."""
        return frozenset(("region", "endpoint_url", "profile", "table_prefix"))

    @classmethod
    def parts(cls, url: SplitResult) -> Mapping[str, Any]:
        """Return the region."""
        if url.path.strip("/") or url.username or ":" in url.netloc:
            raise ConfigurationError(
                "a dynamodb:// URL is dynamodb://region, with parameters such as ?endpoint_url=…; credentials are parameters, or better "
                "those of the AWS configuration"
            )
        return {"region": unquote(url.netloc)} if url.netloc else {}
