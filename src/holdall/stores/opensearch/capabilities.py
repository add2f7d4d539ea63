"""What OpenSearch promises: single records at once and by version, queries, search; no transactions."""

from __future__ import annotations

from holdall.capabilities import Capability, Limits

C = Capability
CAPABILITIES = frozenset(
    {
        C.WRITE,
        C.FILTER,
        C.TEXT_MATCH,
        C.TEXT_SUFFIX,
        C.CASEFOLD,
        C.DATE_PARTS,
        C.DOCUMENT_EQUALITY,
        C.LIST_MEMBERSHIP,
        C.DOCUMENT_PATHS,
        C.ORDER,
        C.OFFSET,
        C.COUNT,
        C.CONSISTENT,
        C.STREAM,
        C.PAGES,
        C.UPDATE_WHERE,
        C.DELETE_WHERE,
        C.EXPRESSIONS,
        C.UNIQUE,
        C.SCHEMA_CHECK,
        C.SEARCH,
        C.REINDEX,
    }
)
# With the setting ``refresh``, a write is done when searches see it.
WITH_REFRESH = CAPABILITIES | {C.FRESH_QUERIES}
LIMITS = Limits(batch_rows=1000, text_bytes=32_766, document_depth=200)
