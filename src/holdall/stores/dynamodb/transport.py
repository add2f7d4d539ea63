"""Requests to the service: what is sent again, when, and what is not. How they travel is a carrier's business.

A request that reads, or carries a token, may be sent again whatever has happened to it. Any other write may be sent again only when it was
surely not applied: when no connection came about, or the service says so. Else its outcome is unknown, and the error says that.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import orjson

from holdall.errors import HoldallError, UnsupportedOperation
from holdall.stores.dynamodb.http import BrokenAnswerError, HttpPool
from holdall.stores.dynamodb.signing import Credentials, Signer

_BASE_DELAY, _LONGEST_DELAY = 0.05, 2.0
# Errors that say "not applied, try again". TransactionInProgress: a request of the same token is still running.
_RETRY_NAMES = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "Throttling",
        "RequestLimitExceeded",
        "LimitExceededException",
        "TransactionInProgressException",
        "TransactionConflictException",
        "RequestTimeTooSkewed",
        "RequestExpired",
    }
)
_CLOCK_NAMES = frozenset({"RequestTimeTooSkewed", "RequestExpired", "InvalidSignatureException", "SignatureDoesNotMatch"})
_CONTENTION = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
READS = frozenset({"GetItem", "BatchGetItem", "TransactGetItems", "Query", "Scan", "DescribeTable", "ListTables", "DescribeTimeToLive"})
# TransactWriteItems always carries a token here.
_REPEATABLE = READS | {"TransactWriteItems"}


class ServiceError(Exception):
    """What the service has answered: its short name, message, status and the whole decoded body."""

    def __init__(self, name: str, message: str, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"{name}: {message}")
        self.name, self.message, self.status, self.body = name, message, status, body

    @property
    def reasons(self) -> list[dict[str, Any]]:
        """Why each action of a transaction failed; empty when it is no such error."""
        return self.body.get("CancellationReasons") or []

    def is_contention(self) -> bool:
        """Tell whether a transaction was cancelled by others and throttling alone, so that trying again can help."""
        codes = {reason.get("Code") for reason in self.reasons} - {"None", None}
        return bool(codes) and codes <= _CONTENTION


class OutcomeUnknown(Exception):
    """A write may or may not have been applied: the connection was lost, or no answer came, after it was sent."""


class Carrier(Protocol):
    """What takes one request to the service and brings its answer."""

    async def send(self, target: str, body: dict[str, Any]) -> Any:
        """Return the decoded answer.

        Raises:
            ServiceError: the service has refused. ConnectionRefusedError: nothing was sent.
            OSError, TimeoutError: anything may have become of it.
        """
        ...

    def stats(self) -> Mapping[str, Any]:
        """Return figures of its connections."""
        ...

    async def close(self, timeout: float) -> None:
        """Close its connections; wait that many seconds for those in use."""
        ...

    def terminate(self) -> None:
        """Cut its connections."""
        ...


class Transport:
    """The retries around a carrier."""

    def __init__(self, carrier: Carrier, attempts: int, *, read_only: bool = False) -> None:
        self.carrier = carrier
        self.requests = 0
        self._attempts = attempts
        self._read_only = read_only

    async def call(self, target: str, body: dict[str, Any]) -> Any:
        """Send a request until it is answered; return the decoded answer.

        Raises:
            ServiceError: the service refuses. OutcomeUnknown: a write may have been applied. OSError, TimeoutError: a read got no answer.
            UnsupportedOperation: a write of a backend that only reads.
        """
        if self._read_only and target not in READS:
            msg = f"{target} writes, and the backend was opened with read_only=True"
            raise UnsupportedOperation(msg)
        attempt = 1
        doubt: Exception | None = None  # what left it open whether an earlier attempt was applied
        while True:
            try:
                self.requests += 1
                return await self.carrier.send(target, body)
            except (ServiceError, OSError, HoldallError) as error:
                doubt = error if _leaves_open(error, target) else doubt
                last = attempt >= self._attempts or (doubt is not None and target not in _REPEATABLE)
                if last or not _may_pass(error):
                    if doubt is None or _is_decided(error):
                        raise
                    raise OutcomeUnknown(target) from doubt
            await self.pause(attempt)
            attempt += 1

    @staticmethod
    async def pause(attempt: int) -> None:
        """Wait before the next attempt, longer each time, by chance."""
        await asyncio.sleep(random.uniform(0, min(_LONGEST_DELAY, _BASE_DELAY * 2**attempt)))


def _leaves_open(error: Exception, target: str) -> bool:
    """Tell whether a write may have been applied although it failed."""
    if target in READS or isinstance(error, HoldallError | ConnectionRefusedError):
        return False
    return not isinstance(error, ServiceError) or error.status >= 500 or error.name == "TransactionInProgressException"


def _may_pass(error: Exception) -> bool:
    """Tell whether another attempt can do better. When no connection came free, or the backend is closed, it cannot."""
    if isinstance(error, ServiceError):
        return error.status >= 500 or error.name in _RETRY_NAMES or error.name in _CLOCK_NAMES or error.is_contention()
    return not isinstance(error, HoldallError)


def _is_decided(error: Exception) -> bool:
    """Tell whether the answer says what became of all attempts: one that was applied before would be confirmed by its token."""
    return isinstance(error, ServiceError) and error.name in ("TransactionCanceledException", "ConditionalCheckFailedException")


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Return what checks the server's certificate; reading those of the system takes some milliseconds."""
    return ssl.create_default_context()


