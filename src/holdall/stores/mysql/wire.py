"""What the store needs of a driver's connection; each driver has a module that gives it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Protocol

from holdall.errors import LimitExceeded
from holdall.record.decoder import ValueTable
from holdall.stores.mysql.rows import Column


@dataclass(frozen=True, slots=True)
class Address:
    """Where and as whom to connect; what is None is left to the driver."""

    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    unix_socket: str | None = None
    ssl: ssl.SSLContext | None = None
    application_name: str | None = None

    def __str__(self) -> str:
        """Return the place, without a secret."""
        return self.unix_socket or f"{self.host or '127.0.0.1'}:{self.port or 3306}"


class Cursor(Protocol):
    """A result that is read batch by batch; the connection can do nothing else before its end."""

    @property
    def is_done(self) -> bool:
        """Whether all rows have been read."""
        ...

    async def fetch(self, count: int) -> list[tuple[Any, ...]]:
        """Return the next rows; none at the end."""
        ...


class Connection(Protocol):
    """One connection. A call that is cancelled or fails half-way leaves ``unanswered`` true, and the connection of no use.

    Attributes:
        errors: the root of the driver's errors.
        thread_id: by which the server knows the connection.
        version: of the server, as it greets.
        unanswered: a reply is still to come, or to be read.
        max_packet: bytes of a statement that the server takes; a longer one is refused before it is sent.
        prefix: stands before every statement.
    """

    errors: tuple[type[Exception], ...]
    thread_id: int
    version: str
    unanswered: bool
    max_packet: int
    prefix: str

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, by the last reply."""
        ...

    @property
    def insert_id(self) -> int:
        """The generated key of the first row of the last INSERT."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether it is known to be closed; no I/O."""
        ...

    async def fetch(self, sql: str, columns: tuple[Column, ...]) -> list[tuple[Any, ...]]:
        """Run a statement that gives rows of these columns."""
        ...

    async def execute(self, sql: str) -> int:
        """Run a statement; return how many rows it matched."""
        ...

    async def query(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run any statement; return the names of its columns and its rows, both empty when it gives none."""
        ...

    async def open_cursor(self, sql: str, columns: tuple[Column, ...]) -> Cursor:
        """Run a statement whose rows are read as they are wanted."""
        ...

    async def reset(self) -> None:
        """Forget the session: variables, temporary tables, locks by name, the transaction."""
        ...

    async def close(self) -> None:
        """Say goodbye and close."""
        ...

    def terminate(self) -> None:
        """Close at once; also when the event loop is closed."""
        ...


def payload_of(sql: str, limit: int) -> bytes:
    """Return the bytes of a statement.

    Raises:
        LimitExceeded: the server would not take so many.
    """
    payload = sql.encode()
    if len(payload) >= limit:
        raise LimitExceeded("bytes of a statement (max_allowed_packet of the server)", limit=limit, value=len(payload))
    return payload


class Driver(Protocol):
    """A driver: its values and errors, and the way to a connection."""

    values: ValueTable
    errors: tuple[type[Exception], ...]

    async def connect(self, address: Address) -> Connection:
        """Connect; autocommit is the server's default, and rows that are matched count, changed or not."""
        ...
