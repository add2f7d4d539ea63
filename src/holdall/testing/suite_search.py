"""Full-text search (rule R20): what is found, marked and counted. How hits rank is each store's own business."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast

from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import QueryError
from holdall.query.search import Bucket, Dates, Ranges, Terms
from holdall.testing.suite_checks import Checks, expect
from holdall.testing.suite_models import Article, Plain

C = Capability
CHECKS = Checks()


async def library(backend: Backend) -> None:
    """Store four articles."""
    await backend.create_many(
        [
            Article(id=1, title="The quick <b>brown</b> fox", body="Foxes were running over lazy dogs", topic="animals", words=2**53 + 1),
            Article(id=2, title="A slow turtle", body="It does not run", topic="animals", words=2**53, tags=["pond", "shell"]),
            Article(id=3, title="Databases", body=None, topic=None, price=Decimal("1.10"), tags=["pond"], shown=False),
            Article(id=4, title="brown quick", topic="", words=7, day=date(2024, 2, 29), moment=datetime(2024, 12, 31, 23, 59, tzinfo=UTC)),
        ]
    )


@CHECKS.of(Article, needs=(C.SEARCH,))
async def test_words_are_found_in_the_fields_that_are_searched(backend: Backend) -> None:
    """By their stems where the field is analysed so; any word or all of them."""
    await library(backend)
    query = backend.query(Article)

    assert {hit.record.id for hit in (await query.search("quick turtle")).hits} == {1, 2, 4}
    assert [found.id for found in (await query.search("slow turtle", operator="and")).records] == [2]
    assert {found.id for found in (await query.search("run", fields=["body"])).records} == {1, 2}
    assert (await query.search("run", fields=["title"])).records == []
    assert (await query.search("absent")).total == 0


@CHECKS.of(Article, needs=(C.SEARCH,))
async def test_a_phrase_wants_its_words_together(backend: Backend) -> None:
    """In their order."""
    await library(backend)

    query = backend.query(Article)

    assert [found.id for found in (await query.search().phrase("slow turtle")).records] == [2]
    assert (await query.search().phrase("turtle slow")).records == []
    assert (await query.search().phrase("brown fox")).records == []
    assert [found.id for found in (await query.search("quick").phrase("brown fox", slop=1)).records] == [1]


@CHECKS.of(Article, needs=(C.SEARCH,))
async def test_letters_may_differ_where_that_is_asked_for(backend: Backend) -> None:
    """Fuzziness."""
    await library(backend)

    assert (await backend.query(Article).search("turtel")).records == []
    assert [found.id for found in (await backend.query(Article).search("turtel", fuzziness="auto")).records] == [2]


@CHECKS.of(Article, needs=(C.SEARCH, C.FILTER))
async def test_filters_narrow_a_search_and_shapes_fill(backend: Backend) -> None:
    """And the total counts what is beyond the limit."""
    await library(backend)
    query = backend.query(Article)

    assert [found.id for found in (await query.filter(topic="animals").search("brown")).records] == [1]
    found = await query.order_by("-id").search("brown quick").limit(1)
    assert (found.total, [hit.record.id for hit in found.hits]) == (2, [4])
    assert (await query.values("id").order_by("id").search("brown quick").offset(1)).records == [{"id": 4}]


@CHECKS.of(Article, needs=(C.SEARCH,))
async def test_hits_have_scores_the_best_first(backend: Backend) -> None:
    """What fits better ranks higher."""
    await library(backend)

    hits = (await backend.query(Article).search("quick brown fox")).hits

    assert [hit.record.id for hit in hits] == [1, 4]
    assert hits[0].score > hits[1].score > 0


@CHECKS.of(Article, needs=(C.SEARCH,))
async def test_highlights_mark_what_fits_and_escape_the_rest(backend: Backend) -> None:
    """The text is the user's, and may hold markup."""
    await library(backend)

    (hit,) = (await backend.query(Article).search("fox").highlight()).hits

    assert hit.highlights["title"] == ("The quick &lt;b&gt;brown&lt;&#x2F;b&gt; <em>fox</em>",)
    assert hit.highlights["body"] == ("<em>Foxes</em> were running over lazy dogs",)


