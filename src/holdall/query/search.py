"""``query.search(…)``: full text, ranked; with highlights, facets and suggestions. Each store ranks in its own way, and says how."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Self, TypeVar

from holdall.errors import QueryError
from holdall.naming import near_miss
from holdall.query.operations import DatesFacet, FacetPlan, Found, Match, RangesFacet, Search, Suggest, TermsFacet
from holdall.query.predicates import OrderTerm, Predicate
from holdall.query.runner import Runner
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.types import Kind
from holdall.record.values import WrongTypeError, check_text, plain_scalar

T_co = TypeVar("T_co", covariant=True)
Every = Literal["minute", "hour", "day", "week", "month", "quarter", "year"]
Fuzziness = Literal["auto", 0, 1, 2]
DEFAULT_LIMIT = 50
_EVERY = ("minute", "hour", "day", "week", "month", "quarter", "year")


@dataclass(frozen=True, slots=True)
class Terms:
    """A facet: the most frequent values of a field, or of the elements of a list, with how many records have each."""

    field: str
    size: int = 10


@dataclass(frozen=True, slots=True)
class Ranges:
    """A facet: how many records have a value from ``low`` to below ``high``, for each pair; None leaves an end open."""

    field: str
    bounds: Sequence[tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Dates:
    """A facet: how many records fall into each period of a date or datetime, in UTC; periods without any are left out."""

    field: str
    every: Every


@dataclass(frozen=True, slots=True)
class Bucket:
    """One value of a facet: the value, the pair of bounds, or the begin of the period."""

    value: Any
    count: int


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What may have been meant; the higher the score, the likelier."""

    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Hit(Generic[T_co]):
    """A record that was found.

    Attributes:
        score: how well it fits; comparable within one result only.
        highlights: by field, parts of the text, HTML-escaped, with ``<em>`` around what fits.
    """

    record: T_co
    score: float
    highlights: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class SearchResult(Generic[T_co]):
    """What a search has found.

    Attributes:
        hits: the best first. ``total``: how many there are, exactly.
        facets: by the names that they were asked by.
        suggestions: the likeliest first.
    """

    hits: list[Hit[T_co]]
    total: int
    facets: Mapping[str, list[Bucket]]
    suggestions: list[Suggestion]

    @property
    def records(self) -> list[T_co]:
        """The records alone."""
        return [hit.record for hit in self.hits]


