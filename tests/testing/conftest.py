"""Databases with the tables of ``MODELS``, for every engine in turn."""

from collections.abc import AsyncGenerator

import pytest

import holdall
from holdall import Backend
from tests.testing.models import MODELS


@pytest.fixture
async def database(backend_url: str) -> AsyncGenerator[Backend]:
    """A backend beside the one under test, which sees what is committed. Its tables go when the test ends."""
    async with holdall.open(backend_url) as database:
        await database.drop(*MODELS)
        await database.initialize(*MODELS)
        yield database
        await database.drop(*MODELS)


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def durable_url(request: pytest.FixtureRequest) -> str:
    """The engines whose data other backends can see."""
    return str(request.getfixturevalue(f"{request.param}_url"))
