"""asyncpg's errors as holdall's: one table by SQLSTATE, and what has no SQLSTATE."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

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


def _unknown_constraint(_name: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class ErrorContext:
    """What the caller knows and the server does not say.

    Attributes:
        constraint: the model's name and the fields of a constraint, by its name in the database.
        model: the model that the statement is about.
        values: the values being written, by field; the server tells them as text only.
        timeout: the statement timeout in force, in seconds.
    """

    constraint: ConstraintLookup = _unknown_constraint
    model: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    timeout: float | None = None


NO_CONTEXT = ErrorContext()

_Maker = Callable[[asyncpg.PostgresError, ErrorContext], HoldallError]


def translate(error: BaseException, context: ErrorContext = NO_CONTEXT) -> HoldallError | None:
    """Return holdall's error for one that asyncpg or the socket raised, to be raised ``from`` it; None for anything else."""
    if isinstance(error, asyncpg.PostgresError):
        return _by_sqlstate(error, context)
    if isinstance(error, TimeoutError) and error.errno is None:  # asyncpg's timeout= argument; ETIMEDOUT has its number
        return StatementTimeout(context.timeout)
    if isinstance(error, OSError):
        return ConnectionLost(f"the connection was lost: {_first_line(error)}")
    if isinstance(error, asyncpg.InterfaceError):
        return _interface_error(error)
    if isinstance(error, asyncpg.InternalClientError):
        return _internal_error(error)
    return None


def _internal_error(error: asyncpg.InternalClientError) -> HoldallError:
    if never_sent(error):
        return ConnectionLost(f"the server has closed the connection: {_first_line(error)}")
    return BackendError(f"asyncpg failed: {_first_line(error)}")


def leaves_broken(error: BaseException) -> bool:
    """Tell whether the connection is of no use after this error, although asyncpg does not call it closed yet."""
    return isinstance(error, asyncpg.InternalClientError)


def never_sent(error: BaseException) -> bool:
    """Tell whether the statement has not left this machine.

    When the server has said goodbye and the end of the connection is still to be read, asyncpg's state machine refuses what comes next.
    """
    return isinstance(error, asyncpg.InternalClientError) and "cannot switch to state" in str(error)


def _by_sqlstate(error: asyncpg.PostgresError, context: ErrorContext) -> HoldallError:
    state = getattr(error, "sqlstate", None) or ""
    make = _BY_SQLSTATE.get(state) or _BY_CLASS.get(state[:2]) or _backend_error
    return make(error, context)


def _interface_error(error: asyncpg.InterfaceError) -> HoldallError:
    text = _first_line(error)
    if "connection is closed" in text or "connection has been released" in text:
        return ConnectionLost(f"the connection was lost: {text}")
    return BackendError(f"asyncpg refused the call: {text}")


# The irregular ones.

_DETAIL_KEY = re.compile(r"\((.+?)\)=\((.*)\)", re.DOTALL)


def _duplicate(error: asyncpg.PostgresError, context: ErrorContext) -> HoldallError:
    model, fields, values = _constrained(error, context)
    return DuplicateKeyError(model, fields, values)


def _foreign_key(error: asyncpg.PostgresError, context: ErrorContext) -> HoldallError:
    model, fields, _ = _constrained(error, context)
    return ForeignKeyError(model, fields, _detail(error))


def _constrained(error: asyncpg.PostgresError, context: ErrorContext) -> tuple[str, tuple[str, ...], tuple[Any, ...]]:
    """Return model, fields and values; the texts are the server's where the values being written are not known."""
    known = context.constraint(_attribute(error, "constraint_name") or "")
    match = _DETAIL_KEY.search(_detail(error) or "")
    columns = tuple(match[1].split(", ")) if match else ()
    if known is None:
        model, fields = context.model or _attribute(error, "table_name") or "?", columns
    else:
        model, fields = known
    if fields and all(name in context.values for name in fields):
        return model, fields, tuple(context.values[name] for name in fields)
    if match is None:
        return model, fields, ()
    texts = (match[2],) if len(columns) == 1 else tuple(match[2].split(", "))
    # A value may hold the separator: then nobody can tell where one ends.
    return model, fields, texts if len(texts) == len(fields) else ()


def _check(error: asyncpg.PostgresError, context: ErrorContext) -> HoldallError:
    name = _attribute(error, "constraint_name")
    model, fields = context.constraint(name or "") or (context.model or _attribute(error, "table_name"), ())
    only = fields[0] if len(fields) == 1 else None
    value = context.values.get(only) if only else None
    return ValidationError(f"the value breaks the check {name!r}", model=model, field=only, value=value)


def _not_null(error: asyncpg.PostgresError, context: ErrorContext) -> HoldallError:
    model = context.model or _attribute(error, "table_name")
    return ValidationError("must not be None", model=model, field=_attribute(error, "column_name"))


def _invalid(error: asyncpg.PostgresError, context: ErrorContext) -> HoldallError:
    return ValidationError(_first_line(error), model=context.model, field=_attribute(error, "column_name"))


def _canceled(error: asyncpg.PostgresError, context: ErrorContext) -> HoldallError:
    # One code for every cause; the message may be in the server's language, so it decides only where it can be read.
    text = _first_line(error)
    if "statement timeout" in text or (context.timeout is not None and "user request" not in text):
        return StatementTimeout(context.timeout)
    return BackendError(f"the statement was cancelled on the server: {text}")


