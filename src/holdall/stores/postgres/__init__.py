"""PostgreSQL through asyncpg."""

from __future__ import annotations

from typing import Any

from holdall.errors import MissingDriverError
from holdall.stores.postgres.settings import PostgresSettings


class _Descriptor:
    name = "postgresql"
    settings = PostgresSettings

    def make(self, settings: Any) -> Any:
        """Return a store; raises ``MissingDriverError`` without asyncpg."""
        try:
            import asyncpg  # noqa: F401, PLC0415 - the driver is an extra
        except ImportError as exc:
            raise MissingDriverError("asyncpg", "postgres") from exc
        from holdall.stores.postgres.store import PostgresStore  # noqa: PLC0415 - imports the driver

        return PostgresStore(settings)


DESCRIPTOR = _Descriptor()
