"""The shipped suite passes behind pgbouncer in transaction mode."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

import holdall
from holdall import Backend
from holdall.testing import StoreSuite


@pytest.mark.engine("pgbouncer")
class TestBehindPgbouncer(StoreSuite):
    @pytest.fixture(autouse=True)
    def _url(self, pgbouncer_url: str) -> None:
        self.url = f"{pgbouncer_url}?pooler=transaction"

    @asynccontextmanager
    async def open_backend(self) -> AsyncGenerator[Backend]:
        async with holdall.open(self.url) as backend:
            yield backend
