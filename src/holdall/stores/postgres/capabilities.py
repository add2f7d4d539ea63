"""What PostgreSQL promises: everything."""

from __future__ import annotations

from holdall.capabilities import Capability, Limits

CAPABILITIES = frozenset(Capability)
LIMITS = Limits(parameters=32_767, name_bytes=63)