class SearchBuilder(Generic[T_co]):
    """A search of one model. Every method but ``all`` returns a new one and does no I/O."""

    __slots__ = ("_facets", "_highlights", "_matches", "_query", "_suggest", "_window")

    def __init__(self, query: Asked) -> None:
        self._query = query
        self._matches: tuple[Match, ...] = ()
        self._highlights: tuple[FieldSpec, ...] = ()
        self._facets: tuple[FacetPlan, ...] = ()
        self._suggest: Suggest | None = None
        self._window: tuple[int, int] = (DEFAULT_LIMIT if query.limit is None else query.limit, query.offset or 0)

    def _with(self, **changed: Any) -> Self:
        made = object.__new__(type(self))
        for name in SearchBuilder.__slots__:
            setattr(made, name, changed.get(name, getattr(self, name)))
        return made

    def search(
        self,
        text: str,
        *,
        fields: Iterable[str] = (),
        operator: Literal["or", "and"] = "or",
        fuzziness: Fuzziness | None = None,
    ) -> Self:
        """Demand that this text is found, too; as ``query.search``."""
        if operator not in ("or", "and"):
            raise QueryError(f"operator={operator!r} is not 'or' or 'and'")
        if fuzziness not in (None, "auto", 0, 1, 2) or fuzziness is False:
            raise QueryError(f"fuzziness={fuzziness!r} is not 'auto', or how many letters may differ: 0, 1 or 2")
        found = Match(_text(text), self._searched(fields), operator, fuzziness, phrase=False, slop=0)
        return self._with(_matches=(*self._matches, found))

    def phrase(self, text: str, *, fields: Iterable[str] = (), slop: int = 0) -> Self:
        """Demand that these words stand together, in this order; ``slop`` is how many places they may be moved in all."""
        found = Match(_text(text), self._searched(fields), "and", None, phrase=True, slop=_count("slop", slop, least=0))
        return self._with(_matches=(*self._matches, found))

    def highlight(self, *fields: str) -> Self:
        """Give parts of the texts with what fits marked; without names, of all fields that are searched."""
        return self._with(_highlights=self._searched(fields))

    def facets(self, **facets: Terms | Ranges | Dates) -> Self:
        """Count what is found by values, ranges or periods: ``facets(by_city=Terms("city"), months=Dates("created_at", "month"))``."""
        return self._with(_facets=(*self._facets, *(_facet(self._query.info, name, facet) for name, facet in facets.items())))

    def suggest(self, text: str, *, field: str | None = None, size: int = 5) -> Self:
        """Suggest what the text may have been meant to be, by the words of a field."""
        spec = self._searched((field,) if field is not None else ())[0]
        return self._with(_suggest=Suggest(_text(text), spec, _count("size", size)))

    def limit(self, count: int) -> Self:
        """Give at most that many hits; 50 unless told. Facets and the total count all of them."""
        return self._with(_window=(_count("limit", count, least=0), self._window[1]))

    def offset(self, count: int) -> Self:
        """Skip that many."""
        return self._with(_window=(self._window[0], _count("offset", count, least=0)))

    def _searched(self, names: Iterable[str]) -> tuple[FieldSpec, ...]:
        if isinstance(names, str):
            raise QueryError(f"fields takes names in a list, not {names!r}")
        info = self._query.info
        able = {spec.name: spec for spec in info.fields if spec.storage.search is not None}
        wanted = tuple(dict.fromkeys(names)) or tuple(able)
        if not wanted:
            raise QueryError(f"{info.label} has no field to search in; declare one with Field(search='standard')")
        for name in wanted:
            info.field(name)
            if name not in able:
                raise QueryError(f"{info.label}.{name} cannot be searched{near_miss(name, able)}; declare it with Field(search='standard')")
        return tuple(able[name] for name in wanted)

    # -- running -----------------------------------------------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, SearchResult[T_co]]:
        """Run the search, as ``all()``."""
        return self.all().__await__()

    async def all(self) -> SearchResult[T_co]:
        """Search.

        Raises:
            UnsupportedOperation: the store has no full-text search.
        """
        found: Found = await self._query.runner.run_operation(self.operation())
        hits = [Hit(record, score, marks) for record, score, marks in zip(found.records, found.scores, found.highlights, strict=True)]
        facets = {name: [Bucket(value, count) for value, count in pairs] for name, pairs in found.facets.items()}
        return SearchResult(hits, found.total, facets, [Suggestion(text, score) for text, score in found.suggestions])

    def explain(self) -> Any:
        """Say, without I/O, what ``all()`` would send and what it needs."""
        return self._query.runner.explain_operation(self.operation())

    def operation(self) -> Search:
        """Return what the store is asked."""
        query = self._query
        decoder = query.runner.decoder(query.info, query.names, query.shape)
        limit, offset = self._window
        return Search(
            query.info, query.predicate, decoder, self._matches, query.order, self._highlights, self._facets, self._suggest, limit, offset
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """The query that a search narrows."""

    runner: Runner
    info: ModelInfo
    predicate: Predicate
    order: tuple[OrderTerm, ...]
    names: tuple[str, ...] | None
    shape: Any
    limit: int | None
    offset: int | None


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise QueryError(f"search takes a text, not {text!r}")
    return check_text(text)


def _count(what: str, value: object, *, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**31:
        raise QueryError(f"{what} is a number from {least}, not {value!r}")
    return value


def _facet(info: ModelInfo, name: str, facet: object) -> FacetPlan:
    if isinstance(facet, Terms):
        spec = info.field(facet.field)
        if spec.document is not None and not spec.type.is_list:
            raise QueryError(f"{info.label}.{facet.field}: {spec.type} has no values to count; name a plain field or a list")
        return TermsFacet(name, spec, _count("size", facet.size))
    if isinstance(facet, Ranges):
        spec = _plain(info, facet.field)
        return RangesFacet(name, spec, tuple((_bound(info, spec, low), _bound(info, spec, high)) for low, high in facet.bounds))
    if isinstance(facet, Dates):
        spec = _plain(info, facet.field)
        if spec.type.kind not in (Kind.DATE, Kind.DATETIME):
            raise QueryError(f"{info.label}.{facet.field} is {spec.type}, which has no periods; name a date or datetime")
        if facet.every not in _EVERY:
            raise QueryError(f"every={facet.every!r} is not one of {', '.join(map(repr, _EVERY))}")
        return DatesFacet(name, spec, facet.every)
    raise QueryError(f"facet {name!r} is Terms, Ranges or Dates, not {facet!r}")


def _plain(info: ModelInfo, name: str) -> FieldSpec:
    spec = info.field(name)
    if spec.document is not None:
        raise QueryError(f"{info.label}.{name}: {spec.type} has no order; name a plain field")
    return spec


def _bound(info: ModelInfo, spec: FieldSpec, value: object) -> Any:
    if value is None:
        return None
    try:
        return plain_scalar(spec.type, value)
    except WrongTypeError as exc:
        raise QueryError(f"{info.label}.{spec.name} is {spec.type}, which does not compare with {value!r}") from exc
