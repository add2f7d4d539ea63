"""Limits, names and addresses: refused before any request, and never where the service would not."""

from typing import Any

import pytest
from pydantic import JsonValue, create_model

import holdall
from holdall import Backend, BackendError, ConfigurationError, Field, LimitExceeded, Model, ValidationError
from holdall.stores.dynamodb.signing import Credentials, Signer
from holdall.stores.dynamodb.transport import host_of
from tests.stores.dynamodb.conftest import OpenBackend
from tests.stores.dynamodb.service import gives, refuses, service


class Owner(Model):
    id: int = Field(primary_key=True)
    email: str | None = Field(default=None, unique=True)
    text: str = ""
    more: str = ""
    data: dict[str, JsonValue] = {}


class Blob(Model):
    left: bytes = Field(primary_key=True)
    right: bytes = Field(primary_key=True)


class Lettered(Model):
    """Its attributes are called as those of the table of unique values."""

    u: int = Field(primary_key=True)
    k: str = ""


MODELS = (Owner, Blob, Lettered)


def requests(backend: Backend) -> int:
    return int(backend.store.stats()["requests"])


@pytest.mark.parametrize("size", [1022, 1023, 1024])
async def test_keys_of_bytes_may_be_as_long_as_the_service_permits(backend: Backend, size: int) -> None:
    blob = await backend.create(Blob(left=b"x" * (2 * size), right=b"y" * size))
    assert await backend.get(Blob, (blob.left, blob.right)) == blob
    with pytest.raises(LimitExceeded):
        await backend.get_or_none(Blob, (b"x", b"y" * 1025))


async def test_a_batch_writes_models_whose_attributes_are_called_as_ours(backend: Backend) -> None:
    first = await backend.create(Lettered(u=1))
    second = await backend.create(Lettered(u=2))
    async with backend.write_batch() as batch:
        batch.create(Lettered(u=3, k="new"))
        first.k = "changed"
        batch.save(first)
        batch.delete(second)
    found = await backend.get_many(Lettered, [1, 2, 3])
    assert [record and record.k for record in found] == ["changed", None, "new"]


async def test_a_batch_of_too_many_actions_is_refused_before_anything_is_read(backend: Backend) -> None:
    before = requests(backend)
    with pytest.raises(LimitExceeded, match="divide it"):
        async with backend.write_batch() as batch:
            batch.delete_many([Owner(id=number) for number in range(101)])
    assert requests(backend) == before


async def test_a_batch_of_too_many_bytes_is_refused_before_it_is_sent(backend: Backend) -> None:
    before = requests(backend)
    with pytest.raises(LimitExceeded, match="bytes of one transaction"):
        async with backend.write_batch() as batch:
            batch.create_many([Owner(id=number, text="x" * 300_000) for number in range(15)])
    assert requests(backend) == before


async def test_a_unique_value_that_is_too_long_is_refused_before_anything_is_read(backend: Backend) -> None:
    owner = await backend.create(Owner(id=1))
    before = requests(backend)
    owner.email = "x" * 3000
    for write in (backend.save(owner), backend.update(owner), backend.query(Owner).filter(id=1).update(email=owner.email)):
        with pytest.raises(LimitExceeded, match="unique value"):
            await write
    assert requests(backend) == before


async def test_a_value_that_no_item_can_hold_is_refused_by_a_query_that_finds_nothing(backend: Backend) -> None:
    await backend.ping()
    before = requests(backend)
    for values in ({"data": {"n": 1e300}}, {"data": deep(33)}):
        with pytest.raises((LimitExceeded, ValidationError)):
            await backend.query(Owner).filter(id=7).update(**values)
    assert requests(backend) == before


def deep(depth: int) -> Any:
    return {} if depth == 1 else {"a": deep(depth - 1)}


@pytest.mark.parametrize("email", [None, "a"])
async def test_a_record_that_an_update_makes_too_large_is_a_limit(backend: Backend, email: str | None) -> None:
    owner = await backend.create(Owner(id=1, text="x" * 300_000))
    owner.more, owner.email = "y" * 300_000, email
    with pytest.raises(LimitExceeded, match="bytes of a record"):
        await backend.save(owner)


