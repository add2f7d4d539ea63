"""What MariaDB and MySQL promise: everything but records that expire, full-text search and reindexing."""

from __future__ import annotations

from holdall.capabilities import Capability, Limits

CAPABILITIES = frozenset(Capability) - {Capability.EXPIRY, Capability.SEARCH, Capability.REINDEX}
# JSON functions give NULL, with a warning, for what nests deeper than 31.
LIMITS = Limits(name_bytes=63, document_depth=31)
