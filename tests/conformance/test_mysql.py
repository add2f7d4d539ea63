"""The MySQL store passes the shipped suite on MariaDB, over each of its drivers."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

import holdall
from holdall import Backend
from holdall.testing import StoreSuite


@pytest.mark.engine("mysql")
class TestMySQL(StoreSuite):
    @pytest.fixture(autouse=True)
    def _url(self, mysql_url: str) -> None:
        self.url = mysql_url

    @asynccontextmanager
    async def open_backend(self) -> AsyncGenerator[Backend]:
        async with holdall.open(self.url) as backend:
            yield backend


@pytest.mark.engine("mysql")
class TestAsyncmy(StoreSuite):
    @pytest.fixture(autouse=True)
    def _url(self, asyncmy_url: str) -> None:
        self.url = asyncmy_url

    @asynccontextmanager
    async def open_backend(self) -> AsyncGenerator[Backend]:
        async with holdall.open(self.url) as backend:
            yield backend
