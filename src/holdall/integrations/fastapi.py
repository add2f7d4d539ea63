"""FastAPI: a session as a dependency, and this library's errors as HTTP answers.

::

    InSession = Annotated[Session, SessionDependency(backend)]
    add_error_handlers(app)
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, FastAPI, Request, Response

from holdall.backend import Backend
from holdall.errors import HoldallError
from holdall.integrations.problems import ANSWERS, CONTENT_TYPE, Answer, problem_of
from holdall.session import Session
from holdall.store import Isolation

logger = logging.getLogger(__name__)


def SessionDependency(  # noqa: N802  - it stands where FastAPI's own Depends does
    backend: Backend, *, isolation: Isolation | None = None, read_only: bool = False, timeout: float | None = None
) -> Any:
    """Return what makes a parameter a session, by ``Annotated[Session, …]``.

    The session begins with its first statement and commits when the endpoint has returned, before the response is sent, so that a failed
    commit is an error response. Any exception, ``HTTPException`` included, rolls back. Dependencies and endpoint of one request that ask
    with the same arguments share one session, and ``backend.get(…)`` and friends in them use it.

    Args:
        backend: where the session is opened.
        isolation: as in ``backend.session()``; so are ``read_only`` and ``timeout`` (seconds for each statement).
    """
    return Depends(_OpenSession(backend, isolation, read_only, timeout), scope="function")


@dataclass(frozen=True, slots=True)
class _OpenSession:
    """What FastAPI calls. It is compared by value, so that FastAPI's cache of one request knows equal dependencies."""

    backend: Backend
    isolation: Isolation | None
    read_only: bool
    timeout: float | None

    async def __call__(self) -> AsyncGenerator[Session]:
        async with self.backend.session(isolation=self.isolation, read_only=self.read_only, timeout=self.timeout) as session:
            yield session


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of this library with a problem document (RFC 9457) as ``ANSWERS`` says; others are left as they are.

    The body has ``type``, ``title``, ``status``, ``detail`` and those attributes of the error that say which record and field it is about;
    never a server's text, SQL or a password. An answer of 500 is logged with its traceback, one of 503 as a warning.
    """
    app.add_exception_handler(HoldallError, _handle)


async def _handle(request: Request, error: Exception) -> Response:
    assert isinstance(error, HoldallError)
    problem = problem_of(error, f"{request.scope.get('method', 'websocket')} {request.url.path}", logger)
    return Response(problem.body, problem.status, problem.headers, CONTENT_TYPE)


__all__ = ("ANSWERS", "Answer", "SessionDependency", "add_error_handlers")
