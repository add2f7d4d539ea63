"""``holdall.testing`` on OpenSearch: a test has indexes of its own, and they go with it."""

import pytest

import holdall
from holdall import ConfigurationError, Field, Model, testing
from tests.stores.opensearch.conftest import Ask


class Draft(Model):
    id: int = Field(primary_key=True)
    code: str | None = Field(default=None, unique=True)


async def test_a_fresh_backend_has_indexes_of_its_own_that_are_removed(opensearch_url: str, ask: Ask) -> None:
    async def drafts() -> list[str]:
        return [name for name in await ask("GET", "/_settings?expand_wildcards=all") if "draft" in name]

    before = await drafts()
    backend = holdall.open(opensearch_url.replace("refresh=wait_for", "refresh="))
    async with testing.fresh(backend, Draft) as fresh:
        await fresh.create(Draft(id=1, code="a"))
        assert await fresh.query(Draft).count() == 1
        assert len(await drafts()) == len(before) + 2

    assert await drafts() == before


@pytest.mark.parametrize("parameter", ["prefix=Upper", "prefix=_x", "refresh=maybe", "shards=-1", "bulk_bytes=1", "unknown=1", "port=1"])
def test_a_wrong_parameter_is_refused_when_the_backend_is_made(parameter: str) -> None:
    with pytest.raises(ConfigurationError):
        holdall.open(f"opensearch://localhost?{parameter}")


def test_a_path_in_the_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        holdall.open("opensearch://localhost/shop")


async def test_a_read_only_backend_refuses_writes_and_reads(opensearch_url: str) -> None:
    async with holdall.open(opensearch_url) as writer, holdall.open(opensearch_url, read_only=True) as reader:
        await writer.drop(Draft)
        await writer.initialize(Draft)
        await writer.create(Draft(id=1))

        assert (await reader.get(Draft, 1)).id == 1
        for refused in (reader.create(Draft(id=2)), reader.query(Draft).delete(), reader.reindex(Draft), reader.initialize(Draft)):
            with pytest.raises(holdall.UnsupportedOperation):
                await refused
        await writer.drop(Draft)
