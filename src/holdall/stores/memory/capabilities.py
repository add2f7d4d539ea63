"""What the memory store promises: everything but raw SQL, statement timeouts and skipping locked records."""

from __future__ import annotations

from holdall.capabilities import Capability, Limits

CAPABILITIES = frozenset(Capability) - {Capability.RAW_SQL, Capability.STATEMENT_TIMEOUT, Capability.SKIP_LOCKED}
LIMITS = Limits()
