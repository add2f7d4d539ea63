"""MariaDB and MySQL through aiomysql, or through asyncmy."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any
from uuid import uuid4

from holdall.errors import MissingDriverError
from holdall.query.operations import Raw
from holdall.sql.naming import quote
from holdall.stores.mysql.settings import AsyncmySettings, MysqlSettings


class _Descriptor:
    def __init__(self, name: str, driver: str, settings: type[MysqlSettings]) -> None:
        self.name = name
        self.settings = settings
        self._driver = driver

    def make(self, settings: Any) -> Any:
        """Return a store; raises ``MissingDriverError`` without the driver."""
        try:
            importlib.import_module(self._driver)
        except ImportError as exc:
            raise MissingDriverError(self._driver, "mysql" if self._driver == "aiomysql" else self._driver) from exc
        from holdall.stores.mysql.store import MysqlStore  # noqa: PLC0415 - imported with its driver only

        return MysqlStore(settings, importlib.import_module(f"holdall.stores.mysql.{self._driver}").DRIVER)

    async def make_scratch(self, settings: Any) -> Any:
        """Create a database on the same server; the user needs the right to."""
        name = f"{(settings.database or 'holdall')[:20]}_test_{uuid4().hex}"
        await self._run(settings, f"create database {quote(name)}")
        return replace(settings, database=name)

    async def remove_scratch(self, settings: Any, scratch: Any) -> None:
        """Drop the database."""
        await self._run(settings, f"drop database if exists {quote(scratch.database)}")

    async def _run(self, settings: Any, sql: str) -> None:
        store = self.make(replace(settings, read_only=False))
        try:
            await store.execute(Raw("execute", sql, {}))
        finally:
            await store.close(settings.connect_timeout)


DESCRIPTOR = _Descriptor("mysql", "aiomysql", MysqlSettings)
ASYNCMY = _Descriptor("mysql+asyncmy", "asyncmy", AsyncmySettings)
