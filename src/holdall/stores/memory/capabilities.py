"""What the memory store promises: everything but raw SQL, statement timeouts, skipping locked records, records that expire, and search."""

from __future__ import annotations

from holdall.capabilities import Capability, Limits

_NOT = {
    Capability.RAW_SQL,
    Capability.STATEMENT_TIMEOUT,
    Capability.SKIP_LOCKED,
    Capability.EXPIRY,
    Capability.SEARCH,
    Capability.REINDEX,
}
CAPABILITIES = frozenset(Capability) - _NOT
LIMITS = Limits()
