"""``backend.check`` finds every difference between models and a live database, and none where there is none."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import pytest

import holdall
from holdall import Backend, Capability, Difference, Field, Index, Model
from tests.conformance.models import Customer, Order, Person, Sample
from tests.conformance.test_values import MODELS as OF_EVERY_TYPE

MODELS = (*OF_EVERY_TYPE, Customer, Order, Person)


class Odd(Model):
    """Everything that a table can be made of, under names that must be quoted."""

    id: int | None = Field(default=None, primary_key=True, generated=True)
    customer: UUID | None = Field(default=None, references=Customer, on_delete="set_null", index=True)
    order: UUID | None = Field(default=None, references=Order, on_delete="cascade")
    parent: int | None = Field(default=None, name="a parent", references="Odd")
    text: str = Field(default="", name='we"ird: %s(x) $1 col', min_length=1, max_length=5)
    word: str | None = Field(default=None, name="Select", max_length=9, unique=True)
    whole: int = Field(default=0, gt=-5, lt=2**40)
    real: float = Field(default=0, ge=-1.5, le=1e300)
    exact: Decimal = Field(default=Decimal(0), ge=Decimal("-1.5"), max_digits=34)
    cents: Decimal | None = Field(default=None, ge=1, max_digits=10, decimal_places=2)

    class Meta:
        name = "Odd table: it's (%)"
        indexes = [Index("-cents", "real", unique=True), Index("-word", "whole"), Index("exact", name='na"me')]


class Quoted(Model):
    """A name that SQLAlchemy cannot reflect."""

    id: int = Field(primary_key=True)
    odd: int | None = Field(default=None, name='o"dd', references=Odd, index=True)
    other: int | None = Field(default=None, references="Quoted")

    class Meta:
        name = 'a "table"'


class Pair(Model):
    """A composite key, and columns called like words of SQL."""

    left: int = Field(primary_key=True, name="check")
    right: str = Field(primary_key=True, name="primary", max_length=3)
    constraint: int = 0


ALL = (*MODELS, Odd, Pair, Quoted)
FIXED = (Customer, Order, Person)


@pytest.fixture
def models() -> tuple[type[Model], ...]:
    return ALL


async def run(backend: Backend, url: str, *statements: str) -> None:
    for statement in statements:
        if url.startswith("mysql"):
            # It wants the table's name, and a length where a text is unbounded.
            statement = re.sub(r"^drop index \S+$", r"\g<0> on customers", statement).replace("(city,", "(city(200),")  # noqa: PLW2901
        await backend.engine.execute(statement)


def names(differences: Sequence[Difference]) -> list[tuple[str, str, str]]:
    return [(each.kind, each.table, each.name) for each in differences]


async def test_an_unchanged_schema_has_no_differences(backend: Backend) -> None:
    assert await backend.check(*ALL) == []


@pytest.mark.parametrize("model", ALL)
async def test_an_unchanged_model_has_no_differences(backend: Backend, model: type[Model]) -> None:
    assert await backend.check(model) == []


async def test_rows_make_no_difference(backend: Backend) -> None:
    await backend.create(Odd(text="x"))
    await backend.create(Sample(id=1))

    assert await backend.check(*ALL) == []


async def test_a_table_that_was_never_made_is_one_difference(backend: Backend) -> None:
    await backend.drop(Sample)

    (found,) = await backend.check(Sample, Person)

    assert (found.kind, found.table, found.name, found.found) == ("table", "sample", "sample", None)
    assert str(found).startswith("table 'sample' is missing; the model wants id, word, text")


async def test_models_that_are_referred_to_are_checked_too_as_initialize_makes_them(backend: Backend) -> None:
    await backend.drop(Quoted, Odd, Order, Customer)

    assert names(await backend.check(Order)) == [("table", "customers", "customers"), ("table", "order", "order")]


async def test_every_store_of_ours_declares_the_check(backend: Backend) -> None:
    assert Capability.SCHEMA_CHECK in backend.capabilities


async def test_a_closed_backend_refuses(backend_url: str) -> None:
    backend = holdall.open(backend_url)
    await backend.open()
    await backend.close()

    with pytest.raises(holdall.PoolClosed):
        await backend.check(Person)


CHANGES: dict[str, tuple[list[str], tuple[str, str, str]]] = {
    "a column that no model knows": (["alter table customers add column extra text"], ("column", "customers", "extra")),
    "a column under another name": (["alter table customers rename column city to town"], ("column", "customers", "city")),
    "an index that is gone": (["drop index ix_customers_age"], ("index", "customers", "ix_customers_age")),
    "an index over another column": (
        ["drop index ix_customers_age", "create index ix_customers_age on customers (version)"],
        ("index", "customers", "ix_customers_age"),
    ),
    "an index in another direction": (
        ["drop index ix_customers_city_created_at_desc", "create index ix_customers_city_created_at_desc on customers (city, created_at)"],
        ("index", "customers", "ix_customers_city_created_at_desc"),
    ),
    "an index that became unique": (
        ["drop index ix_customers_age", "create unique index ix_customers_age on customers (age)"],
        ("index", "customers", "ix_customers_age"),
    ),
    "a partial index": (
        ["drop index ix_customers_age", "create index ix_customers_age on customers (age) where age > 5"],
        ("index", "customers", "ix_customers_age"),
    ),
    "an index under another name": (
        ["drop index ix_customers_age", "create index other on customers (age)"],
        ("index", "customers", "ix_customers_age"),
    ),
    "an index on an expression, of theirs": (["create index theirs on person (lower(name))"], ("index", "person", "theirs")),
}

UNKNOWN_TO_MYSQL = ("a partial index", "an index on an expression, of theirs")


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def sql_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue({"sqlite": "sqlite_url"}.get(request.param, f"fresh_{request.param}_url")))


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_in_the_database_is_one_difference(sql_url: str, change: str) -> None:
    if sql_url.startswith("mysql") and change in UNKNOWN_TO_MYSQL:
        return
    statements, expected = CHANGES[change]
    async with holdall.open(sql_url) as backend:
        await backend.initialize(*FIXED)
        await run(backend, sql_url, *statements)

        assert names(await backend.check(*FIXED)) == [expected]


async def test_a_column_that_is_gone_is_one_difference_with_what_it_was_part_of(sql_url: str) -> None:
    async with holdall.open(sql_url) as backend:
        await backend.initialize(*FIXED)
        await run(backend, sql_url, "drop index ix_customers_city_created_at_desc", "alter table customers drop column city")

        (found,) = await backend.check(*FIXED)

    assert (found.kind, found.name, found.found) == ("column", "city", None)


async def test_initialize_after_a_check_makes_the_missing_index(sql_url: str) -> None:
    async with holdall.open(sql_url) as backend:
        await backend.initialize(*FIXED)
        await run(backend, sql_url, "drop index ix_customers_age")
        assert len(await backend.check(*FIXED)) == 1

        await backend.initialize(*FIXED)

        assert await backend.check(*FIXED) == []


async def test_a_check_changes_nothing_and_leaves_no_connection_behind(sql_url: str) -> None:
    async with holdall.open(sql_url) as backend:
        await backend.initialize(*FIXED)
        await backend.create(Person(id=1, name="Ada"))
        await backend.check(*FIXED)

        assert (await backend.get(Person, 1)).name == "Ada"
        assert backend.engine.stats()["in_use"] == 0


async def test_what_a_session_has_not_committed_is_not_seen(sql_url: str) -> None:
    async with holdall.open(sql_url) as backend:
        await backend.initialize(*FIXED)
        async with backend.session() as session:
            await session.create(Person(id=1, name="Ada"))

            assert await backend.check(*FIXED) == []


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        (Difference("column", "t", "c", "bigint", "integer"), "column 'c' of table 't' is integer; the model wants bigint"),
        (Difference("index", "t", "i", "(a)", None), "index 'i' of table 't' is missing; the model wants (a)"),
        (Difference("constraint", "t", "k", None, "check (a > 0)"), "constraint 'k' of table 't' is in the database alone: check (a > 0)"),
        (Difference("table", "t", "t", "a, b", None), "table 't' is missing; the model wants a, b"),
    ],
)
def test_a_difference_reads_as_a_sentence(difference: Difference, text: str) -> None:
    assert str(difference) == text


WITHOUT_ALEMBIC = """
import asyncio, sys
sys.modules["alembic"] = None
import holdall

class Thing(holdall.Model):
    id: int = holdall.Field(primary_key=True)

async def main():
    async with holdall.open(sys.argv[1]) as backend:
        await backend.initialize(Thing)
        await backend.create(Thing(id=1))
        try:
            print(await backend.check(Thing))
        except holdall.MissingDriverError as exc:
            print(exc.package, exc.extra, exc)

asyncio.run(main())
"""


def test_without_alembic_all_else_works_and_the_error_names_the_extra(sql_url: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT_ALEMBIC, sql_url], capture_output=True, text=True, check=False)

    assert done.stdout == "alembic schema the driver 'alembic' is not installed; run: pip install 'holdall[schema]'\n", done.stderr
