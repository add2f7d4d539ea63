"""URLs of one server over each driver, and the same through a proxy."""

from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import pytest

from tests.servers import Proxy


@pytest.fixture(params=["mysql", "asyncmy"])
def driver_url(request: pytest.FixtureRequest) -> str:
    """The worker's database, over each driver in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def proxy(driver_url: str) -> AsyncGenerator[Proxy]:
    """A proxy before the server."""
    parts = urlsplit(driver_url)
    assert parts.hostname
    assert parts.port
    async with Proxy(parts.hostname, parts.port) as proxy:
        yield proxy
