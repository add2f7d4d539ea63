"""DynamoDB, through a small transport of our own or aioboto3's client."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any
from uuid import uuid4

from holdall.errors import MissingDriverError
from holdall.stores.dynamodb.options import SingleTable as SingleTable
from holdall.stores.dynamodb.settings import DynamoSettings


class _Descriptor:
    name = "dynamodb"
    settings = DynamoSettings

    def make(self, settings: Any) -> Any:
        """Return a store; raises ``MissingDriverError`` without aioboto3."""
        if importlib.util.find_spec("aioboto3") is None:  # importing it takes long, and is left to a thread
            raise MissingDriverError("aioboto3", "dynamodb")
        from holdall.stores.dynamodb.store import DynamoStore  # noqa: PLC0415 - imports the driver

        return DynamoStore(settings)

    async def make_scratch(self, settings: Any) -> Any:
        """Return settings whose tables have a prefix of their own."""
        return replace(settings, table_prefix=f"{settings.table_prefix}test-{uuid4().hex}-")

    async def remove_scratch(self, settings: Any, scratch: Any) -> None:
        """Delete the tables of that prefix."""
        store = self.make(scratch)
        try:
            await store.drop_all()
        finally:
            await store.close(settings.connect_timeout)


DESCRIPTOR = _Descriptor()

__all__ = ("DESCRIPTOR", "SingleTable")