async def test_windows_of_any_size_are_asked_for(backend: Backend) -> None:
    await backend.create(Blob(left=b"a", right=b"b"))
    query = backend.query(Blob).filter(left=b"a").order_by("right")
    assert len(await query.limit(2**40)) == 1
    assert len((await query.page(size=2**40)).items) == 1
    assert len([found async for found in backend.query(Blob).allow_scan().stream(batch=2**40)]) == 1


async def test_values_that_are_too_many_for_one_condition_are_refused_before_it_is_sent(backend: Backend) -> None:
    before = requests(backend)
    with pytest.raises(LimitExceeded, match="values"):
        await backend.query(Owner).filter(text__in=[f"{number:020}" for number in range(30_000)]).allow_scan()
    assert requests(backend) == before


async def test_create_many_says_what_was_written_when_the_service_gives_up() -> None:
    throttled: Any = refuses("ProvisionedThroughputExceededException")
    async with service(gives({}), gives({}), usual=throttled) as made, holdall.open(made.url(max_attempts=1)) as backend:
        records = [Lettered(u=number) for number in range(150)]
        with pytest.raises(BackendError) as failed:
            await backend.create_many(records)
        assert list(failed.value.written) == list(range(100))
        assert [holdall.is_stored(record) for record in records] == [number < 100 for number in range(150)]


WIDTH = 900


async def test_an_update_of_more_fields_than_one_expression_takes_is_refused_before_it_is_sent(opened: OpenBackend) -> None:
    fields: dict[str, Any] = {f"field_{number}": (int, 0) for number in range(WIDTH)}
    model: Any = create_model("Wide", __base__=Model, __module__=__name__, id=(int, Field(primary_key=True)), **fields)
    async with opened(model) as backend:
        wide = await backend.create(model(id=1))
        for name in fields:
            setattr(wide, name, 7)
        query = backend.query(model).filter(id=1)
        before = requests(backend)
        for write in (backend.save(wide), backend.update(wide)):
            with pytest.raises(LimitExceeded, match="upsert"):
                await write
        assert requests(backend) == before
        with pytest.raises(LimitExceeded, match="upsert"):
            await query.update(**dict.fromkeys(fields, 7))
        await backend.upsert(wide)
        assert await query.values(*fields) == [dict.fromkeys(fields, 7)]


# -- names and addresses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"endpoint_url": "localhost:8000"}, "endpoint_url"),
        ({"endpoint_url": "http://localhost:8000/path"}, "without a path"),
        ({"endpoint_url": "http://localhost:8000?a=b"}, "endpoint_url"),
        ({"endpoint_url": "http://localhost:99999"}, "endpoint_url"),
        ({"endpoint_url": "http://[::1"}, "endpoint_url"),
        ({"endpoint_url": "ftp://localhost"}, "endpoint_url"),
        ({"endpoint_url": ""}, "endpoint_url"),
        ({"table_prefix": "a b"}, "table_prefix"),
        ({"session_token": "x"}, "session_token"),
        ({"profile": "x", "access_key_id": "a", "secret_access_key": "b"}, "profile"),
        ({"capacity_timeout": 0}, "capacity_timeout"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(options: dict[str, Any], shown: str) -> None:
    with pytest.raises(ConfigurationError, match=shown):
        holdall.open("dynamodb://us-east-1", **options)


def test_a_password_in_an_endpoint_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as failed:
        holdall.open("dynamodb://us-east-1", endpoint_url="http://me:secret@localhost:8000")
    assert "secret" not in str(failed.value)


async def test_an_endpoint_of_a_variable_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1/path")
    backend = holdall.open("dynamodb://us-east-1", access_key_id="a", secret_access_key="b")
    with pytest.raises(ConfigurationError, match="without a path"):
        await backend.open()
    await backend.close()


async def test_an_address_of_version_6_is_written_in_brackets() -> None:
    head = Signer("[::1]:8000", "us-east-1").head("X", b"", Credentials("a", "b", None), 0)
    assert b"Host: [::1]:8000\r\n" in head
    assert host_of("http://[::1]:8000") == "[::1]:8000"
    assert host_of("https://dynamodb.eu-central-1.amazonaws.com:443") == "dynamodb.eu-central-1.amazonaws.com"
