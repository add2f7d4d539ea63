"""OpenSearch through opensearch-py."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any
from uuid import uuid4

from holdall.errors import MissingDriverError
from holdall.stores.opensearch.settings import OpenSearchSettings


class _Descriptor:
    name = "opensearch"
    settings = OpenSearchSettings

    def make(self, settings: Any) -> Any:
        """Return a store; raises ``MissingDriverError`` without opensearch-py."""
        for package in ("opensearchpy", "aiohttp"):
            try:
                importlib.import_module(package)
            except ImportError as exc:
                raise MissingDriverError(package, "opensearch") from exc
        from holdall.stores.opensearch.store import OpenSearchStore  # noqa: PLC0415 - imports the driver

        return OpenSearchStore(settings)

    async def make_scratch(self, settings: Any) -> Any:
        """Return settings whose indexes have a prefix of their own, and whose queries see every write."""
        return replace(settings, prefix=f"{settings.prefix}test_{uuid4().hex}_", refresh=settings.refresh or "wait_for")

    async def remove_scratch(self, settings: Any, scratch: Any) -> None:
        """Remove the indexes with that prefix."""
        store = self.make(settings)
        try:
            await store.drop_prefix(scratch.prefix)
        finally:
            await store.close(settings.connect_timeout)


DESCRIPTOR = _Descriptor()
