"""asyncpg's connections for the pool: opening, cleaning after a cancel, and the two ends of a transaction."""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import UUID

import asyncpg

from holdall.errors import CommitUnknownError, ConfigurationError, ConnectionLost, HoldallError, TransactionError
from holdall.sql.uuids import uuid_from_bytes

from .errors import NO_CONTEXT, ErrorContext, never_sent, translate, translate_open

if TYPE_CHECKING:
    AsyncpgConnection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    AsyncpgConnection = asyncpg.Connection

Isolation = Literal["read committed", "repeatable read", "serializable"]

_log = logging.getLogger(__name__)

_PROBE = "select"  # asyncpg 0.32 fails on an empty statement
_IN_PROGRESS = "another operation is in progress"  # the only way in which asyncpg tells it
_BUSY_PAUSE, _CANCEL_PAUSE, _LONGEST_CANCEL_PAUSE = 0.01, 0.1, 1.0
_PROBES = 3  # a cancel request that arrives late may hit a probe

# What asyncpg's own reset leaves behind is here too: roles, temporary tables, sequence caches. DISCARD ALL would also drop the
# prepared statements that asyncpg believes to have.
_RESET = """set session authorization default; close all; reset all; unlisten *; select pg_advisory_unlock_all();
discard temp; discard sequences;"""

# An abandoned backend notices that its client is gone, even while it waits for a lock. Since PostgreSQL 14, and not on every platform.
_CHECK_INTERVAL = {"client_connection_check_interval": "2s"}
# The startup packet wins over what ALTER ROLE and ALTER DATABASE set.
_STARTUP = {
    "default_transaction_isolation": "read committed",
    # Compiling a plan costs tens to hundreds of ms on every connection anew and pays for long analytic queries only, which wrong
    # estimates make of short ones; server_settings={"jit": "on"} brings it back.
    "jit": "off",
}
# The ones that a transaction-mode pooler forwards.
_STARTUP_ANYWHERE = {"TimeZone": "UTC", "standard_conforming_strings": "on"}


class HoldallConnection(AsyncpgConnection):
    """asyncpg's connection with a reset of our own."""

    __slots__ = ()

    def get_reset_query(self) -> str:
        """Return the statements that ``reset()`` sends: one round trip."""
        return _RESET


@dataclass(frozen=True, slots=True)
class PostgresOptions:
    """How to connect; what is None is left to asyncpg (libpq's environment variables, ``.pgpass``). Times in seconds.

    ``pooler="transaction"`` is for pgbouncer and its like: no prepared statements, no session state, no settings at the start; a
    ``statement_timeout`` then holds in transactions that ``begin_statement`` begins with it, not in single statements.
    """

    dsn: str | None = field(default=None, repr=False)
    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    ssl: str | bool | ssl.SSLContext | None = None
    connect_timeout: float = 10.0
    statement_timeout: float | None = None
    pooler: Literal["transaction"] | None = None
    application_name: str | None = "holdall"
    server_settings: Mapping[str, str] = field(default_factory=dict[str, str])
    statement_cache_size: int = 256


