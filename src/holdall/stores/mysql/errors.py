"""The server's and the drivers' errors as holdall's: one table by number. Both drivers keep the number and the text in ``args``."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdall.errors import (
    BackendError,
    ConfigurationError,
    ConnectionLost,
    DeadlockError,
    DuplicateKeyError,
    ForeignKeyError,
    HoldallError,
    LockNotAvailable,
    SerializationError,
    StatementTimeout,
    TransactionError,
    ValidationError,
)

ConstraintLookup = Callable[[str], "tuple[str, tuple[str, ...]] | None"]

CHANGED_SINCE_SNAPSHOT, DEADLOCK, DUPLICATE, FOREIGN_ROW = 1020, 1213, 1062, 1048
NO_SUCH_THREAD = 1094
INTERRUPTED = 1317
NO_TABLE = 1146
REFERRED_TO = 1451
GONE = 2006


def _unknown_constraint(_name: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class ErrorContext:
    """What the caller knows and the server does not say.

    Attributes:
        constraint: the model's label and the fields of a constraint, by its name in the database.
        model: the label of the model that the statement is about. ``key``: the names of its key's fields.
        values: the values being written, by field.
        timeout: the statement timeout in force, in seconds.
        nowait: the statement does not wait for locks.
    """

    constraint: ConstraintLookup = _unknown_constraint
    model: str | None = None
    key: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    timeout: float | None = None


NO_CONTEXT = ErrorContext()

_Maker = Callable[[int, str, ErrorContext], HoldallError]


def number_of(error: BaseException) -> int:
    """Return the error's number; 0 when it has none."""
    found = error.args[0] if error.args else 0
    return found if isinstance(found, int) else 0


def is_from_server(error: BaseException) -> bool:
    """Tell whether the error is a reply of the server; the drivers' own numbers are the ones from 2000 on."""
    number = number_of(error)
    return number > 0 and not 2000 <= number < 3000


