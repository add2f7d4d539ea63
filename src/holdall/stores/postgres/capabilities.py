"""What PostgreSQL promises: everything but records that expire, and full-text search, whose own kind is another one."""

from __future__ import annotations

from holdall.capabilities import Capability, Limits

CAPABILITIES = frozenset(Capability) - {Capability.EXPIRY, Capability.SEARCH, Capability.REINDEX}
LIMITS = Limits(parameters=32_767, name_bytes=63)
