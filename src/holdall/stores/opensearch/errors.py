"""What the server says, in our words: one table by the type of its error."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# An answer is JSON, whose parts are told apart by isinstance here.

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from holdall.errors import BackendError, ConfigurationError, HoldallError, LimitExceeded, StatementTimeout
from holdall.store import not_initialised


class ServerError(Exception):
    """An answer that is an error; the cause of ours.

    Attributes:
        status: of HTTP. ``type``, ``reason``: the innermost that the server gives. ``body``: all of it.
    """

    def __init__(self, status: int, body: Any) -> None:
        self.status = status
        self.body = body
        self.type, self.reason = _innermost(body)
        super().__init__(f"{status} {self.type}: {self.reason}")


def _innermost(body: Any) -> tuple[str, str]:
    error: Any = body.get("error") if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return "unknown", str(error)[:500]
    found: Any = error
    shards: Any = found.get("failed_shards")
    if shards:
        found = shards[0].get("reason") or found
    elif found.get("root_cause"):
        found = found["root_cause"][0]
    kind, reason = str(found.get("type", error.get("type"))), str(found.get("reason", ""))
    cause: Any = found.get("caused_by") or error.get("caused_by")
    if isinstance(cause, dict) and cause.get("reason") and cause["reason"] != reason:
        reason = f"{reason} ({cause.get('type')}: {cause['reason']})"
    return kind, reason


_GONE = frozenset({"search_context_missing_exception", "index_not_found_exception"})


def index_is_gone(error: BaseException | None) -> bool:
    """Tell whether the index behind a point in time is no longer there, because a new one has taken its place."""
    return isinstance(error, ServerError) and error.type in _GONE


def error_of_item(item: Mapping[str, Any]) -> ServerError:
    """Return the error of one item of a bulk answer."""
    return ServerError(item["status"], {"error": item.get("error", {})})


def _other_mapping(label: str | None, error: ServerError) -> HoldallError:
    what = label or "the model"
    return ConfigurationError(
        f"the index of {what} does not fit the model: {error.reason}; 'await backend.check({what})' shows the difference, "
        f"and 'await backend.reindex({what})' makes a new index of the records"
    )


def _missing(label: str | None, error: ServerError) -> HoldallError:
    return not_initialised(label) if label else BackendError(str(error))


def _blocked(label: str | None, error: ServerError) -> HoldallError:
    what = label or "the model"
    remedy = (
        f"a reindex is running, or has died: then 'await backend.reindex({what})' ends it, and names an index to delete first"
        if "[FORBIDDEN/8/" in error.reason
        else "lift the block"
    )
    return BackendError(f"the index of {what} is blocked: {error.reason}; {remedy}")


_BY_TYPE: Mapping[str, Callable[[str | None, ServerError], HoldallError]] = {
    "index_not_found_exception": _missing,
    "strict_dynamic_mapping_exception": _other_mapping,
    "mapper_parsing_exception": _other_mapping,
    "query_shard_exception": _other_mapping,
    "too_many_nested_clauses": lambda _, error: LimitExceeded(f"the conditions of one query ({error.reason})", limit=1024, value=1025),
    "cluster_block_exception": _blocked,
    "timeout_exception": lambda _, __: StatementTimeout(),
    "process_cluster_event_timeout_exception": lambda _, __: StatementTimeout(),
}


def translate(error: ServerError, label: str | None) -> HoldallError:
    """Return our error for the server's."""
    make = _BY_TYPE.get(error.type)
    if make is not None:
        return make(label, error)
    subject = f"{label}: " if label else ""
    return BackendError(f"{subject}OpenSearch answered {error}")
