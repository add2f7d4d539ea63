"""The DynamoDB store passes the shipped suite."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

import holdall
from holdall import Backend
from holdall.testing import StoreSuite


@pytest.mark.engine("dynamodb")
class TestDynamoDB(StoreSuite):
    """``allow_scan`` lets the suite's queries run that no key serves; that they are refused without is tested beside the store."""

    @pytest.fixture(autouse=True)
    def _url(self, dynamodb_url: str) -> None:
        self.url = dynamodb_url

    @asynccontextmanager
    async def open_backend(self) -> AsyncGenerator[Backend]:
        async with holdall.open(self.url, allow_scan=True) as backend:
            yield backend
