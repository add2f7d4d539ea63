"""The OpenSearch store passes the shipped suite."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

import holdall
from holdall import Backend
from holdall.testing import StoreSuite


@pytest.mark.engine("opensearch")
class TestOpenSearch(StoreSuite):
    patience = 60.0

    @pytest.fixture(autouse=True)
    def _url(self, opensearch_url: str) -> None:
        self.url = opensearch_url

    @asynccontextmanager
    async def open_backend(self) -> AsyncGenerator[Backend]:
        async with holdall.open(self.url) as backend:
            yield backend