def host_of(endpoint: str) -> str:
    """Return the host of a URL as a header shows it: without the usual port, and in brackets when it has colons."""
    url = urlsplit(endpoint)
    host = url.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return shown if url.port in (None, 443 if url.scheme == "https" else 80) else f"{shown}:{url.port}"


def _decoded(raw: bytes) -> dict[str, Any]:
    found: Any = None
    with contextlib.suppress(ValueError):
        found = orjson.loads(raw)
    if isinstance(found, dict):
        return cast("dict[str, Any]", found)
    msg = f"the answer {raw[:40]!r} is not one of DynamoDB; look at endpoint_url"
    raise BrokenAnswerError(msg)


class SignedCarrier:
    """Signs requests and sends them by connections of our own.

    Args:
        credentials: gives what signs the next request; refreshes it when it is due.
    """

    def __init__(
        self,
        endpoint: str,
        region: str,
        credentials: Callable[[], Awaitable[Credentials]],
        *,
        read_timeout: float,
        pool: Callable[[str, int, ssl.SSLContext | None], HttpPool],
    ) -> None:
        url = urlsplit(endpoint)
        default = 443 if url.scheme == "https" else 80
        host = url.hostname or ""
        self._signer = Signer(host_of(endpoint), region)
        self._credentials = credentials
        self._read_timeout = read_timeout
        self._pool = pool(host, url.port or default, _tls() if url.scheme == "https" else None)
        self._skew = 0.0

    async def send(self, target: str, body: dict[str, Any]) -> Any:
        """Return the decoded answer; errors as ``Carrier.send``."""
        data = orjson.dumps(body)
        head = self._signer.head(f"DynamoDB_20120810.{target}", data, await self._credentials(), time.time() + self._skew)
        answer = await self._pool.request(head + data, self._read_timeout)
        checksum = answer.headers.get(b"x-amz-crc32")
        if checksum is not None and zlib.crc32(answer.body) != int(checksum):
            msg = "the checksum of the answer does not match"
            raise BrokenAnswerError(msg)
        if answer.status == 200:
            return _decoded(answer.body)
        raise self._error(answer.status, answer.body, answer.headers)

    def _error(self, status: int, raw: bytes, headers: Mapping[bytes, bytes]) -> ServiceError:
        body: dict[str, Any] = {}
        with contextlib.suppress(BrokenAnswerError):  # a proxy between may answer in HTML
            body = _decoded(raw)
        name = str(body.get("__type", "")).rpartition("#")[2] or f"Http{status}"
        if name in _CLOCK_NAMES and b"date" in headers:
            with contextlib.suppress(ValueError):
                self._skew = parsedate_to_datetime(headers[b"date"].decode("latin-1")).timestamp() - time.time()
        message = body.get("message") or body.get("Message") or raw[:200].decode("utf-8", "replace")
        return ServiceError(name, message, status, body)

    def stats(self) -> Mapping[str, Any]:
        """Return figures of the connections."""
        return self._pool.stats()

    async def close(self, timeout: float) -> None:
        """Close the connections."""
        await self._pool.close(timeout)

    def terminate(self) -> None:
        """Cut the connections."""
        self._pool.terminate()
