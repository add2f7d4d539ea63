"""What PostgreSQL promises: everything but records that expire."""

from __future__ import annotations

from holdall.capabilities import Capability, Limits

CAPABILITIES = frozenset(Capability) - {Capability.EXPIRY}
LIMITS = Limits(parameters=32_767, name_bytes=63)
