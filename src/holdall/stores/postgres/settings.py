"""The settings of ``postgresql://``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from urllib.parse import SplitResult, unquote

from holdall.errors import ConfigurationError
from holdall.settings import PoolSettings, host_and_port

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings(PoolSettings):
    """What ``postgresql://user:password@host:port/database`` can be told; what is missing is left to libpq's environment variables.

    Attributes:
        pooler: "transaction" behind a pooler in transaction mode, such as pgbouncer.
        sslmode: as in libpq.
        application_name: shown in ``pg_stat_activity``.
    """

    schemes: ClassVar[tuple[str, ...]] = ("postgresql", "postgres")

    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    pooler: Literal["transaction"] | None = None
    sslmode: SslMode | None = None
    application_name: str | None = "holdall"

    @classmethod
    def url_parts(cls) -> frozenset[str]:
        """Return the fields that the URL gives by its parts."""
        return frozenset(("port", "user", "password", "database"))

    @classmethod
    def place(cls) -> frozenset[str]:
        """Return the fields that say where the database is; a socket's folder is a parameter."""
        return cls.url_parts() | {"host"}

    @classmethod
    def parts(cls, url: SplitResult) -> Mapping[str, Any]:
        """Return host, port, user, password and database."""
        host, port = host_and_port(url)
        database = unquote(url.path.removeprefix("/"))
        if "/" in url.path.removeprefix("/"):
            raise ConfigurationError("the path of a postgresql:// URL is one database name; write / in it as %2F")
        found = {
            "host": host,
            "port": port,
            "user": unquote(url.username) if url.username else None,
            "password": unquote(url.password) if url.password else None,
            "database": database or None,
        }
        return {name: value for name, value in found.items() if value is not None}