class PostgresConnector:
    """Implement ``holdall.pool.Connector`` over raw asyncpg connections."""

    def __init__(self, options: PostgresOptions) -> None:
        self.options = options
        self._check_interval = _CHECK_INTERVAL
        self._settings = _server_settings(options)
        self._arguments = _connect_arguments(options)

    async def open(self) -> AsyncpgConnection:
        """Connect. Raises: ConnectionLost, ConfigurationError (password, database, options), BackendError."""
        try:
            return await self._connect()
        except (asyncpg.UndefinedObjectError, asyncpg.InvalidParameterValueError) as error:
            if not self._check_interval or "client_connection_check_interval" not in str(error):
                raise self._translated(error) from error
            self._check_interval = {}
        except Exception as error:  # noqa: BLE001 - every failure to connect gets a name; cancellation is no Exception
            raise self._translated(error) from _shown_cause(error)
        return await self.open()

    @staticmethod
    def is_closed(connection: AsyncpgConnection) -> bool:
        """Tell whether the connection is known to be closed."""
        return connection.is_closed()

    async def recover(self, connection: AsyncpgConnection, *, dirty: bool) -> None:
        """Stop what runs, roll back, reset when dirty. Has no deadline of its own: the pool has one, and cancels."""
        resets = dirty and self.options.pooler is None  # behind a pooler the next statement may reach another backend
        # A reset is answered like any question, but it must not meet a transaction.
        resets_first = resets and not connection.is_in_transaction()
        sure = await self._until_answered(connection, connection.reset if resets_first else lambda: connection.execute(_PROBE))
        for left in reversed(range(_PROBES)):
            try:
                if connection.is_in_transaction():
                    await connection.execute("rollback")
                elif not sure:
                    await connection.execute(_PROBE)
                if resets and not (sure and resets_first):
                    await connection.reset()
                break
            except asyncpg.QueryCanceledError:
                if not left:
                    raise
                sure = False
        if connection.is_closed() or connection.is_in_transaction():
            raise TransactionError("the connection could not be brought out of its transaction")

    async def close(self, connection: AsyncpgConnection) -> None:
        """Close gracefully."""
        await connection.close()

    @staticmethod
    def terminate(connection: AsyncpgConnection) -> None:
        """Close at once."""
        transport: Any = getattr(connection, "_transport", None)
        try:
            connection.terminate()
        except RuntimeError:
            # The event loop is closed. asyncio's transport has done all but this last step, which it would have scheduled there;
            # without it the socket stays open, and warns.
            finish = getattr(transport, "_call_connection_lost", None)
            if finish is not None:
                finish(None)

    async def _connect(self) -> AsyncpgConnection:
        settings = self._settings
        if self.options.pooler is None:
            settings = {**self._check_interval, **settings}
        connection: AsyncpgConnection = await asyncpg.connect(server_settings=settings, **self._arguments)
        # asyncpg gives a UUID class of its own, which not everybody takes for one: orjson refuses it. No round trip.
        await connection.set_type_codec("uuid", schema="pg_catalog", encoder=_uuid_bytes, decoder=uuid_from_bytes, format="binary")
        return connection

    async def _until_answered(self, connection: AsyncpgConnection, question: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """Await a first answer; False when a cancel request of ours may still hit the next statement, or has hit the question."""
        pause, sure = _BUSY_PAUSE, True
        while True:
            try:
                return await self._answered(connection, question()) and sure
            except asyncpg.InterfaceError as error:
                if _IN_PROGRESS not in str(error) or connection.is_closed():
                    raise
            # A task that shares the session is in the middle of a statement, and was not cancelled with the session's owner: asyncpg
            # lets nobody else ask before that has ended.
            if self.options.pooler is None:
                sure = False
                await self._ask_to_cancel(connection.get_server_pid())
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_CANCEL_PAUSE)

    async def _answered(self, connection: AsyncpgConnection, question: Coroutine[Any, Any, object]) -> bool:
        """Ask until there is an answer.

        asyncpg has sent one cancel request by itself. A busy server loses it when it arrives before the statement has begun: send more.
        """
        probe = asyncio.get_running_loop().create_task(question)
        pause, sure = _CANCEL_PAUSE, True
        try:
            while not (await asyncio.wait([probe], timeout=pause))[0]:
                if self.options.pooler is None:  # the backend's number is the pooler's invention there
                    sure = False
                    await self._ask_to_cancel(connection.get_server_pid())
                pause = min(pause * 2, _LONGEST_CANCEL_PAUSE)
            probe.result()
        except (asyncpg.QueryCanceledError, asyncpg.InFailedSQLTransactionError):
            return False
        finally:
            probe.cancel()
        return sure

    async def _ask_to_cancel(self, pid: int) -> None:
        """Cancel the statement of another backend, over a short-lived connection."""
        try:
            control = await self._connect()
            try:
                await control.execute(f"select pg_cancel_backend({pid:d})")
            finally:
                control.terminate()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # The statement may still end by itself before the deadline of the pool.
            _log.info("a cancel request could not be sent: %r", error)

    def _translated(self, error: Exception) -> HoldallError:
        options = self.options
        place = f"{options.host or 'the default host'}:{options.port or 5432}" if options.dsn is None else "the host of the URL"
        return translate_open(error, place=place, user=options.user, database=options.database, timeout=options.connect_timeout)


