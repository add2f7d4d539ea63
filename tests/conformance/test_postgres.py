"""The PostgreSQL store passes the shipped suite."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

import holdall
from holdall import Backend
from holdall.testing import StoreSuite


@pytest.mark.engine("postgres")
class TestPostgreSQL(StoreSuite):
    @pytest.fixture(autouse=True)
    def _url(self, postgres_url: str) -> None:
        self.url = postgres_url

    @asynccontextmanager
    async def open_backend(self) -> AsyncGenerator[Backend]:
        async with holdall.open(self.url) as backend:
            yield backend
