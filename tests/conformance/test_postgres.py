"""The PostgreSQL store passes the shipped suite."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

import holdall
from holdall import Backend
from holdall.testing import NotImpl, StoreSuite

_LAST_MOMENT = NotImpl("the last microsecond of the year 9999 is stored as infinity", raises=AssertionError)


@pytest.mark.engine("postgres")
class TestPostgreSQL(StoreSuite):
    known_gaps = {
        "test_datetimes_come_back_unchanged": _LAST_MOMENT,
        "test_months_and_days_are_those_of_utc": _LAST_MOMENT,
        "test_uuids_come_back_unchanged": NotImpl("UUIDs come back as the driver's subclass of uuid.UUID", raises=AssertionError),
    }

    @pytest.fixture(autouse=True)
    def _url(self, postgres_url: str) -> None:
        self.url = postgres_url

    @asynccontextmanager
    async def open_backend(self) -> AsyncGenerator[Backend]:
        async with holdall.open(self.url) as backend:
            yield backend
