"""PostgreSQL through asyncpg."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any
from uuid import uuid4

from holdall.errors import MissingDriverError
from holdall.query.operations import Raw
from holdall.sql.naming import quote
from holdall.stores.postgres.settings import PostgresSettings


class _Descriptor:
    name = "postgresql"
    settings = PostgresSettings

    def make(self, settings: Any) -> Any:
        """Return a store; raises ``MissingDriverError`` without asyncpg."""
        try:
            importlib.import_module("asyncpg")
        except ImportError as exc:
            raise MissingDriverError("asyncpg", "postgres") from exc
        from holdall.stores.postgres.store import PostgresStore  # noqa: PLC0415 - imports the driver

        return PostgresStore(settings)

    async def make_scratch(self, settings: Any) -> Any:
        """Create a database on the same server; the user needs the right to (CREATEDB)."""
        prefix = (settings.database or "holdall").encode()[:20].decode(errors="ignore")
        name = f"{prefix}_test_{uuid4().hex}"
        await self._run(settings, f"create database {quote(name)} template template0")
        return replace(settings, database=name)

    async def remove_scratch(self, settings: Any, scratch: Any) -> None:
        """Drop the database, whoever is connected to it."""
        await self._run(settings, f"drop database if exists {quote(scratch.database)} with (force)")

    async def _run(self, settings: Any, sql: str) -> None:
        store = self.make(settings)
        try:
            await store.execute(Raw("execute", sql, {}))
        finally:
            await store.close(settings.connect_timeout)


DESCRIPTOR = _Descriptor()
