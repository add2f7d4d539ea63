"""Every error that the library raises, drawn as a tree.

::

    HoldallError
    ├── ConfigurationError          a model, URL or option that cannot be right
    │   └── MissingDriverError      .package .extra
    ├── QueryError                  a query that has no meaning; raised while it is built
    ├── ValidationError             a value that no store may keep            .model .field .value
    ├── UnsupportedOperation        the store cannot keep the promise         .missing
    ├── LimitExceeded               over a limit of the store                 .limit .value
    ├── NotFoundError               .model .key
    ├── MultipleResultsError        .model
    ├── DuplicateKeyError           .model .fields .values
    ├── ForeignKeyError             .model .fields
    ├── ConflictError               the record changed since it was read      .model .key .version
    ├── CorruptRecordError          a stored record cannot be read            .model .key .field
    ├── SessionConflict             a session belongs to another task, or is open already
    ├── SessionNotFound             there is no ambient session
    ├── SessionClosed               the session has ended
    ├── TransactionError            the transaction cannot go on
    │   ├── SerializationError      run it again
    │   ├── DeadlockError           run it again
    │   ├── LockNotAvailable        another transaction holds the row (``nowait``, lock timeout)
    │   └── CommitUnknownError      the connection was lost while it committed
    ├── PoolTimeout                 no connection within the deadline         .timeout .holders
    ├── PoolClosed                  the backend is closed
    ├── StatementTimeout            .timeout
    ├── ConnectionLost              the server cannot be reached, or went away
    └── BackendError                anything else that the driver said, as ``__cause__``

The same mistake gives the same class on every backend. No text ever holds a password.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class HoldallError(Exception):
    """The root: catch it to catch everything that this library raises.

    Attributes:
        written: the places of the records that a bulk write has stored all the same, where it could not be all or nothing.
        reasons: what each write of a batch failed of, or None, as far as the store tells; else empty.
    """

    written: Sequence[int] = ()
    reasons: Sequence[HoldallError | None] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # The constructors take attributes, not the text, so that the default (call the class with ``args``) cannot rebuild them.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[HoldallError], args: tuple[Any, ...], attributes: dict[str, Any]) -> HoldallError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class ConfigurationError(HoldallError):
    """A model, URL, option or setting that cannot be right."""


class MissingDriverError(ConfigurationError, ImportError):
    """A backend's driver is not installed.

    Attributes:
        package: the import name that was not found.
        extra: the extra of holdall that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"the driver {package!r} is not installed; run: pip install 'holdall[{extra}]'")


class QueryError(HoldallError):
    """A query that has no meaning for its model; raised where it is built, before any I/O."""


class ValidationError(HoldallError, ValueError):
    """A value that no store may keep, or that breaks a rule of its field.

    Attributes:
        model: the model's name, or None.
        field: the field's name, or None.
        value: the offending value.
    """

    def __init__(self, problem: str, *, model: str | None = None, field: str | None = None, value: object = None) -> None:
        self.model = model
        self.field = field
        self.value = value
        place = ".".join(part for part in (model, field) if part)
        super().__init__(f"{place}: {problem}" if place else problem)


class UnsupportedOperation(HoldallError):
    """The store does not promise what the operation needs; raised before any I/O.

    Attributes:
        missing: the capabilities that the store does not declare.
    """

    def __init__(self, text: str, *, missing: Iterable[object] = ()) -> None:
        self.missing: frozenset[Any] = frozenset(missing)
        super().__init__(text)


class LimitExceeded(HoldallError):
    """An operation is over a limit of the store that cannot be divided; raised before any I/O.

    Attributes:
        limit: the limit, in the unit that the text names.
        value: what the operation needs.
    """

    def __init__(self, text: str, *, limit: int, value: int) -> None:
        self.limit = limit
        self.value = value
        super().__init__(f"{text}: {value} is over the limit of {limit}")


class NotFoundError(HoldallError, LookupError):
    """There is no such record.

    Attributes:
        model: the model's name.
        key: the key that was asked for, or None for a query.
    """

    def __init__(self, model: str, key: object = None) -> None:
        self.model = model
        self.key = key
        super().__init__(f"{model} has no record that matches the query" if key is None else f"{model} has no record with key {key!r}")


class MultipleResultsError(HoldallError):
    """``one()`` or ``one_or_none()`` found more than one record. ``model`` is the model's name."""

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(f"more than one {model} matches the query; narrow the filter, or use first() or all()")


