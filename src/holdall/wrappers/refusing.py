"""The refusal of what a store does not promise: one text, in one place."""

from __future__ import annotations

from collections.abc import Iterable

from holdall.capabilities import Capability
from holdall.errors import UnsupportedOperation
from holdall.store import Store

REMEDIES = {
    Capability.WRITE: "write through a backend that was not opened with read_only=True",
    Capability.SESSIONS: "collect writes by 'async with backend.write_batch() as batch:', which sends them as one, all or nothing",
    Capability.WRITE_BATCH: "use single writes, each of which is atomic, on a model with a version",
    Capability.TEXT_SUFFIX: "store the text reversed in a field of its own, and ask for what it begins with",
    Capability.OFFSET: "walk through pages with page()",
    Capability.EXPIRY: "remove what has expired by a query, and leave it out by a filter",
    Capability.CONSISTENT: "read by key, or wait until what was written shows in searches",
    Capability.CASEFOLD: "store a casefolded copy of the text in a field of its own",
    Capability.STREAM: "walk through pages with page()",
    Capability.RAW_SQL: "use the query builder",
    Capability.ROW_LOCKS: "leave the lock out: a version protects from lost updates, and a backend with read_only=True needs none",
    Capability.SKIP_LOCKED: "lock without skip_locked, or claim records by an update with a filter",
    Capability.LOCK_NOWAIT: "set a statement timeout on the session",
}

# What the remedy of the first asks for; where that is missing, too, its own remedy is what is left.
_LEANS_ON = {Capability.SESSIONS: Capability.WRITE_BATCH}


def refuse(store: Store, subject: str, what: str, missing: Iterable[Capability]) -> UnsupportedOperation:
    """Return the error that names what is missing and what to do."""
    found = sorted(missing, key=lambda item: item.name)
    reasons = "; ".join(f'it does not promise "{item.value}"' for item in found)
    remedies = "; ".join(text for item in found if (text := _remedy(store, item)) is not None)
    text = f"{subject}: {type(store).__name__} refuses {what}: {reasons}" + (f"; {remedies}" if remedies else "")
    return UnsupportedOperation(text, missing=found)


def _remedy(store: Store, item: Capability) -> str | None:
    other = _LEANS_ON.get(item)
    return REMEDIES.get(item if other is None or other in store.capabilities else other)
