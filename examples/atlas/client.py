"""A client of the service that says which answer it expects, and counts its requests."""

from typing import Any

import httpx

REFUSED = 501


class WrongAnswer(Exception):
    """The service answered something else than it should."""


class Refused(Exception):
    """The database cannot do what was asked for, and said so before it did anything (501)."""


class Client:
    """Requests to one service."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.requests = 0

    async def get(self, path: str, expect: int = 200, **query: str | int) -> Any:
        """Ask, and return the answer's JSON."""
        return await self.send("GET", path, expect, query=query)

    async def post(self, path: str, body: object, expect: int = 201) -> Any:
        """Send something new, and return the answer's JSON."""
        return await self.send("POST", path, expect, body)

    async def send(self, method: str, path: str, expect: int, body: object = None, *, query: dict[str, str | int] | None = None) -> Any:
        """Send a request, and return the answer's JSON.

        Raises:
            WrongAnswer: the status is not the expected one.
            Refused: the database cannot do it.
        """
        self.requests += 1
        response = await self._http.request(method, path, params=query, json=body)
        if response.status_code == REFUSED:
            raise Refused(response.json()["detail"])
        if response.status_code != expect:
            raise WrongAnswer(f"{method} {path} {query or body or ''}: expected {expect}, got {response.status_code} {response.text}")
        return response.json() if response.content else None


def check(said: object, expected: object, what: str) -> None:
    """Compare an answer with what it should be.

    Raises:
        WrongAnswer: it differs.
    """
    if said != expected:
        raise WrongAnswer(f"{what}: expected {_shortened(expected)}, got {_shortened(said)}")


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"