class DuplicateKeyError(HoldallError):
    """A key or unique field holds this value already.

    Attributes:
        model: the model's name.
        fields: the names of the fields that must be unique together.
        values: their values, where the store tells them; else empty.
    """

    def __init__(self, model: str, fields: Sequence[str], values: Sequence[Any] = ()) -> None:
        self.model = model
        self.fields = tuple(fields)
        self.values = tuple(values)
        shown = f" = {', '.join(map(repr, self.values))}" if self.values else ""
        super().__init__(f"{model} has a record with this {', '.join(self.fields) or 'key'} already{shown}")


class ForeignKeyError(HoldallError):
    """A reference points to no record, or a record is still referred to.

    Attributes:
        model: the model whose field holds the reference.
        fields: the fields that hold the reference, where the store tells them.
    """

    def __init__(self, model: str, fields: Sequence[str] = (), detail: str | None = None) -> None:
        self.model = model
        self.fields = tuple(fields)
        place = ".".join((model, *self.fields[:1]))
        super().__init__(f"{place}: {detail or 'the reference points to no record, or the record is still referred to'}")


class ConflictError(HoldallError):
    """The record was changed by somebody else since it was read (its version is another).

    Attributes:
        model: the model's name.
        key: the record's key.
        version: the version that the write expected.
    """

    def __init__(self, model: str, key: object, version: object = None) -> None:
        self.model = model
        self.key = key
        self.version = version
        super().__init__(f"{model} {key!r} is no longer at version {version!r}; refresh() it and apply the change again")


class CorruptRecordError(HoldallError):
    """A stored record cannot be read as its model.

    Attributes:
        model: the model's name.
        key: the record's key, as far as it could be read.
        field: the name of the field that could not be read.
    """

    def __init__(self, model: str, key: object, field: str, problem: str) -> None:
        self.model = model
        self.key = key
        self.field = field
        super().__init__(f"{model} {key!r}: cannot read field {field!r}: {problem}")


class SessionConflict(HoldallError):
    """A session is open already, or belongs to another task."""


class SessionNotFound(HoldallError):
    """There is no ambient session."""


class SessionClosed(HoldallError):
    """The session has ended."""


class TransactionError(HoldallError):
    """The transaction cannot go on; it was, or must be, rolled back."""


class SerializationError(TransactionError):
    """The transaction could not be serialised with others; run it again (``backend.run`` does)."""


class DeadlockError(TransactionError):
    """The transaction was chosen to break a deadlock; run it again (``backend.run`` does)."""


class LockNotAvailable(TransactionError):
    """Another transaction holds the lock and the statement was told not to wait."""


class CommitUnknownError(TransactionError):
    """The connection was lost while a commit was on its way: it may or may not have happened."""


class PoolTimeout(HoldallError, TimeoutError):
    """No connection came free within the deadline.

    Attributes:
        timeout: the deadline, in seconds.
        holders: who holds the connections: task name, code line and age, one line each.
    """

    def __init__(self, timeout: float, holders: Iterable[str] = ()) -> None:
        self.timeout = timeout
        self.holders = tuple(holders)
        held = "".join(f"\n  {line}" for line in self.holders) or " nobody"
        super().__init__(f"no connection came free within {timeout:g} s; raise pool_max_size or hold sessions shorter; held by:{held}")


class PoolClosed(HoldallError):
    """The backend is closed."""


class StatementTimeout(HoldallError, TimeoutError):
    """A statement ran longer than its timeout. ``timeout`` is in seconds, None where it is not known."""

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout
        what = "ran into its timeout" if timeout is None else f"ran longer than its timeout of {timeout:g} s"
        super().__init__(f"the statement {what}")


class ConnectionLost(HoldallError, ConnectionError):
    """The server cannot be reached, or the connection to it was lost."""


class BackendError(HoldallError):
    """Anything else that the driver or server said; the original is ``__cause__``."""


def is_retryable(error: BaseException) -> bool:
    """Tell whether ``Backend.run`` would run the function again after this error.

    True for serialization failures and deadlocks: the database promises that nothing of the transaction was applied.
    """
    return isinstance(error, SerializationError | DeadlockError)


__all__ = (
    "BackendError",
    "CommitUnknownError",
    "ConfigurationError",
    "ConflictError",
    "ConnectionLost",
    "CorruptRecordError",
    "DeadlockError",
    "DuplicateKeyError",
    "ForeignKeyError",
    "HoldallError",
    "LimitExceeded",
    "LockNotAvailable",
    "MissingDriverError",
    "MultipleResultsError",
    "NotFoundError",
    "PoolClosed",
    "PoolTimeout",
    "QueryError",
    "SerializationError",
    "SessionClosed",
    "SessionConflict",
    "SessionNotFound",
    "StatementTimeout",
    "TransactionError",
    "UnsupportedOperation",
    "ValidationError",
    "is_retryable",
)
