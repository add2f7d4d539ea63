"""This library's errors as answers over HTTP: problem documents (RFC 9457), the same for every framework."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any, NamedTuple, cast

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

CONTENT_TYPE = "application/problem+json"


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


class Problem(NamedTuple):
    """An answer as it is sent.

    Attributes:
        body: JSON, in ASCII. ``headers``: those besides the content type, which is ``CONTENT_TYPE``.
    """

    status: int
    headers: Mapping[str, str]
    body: str


def problem_of(error: HoldallError, request: str, logger: logging.Logger) -> Problem:
    """Return how an error is answered, and log it: an answer of 500 with its traceback, one of 503 as a warning.

    The body has ``type``, ``title``, ``status``, ``detail`` and those attributes of the error that say which record and field it is about;
    never a server's text, SQL or a password.

    Args:
        error: what was raised.
        request: what the log calls the request: method and path.
        logger: the framework's.
    """
    kind = next((kind for kind in type(error).__mro__ if kind in ANSWERS), HoldallError)
    answer = ANSWERS.get(kind, UNEXPECTED)
    if answer is UNEXPECTED:
        logger.error("%s failed", request, exc_info=error)
    elif answer.status is HTTPStatus.SERVICE_UNAVAILABLE:
        logger.warning("%s: %s: %s", request, type(error).__name__, error)
    body: dict[str, Any] = {
        "type": f"urn:holdall:{'internal' if answer is UNEXPECTED else _dashed(kind.__name__)}",
        "title": answer.title,
        "status": int(answer.status),
        "detail": answer.detail or _shortened(str(error)),
    }
    body.update((attribute, _plain(getattr(error, attribute))) for attribute in answer.shown)
    headers = {} if answer.retry_after is None else {"Retry-After": str(answer.retry_after)}
    # ASCII: a key that a client made up may hold what UTF-8 has no bytes for.
    return Problem(int(answer.status), headers, json.dumps(body))


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
