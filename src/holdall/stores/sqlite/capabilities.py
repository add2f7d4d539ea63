"""What SQLite promises: everything but skipping locked records, because it locks the whole database."""

from __future__ import annotations

from holdall.capabilities import Capability, Limits

CAPABILITIES = frozenset(Capability) - {Capability.SKIP_LOCKED, Capability.EXPIRY, Capability.SEARCH, Capability.REINDEX}
LIMITS = Limits(parameters=32_766)
