"""Connections for the pool: opening with all that a session needs, stopping what was cancelled, and the two ends of a transaction."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable

from holdall.capabilities import Capability
from holdall.errors import CommitUnknownError, ConfigurationError, ConnectionLost, HoldallError, TransactionError, UnsupportedOperation
from holdall.store import BeginOptions
from holdall.stores.mysql.errors import (
    CHANGED_SINCE_SNAPSHOT,
    DEADLOCK,
    NO_CONTEXT,
    NO_SUCH_THREAD,
    ConstraintLookup,
    ErrorContext,
    is_lost,
    never_sent,
    number_of,
    translate,
    translate_open,
)
from holdall.stores.mysql.flavours import DEFAULT, Flavour, flavour_of
from holdall.stores.mysql.settings import MysqlSettings
from holdall.stores.mysql.wire import Address, Connection, Driver

_log = logging.getLogger(__name__)

# STRICT_ALL_TABLES: what does not fit is refused, and not cut. SIMULTANEOUS_ASSIGNMENT (MariaDB): "set a = b, b = a" exchanges the two.
# NO_AUTO_VALUE_ON_ZERO: a key of 0 is stored as such.
# ANSI_QUOTES, PIPES_AS_CONCAT and NO_BACKSLASH_ESCAPES: raw SQL is written as in the standard, and on other stores.
_SQL_MODE = (
    "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_AUTO_VALUE_ON_ZERO,ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES"
)
_SQL_MODES = {"MariaDB": f"{_SQL_MODE},SIMULTANEOUS_ASSIGNMENT", "MySQL": _SQL_MODE}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.5


class MysqlConnector:
    """Implement ``holdall.pool.Connector`` over the connections of a driver.

    Attributes:
        flavour: of the server, known after the first connection.
    """

    def __init__(self, settings: MysqlSettings, driver: Driver, learn: Callable[[Flavour], None]) -> None:
        self.flavour: Flavour = DEFAULT
        self._settings = settings
        self._driver = driver
        self._learn = learn
        self._address = _address(settings)
        self._max_packet = 0  # asked for once

    async def open(self) -> Connection:
        """Connect. Raises: ConnectionLost, ConfigurationError (password, database, version), BackendError."""
        connection = await self._connect()
        try:
            flavour = flavour_of(connection.version)
            if flavour is not self.flavour:
                self.flavour = flavour
                self._learn(flavour)
            await self._set_up(connection)
            connection.max_packet = self._max_packet = self._max_packet or await _max_packet(connection)
        except BaseException as error:
            connection.terminate()
            if isinstance(error, Exception) and not isinstance(error, HoldallError):
                raise self._translated(error) from error
            raise
        return connection

    @staticmethod
    def is_closed(connection: Connection) -> bool:
        """Tell whether the connection is known to be closed."""
        return connection.is_closed

    async def recover(self, connection: Connection, *, dirty: bool) -> None:
        """Roll back, reset when dirty; stop on the server what was not answered, which ends the connection."""
        if connection.unanswered or connection.is_closed:
            await self._kill(connection.thread_id)
            raise TransactionError("a statement was cut off: the server was told, and the connection is closed")
        if connection.in_transaction:
            await connection.execute("rollback")
        if dirty:
            await connection.reset()
            await self._set_up(connection)

    async def close(self, connection: Connection) -> None:
        """Close gracefully."""
        await connection.close()

    @staticmethod
    def terminate(connection: Connection) -> None:
        """Close at once."""
        connection.terminate()

    async def stop_query(self, connection: Connection) -> None:
        """Stop the statement that runs on a connection, over another one; the transaction goes on."""
        control = await self._connect()
        try:
            await control.execute(f"kill query {connection.thread_id:d}")
        except self._driver.errors as error:
            if number_of(error) != NO_SUCH_THREAD:
                raise
        finally:
            control.terminate()

    async def _kill(self, thread: int) -> None:
        """End a connection on the server, again and again until it is gone: what it was at is rolled back by then.

        KILL alone interrupts a wait for a lock only at its end; KILL QUERY interrupts it at once.
        """
        control = await self._connect()
        try:
            command, pause = f"kill {thread:d}", _FIRST_PAUSE
            while True:
                try:
                    await control.execute(command)
                except self._driver.errors as error:
                    if number_of(error) == NO_SUCH_THREAD:
                        return
                    raise
                command = f"kill query {thread:d}"
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            control.terminate()

    async def _connect(self) -> Connection:
        try:
            return await self._driver.connect(self._address)
        except Exception as error:
            raise self._translated(error) from error

    async def _set_up(self, connection: Connection) -> None:
        settings, flavour = self._settings, self.flavour
        texts = [
            f"NAMES utf8mb4 COLLATE {flavour.collation}",
            f"sql_mode='{_SQL_MODES[flavour.name]}'",
            "autocommit=1",
            "time_zone='+00:00'",
            f"{flavour.isolation}='READ-COMMITTED'",
            f"{flavour.read_only}={int(settings.read_only)}",
            flavour.settings,
            "lock_wait_timeout=50",  # for the definition of a table, a day by default
        ]
        await connection.execute(f"set {', '.join(texts)}")
        if settings.statement_timeout is not None and flavour.statement_timeout:
            await connection.execute(flavour.statement_timeout.format(settings.statement_timeout))

    def _translated(self, error: Exception) -> HoldallError:
        settings = self._settings
        return translate_open(error, self._driver.errors, place=str(self._address), user=settings.user, database=settings.database)


class MysqlWire:
    """How a connection begins, ends and fails."""

    rollback_to = "rollback to savepoint {0}"

    def __init__(self, connector: MysqlConnector) -> None:
        self._connector = connector

    def is_broken(self, connection: Connection, error: BaseException) -> bool:
        """Tell whether the connection is of no use after this error."""
        if not isinstance(error, Exception):
            return False  # a driver that closes what was cancelled leaves the server at it
        return connection.is_closed or (isinstance(error, (*connection.errors, OSError, EOFError)) and is_lost(error))

    def needs_rescue(self, connection: Connection) -> bool:
        """Tell whether a statement may still run on the server, and be carried out later."""
        return connection.unanswered

    def never_sent(self, error: BaseException, /) -> bool:
        """Tell whether the statement has certainly not been carried out."""
        return never_sent(error)

    def ends_transaction(self, error: BaseException, /) -> bool:
        """Tell whether the server has rolled all back: what comes next would be committed by itself."""
        return not isinstance(error, OSError) and number_of(error) in (DEADLOCK, CHANGED_SINCE_SNAPSHOT)

    def is_in_transaction(self, connection: Connection) -> bool:
        """Tell whether a transaction is open on the connection."""
        return connection.in_transaction

    def is_idle(self, connection: Connection) -> bool:
        """Tell whether the connection is at nothing, and in no transaction."""
        return not connection.unanswered and not connection.in_transaction

    async def begin(self, connection: Connection, options: BeginOptions) -> None:
        """Begin a transaction; a level that is not the default is a statement of its own."""
        isolation = options.isolation or "read committed"
        if isolation == "repeatable read" and not (options.read_only or self._connector.flavour.snapshot_writes):
            raise UnsupportedOperation(
                f"repeatable read on {self._connector.flavour.name} lets a write go on over what has changed since its snapshot; use "
                'isolation="serializable", read committed with lock=True, or read_only=True',
                missing=(Capability.REPEATABLE_READ,),
            )
        if isolation != "read committed":
            await connection.execute(f"set transaction isolation level {isolation}")
        await connection.execute("start transaction read only" if options.read_only else "start transaction")

    async def commit(self, connection: Connection, constraint: ConstraintLookup) -> None:
        """Commit."""
        await commit(connection, ErrorContext(constraint=constraint))

    async def command(self, connection: Connection, text: str) -> None:
        """Run a statement for its effect."""
        await connection.execute(text)


async def commit(connection: Connection, context: ErrorContext = NO_CONTEXT) -> None:
    """Commit the open transaction.

    Raises: ConnectionLost (not committed), CommitUnknownError (lost while it committed), TransactionError (it had ended before).
    """
    if connection.is_closed:
        raise ConnectionLost("the connection was lost before the commit; the server rolled the transaction back")
    if not connection.in_transaction:
        raise TransactionError("the transaction had ended before the commit: a statement that defines tables commits on MySQL")
    try:
        await connection.execute("commit")
    except Exception as error:
        translated = translate(error, connection.errors, context)
        if isinstance(translated, ConnectionLost) and not never_sent(error):
            raise CommitUnknownError("the connection was lost during the commit; read the records to learn whether it happened") from error
        if translated is None:
            raise
        raise translated from error


async def _max_packet(connection: Connection) -> int:
    _, rows = await connection.query("select @@max_allowed_packet")
    found: int = rows[0][0]
    return found


def _address(settings: MysqlSettings) -> Address:
    return Address(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password,
        database=settings.database,
        unix_socket=settings.unix_socket,
        ssl=_ssl_context(settings),
        application_name=settings.application_name,
    )


def _ssl_context(settings: MysqlSettings) -> ssl.SSLContext | None:
    if settings.sslmode in (None, "disable"):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ssl_ca)
    except OSError as error:
        raise ConfigurationError(f"ssl_ca={settings.ssl_ca!r} cannot be read: {error}") from error
    context.check_hostname = settings.sslmode == "verify-full"
    if settings.sslmode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context
