"""aiohttp: a backend for the life of an application, a session for each request, and this library's errors as HTTP answers.

::

    app = web.Application(middlewares=[error_middleware, session_middleware(backend)])
    app.cleanup_ctx.append(backend_context(backend, Customer, Order))
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from holdall import ambient
from holdall.backend import Backend
from holdall.errors import HoldallError
from holdall.integrations.problems import ANSWERS, CONTENT_TYPE, Answer, problem_of
from holdall.record.record import Record
from holdall.session import Session
from holdall.store import Isolation

logger = logging.getLogger(__name__)

SessionHandler = Callable[[web.Request, Session], Awaitable[web.StreamResponse]]


def backend_context(backend: Backend, *models: type[Record]) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return an item of ``app.cleanup_ctx``: it opens the backend, initializes the models, and closes the backend at the end."""

    async def context(_: web.Application) -> AsyncIterator[None]:
        async with backend:
            if models:
                await backend.initialize(*models)
            yield

    return context


def session_middleware(
    backend: Backend, *, isolation: Isolation | None = None, read_only: bool = False, timeout: float | None = None
) -> Middleware:
    """Return a middleware that runs every request of an application, or of a sub-application, in a session.

    ``backend.get(…)`` and friends use it in the handler; ``backend.sessions.get()`` gives it. It begins with its first statement, so that a
    request without one costs nothing, and commits when the handler has returned, before the response is sent, so that a failed commit is
    an error response. A response that the handler prepared itself is under way by then.

    It rolls back when the handler raises, when it raises an ``HTTPException`` of 400 or above, and when it returns a response of 500 or
    above. A redirect that is raised commits, as does a 4xx that is returned.

    Args:
        backend: where the session is opened.
        isolation: as in ``backend.session()``; so are ``read_only`` and ``timeout`` (seconds for each statement).
    """
    options = _Options(isolation, read_only, timeout)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _run(backend, options, lambda _: handler(request))

    return middleware


def in_session(
    backend: Backend, *, isolation: Isolation | None = None, read_only: bool = False, timeout: float | None = None
) -> Callable[[SessionHandler], Handler]:
    """Give one handler a session as its second argument, which ends as ``session_middleware`` says.

    Inside that middleware it is the middleware's session, to which no options can be given any more.
    """
    options = _Options(isolation, read_only, timeout)

    def decorate(handler: SessionHandler) -> Handler:
        @functools.wraps(handler)
        async def wrapper(request: web.Request) -> web.StreamResponse:
            return await _run(backend, options, lambda session: handler(request, session))

        return wrapper

    return decorate


@dataclass(frozen=True, slots=True)
class _Options:
    """How a session is opened."""

    isolation: Isolation | None
    read_only: bool
    timeout: float | None


class _Refused(Exception):
    """Carries a response out of a session that is rolled back."""

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response


async def _run(backend: Backend, options: _Options, handle: Callable[[Session], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    # aiohttp serves all requests of a connection in one task: what a handler stored by hand must not reach the next request.
    with ambient.restored():
        outer = None if ambient.find(backend) is None else backend.sessions.get()
        redirect: web.HTTPException
        try:
            async with backend.session(outer, isolation=options.isolation, read_only=options.read_only, timeout=options.timeout) as session:
                try:
                    response = await handle(session)
                except web.HTTPException as exc:
                    if exc.status >= web.HTTPBadRequest.status_code:
                        raise
                    redirect = exc
                else:
                    if response.status >= web.HTTPInternalServerError.status_code or isinstance(response, ProblemResponse):
                        raise _Refused(response)
                    return response
        except _Refused as refused:
            return refused.response
        raise redirect


class ProblemResponse(web.Response):
    """The answer to an error of this library; a session around it is rolled back."""


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error of this library with a problem document (RFC 9457) as ``ANSWERS`` says; others are left as they are.

    It stands first in ``middlewares``, so that it sees failed commits, too. The body has ``type``, ``title``, ``status``, ``detail`` and
    those attributes of the error that say which record and field it is about; never a server's text, SQL or a password. An answer of 500 is
    logged with its traceback, one of 503 as a warning.
    """
    try:
        return await handler(request)
    except HoldallError as error:
        if request.writer.output_size:
            raise  # a response is under way already; a second one would be read as a part of it
        problem = problem_of(error, f"{request.method} {request.rel_url.raw_path}", logger)
        return ProblemResponse(text=problem.body, status=problem.status, headers=problem.headers, content_type=CONTENT_TYPE)


__all__ = ("ANSWERS", "Answer", "backend_context", "error_middleware", "in_session", "session_middleware")
