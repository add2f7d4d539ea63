"""Backends on DynamoDB Local, without the permission to scan."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import pytest

import holdall
from holdall import Backend, Model

OpenBackend = Callable[..., AbstractAsyncContextManager[Backend]]


@pytest.fixture
def opened(dynamodb_url: str) -> OpenBackend:
    """Return a function that opens a backend with empty tables of models, which go at its end; keyword arguments are settings."""

    @asynccontextmanager
    async def open_backend(*models: type[Model], **options: Any) -> AsyncGenerator[Backend]:
        async with holdall.open(dynamodb_url, **options) as backend:
            await backend.drop(*models)
            await backend.initialize(*models)
            yield backend
            await backend.drop(*models)

    return open_backend


@pytest.fixture
async def backend(opened: OpenBackend, request: pytest.FixtureRequest) -> AsyncGenerator[Backend]:
    """A backend with the models of the test's module: its ``MODELS``."""
    models: tuple[type[Model], ...] = getattr(cast("Any", request).module, "MODELS", ())
    async with opened(*models) as backend:
        yield backend
