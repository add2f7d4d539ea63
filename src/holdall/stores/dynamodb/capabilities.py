"""What DynamoDB promises, and its limits."""

from __future__ import annotations

from holdall.capabilities import Capability, Limits

CAPABILITIES = frozenset(
    {
        Capability.WRITE,
        Capability.FILTER,
        Capability.TEXT_MATCH,
        Capability.DATE_PARTS,
        Capability.DOCUMENT_EQUALITY,
        Capability.LIST_MEMBERSHIP,
        Capability.DOCUMENT_PATHS,
        Capability.INDEX_ORDER,
        Capability.CONSISTENT,
        Capability.COUNT,
        Capability.STREAM,
        Capability.PAGES,
        Capability.UPDATE_WHERE,
        Capability.DELETE_WHERE,
        Capability.EXPRESSIONS,
        Capability.EXPIRY,
        Capability.UNIQUE,
        Capability.WRITE_BATCH,
        Capability.SCHEMA_CHECK,
    }
)
LIMITS = Limits(batch_rows=100, name_bytes=255, document_depth=31, text_bytes=400 * 1024)
MOST_ACTIONS = 100
MOST_REQUEST_BYTES = 4 * 1024 * 1024
MOST_ITEM_BYTES = 400 * 1024
MOST_KEYS = 100
MOST_INDEXES = 20
