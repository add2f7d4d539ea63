"""The settings of ``mysql://`` and ``mysql+asyncmy://``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from urllib.parse import SplitResult, unquote

from holdall.errors import ConfigurationError
from holdall.settings import PoolSettings, host_and_port

SslMode = Literal["disable", "require", "verify-ca", "verify-full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MysqlSettings(PoolSettings):
    """What ``mysql://user:password@host:port/database`` can be told.

    Attributes:
        unix_socket: the path of the server's socket, instead of a host.
        sslmode: "require" encrypts without a check of the certificate, "verify-ca" checks it, "verify-full" its name, too; None and
            "disable" do not encrypt.
        ssl_ca: the file with the certificate of the authority; None means those that the system trusts.
        application_name: shown in the server's ``session_connect_attrs``.
    """

    schemes: ClassVar[tuple[str, ...]] = ("mysql",)

    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    unix_socket: str | None = None
    sslmode: SslMode | None = None
    ssl_ca: str | None = None
    application_name: str | None = "holdall"

    @classmethod
    def url_parts(cls) -> frozenset[str]:
        """Return the fields that the URL gives by its parts."""
        return frozenset(("host", "port", "user", "password", "database"))

    @classmethod
    def place(cls) -> frozenset[str]:
        """Return the fields that say where the database is."""
        return cls.url_parts() | {"unix_socket"}

    @classmethod
    def parts(cls, url: SplitResult) -> Mapping[str, Any]:
        """Return host, port, user, password and database."""
        host, port = host_and_port(url)
        path = url.path.removeprefix("/")
        if "/" in path:
            raise ConfigurationError(f"the path of a {url.scheme}:// URL is one database name; write / in it as %2F")
        found = {
            "host": host,
            "port": port,
            "user": unquote(url.username) if url.username else None,
            "password": unquote(url.password) if url.password else None,
            "database": unquote(path) or None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def validate(self) -> None:
        """Raise ``ConfigurationError`` for settings that contradict each other, or lack the database."""
        PoolSettings.validate(self)  # super() finds the class that the decorator has replaced
        if self.database is None:
            raise ConfigurationError("a mysql:// URL names a database: mysql://user:password@host/database")
        if self.unix_socket is not None and self.host is not None:
            raise ConfigurationError("the URL names a host and a unix_socket; leave one of them out: mysql:///database?unix_socket=…")
        if self.ssl_ca is not None and self.sslmode not in ("verify-ca", "verify-full"):
            raise ConfigurationError("ssl_ca is used with sslmode=verify-ca or verify-full only")


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncmySettings(MysqlSettings):
    """The same over another driver."""

    schemes: ClassVar[tuple[str, ...]] = ("mysql+asyncmy",)
