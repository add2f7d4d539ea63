"""Opening a database file: what every connection of the engine is set to."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import quote

from holdall.errors import BackendError, ConfigurationError
from holdall.pool import PoolOptions
from holdall.stores.sqlite import forked
from holdall.stores.sqlite.errors import Lookup, is_busy, is_interrupt

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")

Synchronous = Literal["full", "normal", "off"]

BUSY_SLICE_MS = 20
"""How long SQLite itself waits for a lock: ``interrupt()`` does not end that wait, so we wait in slices and look up in between."""

_LONGEST_END = 5.0  # seconds for the threads to end before a fork
_BUSY_PAUSE = 0.001  # some locks are refused at once, whatever the slice
_WAL_KEPT_BYTES = 64 * 1024 * 1024


def _no_names(_: str, __: tuple[str, ...]) -> None:
    return None


def _no_setup(_: sqlite3.Connection) -> None:
    return None


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine is told.

    Attributes:
        path: the database file; its folder must exist.
        synchronous: ``full`` keeps every commit through a power loss; ``normal`` may lose the last ones, never the file's integrity.
        busy_timeout: seconds to wait for the write lock, held in this process or by another one.
        statement_timeout: seconds a statement may run, queueing included; None for no limit.
        read_only: no connection may write, or create the file.
        cache_kib: page cache of each connection.
        pool: bounds of session and stream connections.
        setup: run with every new connection, in a worker thread; registers functions.
        lookup: names models and fields in errors.
    """

    path: str
    synchronous: Synchronous = "full"
    busy_timeout: float = 10.0
    statement_timeout: float | None = None
    cache_kib: int = 8192
    read_only: bool = False
    pool: PoolOptions = field(default_factory=PoolOptions)
    setup: Callable[[sqlite3.Connection], None] = _no_setup
    lookup: Lookup = _no_names


def patiently(action: Callable[[], R], deadline: float, hopeless: Callable[[], bool]) -> R:
    """Run an action again while the database is locked, until the deadline (``time.monotonic``) or until nobody wants it any more."""
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or monotonic() >= deadline or hopeless():
                raise
        sleep(_BUSY_PAUSE)


def begin_immediate(connection: sqlite3.Connection, deadline: float, hopeless: Callable[[], bool]) -> None:
    """Begin a write transaction, waiting for other processes."""
    patiently(lambda: connection.execute("begin immediate"), deadline, hopeless)


def roll_back(connection: sqlite3.Connection) -> None:
    """Roll back what is open, if anything."""
    while connection.in_transaction:
        try:
            connection.execute("rollback")
        except sqlite3.OperationalError as error:
            if not is_interrupt(error):  # meant for the statement before
                raise


class Connections:
    """Opens connections, and closes those that are left when the last worker thread has ended.

    Closing a connection under a running statement would crash the interpreter, so nobody else may close what is not known to be idle.
    """

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self.path = options.path
        self._open: set[sqlite3.Connection] = set()
        self._threads = 0
        self._lock = threading.Lock()
        self._ending = False
        self._ended = threading.Event()
        forked.watch(self)

    def open(self, *, read_only: bool = False) -> sqlite3.Connection:
        """Open one more connection, in the calling thread; a read-only one refuses to write with SQLITE_READONLY."""
        if sqlite3.threadsafety != 3:
            raise ConfigurationError("this Python's SQLite is not built as serialized (threadsafe=1); holdall needs that")
        options = self._options
        forked.check(options.path)
        connection = sqlite3.connect(
            f"file:{quote(options.path)}?mode=ro" if options.read_only else options.path,
            timeout=BUSY_SLICE_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
            uri=options.read_only,
        )
        try:
            self._set_up(connection)
            if read_only or options.read_only:
                connection.execute("pragma query_only=on")
        except BaseException:
            connection.close()
            raise
        self._open.add(connection)
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        options = self._options
        if not options.read_only:
            self._write_ahead(connection)
        for pragma in (
            f"synchronous={options.synchronous}",
            "foreign_keys=on",
            f"cache_size=-{options.cache_kib}",
            f"journal_size_limit={_WAL_KEPT_BYTES}",
        ):
            connection.execute(f"pragma {pragma}")
        options.setup(connection)

    def _write_ahead(self, connection: sqlite3.Connection) -> None:
        options = self._options
        (mode,) = patiently(
            lambda: connection.execute("pragma journal_mode=wal").fetchone(), monotonic() + options.busy_timeout, lambda: False
        )
        if mode != "wal":
            raise BackendError(f"cannot use {options.path!r}: its file system or mode allows no write-ahead log (journal_mode is {mode!r})")

    def close(self, connection: sqlite3.Connection) -> None:
        """Close a connection that nobody uses."""
        self._open.discard(connection)
        connection.close()

    def thread_started(self) -> None:
        """Count a worker thread in."""
        with self._lock:
            self._threads += 1

    def thread_ended(self) -> None:
        """Count a worker thread out; the last one closes what is open."""
        with self._lock:
            self._threads -= 1
            last = self._threads == 0
        while last and self._open:
            self._open.pop().close()
        if last:
            self._ended.set()

    def end(self) -> None:
        """Note that the threads have been told to end."""
        self._ending = True

    def wait_ended(self) -> None:
        """When the threads have been told to end, wait for the last one, which closes what is open."""
        if self._ending and self._threads:
            self._ended.wait(_LONGEST_END)

    def __len__(self) -> int:
        return len(self._open)
