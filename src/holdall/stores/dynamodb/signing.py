"""Signature version 4 of requests with a fixed set of headers, as AWS describes it for POST requests to the root."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import NamedTuple


class Credentials(NamedTuple):
    """What signs a request."""

    access_key: str
    secret_key: str
    token: str | None


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


class Signer:
    """Makes the heads of requests. The key of the day is kept."""

    def __init__(self, host: str, region: str, service: str = "dynamodb") -> None:
        self._host, self._region, self._service = host, region, service
        self._day = ""
        self._secret: str = ""
        self._key = b""
        self._stamps: tuple[int, str] = (0, "")

    def head(self, target: str, body: bytes, credentials: Credentials, now: float) -> bytes:
        """Return the head of a request, the empty line at its end included."""
        stamp = self._stamp(now)
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        token = credentials.token
        signed = "host;x-amz-date;x-amz-security-token;x-amz-target" if token else "host;x-amz-date;x-amz-target"
        shown = f"x-amz-security-token:{token}\n" if token else ""
        digest = hashlib.sha256(body).hexdigest()
        canonical = f"POST\n/\n\nhost:{self._host}\nx-amz-date:{stamp}\n{shown}x-amz-target:{target}\n\n{signed}\n{digest}"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key_of(stamp[:8], credentials.secret_key), text.encode(), "sha256").hex()
        return (
            f"POST / HTTP/1.1\r\nHost: {self._host}\r\nX-Amz-Date: {stamp}\r\nX-Amz-Target: {target}\r\n"
            f"Content-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n"
            + (f"X-Amz-Security-Token: {token}\r\n" if token else "")
            + f"Authorization: AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={signed}, Signature={signature}\r\n\r\n"
        ).encode("latin-1")

    def _stamp(self, now: float) -> str:
        second = int(now)
        if self._stamps[0] != second:
            self._stamps = second, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        return self._stamps[1]

    def _key_of(self, day: str, secret: str) -> bytes:
        if day != self._day or secret != self._secret:
            key = _hmac(b"AWS4" + secret.encode(), day)
            for part in (self._region, self._service, "aws4_request"):
                key = _hmac(key, part)
            self._day, self._secret, self._key = day, secret, key
        return self._key
