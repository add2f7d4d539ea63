"""The settings of ``sqlite:///``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from urllib.parse import SplitResult, unquote

from holdall.errors import ConfigurationError
from holdall.settings import PoolSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteSettings(PoolSettings):
    """What ``sqlite:///path`` can be told. The pool bounds the connections of sessions and streams.

    Attributes:
        path: the file; relative in ``sqlite:///shop.db``, absolute in ``sqlite:////var/shop.db``. None, as in ``sqlite://``, is a private
            database in memory.
        synchronous: "full" keeps every acknowledged commit through a power loss; "normal" may lose the last ones, and is faster.
        busy_timeout: seconds to wait for the right to write, which one writer at a time has, in this process or another.
        cache_kib: page cache per connection.
    """

    schemes: ClassVar[tuple[str, ...]] = ("sqlite",)

    path: str | None = None
    synchronous: Literal["full", "normal", "off"] = "full"
    busy_timeout: float = 10.0
    cache_kib: int = 8192

    @classmethod
    def url_parts(cls) -> frozenset[str]:
        """Return the fields that the URL gives by its parts."""
        return frozenset(("path",))

    @classmethod
    def parts(cls, url: SplitResult) -> Mapping[str, Any]:
        """Return the path."""
        if url.netloc:
            place = url.netloc.rpartition("@")[2]  # a name and password before it are another kind of URL's, and not to be shown
            raise ConfigurationError(
                f"a sqlite URL has three slashes before a relative path, and four before an absolute one: sqlite:///{place}"
            )
        path = unquote(url.path)
        if path == "/:memory:":
            raise ConfigurationError("a database in memory is sqlite:// alone")
        if "\0" in path:
            raise ConfigurationError("the path of a sqlite URL must not hold U+0000")
        return {"path": path.removeprefix("/") or None}
