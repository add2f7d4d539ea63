"""FastAPI: a session as a dependency, and this library's errors as HTTP answers.

::

    InSession = Annotated[Session, SessionDependency(backend)]
    add_error_handlers(app)
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any, cast

from fastapi import Depends, FastAPI, Request, Response

from holdall.backend import Backend
from holdall.errors import (
    CommitUnknownError,
    ConflictError,
    ConnectionLost,
    DeadlockError,
    DuplicateKeyError,
    ForeignKeyError,
    HoldallError,
    LimitExceeded,
    LockNotAvailable,
    NotFoundError,
    PoolTimeout,
    QueryError,
    SerializationError,
    StatementTimeout,
    UnsupportedOperation,
    ValidationError,
)
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


@dataclass(frozen=True, slots=True)
class Answer:
    """How an error is answered.

    Attributes:
        status: the status code.
        title: the kind of problem, the same for every error of the class.
        shown: the attributes of the error that the client gets to see.
        detail: what to say instead of the error's own text, which may speak of servers, tasks or code.
        retry_after: seconds after which the same request is worth another try.
    """

    status: HTTPStatus
    title: str
    shown: tuple[str, ...] = ()
    detail: str | None = None
    retry_after: int | None = None


_ANOTHER_WAS_FASTER = "another change was made at the same moment; nothing of this one was kept"

ANSWERS: Mapping[type[HoldallError], Answer] = {
    NotFoundError: Answer(HTTPStatus.NOT_FOUND, "no such record", ("model", "key")),
    DuplicateKeyError: Answer(HTTPStatus.CONFLICT, "the record exists already", ("model", "fields")),
    ConflictError: Answer(HTTPStatus.CONFLICT, "the record was changed meanwhile", ("model", "key", "version")),
    ForeignKeyError: Answer(HTTPStatus.CONFLICT, "a reference does not hold", ("model", "fields")),
    ValidationError: Answer(HTTPStatus.UNPROCESSABLE_ENTITY, "a value cannot be kept", ("model", "field")),
    QueryError: Answer(HTTPStatus.UNPROCESSABLE_ENTITY, "the query has no meaning"),
    LimitExceeded: Answer(HTTPStatus.UNPROCESSABLE_ENTITY, "over a limit of the database", ("limit", "value")),
    PoolTimeout: Answer(HTTPStatus.SERVICE_UNAVAILABLE, "too busy", detail="no database connection came free in time", retry_after=1),
    ConnectionLost: Answer(HTTPStatus.SERVICE_UNAVAILABLE, "no database", detail="the database cannot be reached", retry_after=5),
    SerializationError: Answer(HTTPStatus.SERVICE_UNAVAILABLE, "try again", detail=_ANOTHER_WAS_FASTER, retry_after=1),
    DeadlockError: Answer(HTTPStatus.SERVICE_UNAVAILABLE, "try again", detail=_ANOTHER_WAS_FASTER, retry_after=1),
    LockNotAvailable: Answer(HTTPStatus.SERVICE_UNAVAILABLE, "try again", detail="the record is locked by another change", retry_after=1),
    StatementTimeout: Answer(HTTPStatus.SERVICE_UNAVAILABLE, "too slow", detail="the database did not answer in time"),
    # No Retry-After: what was applied already would be applied twice.
    CommitUnknownError: Answer(
        HTTPStatus.SERVICE_UNAVAILABLE, "the outcome is unknown", detail="the change may or may not be stored; look before trying again"
    ),
    UnsupportedOperation: Answer(HTTPStatus.NOT_IMPLEMENTED, "the database cannot do this", ("missing",)),
}
"""Every class of error and its answer; a subclass is answered as its nearest base. What is not here is ``UNEXPECTED``."""

UNEXPECTED = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error", detail="the service could not answer; its log says why")
_LONGEST_DETAIL = 500


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of this library with a problem document (RFC 9457) as ``ANSWERS`` says; others are left as they are.

    The body has ``type``, ``title``, ``status``, ``detail`` and those attributes of the error that say which record and field it is about;
    never a server's text, SQL or a password. An answer of 500 is logged with its traceback, one of 503 as a warning.
    """
    app.add_exception_handler(HoldallError, _handle)


async def _handle(request: Request, error: Exception) -> Response:
    assert isinstance(error, HoldallError)
    kind = next((kind for kind in type(error).__mro__ if kind in ANSWERS), HoldallError)
    answer = ANSWERS.get(kind, UNEXPECTED)
    if answer is UNEXPECTED:
        logger.error("%s %s failed", request.scope.get("method", "websocket"), request.url.path, exc_info=error)
    elif answer.status is HTTPStatus.SERVICE_UNAVAILABLE:
        logger.warning("%s %s: %s: %s", request.scope.get("method", "websocket"), request.url.path, type(error).__name__, error)
    return _respond(_dashed(kind.__name__), answer, error)


def _respond(name: str, answer: Answer, error: HoldallError) -> Response:
    body: dict[str, Any] = {
        "type": f"urn:holdall:{'internal' if answer is UNEXPECTED else name}",
        "title": answer.title,
        "status": int(answer.status),
        "detail": answer.detail or _shortened(str(error)),
    }
    body.update((attribute, _plain(getattr(error, attribute))) for attribute in answer.shown)
    headers = {} if answer.retry_after is None else {"Retry-After": str(answer.retry_after)}
    # ASCII: a key that a client made up may hold what UTF-8 has no bytes for.
    return Response(json.dumps(body), answer.status, headers, "application/problem+json")


def _dashed(name: str) -> str:
    words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name.removesuffix("Error"))
    return words.lstrip("-")


def _shortened(text: str) -> str:
    # A text may quote the value that it is about, however long that is.
    return text if len(text) <= _LONGEST_DETAIL else f"{text[:_LONGEST_DETAIL]}…"


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, tuple | list | frozenset):
        return [_plain(item) for item in cast("Iterable[Any]", value)]
    return value if value is None or isinstance(value, str | int) else str(value)


__all__ = ("ANSWERS", "Answer", "SessionDependency", "add_error_handlers")
