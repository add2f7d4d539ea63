"""A backend with the models of the test's module, for every engine in turn."""

import os
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, settings

import holdall
from holdall import Backend, Model

_HEALTH = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
# The quick profile repeats the same examples in every run and shows them as they are; the thorough one looks for new ones and makes them small.
_PHASES = [Phase.explicit, Phase.generate]
settings.register_profile(
    "quick", derandomize=True, database=None, deadline=None, max_examples=15, phases=_PHASES, suppress_health_check=_HEALTH
)
settings.register_profile(
    "thorough", deadline=None, max_examples=1000, phases=[*_PHASES, Phase.shrink], suppress_health_check=_HEALTH, print_blob=True
)
settings.load_profile(os.environ.get("HOLDALL_PROPERTIES", "quick"))


@pytest.fixture
def models(request: pytest.FixtureRequest) -> tuple[type[Model], ...]:
    """The models of the test: ``MODELS`` of its module."""
    module = cast("Any", request).module
    return cast("tuple[type[Model], ...]", getattr(module, "MODELS", ()))


@pytest.fixture
async def backend(backend_url: str, models: tuple[type[Model], ...]) -> AsyncGenerator[Backend]:
    """An open backend with empty tables of the models, which go when the test ends."""
    async with holdall.open(backend_url) as backend:
        await backend.drop(*models)
        await backend.initialize(*models)
        yield backend
        await backend.drop(*models)
