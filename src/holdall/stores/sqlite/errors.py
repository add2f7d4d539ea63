"""What SQLite says, in the library's own errors: one table."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable

from holdall.errors import (
    BackendError,
    DuplicateKeyError,
    ForeignKeyError,
    HoldallError,
    LockNotAvailable,
    SerializationError,
    StatementTimeout,
    ValidationError,
)

Lookup = Callable[[str, tuple[str, ...]], tuple[str, tuple[str, ...]] | None]
"""From a table and its columns to the model's name and its fields' names; an index on an expression is asked for as ``(index, ())``."""

# The errors of writes that are worth a second look: SQLite does not say all that it knows.
EXPLAINED = (DuplicateKeyError, ForeignKeyError, ValidationError, BackendError)


def translate(error: Exception, lookup: Lookup, *, model: str = "record") -> HoldallError:
    """Give the library's error for what ``sqlite3`` raised; the caller raises it ``from`` the original.

    ``model`` names the model in errors where SQLite tells no table, as for foreign keys.
    """
    name = error_name(error)
    build = _TABLE.get(name) or _TABLE.get("_".join(name.split("_")[:2])) or _unknown  # SQLITE_IOERR_WRITE is an SQLITE_IOERR
    return build(str(error), lookup, model)


def is_translatable(error: BaseException) -> bool:
    """Tell whether an exception came from SQLite, or from its module while it bound a value."""
    return isinstance(error, sqlite3.Error | UnicodeEncodeError) or (isinstance(error, OverflowError) and "SQLite" in str(error))


def error_name(error: BaseException) -> str:
    """Give SQLite's own name of an error (``SQLITE_BUSY_SNAPSHOT``), or the class's name where SQLite was not asked."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return type(error).__name__
    return _UNNAMED.get(code) or str(getattr(error, "sqlite_errorname", "unknown"))


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether somebody else holds the lock, so that the same statement may succeed later."""
    code = getattr(error, "sqlite_errorcode", 0)
    return (code & 0xFF) in _BUSY and code != sqlite3.SQLITE_BUSY_SNAPSHOT


def is_interrupt(error: sqlite3.Error) -> bool:
    """Tell whether ``interrupt()`` ended the statement."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT


def _duplicate(text: str, lookup: Lookup, model: str) -> HoldallError:
    """Read ``UNIQUE constraint failed: table.a, table.b`` or ``… index 'name'``."""
    subject = text.partition(": ")[2]
    if index := re.fullmatch(r"index '(.*)'", subject):
        name, fields = lookup(index[1], ()) or (model, (index[1],))
        return DuplicateKeyError(name, fields)
    parts = subject.split(", ")
    for columns in ([subject], parts):  # a table's or column's name may hold a dot or a comma itself
        for dot in (place for place, letter in enumerate(columns[0]) if letter == "."):
            if (found := lookup(subject[:dot], tuple(part[dot + 1 :] for part in columns))) is not None:
                return DuplicateKeyError(*found)
    table, _, _ = parts[0].rpartition(".")
    return DuplicateKeyError(table or model, [part[len(table) + 1 :] for part in parts])


def _foreign_key(_: str, __: Lookup, model: str) -> HoldallError:
    return ForeignKeyError(model)


def _invalid(text: str, _: Lookup, __: str) -> HoldallError:
    return ValidationError(f"sqlite refused the value: {text}")


def _locked(text: str, _: Lookup, __: str) -> HoldallError:
    return LockNotAvailable(f"another process holds the database's write lock ({text}); raise busy_timeout or shorten its transactions")


def _stale(_: str, __: Lookup, ___: str) -> HoldallError:
    return SerializationError("another transaction has changed the database since this one's snapshot was taken; run it again")


def _interrupted(_: str, __: Lookup, ___: str) -> HoldallError:
    return StatementTimeout()


def _unknown(text: str, lookup: Lookup, model: str) -> HoldallError:
    if text == "integer overflow":  # a plain SQLITE_ERROR; only its text tells
        return _invalid(text, lookup, model)
    return BackendError(f"sqlite refused the statement: {text}")


def _failed(advice: str) -> Callable[[str, Lookup, str], HoldallError]:
    def build(text: str, _: Lookup, __: str) -> HoldallError:
        return BackendError(f"sqlite cannot go on: {text}; {advice}")

    return build


_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL})  # PROTOCOL: lost a race for the WAL's locks

# Codes that the sqlite3 module of Python 3.11 calls "unknown".
_UNNAMED = {3091: "SQLITE_CONSTRAINT_DATATYPE"}

_FILE = "check that the file and its folder exist and can be read and written"
_DISK = "check the disk"
_DAMAGED = "the file is damaged, or is no SQLite database"

_TABLE: dict[str, Callable[[str, Lookup, str], HoldallError]] = {
    "SQLITE_CONSTRAINT_UNIQUE": _duplicate,
    "SQLITE_CONSTRAINT_PRIMARYKEY": _duplicate,
    "SQLITE_CONSTRAINT_ROWID": _duplicate,
    "SQLITE_CONSTRAINT_FOREIGNKEY": _foreign_key,
    "SQLITE_CONSTRAINT_TRIGGER": _foreign_key,  # ON DELETE RESTRICT is carried out by a trigger of SQLite's own
    "SQLITE_CONSTRAINT_CHECK": _invalid,
    "SQLITE_CONSTRAINT_NOTNULL": _invalid,
    "SQLITE_CONSTRAINT_DATATYPE": _invalid,
    "SQLITE_MISMATCH": _invalid,
    "SQLITE_TOOBIG": _invalid,
    "OverflowError": _invalid,
    "UnicodeEncodeError": _invalid,
    "SQLITE_BUSY": _locked,
    "SQLITE_BUSY_RECOVERY": _locked,
    "SQLITE_BUSY_TIMEOUT": _locked,
    "SQLITE_LOCKED": _locked,
    "SQLITE_PROTOCOL": _locked,
    "SQLITE_BUSY_SNAPSHOT": _stale,
    "SQLITE_INTERRUPT": _interrupted,
    "SQLITE_CANTOPEN": _failed(_FILE),
    "SQLITE_CANTOPEN_ISDIR": _failed(_FILE),
    "SQLITE_PERM": _failed(_FILE),
    "SQLITE_AUTH": _failed(_FILE),
    "SQLITE_READONLY": _failed(_FILE),
    "SQLITE_READONLY_DBMOVED": _failed("the file was moved or removed while it was open"),
    "SQLITE_READONLY_DIRECTORY": _failed(_FILE),
    "SQLITE_FULL": _failed("the disk is full"),
    "SQLITE_IOERR": _failed(_DISK),
    "SQLITE_CORRUPT": _failed(_DAMAGED),
    "SQLITE_NOTADB": _failed(_DAMAGED),
}
