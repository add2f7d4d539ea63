"""What the service says, as errors of ours: one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

from holdall.errors import BackendError, ConnectionLost, HoldallError, LimitExceeded, SerializationError
from holdall.store import not_initialised
from holdall.stores.dynamodb.capabilities import MOST_ITEM_BYTES
from holdall.stores.dynamodb.transport import OutcomeUnknown, ServiceError


def _backend(error: ServiceError, label: str) -> HoldallError:
    del label
    return BackendError(f"dynamodb refuses the request: {error}")


def _too_large(label: str) -> HoldallError:
    return LimitExceeded(f"the bytes of a record of {label}", limit=MOST_ITEM_BYTES, value=MOST_ITEM_BYTES + 1)


def _validation(error: ServiceError, label: str) -> HoldallError:
    if "Item size" in error.message:
        return _too_large(label)
    if "non-existent table" in error.message:
        return not_initialised(label)
    return _backend(error, label)


def _cancelled(error: ServiceError, label: str) -> HoldallError:
    if error.is_contention():
        return SerializationError(f"the write of {label} met others of the same records again and again; try it later")
    if any("Item size" in (reason.get("Message") or "") for reason in error.reasons):
        return _too_large(label)
    reasons = "; ".join(f"{reason.get('Code')}: {reason.get('Message')}" for reason in error.reasons if reason.get("Code") != "None")
    return BackendError(f"dynamodb refuses the transaction of {label}: {reasons or error}")


_TRANSLATED: Mapping[str, Callable[[ServiceError, str], HoldallError]] = {
    "ResourceNotFoundException": lambda _, label: not_initialised(label),
    "ValidationException": _validation,
    "TransactionCanceledException": _cancelled,
    "TransactionConflictException": _cancelled,
}


def fail(error: BaseException, label: str) -> NoReturn:
    """Raise what an error of a transport means."""
    if isinstance(error, ServiceError):
        raise _TRANSLATED.get(error.name, _backend)(error, label) from error
    if isinstance(error, OutcomeUnknown):
        msg = f"the connection was lost after a write of {label} was sent ({error.__cause__ or error}): it may or may not have been applied"
        raise ConnectionLost(msg) from error
    if isinstance(error, TimeoutError) and not isinstance(error, HoldallError):
        raise ConnectionLost("dynamodb did not answer within read_timeout") from error
    if isinstance(error, OSError) and not isinstance(error, HoldallError):
        raise ConnectionLost(f"dynamodb cannot be reached: {error}") from error
    raise error
