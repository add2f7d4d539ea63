"""The pytest plugin. It is loaded wherever holdall is installed, so that holdall itself is imported by the first test that asks for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from holdall import Backend, Model
    from holdall.testing.isolation import Scratches

_MODES = ("rollback", "fresh")
_KEY: pytest.StashKey[Scratches] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the settings."""
    parser.addini("holdall_url", "the URL of the database for tests; the fixture backend_url overrides it", default="")
    parser.addini("holdall_models", "modules and module:Model names of the models to initialise", type="args", default=[])
    parser.addini("holdall_isolation", "what a test without @pytest.mark.holdall gets: rollback or fresh", default="rollback")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", "holdall(isolation): 'rollback' undoes the test's work, 'fresh' gives it a database of its own")


@pytest.hookimpl(trylast=True)  # after the fixtures of the session have gone
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove this worker's databases, before it says that it is done: from then on it has ten seconds to live."""
    scratches = session.config.stash.get(_KEY, None)
    if scratches is not None:
        # In a thread, because asyncio.run() would take the event loop of this one away from other plugins.
        with ThreadPoolExecutor(1) as threads:
            threads.submit(lambda: asyncio.run(scratches.remove())).result()


@pytest.fixture
def backend_url(pytestconfig: pytest.Config) -> str:
    """Return the URL of the database for tests: ``holdall_url`` of pytest's settings. Override it to compute one."""
    url = str(pytestconfig.getini("holdall_url"))
    if not url:
        pytest.fail("no database for tests: set holdall_url for pytest, or override backend_url or application_backend", pytrace=False)
    return url


@pytest.fixture
def backend_models(pytestconfig: pytest.Config) -> list[type[Model]]:
    """Return the models to initialise before a test: ``holdall_models`` of pytest's settings. Override it to list classes."""
    from holdall.testing.isolation import find_models  # noqa: PLC0415

    return find_models(pytestconfig.getini("holdall_models"))  # type: ignore[return-value]  # records are models to users


@pytest.fixture
def application_backend(request: pytest.FixtureRequest) -> Backend:
    """Return the backend that the code under test uses. Override it when the application makes one when it is imported."""
    import holdall  # noqa: PLC0415

    return holdall.open(request.getfixturevalue("backend_url"))


def _asynchronous() -> Callable[[Any], Any]:
    # In its strict mode pytest-asyncio runs no fixtures but its own.
    if find_spec("pytest_asyncio") is None:
        return pytest.fixture
    import pytest_asyncio  # noqa: PLC0415

    return pytest_asyncio.fixture


@_asynchronous()
async def backend(
    request: pytest.FixtureRequest, application_backend: Backend, backend_models: list[type[Model]]
) -> AsyncGenerator[Backend]:
    """Open the application's backend for this test, whose work is undone at the end, or goes with its database."""
    from holdall.testing.factory import restart_numbers  # noqa: PLC0415
    from holdall.testing.isolation import isolated  # noqa: PLC0415

    restart_numbers()
    async with isolated(application_backend, backend_models, mode=_mode(request), shared=_scratches_of_worker(request.config)) as found:
        yield found


def _mode(request: pytest.FixtureRequest) -> str:
    marker = request.node.get_closest_marker("holdall")
    mode = request.config.getini("holdall_isolation") if marker is None else _isolation(*marker.args, **marker.kwargs)
    if mode not in _MODES:
        pytest.fail(f"isolation={mode!r} is not one of {', '.join(map(repr, _MODES))}", pytrace=False)
    return str(mode)


def _isolation(isolation: object = "rollback") -> object:
    return isolation


def _scratches_of_worker(config: pytest.Config) -> Scratches | None:
    """Return what keeps databases of this worker's own; None when there is only one process."""
    from holdall.testing.isolation import Scratches  # noqa: PLC0415

    if "PYTEST_XDIST_WORKER" not in os.environ:
        return None
    return config.stash.setdefault(_KEY, Scratches())