def _uuid_bytes(value: object) -> bytes:
    return value.bytes if isinstance(value, UUID) else UUID(str(value)).bytes  # raw SQL may pass a text, as asyncpg's own codec lets it


def _shown_cause(error: Exception) -> Exception | None:
    # A ValueError of URL parsing quotes what it could not parse, which may be a piece of the password.
    return None if isinstance(error, ValueError) else error


def _server_settings(options: PostgresOptions) -> dict[str, str]:
    settings = dict(_STARTUP_ANYWHERE)
    if options.application_name is not None:
        settings["application_name"] = options.application_name
    if options.pooler is None:
        settings.update(_STARTUP)
        if options.statement_timeout is not None:
            settings["statement_timeout"] = f"{_milliseconds(options.statement_timeout)}"
    return {**settings, **options.server_settings}


def _connect_arguments(options: PostgresOptions) -> dict[str, Any]:
    wanted = {name: getattr(options, name) for name in ("dsn", "host", "port", "user", "password", "database", "ssl")}
    return {
        **{name: value for name, value in wanted.items() if value is not None},
        "timeout": options.connect_timeout,
        "statement_cache_size": options.statement_cache_size if options.pooler is None else 0,
        "max_cached_statement_lifetime": 0,  # a timer for each statement, and a new preparation every five minutes, otherwise
        "connection_class": HoldallConnection,
    }


def _milliseconds(seconds: float) -> int:
    if not 0 < seconds < 2_147_483:  # the server's integer of milliseconds; 0 would mean no limit
        raise ConfigurationError(f"a statement timeout must be above 0 and below 2147483 seconds, not {seconds!r}")
    return max(1, round(seconds * 1000))


def begin_statement(isolation: Isolation = "read committed", *, read_only: bool = False, timeout_seconds: float | None = None) -> str:
    """Return the text that begins a transaction with all its settings in one round trip; send it with ``execute``, without arguments.

    The level is always stated: behind a pooler the server's default is not ours.
    """
    return _begin(isolation, read_only, timeout_seconds)


@functools.lru_cache(maxsize=256)
def _begin(isolation: Isolation, read_only: bool, timeout_seconds: float | None) -> str:  # noqa: FBT001 - the key of the cache
    if isolation not in ("read committed", "repeatable read", "serializable"):
        raise ConfigurationError(f"unknown isolation level {isolation!r}; use 'read committed', 'repeatable read' or 'serializable'")
    begin = f"begin isolation level {isolation}{' read only' if read_only else ''}"
    return begin if timeout_seconds is None else f"{begin}; set local statement_timeout = {_milliseconds(timeout_seconds)}"


async def commit(connection: AsyncpgConnection, context: ErrorContext = NO_CONTEXT) -> None:
    """Commit the open transaction.

    Raises: ConnectionLost (not committed), CommitUnknownError (lost while it committed), TransactionError (a statement had failed, so
        that the server rolled back), and what a deferred check raises (ForeignKeyError, SerializationError …).
    """
    if connection.is_closed():
        raise ConnectionLost("the connection was lost before the commit; the server rolled the transaction back")
    try:
        tag = await connection.execute("commit")
    except Exception as error:
        translated = translate(error, context)
        if isinstance(translated, ConnectionLost) and not never_sent(error):
            raise CommitUnknownError("the connection was lost during the commit; read the records to learn whether it happened") from error
        if translated is None:
            raise
        raise translated from error
    # PostgreSQL answers the COMMIT of a failed transaction with success, and rolls back.
    if tag != "COMMIT":
        raise TransactionError(
            "the transaction was rolled back instead of committed, because a statement in it had failed; "
            "put a savepoint around statements that may fail"
        )
