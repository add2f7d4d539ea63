"""Search on OpenSearch: what is its own beyond what every store with search shows."""

from typing import Any

import pytest

import holdall
from holdall import Backend, ConfigurationError, Field, LimitExceeded, Model, UnsupportedOperation
from holdall.query.search import Terms
from holdall.stores.opensearch import searching
from tests.stores.opensearch.conftest import Ask
from tests.typing import snippets


class Book(Model):
    id: int = Field(primary_key=True)
    title: str = Field(search="german")
    tags: list[str] = []


MODELS = (Book, snippets.Article)


def build(annotations: dict[str, type], **fields: object) -> object:
    """Return a model that is made at run time."""
    metaclass: Any = type(Model)
    return metaclass("Made", (Model,), {"__module__": __name__, "__annotations__": annotations, **fields})


async def test_a_language_analyses_as_it_should(backend: Backend) -> None:
    await backend.create_many([Book(id=1, title="Die Häuser am Fluss"), Book(id=2, title="Der Baum")])

    assert [book.id for book in (await backend.query(Book).search("haus")).records] == [1]
    assert (await backend.query(Book).search("die der")).total == 0


@pytest.mark.parametrize("text", ["", "*", "title:Baum", "NOT Haus", '"', "~2 AND (", "\\", "{}", "ba?m"])
async def test_a_text_is_a_text_and_no_query_language(backend: Backend, text: str) -> None:
    await backend.create(Book(id=1, title="Der Baum"))

    assert (await backend.query(Book).search(text)).total == 0


async def test_an_unknown_analyser_is_refused_before_any_io(backend: Backend) -> None:
    class Klingon(Model):
        id: int = Field(primary_key=True)
        title: str = Field(default="", search="klingon")

    with pytest.raises(ConfigurationError, match=r"no analyser 'klingon'.*english"):
        await backend.initialize(Klingon)


async def test_hits_beyond_the_window_are_refused_before_any_io(backend: Backend) -> None:
    with pytest.raises(LimitExceeded) as raised:
        await backend.query(Book).search("x").offset(9990).limit(20)

    assert raised.value.limit == 10_000


async def test_facets_of_lists_leave_out_elements_too_long_to_be_kept(backend: Backend) -> None:
    await backend.create(Book(id=1, title="x", tags=["short", "long" * 100]))

    found = await backend.query(Book).search().facets(tags=Terms("tags"))

    assert [bucket.value for bucket in found.facets["tags"]] == ["short"]


async def test_explain_shows_the_request_without_the_text(backend: Backend) -> None:
    said = str(backend.query(Book).filter(title="secret-1").search("secret-2").suggest("secret-3").explain())

    assert "_search" in said
    assert '"multi_match"' in said
    assert "secret" not in said


@pytest.mark.parametrize("fixture", ["memory_url", "sqlite_url", "postgres_url"])
async def test_stores_without_search_keep_the_model_and_refuse_the_search(request: pytest.FixtureRequest, fixture: str) -> None:
    async with holdall.open(request.getfixturevalue(fixture)) as other:
        await other.drop(Book)
        await other.initialize(Book)
        await other.create(Book(id=1, title="Haus"))

        with pytest.raises(UnsupportedOperation) as raised:
            await other.query(Book).search("haus")

        assert raised.value.missing == {holdall.Capability.SEARCH}
        assert other.query(Book).search("haus").explain().missing
        with pytest.raises(UnsupportedOperation):
            await other.reindex(Book)
        await other.drop(Book)


def test_a_search_field_must_be_a_text() -> None:
    with pytest.raises(ConfigurationError, match="needs a text"):
        build({"id": int, "number": int}, id=Field(primary_key=True), number=Field(default=0, search="english"))


async def test_texts_are_stored_once(backend: Backend, ask: Ask) -> None:
    await backend.create(Book(id=1, title="Der Baum"))

    source = (await ask("GET", f"/{backend.settings.prefix}book/_doc/1"))["_source"]  # type: ignore[attr-defined]

    assert set(source) == {"id", "title", "title#i", "tags", "tags#c", "tags#j"}


async def test_what_the_documentation_promises_to_type_checkers_runs(backend: Backend) -> None:
    await backend.create(snippets.Article(id=1, title="A quick fox over a lazy dog", topic="animals", size=1))

    await snippets.search(backend)


async def test_facets_over_several_shards_are_exact(opensearch_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [f"{number % 400}" for number in range(1600)] + ["rare"] * 6
    async with holdall.open(opensearch_url, prefix="sharded_", shards=3) as backend:
        await backend.drop(Book)
        await backend.initialize(Book)
        await backend.create_many([Book(id=number, title="x", tags=[value]) for number, value in enumerate(values)])

        found = await backend.query(Book).search("x").facets(tags=Terms("tags", size=3))
        assert [(bucket.value, bucket.count) for bucket in found.facets["tags"]] == [("rare", 6), ("0", 4), ("1", 4)]

        monkeypatch.setattr(searching, "_SHARD_TERMS", 130)
        with pytest.raises(LimitExceeded, match="narrow the search"):
            await backend.query(Book).search("x").facets(tags=Terms("tags", size=3))
        await backend.drop(Book)