def _aborted(_error: asyncpg.PostgresError, _context: ErrorContext) -> HoldallError:
    return TransactionError(
        "a statement failed before, so this transaction can only be rolled back; put a savepoint around statements that may fail"
    )


def _lost(error: asyncpg.PostgresError, _context: ErrorContext) -> HoldallError:
    return ConnectionLost(f"the connection was lost: {_first_line(error)}")


def _backend_error(error: asyncpg.PostgresError, _context: ErrorContext) -> HoldallError:
    return BackendError(_with_state(error))


# The regular ones: a class of ours and the server's words, with what to do about it where there is something.


def _as(cls: type[HoldallError], remedy: str | None = None) -> _Maker:
    def make(error: asyncpg.PostgresError, _context: ErrorContext) -> HoldallError:
        text = _with_state(error)
        return cls(f"{text}; {remedy}" if remedy else text)

    return make


_NOT_INITIALIZED = _as(BackendError, "backend.initialize(…) creates what is missing")
_POOLER = _as(BackendError, "behind a pooler, add pooler=transaction to the URL")

_BY_SQLSTATE: dict[str, _Maker] = {
    "22000": _invalid,  # asyncpg's own, for a bound value that its encoder refuses
    "22001": _invalid,  # string_data_right_truncation
    "22003": _invalid,  # numeric_value_out_of_range
    "22007": _invalid,  # invalid_datetime_format
    "22008": _invalid,  # datetime_field_overflow
    "22021": _invalid,  # character_not_in_repertoire
    "22P02": _invalid,  # invalid_text_representation
    "22P05": _invalid,  # untranslatable_character
    "23001": _foreign_key,  # restrict_violation
    "23502": _not_null,
    "23503": _foreign_key,
    "23505": _duplicate,
    "23514": _check,
    "25006": _as(TransactionError, "the session or the server is read-only"),  # read_only_sql_transaction
    "25P02": _aborted,  # in_failed_sql_transaction
    "25P03": _lost,  # idle_in_transaction_session_timeout
    "25P04": _lost,  # transaction_timeout
    "26000": _POOLER,  # invalid_sql_statement_name
    "40001": _as(SerializationError),
    "40P01": _as(DeadlockError),
    "42P01": _NOT_INITIALIZED,  # undefined_table
    "42703": _NOT_INITIALIZED,  # undefined_column
    "42883": _NOT_INITIALIZED,  # undefined_function, such as the one of casefold.py
    "42P05": _POOLER,  # duplicate_prepared_statement
    "53300": _as(ConnectionLost, "the server has no connection left: lower pool_max_size or raise max_connections"),
    "55P03": _as(LockNotAvailable),
    "57014": _canceled,
    "57P01": _lost,  # admin_shutdown
    "57P02": _lost,  # crash_shutdown
    "57P03": _lost,  # cannot_connect_now
    "57P04": _lost,  # database_dropped
    "57P05": _lost,  # idle_session_timeout
}
_BY_CLASS: dict[str, _Maker] = {
    "08": _lost,  # connection exceptions; asyncpg's ConnectionDoesNotExistError is one
    "40": _as(TransactionError),
}


# Opening.


def translate_open(error: Exception, *, place: str, user: str | None, database: str | None, timeout: float) -> HoldallError:
    """Return holdall's error for one that ended an attempt to connect; never with the password in it."""
    if isinstance(error, asyncpg.PostgresError):
        remedy = _OPEN_REMEDIES.get(getattr(error, "sqlstate", None) or "")
        if remedy is not None:
            return ConfigurationError(f"{_first_line(error)}; {remedy.format(user=user, database=database)}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigurationError(f"the certificate of {place} was not accepted: {error.verify_message}; see sslmode and sslrootcert")
    if isinstance(error, TimeoutError):
        return ConnectionLost(f"postgresql at {place} did not accept a connection within {timeout:g} s")
    if isinstance(error, OSError):
        return ConnectionLost(f"cannot connect to postgresql at {place}: {_first_line(error)}")
    if isinstance(error, ValueError):
        return ConfigurationError("the PostgreSQL URL cannot be read; reserved characters in user and password must be %-encoded")
    return translate(error) or BackendError(f"cannot connect to postgresql at {place}: {type(error).__name__}")


_OPEN_REMEDIES = {
    "28P01": "the server refused the password of user {user!r}",  # invalid_password
    "28000": "check user {user!r} and the server's pg_hba.conf",  # invalid_authorization_specification
    "3D000": "create database {database!r}, or name another in the URL",  # invalid_catalog_name
    "42704": "a server setting that this server does not know was asked for",  # undefined_object
    "22023": "a server setting has a value that this server refuses",  # invalid_parameter_value
    "08P01": "behind a pooler such as pgbouncer, add pooler=transaction to the URL",  # protocol_violation
}


def _attribute(error: asyncpg.PostgresError, name: str) -> str | None:
    value: object = getattr(error, name, None)
    return value if isinstance(value, str) else None


def _detail(error: asyncpg.PostgresError) -> str | None:
    return _attribute(error, "detail")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _with_state(error: asyncpg.PostgresError) -> str:
    return f"{_first_line(error)} (SQLSTATE {getattr(error, 'sqlstate', None)})"
