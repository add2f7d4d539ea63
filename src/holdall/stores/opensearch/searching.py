"""Full-text search: matches, highlights, facets and suggestions, as one request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from holdall.errors import LimitExceeded
from holdall.query import operations as op
from holdall.query.predicates import OrderTerm
from holdall.record.documents import document_of
from holdall.record.metadata import FieldSpec
from holdall.record.types import Kind
from holdall.stores.opensearch.compiler import WINDOW, Compiler, filtered
from holdall.stores.opensearch.mapping import TEXT, WORDS
from holdall.stores.opensearch.requests import ModelRequests, Run, sources
from holdall.stores.opensearch.tokens import path_of
from holdall.stores.opensearch.values import plain_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ELEMENT = path_of(()) + "e"
_FRAGMENTS = 3
_HIGHLIGHTED = 999_999  # characters of a text: the server refuses to analyse one more
_SHARD_TERMS = 50_000
# Words are weighed by how rare they are in all shards: by those of its own one, each shard would rank in its own way.
_HOW = "?allow_partial_search_results=false&search_type=dfs_query_then_fetch"


def search_body(compiler: Compiler, operation: op.Search) -> dict[str, Any]:
    """Return the body of a search.

    Raises:
        LimitExceeded: it reaches further than the server lets a search.
    """
    if operation.offset + operation.limit > WINDOW:
        what = f"{operation.info.label}: the hits that a search reaches by offset and limit"
        raise LimitExceeded(what, limit=WINDOW, value=operation.offset + operation.limit)
    query = filtered(compiler.filter(operation.predicate))
    if operation.matches:
        query = {"bool": {"must": [_match(compiler, match) for match in operation.matches], "filter": [query]}}
    body: dict[str, Any] = {
        "size": operation.limit,
        "from": operation.offset,
        "query": query,
        "sort": _sort(compiler, operation),
        "track_scores": True,
        "track_total_hits": True,
        "_source": compiler.source(operation.decoder.fields),
    }
    if operation.highlights:
        # Texts are the users': what is marked in them must not become markup.
        fields: dict[str, Any] = {f"{compiler.shape.name(spec)}.{TEXT}": {} for spec in operation.highlights}
        how = {"encoder": "html", "number_of_fragments": _FRAGMENTS, "max_analyzer_offset": _HIGHLIGHTED}
        body["highlight"] = {**how, "fields": fields}
    if operation.facets:
        body["aggs"] = {facet.name: _FACETS[type(facet)](compiler, facet) for facet in operation.facets}
    if operation.suggest is not None:
        body["suggest"] = {"found": _suggest(compiler, operation.suggest)}
    return body


def _match(compiler: Compiler, match: op.Match) -> dict[str, Any]:
    found: dict[str, Any] = {"query": match.text, "fields": [f"{compiler.shape.name(spec)}.{TEXT}" for spec in match.fields]}
    if match.phrase:
        return {"multi_match": found | {"type": "phrase", "slop": match.slop}}
    if match.fuzziness is not None:
        found["fuzziness"] = "AUTO" if match.fuzziness == "auto" else match.fuzziness
    return {"multi_match": found | {"operator": match.operator}}


def _sort(compiler: Compiler, operation: op.Search) -> list[Any]:
    stated: Sequence[OrderTerm] = operation.order
    seen = {term.field for term in stated}
    keys = [term for term in compiler.key_order() if term.field not in seen]
    return [*(compiler.sort(stated) if stated else ["_score"]), *compiler.sort(keys)]


def _suggest(compiler: Compiler, suggest: op.Suggest) -> dict[str, Any]:
    field = f"{compiler.shape.name(suggest.field)}.{WORDS}"
    generator = {"field": field, "suggest_mode": "always", "min_word_length": 3}
    phrase = {"field": field, "size": suggest.size, "gram_size": 1, "max_errors": 2.0, "confidence": 0.0, "direct_generator": [generator]}
    return {"text": suggest.text, "phrase": phrase}


# -- facets ----------------------------------------------------------------------------------------------------------------------------


def _terms(compiler: Compiler, facet: op.TermsFacet) -> dict[str, Any]:
    name = compiler.shape.name(facet.field)
    # Each shard names its own favourites; how far the sums can be off is told with them.
    terms: dict[str, Any] = {"field": name, "size": facet.size, "shard_size": 10 * facet.size + 100, "show_term_doc_count_error": True}
    if facet.field.document is not None:
        # Elements by their JSON; those that are too long to be kept but by a digest begin with #.
        terms |= {"field": f"{name}#j", "include": "\\[\\]\\u0000e[^#].*".replace("\\u0000", "\0")}
    return {"terms": terms}


def _is_exact(facet: op.TermsFacet, answer: Any) -> bool:
    """Tell whether no shard has left out what would change the counts."""
    bound, buckets = answer["doc_count_error_upper_bound"], answer["buckets"]
    if not bound:
        return True
    none_missing = len(buckets) == facet.size and buckets[-1]["doc_count"] > bound
    return none_missing and not any(bucket["doc_count_error_upper_bound"] for bucket in buckets)


def _ranges(compiler: Compiler, facet: op.RangesFacet) -> dict[str, Any]:
    # Not the range aggregation, which computes in doubles.
    name = compiler.shape.name(facet.field)
    filters = [{"range": {name: _bounds(compiler, facet.field, pair)}} for pair in facet.bounds]
    return {"filters": {"filters": {str(place): query for place, query in enumerate(filters)}}}


def _bounds(compiler: Compiler, spec: FieldSpec, pair: tuple[Any, Any]) -> dict[str, Any]:
    native = {"gte": compiler.shape.native(spec, pair[0]), "lt": compiler.shape.native(spec, pair[1])}
    return {operator: value for operator, value in native.items() if value is not None}


def _dates(compiler: Compiler, facet: op.DatesFacet) -> dict[str, Any]:
    histogram = {"field": f"{compiler.shape.name(facet.field)}#t", "calendar_interval": facet.every, "min_doc_count": 1}
    return {"date_histogram": histogram}


_FACETS: Mapping[type[Any], Callable[[Compiler, Any], dict[str, Any]]] = {
    op.TermsFacet: _terms,
    op.RangesFacet: _ranges,
    op.DatesFacet: _dates,
}


def _terms_found(facet: op.TermsFacet, answer: Any) -> list[tuple[Any, int]]:
    return [(_term(facet.field, bucket["key"]), bucket["doc_count"]) for bucket in answer["buckets"]]


def _term(spec: FieldSpec, key: Any) -> Any:
    if spec.document is not None:
        structure = spec.type.structure
        assert structure is not None
        assert structure.item is not None
        return document_of(structure.item).load(key.removeprefix(_ELEMENT))
    return spec.python(bool(key) if spec.type.kind is Kind.BOOL else plain_of(spec, key))


def _ranges_found(facet: op.RangesFacet, answer: Any) -> list[tuple[Any, int]]:
    counts = [answer["buckets"][str(place)]["doc_count"] for place in range(len(facet.bounds))]
    return [(tuple(map(facet.field.python, pair)), count) for pair, count in zip(facet.bounds, counts, strict=True)]


def _dates_found(facet: op.DatesFacet, answer: Any) -> list[tuple[Any, int]]:
    begins = [_EPOCH + timedelta(milliseconds=bucket["key"]) for bucket in answer["buckets"]]
    shown = [begin.date() if facet.field.type.kind is Kind.DATE else begin for begin in begins]
    return [(begin, bucket["doc_count"]) for begin, bucket in zip(shown, answer["buckets"], strict=True)]


_FOUND: Mapping[type[Any], Callable[[Any, Any], list[tuple[Any, int]]]] = {
    op.TermsFacet: _terms_found,
    op.RangesFacet: _ranges_found,
    op.DatesFacet: _dates_found,
}


# -- the request -----------------------------------------------------------------------------------------------------------------------


async def _exact_answer(requests: ModelRequests, operation: op.Search, body: dict[str, Any]) -> Any:
    """Search; again, with more terms of each shard, until the counts of terms are exact."""
    while True:
        answer = await requests.ask("POST", f"/{requests.path}/_search{_HOW}", body)
        terms = [facet for facet in operation.facets if isinstance(facet, op.TermsFacet)]
        off = [facet.name for facet in terms if not _is_exact(facet, answer["aggregations"][facet.name])]
        if not off:
            return answer
        for name in off:
            asked = body["aggs"][name]["terms"]
            if asked["shard_size"] >= _SHARD_TERMS:
                raise LimitExceeded(
                    f"{operation.info.label}: the different values on one shard that the facet {name!r} counts exactly (narrow the search, "
                    "or reindex with shards=1)",
                    limit=_SHARD_TERMS,
                    value=_SHARD_TERMS + 1,
                )
            asked["shard_size"] = min(10 * asked["shard_size"], _SHARD_TERMS)


async def search(requests: ModelRequests, operation: op.Search) -> op.Found:
    """Search."""
    body = search_body(requests.compiler, operation)
    answer = await _exact_answer(requests, operation, body)
    hits = answer["hits"]["hits"]
    names = {f"{requests.shape.name(spec)}.{TEXT}": spec.name for spec in operation.highlights}
    marks = [{names[name]: tuple(parts) for name, parts in hit.get("highlight", {}).items()} for hit in hits]
    facets = {facet.name: _FOUND[type(facet)](facet, answer["aggregations"][facet.name]) for facet in operation.facets}
    options: list[Any] = answer["suggest"]["found"][0]["options"] if operation.suggest is not None and answer["suggest"]["found"] else []
    return op.Found(
        records=requests.rows(operation.decoder).many(sources(hits)),
        scores=[float(hit["_score"]) for hit in hits],
        highlights=marks,
        total=int(answer["hits"]["total"]["value"]),
        facets=facets,
        suggestions=[(str(option["text"]), float(option["score"])) for option in options],
    )


READS: Run = {op.Search: search}
