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
        status: of HTTP. ``type``, ``reason``: the innermost that the server gives. ``cause``: the type of what that was caused by, or None.
        body: all of it.
    """

    def __init__(self, status: int, body: Any) -> None:
        self.status = status
        self.body = body
        self.type, self.reason, self.cause = _innermost(body)
        super().__init__(f"{status} {self.type}: {self.reason}")


def _innermost(body: Any) -> tuple[str, str, str | None]:
    error: Any = body.get("error") if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return "unknown", str(error)[:500], None
    found: Any = error
    shards: Any = found.get("failed_shards")
    if shards:
        found = shards[0].get("reason") or found
    elif found.get("root_cause"):
        found = found["root_cause"][0]
    kind, reason = str(found.get("type", error.get("type"))), str(found.get("reason", ""))
    cause: Any = found.get("caused_by") or error.get("caused_by")
    if isinstance(cause, dict) and cause.get("reason") and cause["reason"] != reason:
        return kind, f"{reason} ({cause.get('type')}: {cause['reason']})", str(cause.get("type"))
    return kind, reason, None


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


def _clauses(label: str | None, error: ServerError) -> HoldallError:
    what = f"{label}: " if label else ""
    return LimitExceeded(f"{what}the conditions and the words of one query, ask in parts ({error.reason})", limit=1024, value=1025)


def _buckets(label: str | None, error: ServerError) -> HoldallError:
    return LimitExceeded(
        f"{label}: the values of all facets of one search, take longer periods or fewer terms ({error.reason})", limit=65_535, value=65_536
    )


def _content(label: str | None, error: ServerError) -> HoldallError:
    return BackendError(
        f"{label or 'a request'}: the server takes no request of {error.reason}; make the record smaller, or bulk_bytes where they are "
        "many, or raise the server's http.max_content_length"
    )


_BY_TYPE: Mapping[str, Callable[[str | None, ServerError], HoldallError]] = {
    "index_not_found_exception": _missing,
    "strict_dynamic_mapping_exception": _other_mapping,
    "mapper_parsing_exception": _other_mapping,
    "query_shard_exception": _other_mapping,
    "too_many_nested_clauses": _clauses,
    "too_many_clauses": _clauses,
    "content_too_long": _content,
    "too_many_buckets_exception": _buckets,
    "cluster_block_exception": _blocked,
    "timeout_exception": lambda _, __: StatementTimeout(),
    "process_cluster_event_timeout_exception": lambda _, __: StatementTimeout(),
}


def translate(error: ServerError, label: str | None) -> HoldallError:
    """Return our error for the server's."""
    make = _BY_TYPE.get(error.cause or "") or _BY_TYPE.get(error.type)
    if make is not None:
        return make(label, error)
    subject = f"{label}: " if label else ""
    return BackendError(f"{subject}OpenSearch answered {error}")
