"""A backend on each engine in turn, and a witness beside it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import pytest

import holdall
from holdall import Backend, Model
from tests.stress.engines import ENGINES, OTHER_DRIVERS, Facts, Witness

Opener = Callable[..., AbstractAsyncContextManager[Backend]]


@pytest.fixture(params=list(ENGINES))
def facts(request: pytest.FixtureRequest) -> Facts:
    """Every engine in turn."""
    return {**ENGINES, **OTHER_DRIVERS}[str(request.param)]


@pytest.fixture
def url(request: pytest.FixtureRequest, facts: Facts) -> str:
    """The URL of the engine's database."""
    return str(request.getfixturevalue(f"{facts.name}_url"))


@pytest.fixture
async def witness(url: str, facts: Facts) -> AsyncGenerator[Witness]:
    """Somebody else on the same database."""
    async with facts.witness(url) as witness:
        yield witness


@pytest.fixture
def open_backend(url: str, facts: Facts, request: pytest.FixtureRequest) -> Opener:
    """``async with open_backend(pool_max_size=3) as backend``, with empty tables of the module's ``MODELS``."""
    models = cast("tuple[type[Model], ...]", cast("Any", request).module.MODELS)

    @asynccontextmanager
    async def opened(**options: Any) -> AsyncGenerator[Backend]:
        async with holdall.open(url, **facts.options, **options) as backend:
            await backend.drop(*models)
            await backend.initialize(*models)
            yield backend
            await backend.drop(*models)

    return opened


@pytest.fixture
async def backend(open_backend: Opener) -> AsyncGenerator[Backend]:
    """A backend with its usual settings."""
    async with open_backend() as backend:
        yield backend
