"""What a store promises, as data: one enum for the planner, the errors, the documentation and the shipped suite."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Capability(Enum):
    """One promise of a store. The value is the promise in one sentence, as documentation and errors print it."""

    WRITE = "records can be created, changed and removed"
    FILTER = "queries filter by the operators of equality, order and membership on plain fields"
    TEXT_MATCH = "contains and startswith match text literally and by case"
    TEXT_SUFFIX = "endswith matches the end of a text literally and by case"
    CASEFOLD = "the lookups that ignore case compare str.casefold()"
    DATE_PARTS = "month and day of dates and datetimes can be filtered, in UTC"
    DOCUMENT_EQUALITY = "lists, dicts and nested models are compared exactly"
    LIST_MEMBERSHIP = "has, has_any and has_all look into lists"
    DOCUMENT_PATHS = "filters reach into dicts, nested models and JSON values"
    ORDER = "queries are ordered by any plain fields, None first or last as asked"
    INDEX_ORDER = "queries are ordered by the key and by declared indexes, in both directions"
    CONSISTENT = "a query with consistent() sees every write that was acknowledged before it"
    OFFSET = "queries skip rows by offset"
    COUNT = "count() and exists() are exact"
    STREAM = "stream() holds at most one batch in memory"
    PAGES = "page() walks through a query by keyset"
    UPDATE_WHERE = "update() changes every record that a query matches and counts them exactly"
    DELETE_WHERE = "delete() removes every record that a query matches and counts them exactly"
    EXPRESSIONS = "updates compute from the stored value with F"
    EXPIRY = "records are gone when the time in their field with expires=True has come"
    UNIQUE = "unique fields and indexes are enforced"
    FOREIGN_KEYS = "references are enforced"
    GENERATED_KEYS = "the store fills generated keys"
    ATOMIC_BULK = "create_many and delete_many are all or nothing"
    WRITE_BATCH = "write_batch() sends writes as one, all or nothing"
    SESSIONS = "sessions are interactive transactions"
    SAVEPOINTS = "sessions nest by savepoints"
    REPEATABLE_READ = "a session can read one snapshot"
    SERIALIZABLE = "a session can be serializable"
    READ_ONLY = "a session can be read-only, enforced by the store"
    STATEMENT_TIMEOUT = "a session bounds the time of each statement"
    ROW_LOCKS = "a session can lock the records that it reads"
    LOCK_NOWAIT = "a locking read can refuse to wait"
    SKIP_LOCKED = "a locking read can skip records that are locked"
    RAW_SQL = "raw SQL with named parameters"
    FRESH_QUERIES = "queries see what was written before them"
    SEARCH = "search() finds text, ranked, with highlights, facets and suggestions"
    REINDEX = "reindex() builds the index of a model anew while the old one serves"
    SCHEMA_CHECK = "check() finds every difference between the database and what initialize() would make"


WRITING = frozenset({Capability.WRITE, Capability.WRITE_BATCH, Capability.ROW_LOCKS, Capability.LOCK_NOWAIT, Capability.SKIP_LOCKED})
"""What a store does not promise when it is opened with ``read_only=True``."""


def with_implied(declared: frozenset[Capability]) -> frozenset[Capability]:
    """Return what is declared and what follows from it: who orders by any fields orders by those of an index."""
    return declared | {Capability.INDEX_ORDER} if Capability.ORDER in declared else declared


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a store; None where it has none.

    Attributes:
        batch_rows: records that one bulk write may carry; larger ones are divided where the meaning stays.
        parameters: values that one statement may bind.
        name_bytes: bytes of a table's, index's or constraint's name.
        document_depth: how deeply lists and dicts may nest.
        text_bytes: bytes of one text or bytes value.
    """

    batch_rows: int | None = None
    parameters: int | None = None
    name_bytes: int | None = None
    document_depth: int = 200
    text_bytes: int | None = None
