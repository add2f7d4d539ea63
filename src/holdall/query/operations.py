"""Operations: what reaches a store. Small immutable values; a store is a function from operations to results.

Rows are plain rows, or the store's native ones on the way to ``decoder``, which turns them into what the caller gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from holdall.capabilities import Capability
from holdall.query.predicates import Arithmetic, OrderTerm, Predicate
from holdall.record.decoder import Decoder
from holdall.record.metadata import FieldSpec, ModelInfo

Key = tuple[Any, ...]


class Lock(NamedTuple):
    """Lock what is read until the transaction ends."""

    nowait: bool = False
    skip_locked: bool = False


class Fetch(NamedTuple):
    """Read one record by key → the object or None."""

    info: ModelInfo
    key: Key
    decoder: Decoder
    lock: Lock | None = None


class FetchMany(NamedTuple):
    """Read records by keys, each key once → a list of the objects that exist, in any order."""

    info: ModelInfo
    keys: Sequence[Key]
    decoder: Decoder


class Select(NamedTuple):
    """Read what matches → a list of objects.

    Attributes:
        order: total when ``limit``, ``offset`` or ``after`` is given; may be empty otherwise.
        after: the values of the order's fields that the result starts behind (keyset).
        cache: whether the session keeps the answer; None leaves it to how the session was opened. Stores have nothing to do with it.
        scan: the user permits reading the whole table, for stores that refuse it without.
        consistent: the answer must show every write acknowledged before; needed by stores whose indexes lag.
    """

    info: ModelInfo
    predicate: Predicate
    decoder: Decoder
    order: tuple[OrderTerm, ...] = ()
    limit: int | None = None
    offset: int | None = None
    after: tuple[Any, ...] | None = None
    lock: Lock | None = None
    cache: bool | None = None
    scan: bool = False
    consistent: bool = False


class Count(NamedTuple):
    """Count what matches → int. ``scan`` and ``consistent`` are as in ``Select``."""

    info: ModelInfo
    predicate: Predicate
    scan: bool = False
    consistent: bool = False


class Exists(NamedTuple):
    """Tell whether something matches → bool. ``scan`` and ``consistent`` are as in ``Select``."""

    info: ModelInfo
    predicate: Predicate
    scan: bool = False
    consistent: bool = False


class Insert(NamedTuple):
    """Store a new record → the generated key, else None. Raises ``DuplicateKeyError``."""

    info: ModelInfo
    row: tuple[Any, ...]


class InsertMany(NamedTuple):
    """Store new records, all or nothing where that is promised → the generated keys in the order of the rows, else None."""

    info: ModelInfo
    rows: Sequence[tuple[Any, ...]]


class InsertAbsent(NamedTuple):
    """Store a new record unless one has the same values in ``unique`` → (whether it was stored, the generated key or None)."""

    info: ModelInfo
    row: tuple[Any, ...]
    unique: tuple[FieldSpec, ...]


class Upsert(NamedTuple):
    """Store a record, or overwrite the one with its key → the plain values of ``returning``.

    ``keep`` names the fields that an existing record keeps; its version is counted up.
    """

    info: ModelInfo
    row: tuple[Any, ...]
    keep: tuple[FieldSpec, ...]
    returning: tuple[FieldSpec, ...]


class Update(NamedTuple):
    """Change fields of the record with this key, and this version if one is given → whether there was one.

    ``before`` is the plain row as the caller knows it, or None: a hint for stores that keep unique values or index keys beside the
    record. It may be out of date.
    """

    info: ModelInfo
    key: Key
    fields: tuple[FieldSpec, ...]
    values: tuple[Any, ...]
    version: int | None
    before: tuple[Any, ...] | None = None


class UpdateWhere(NamedTuple):
    """Change every record that matches → how many. ``scan`` is as in ``Select``."""

    info: ModelInfo
    predicate: Predicate
    assignments: Mapping[FieldSpec, Any | Arithmetic]
    scan: bool = False


class Delete(NamedTuple):
    """Remove the record with this key, and this version if one is given → whether there was one. ``before`` is as in ``Update``."""

    info: ModelInfo
    key: Key
    version: int | None
    before: tuple[Any, ...] | None = None


class DeleteMany(NamedTuple):
    """Remove the records with these keys → how many there were."""

    info: ModelInfo
    keys: Sequence[Key]


class DeleteWhere(NamedTuple):
    """Remove every record that matches → how many. ``scan`` is as in ``Select``."""

    info: ModelInfo
    predicate: Predicate
    scan: bool = False


class Batch(NamedTuple):
    """Carry out writes of single records as one, all or nothing → what each gives, in order.

    Every write is of another record. An ``Update`` that finds no record, or another version of it, is a failure (``NotFoundError``,
    ``ConflictError``); so is a ``Delete`` that finds another version, and one that finds nothing gives False. The error of the first
    write that failed is raised, with the ``reasons`` of all as far as they are known.
    """

    writes: Sequence[Insert | Upsert | Update | Delete]

    @property
    def info(self) -> ModelInfo:
        """The model of the first write."""
        return self.writes[0].info


class Raw(NamedTuple):
    """Run raw SQL with named parameters.

    ``fetch`` gives (column names, rows); ``execute`` the number of rows affected; ``execute_many`` runs once per item of ``many``.
    """

    mode: Literal["fetch", "execute", "execute_many"]
    sql: str
    parameters: Mapping[str, Any]
    many: Sequence[Mapping[str, Any]] = ()


class Match(NamedTuple):
    """A text that is looked for in fields; ``phrase`` wants its words together, moved by ``slop`` places at most."""

    text: str
    fields: tuple[FieldSpec, ...]
    operator: Literal["or", "and"]
    fuzziness: Literal["auto", 0, 1, 2] | None
    phrase: bool
    slop: int


class TermsFacet(NamedTuple):
    """Count the most frequent values → pairs of Python value and number."""

    name: str
    field: FieldSpec
    size: int


class RangesFacet(NamedTuple):
    """Count what lies between plain bounds, the second excluded → pairs of Python bounds and number, in their order."""

    name: str
    field: FieldSpec
    bounds: tuple[tuple[Any, Any], ...]


class DatesFacet(NamedTuple):
    """Count by periods in UTC → pairs of their begin and number, the earliest first; empty ones are left out."""

    name: str
    field: FieldSpec
    every: Literal["minute", "hour", "day", "week", "month", "quarter", "year"]


FacetPlan = TermsFacet | RangesFacet | DatesFacet


class Suggest(NamedTuple):
    """Say what a text may have been meant to be, by the words of a field."""

    text: str
    field: FieldSpec
    size: int


class Search(NamedTuple):
    """Search the full text of what matches → ``Found``.

    Attributes:
        matches: all of them hold; without any, every record that matches the predicate is found.
        order: instead of the rank; the key comes last in either case.
    """

    info: ModelInfo
    predicate: Predicate
    decoder: Decoder
    matches: tuple[Match, ...]
    order: tuple[OrderTerm, ...]
    highlights: tuple[FieldSpec, ...]
    facets: tuple[FacetPlan, ...]
    suggest: Suggest | None
    limit: int
    offset: int


class Found(NamedTuple):
    """What a search gives: records, their scores and highlights by field name; how many there are in all; facets; texts with scores."""

    records: Sequence[Any]
    scores: Sequence[float]
    highlights: Sequence[Mapping[str, tuple[str, ...]]]
    total: int
    facets: Mapping[str, Sequence[tuple[Any, int]]]
    suggestions: Sequence[tuple[str, float]]


Read = Fetch | FetchMany | Select | Count | Exists | Search
Write = Insert | InsertMany | InsertAbsent | Upsert | Update | UpdateWhere | Delete | DeleteMany | DeleteWhere | Batch
Operation = Read | Write | Raw

# What an operation needs whatever it holds. What a predicate, an order or a lock needs on top is the planner's to say.
NEEDS: Mapping[type[Any], frozenset[Capability]] = {
    Fetch: frozenset(),
    FetchMany: frozenset(),
    Select: frozenset(),
    Count: frozenset({Capability.COUNT}),
    Exists: frozenset({Capability.COUNT}),
    Search: frozenset({Capability.SEARCH}),
    Insert: frozenset({Capability.WRITE}),
    InsertMany: frozenset({Capability.WRITE}),
    InsertAbsent: frozenset({Capability.WRITE, Capability.UNIQUE}),
    Upsert: frozenset({Capability.WRITE}),
    Update: frozenset({Capability.WRITE}),
    UpdateWhere: frozenset({Capability.WRITE, Capability.UPDATE_WHERE}),
    Delete: frozenset({Capability.WRITE}),
    DeleteMany: frozenset({Capability.WRITE}),
    DeleteWhere: frozenset({Capability.WRITE, Capability.DELETE_WHERE}),
    Batch: frozenset({Capability.WRITE, Capability.WRITE_BATCH}),
    Raw: frozenset({Capability.RAW_SQL}),
}
