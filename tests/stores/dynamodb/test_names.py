"""Names of tables, indexes and attributes: never two for one, and never longer than the service takes."""

from typing import Any, ClassVar

import pytest

import holdall
from holdall import Backend, ConfigurationError, Field, Index, LimitExceeded, Model
from holdall.stores.dynamodb import SingleTable
from tests.stores.dynamodb.conftest import OpenBackend


class Accented(Model):
    id: int = Field(primary_key=True)
    one: str = Field(default="", name="é", index=True)
    two: str = Field(default="", name="ü", index=True)
    three: str = ""

    class Meta:
        name = "names.accented"
        indexes = (Index("three", name="by three"),)


class Repeated(Model):
    id: int = Field(primary_key=True)
    city: str = Field(default="", index=True)

    class Meta:
        name = "names.repeated"
        indexes = (Index("city"), Index("-city"))


def named(name: str, *, unique: bool = False, options: Any = ()) -> Any:
    """Return a model of that name."""
    stored = name

    class Made(Model):
        id: str = Field(primary_key=True)
        email: str | None = Field(default=None, unique=unique)

        class Meta:
            name = stored
            store_options: ClassVar = options

    return Made


@pytest.fixture
def nowhere() -> Backend:
    """One that fails when it sends anything."""
    return holdall.open("dynamodb://nowhere?endpoint_url=http://127.0.0.1:1&access_key_id=a&secret_access_key=b&max_attempts=1")


async def test_fields_of_awkward_names_have_indexes_of_their_own(opened: OpenBackend) -> None:
    async with opened(Accented, Repeated) as backend:
        await backend.create(Accented(id=1, one="x", two="y", three="z"))
        for lookup, wanted in (({"one": "x"}, 1), ({"two": "y"}, 1), ({"two": "x"}, 0), ({"three": "z"}, 1)):
            assert await backend.query(Accented).filter(**lookup).count() == wanted, lookup
        await backend.create(Repeated(id=1, city="x"))
        assert await backend.query(Repeated).filter(city="x").count() == 1
        assert await backend.check(Accented, Repeated) == []


async def test_two_indexes_of_one_name_are_refused_before_any_io(nowhere: Backend) -> None:
    class Dotted(Model):
        id: int = Field(primary_key=True)
        a: str = ""
        b: str = ""
        c: str = Field(default="", name="a.b", index=True)

        class Meta:
            indexes = (Index("a", "b"),)

    with pytest.raises(ConfigurationError, match=r"same name 'a\.b'"):
        await nowhere.initialize(Dotted)


@pytest.mark.parametrize(
    "models",
    [
        (named("a b"), named("a-20-b")),
        (named("app"), named("other", options=[SingleTable("app", "A#{id}", "A")])),
        (named("app", unique=True), named("app.unique")),
        (named("app.unique"), named("app", unique=True)),
        (named("one", options=[SingleTable("app", "A#{id}", "A", "K", "K")]),),
    ],
    ids=["written alike", "shared by one", "of unique values", "of unique values, later", "keys of one name"],
)
async def test_models_that_would_meet_in_a_table_are_refused_before_any_io(nowhere: Backend, models: tuple[type[Model], ...]) -> None:
    with pytest.raises(ConfigurationError):
        await nowhere.initialize(*models)


@pytest.mark.parametrize(("length", "unique"), [(256, False), (249, True)], ids=["a table", "its unique values"])
async def test_names_that_are_too_long_are_refused_before_any_io(nowhere: Backend, length: int, unique: bool) -> None:
    with pytest.raises(LimitExceeded, match="in bytes") as refused:
        await nowhere.initialize(named("x" * length, unique=unique))
    assert (refused.value.limit, refused.value.value) == (255, 256)


async def test_an_index_whose_name_is_too_long_is_refused_before_any_io(nowhere: Backend) -> None:
    class Wordy(Model):
        id: int = Field(primary_key=True)
        one: str = Field(default="", name="x" * 130)
        two: str = Field(default="", name="y" * 130)

        class Meta:
            indexes = (Index("one", "two"),)

    with pytest.raises(LimitExceeded, match="shorter"):
        await nowhere.initialize(Wordy)


async def test_unique_fields_of_a_table_that_has_records_are_refused(opened: OpenBackend) -> None:
    """Nothing reserves the values that are there, so that they could be stored again."""
    plain, strict = named("names.grown"), named("names.grown", unique=True)
    async with opened(strict) as backend:
        await backend.drop(strict)
        await backend.initialize(plain)
        await backend.create(plain(id="1", email="x"))

        with pytest.raises(ConfigurationError, match="reserve"):
            await backend.initialize(strict)

        await backend.clear(plain)
        await backend.initialize(strict)
        await backend.create(strict(id="1", email="x"))
        await backend.initialize(strict)


async def test_unique_fields_in_a_shared_table_are_refused_for_the_records_of_the_model_alone(opened: OpenBackend) -> None:
    other = named("names.other", options=[SingleTable("names.shared", "O#{id}", "O")])
    plain = named("names.grown", options=[SingleTable("names.shared", "G#{id}", "G")])
    strict = named("names.grown", unique=True, options=[SingleTable("names.shared", "G#{id}", "G")])
    async with opened(other, plain) as backend:
        await backend.create(other(id="1", email="x"))
        await backend.initialize(strict)
        await backend.create(strict(id="1", email="x"))