@CHECKS.of(Article, needs=(C.SEARCH,))
async def test_facets_count_values_ranges_and_periods(backend: Backend) -> None:
    """Exactly, beyond 53 bits too; None counts nowhere, an empty text does."""
    await library(backend)
    search = backend.query(Article).search()

    found = await search.limit(0).facets(
        topics=Terms("topic"),
        tags=Terms("tags"),
        shown=Terms("shown"),
        price=Terms("price"),
        words=Ranges("words", [(None, 2**53), (2**53, 2**53 + 1), (2**53 + 1, None)]),
        months=Dates("day", "month"),
        years=Dates("moment", "year"),
    )

    assert (found.hits, found.total) == ([], 4)
    assert found.facets["topics"] == [Bucket("animals", 2), Bucket("", 1)]
    assert found.facets["tags"] == [Bucket("pond", 2), Bucket("shell", 1)]
    assert found.facets["shown"] == [Bucket(True, 3), Bucket(False, 1)]
    assert found.facets["price"] == [Bucket(Decimal("1.10"), 1)]
    assert [bucket.count for bucket in found.facets["words"]] == [1, 1, 1]
    assert found.facets["months"] == [Bucket(date(2024, 2, 1), 1)]
    assert found.facets["years"] == [Bucket(datetime(2024, 1, 1, tzinfo=UTC), 1)]
    narrowed = await search.search("quick").facets(topics=Terms("topic", size=1))
    assert [bucket.count for bucket in narrowed.facets["topics"]] == [1]


@CHECKS.of(Article, needs=(C.SEARCH,))
async def test_suggestions_are_words_that_there_are(backend: Backend) -> None:
    """As they are written, not as their stems."""
    await library(backend)

    found = await backend.query(Article).search("qick").suggest("qick turtel", field="title")
    stems = await backend.query(Article).search().suggest("runing foxs", field="body")

    assert found.suggestions[0].text == "quick turtle"
    assert stems.suggestions[0].text == "running foxes"


@CHECKS.of(Article, Plain, needs=(C.SEARCH,))
async def test_what_cannot_be_searched_is_refused_when_the_search_is_built(backend: Backend) -> None:
    """By name, instead of finding nothing."""

    async def searched(**options: object) -> object:
        return backend.query(Article).search("a", **options)  # type: ignore[arg-type]

    await expect(QueryError, searched(fields=["topic"]))
    await expect(QueryError, searched(fields=["titel"]))
    await expect(QueryError, searched(fields="title"))
    await expect(QueryError, searched(operator="xor"))
    await expect(QueryError, searched(fuzziness=3))

    async def without_fields() -> object:
        return backend.query(Plain).search("a")

    await expect(QueryError, without_fields())

    async def faceted(facet: object) -> object:
        return backend.query(Article).search().facets(a=facet)  # type: ignore[arg-type]

    nowhere: Any = ("title", Terms("absent"), Dates("words", "month"), Ranges("tags", []), Ranges("words", [("a", None)]))
    for facet in (*nowhere, Dates("day", cast("Any", "decade"))):
        await expect(QueryError, faceted(facet))


@CHECKS.of(Plain, needs=(C.FRESH_QUERIES, C.FILTER, C.COUNT))
async def test_queries_see_what_was_written_before_them(backend: Backend) -> None:
    """R13: after each kind of write."""
    record = await backend.create(Plain(id=1, name="a"))
    assert await backend.query(Plain).filter(name="a").count() == 1
    record.name = "b"
    await backend.save(record)
    assert await backend.query(Plain).filter(name="b").count() == 1
    await backend.upsert(Plain(id=1, name="c"))
    assert await backend.query(Plain).filter(name="c").count() == 1
    await backend.create_many([Plain(id=number, name="d") for number in range(2, 5)])
    assert await backend.query(Plain).filter(name="d").count() == 3
    await backend.delete(record)
    assert await backend.query(Plain).count() == 3
    await backend.delete_many([Plain(id=2)])
    assert await backend.query(Plain).count() == 2


@CHECKS.of(Plain, needs=(C.REINDEX,))
async def test_a_new_index_holds_the_records_of_the_old_one(backend: Backend) -> None:
    """And takes its place for reads and writes."""
    records = await backend.create_many([Plain(id=number, name=str(number)) for number in range(300)])
    await backend.delete(records[0])

    await backend.reindex(Plain)

    assert sorted(record.id for record in await backend.query(Plain)) == list(range(1, 300))
    records[1].name = "changed"
    await backend.save(records[1])
    assert await backend.get(Plain, 1) == records[1]