def translate(error: BaseException, drivers: tuple[type[Exception], ...], context: ErrorContext = NO_CONTEXT) -> HoldallError | None:
    """Return holdall's error for one that the driver or the socket raised, to be raised ``from`` it; None for anything else."""
    if isinstance(error, drivers):
        number = number_of(error)
        text = str(error.args[1]) if len(error.args) > 1 else str(error)
        return _BY_NUMBER.get(number, _backend_error)(number, text, context)
    if isinstance(error, OSError | EOFError):
        return ConnectionLost(f"the connection was lost: {str(error) or type(error).__name__}")
    return None


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection is gone, or of no use, after this error."""
    return isinstance(error, OSError | EOFError) or (bool(error.args) and not is_from_server(error)) or number_of(error) in _LOST


def never_sent(error: BaseException) -> bool:
    """Tell whether the statement has certainly not been carried out: the server had said goodbye before it came."""
    return number_of(error) == GONE


# -- the irregular ones ----------------------------------------------------------------------------------------------------------------

_CONSTRAINT = re.compile(r"CONSTRAINT [`\"']?([^`\"']+)[`\"']?")
_COLUMN = re.compile(r"[Cc]olumn '([^']*)'|column `(?:[^`]*`\.`)*([^`]*)`")
_ENTRY = re.compile(r"^Duplicate entry '(.*)' for key ", re.DOTALL)


def duplicate_key(text: str, constraint: Callable[[str], object] = lambda _: None) -> str | None:
    """Return the name of the index that a duplicate is about: MariaDB tells it, MySQL with the table's name and a dot before it.

    Args:
        constraint: tells whether a name is known, since names may hold dots and quotes themselves.
    """
    _, found, rest = text.rpartition("' for key '")
    if not found:
        return None
    name = rest.removesuffix("'")
    names = [name, *(name[place + 1 :] for place, letter in enumerate(name) if letter == ".")]
    return next((known for known in names if known == "PRIMARY" or constraint(known)), names[-1])


def _duplicate(_number: int, text: str, context: ErrorContext) -> HoldallError:
    name = duplicate_key(text, context.constraint) or ""
    model, fields = (context.model, context.key) if name == "PRIMARY" else context.constraint(name) or (context.model, ())
    if fields and all(field in context.values for field in fields):
        return DuplicateKeyError(model or "?", fields, tuple(context.values[field] for field in fields))
    match = _ENTRY.match(text)
    return DuplicateKeyError(model or "?", fields, (match[1],) if match and len(fields) == 1 else ())


def _foreign_key(_number: int, text: str, context: ErrorContext) -> HoldallError:
    match = _CONSTRAINT.search(text)
    model, fields = (context.constraint(match[1]) if match else None) or (context.model or "?", ())
    return ForeignKeyError(model, fields, text)


def _check(_number: int, text: str, context: ErrorContext) -> HoldallError:
    match = _CONSTRAINT.search(text) or re.search(r"constraint '([^']+)'", text)
    name = match[1].rpartition(".")[2] if match else None
    model, fields = context.constraint(name or "") or (context.model, ())
    only = fields[0] if len(fields) == 1 else None
    return ValidationError(f"the value breaks the check {name!r}", model=model, field=only, value=context.values.get(only or ""))


def _not_null(_number: int, text: str, context: ErrorContext) -> HoldallError:
    return ValidationError("must not be None", model=context.model, field=_column(text))


def _invalid(_number: int, text: str, context: ErrorContext) -> HoldallError:
    column = _column(text)
    return ValidationError(text, model=context.model, field=column, value=context.values.get(column or ""))


def _column(text: str) -> str | None:
    match = _COLUMN.search(text)
    return (match[1] or match[2]) if match else None


def _timeout(_number: int, _text: str, context: ErrorContext) -> HoldallError:
    return StatementTimeout(context.timeout)


def _lost(number: int, text: str, _context: ErrorContext) -> HoldallError:
    return ConnectionLost(f"the connection was lost: {text} ({number})")


def _backend_error(number: int, text: str, _context: ErrorContext) -> HoldallError:
    return BackendError(f"{text} ({number})" if number else text)


def _as(cls: type[HoldallError], remedy: str | None = None) -> _Maker:
    def make(number: int, text: str, _context: ErrorContext) -> HoldallError:
        return cls(f"{text} ({number}); {remedy}" if remedy else f"{text} ({number})")

    return make


_NOT_INITIALIZED = _as(BackendError, "backend.initialize(…) creates what is missing")
_NO_CONNECTION_LEFT = _as(ConnectionLost, "the server has no connection left: lower pool_max_size or raise max_connections")
_NO_SAVEPOINT = _as(TransactionError, "the transaction had ended before; on MySQL every statement that defines tables commits")


def _missing(number: int, text: str, context: ErrorContext) -> HoldallError:
    return (_NO_SAVEPOINT if text.startswith("SAVEPOINT") else _backend_error)(number, text, context)


_LOST: Mapping[int, _Maker] = {
    1053: _lost,  # shutdown
    1077: _lost,
    1152: _lost,  # aborted
    1158: _lost,  # the network, up to 1161
    1159: _lost,
    1160: _lost,
    1161: _lost,
    1184: _lost,
    1927: _lost,  # MariaDB: killed
    2002: _lost,
    2003: _lost,
    2006: _lost,
    2013: _lost,
    2014: _lost,
    2027: _lost,
    2055: _lost,
    3169: _lost,  # MySQL: killed
    4031: _lost,  # MySQL: idle too long
}
_BY_NUMBER: Mapping[int, _Maker] = {
    **_LOST,
    CHANGED_SINCE_SNAPSHOT: _as(SerializationError),
    1040: _NO_CONNECTION_LEFT,
    1203: _NO_CONNECTION_LEFT,
    FOREIGN_ROW: _not_null,
    1054: _NOT_INITIALIZED,  # no such column
    DUPLICATE: _duplicate,
    1146: _NOT_INITIALIZED,  # no such table
    1153: _as(BackendError, "raise the server's max_allowed_packet"),
    1205: _as(LockNotAvailable),
    DEADLOCK: _as(DeadlockError),
    1216: _foreign_key,
    1217: _foreign_key,
    1264: _invalid,  # out of range
    1265: _invalid,
    1292: _invalid,
    1305: _missing,  # a function, or a savepoint
    1364: _not_null,
    1366: _invalid,
    1406: _invalid,  # too long
    REFERRED_TO: _foreign_key,
    1452: _foreign_key,
    1586: _duplicate,
    1614: _as(DeadlockError),
    1690: _invalid,  # a computed value out of range
    1792: _as(TransactionError, "the session or the server is read-only"),
    1836: _as(TransactionError, "the session or the server is read-only"),
    1290: _as(TransactionError, "the session or the server is read-only"),
    1969: _timeout,  # MariaDB: max_statement_time
    3024: _timeout,  # MySQL: max_execution_time
    3572: _as(LockNotAvailable),  # MySQL: NOWAIT
    3819: _check,  # MySQL
    4025: _check,  # MariaDB
}


# -- opening ---------------------------------------------------------------------------------------------------------------------------


def translate_open(
    error: Exception, drivers: tuple[type[Exception], ...], *, place: str, user: str | None, database: str | None
) -> HoldallError:
    """Return holdall's error for one that ended an attempt to connect; never with the password in it."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ConfigurationError(f"the certificate of {place} was not accepted: {cause.verify_message}; see sslmode and ssl_ca")
    if isinstance(cause, ssl.SSLError):
        return ConfigurationError(f"no TLS with {place}: {cause}; check sslmode, and whether the server has a certificate")
    if isinstance(cause, OSError):
        return ConnectionLost(f"cannot connect to mysql at {place}: {cause}")
    if isinstance(error, RuntimeError) and "cryptography" in str(error):
        return ConfigurationError(
            f"the server wants the password of user {user!r} encrypted: use TLS (sslmode=require), or install the package cryptography"
        )
    if isinstance(error, drivers):
        remedy = _OPEN_REMEDIES.get(number_of(error))
        if remedy is not None:
            text = str(error.args[1]) if len(error.args) > 1 else str(error)
            return ConfigurationError(f"{text}; {remedy.format(user=user, database=database)}")
    return translate(error, drivers) or BackendError(f"cannot connect to mysql at {place}: {type(error).__name__}")


_OPEN_REMEDIES = {
    1044: "user {user!r} has no right to database {database!r}",
    1045: "the server refused the password of user {user!r}",
    1049: "create database {database!r}, or name another in the URL",
    1193: "a server setting that this server does not know was asked for",
    1251: "the driver does not know how this user authenticates",
    1524: "the driver does not know how this user authenticates",
    1698: "check user {user!r} and how the server lets it log in",
    2026: "check sslmode, and whether the server has a certificate",
    2059: "the driver does not know how this user authenticates",
}
