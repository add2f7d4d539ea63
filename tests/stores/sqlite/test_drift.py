"""What a SQLite file can differ in, and how its definitions are read."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

import holdall
from holdall import Backend
from holdall.stores.sqlite.ddl import part_of_index, parts_of_table
from tests.conformance.models import Customer, Order, Person

FIXED = (Customer, Order, Person)
PERSON = """create table person (
    id integer not null, name text not null, age integer, city text, tags text not null, profile text not null, constraint pk_person_id primary key (id)
) strict"""


@pytest.fixture
async def backend(sqlite_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(sqlite_url) as backend:
        await backend.initialize(*FIXED)
        yield backend


async def remake(backend: Backend, old: str, new: str) -> None:
    assert PERSON.count(old) == 1
    await backend.engine.execute("drop table person")
    await backend.engine.execute(PERSON.replace(old, new))


async def test_a_table_written_by_hand_is_the_same_in_other_letters_and_spaces(backend: Backend) -> None:
    await remake(backend, "name text not null", '[name]  TEXT /* of a person, (all of it) */ NOT NULL -- "x"\n')

    assert await backend.check(*FIXED) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (") strict", ")", ("table", "person", "strict", "")),
        ("age integer", "age text", ("column", "age", "integer", "text")),
        ("age integer", "age integer not null", ("column", "age", "integer", "integer not null")),
        ("age integer", "age integer default 5", ("column", "age", "integer", "integer default 5")),
        ("city text", "city text collate nocase", ("column", "city", "text", "text collate nocase")),
        (", constraint pk_person_id primary key (id)", "", ("constraint", "pk_person_id", "primary key (id)", None)),
        ("(id)\n", "(id), check (age > 0)\n", ("constraint", "check (age > 0)", None, "check (age > 0)")),
        ("(id)\n", "(id), constraint u unique (city)\n", ("constraint", "u", None, "unique (city)")),
    ],
)
async def test_a_change_is_one_difference(backend: Backend, old: str, new: str, expected: tuple[str, str, str | None, str | None]) -> None:
    await remake(backend, old, new)

    (found,) = await backend.check(*FIXED)

    assert (found.kind, found.name, found.expected, found.found) == expected


async def test_one_column_one_index_and_one_constraint_are_three_differences(backend: Backend) -> None:
    statement = await backend.engine.fetch_value("select sql from sqlite_schema where name = 'customers'")
    changed = statement.replace('"age" >= 0', '"age" > 0').replace('"city" TEXT', '"city" BLOB')
    await backend.engine.execute("drop table customers")
    await backend.engine.execute(changed)
    await backend.engine.execute("create index ix_customers_age on customers (age desc)")
    await backend.engine.execute("create index ix_customers_city_created_at_desc on customers (city, created_at desc)")

    assert [(each.kind, each.name) for each in await backend.check(*FIXED)] == [
        ("column", "city"),
        ("constraint", "ck_customers_age"),
        ("index", "ix_customers_age"),
    ]


async def test_a_reference_to_a_table_that_no_model_knows_is_one_difference(backend: Backend) -> None:
    await backend.engine.execute("create table theirs (id integer primary key)")
    await remake(backend, "(id)\n", "(id), constraint f foreign key (age) references theirs (id)\n")

    assert [(each.kind, each.name) for each in await backend.check(*FIXED)] == [("constraint", "f")]


async def test_a_database_in_memory_is_checked_too() -> None:
    async with holdall.open("sqlite://") as backend:
        await backend.initialize(*FIXED)
        assert await backend.check(*FIXED) == []
        await backend.engine.execute("drop index ix_customers_age")
        assert len(await backend.check(*FIXED)) == 1


def test_a_table_is_taken_apart_whatever_its_names_hold() -> None:
    parts = parts_of_table(
        """CREATE TABLE "a ""(,) table" ("che,ck" TEXT DEFAULT 'it''s, (so)', [x y] REAL CHECK ([x y] > 1.5e-3), `z``` BLOB,
        CONSTRAINT "c )" CHECK ("che,ck" IN ('a', 'b)')), UNIQUE (`z```, "che,ck" COLLATE NOCASE)) STRICT, WITHOUT ROWID"""
    )

    assert parts == {
        ("table", 'a "(,) table'): "strict, without rowid",
        ("column", "che,ck"): "text default 'it''s, (so)'",
        ("column", "x y"): 'real check ("x y" > 1.5e-3)',
        ("column", "z`"): "blob",
        ("constraint", "c )"): "check (\"che,ck\" in ('a', 'b)'))",
        ("constraint", 'unique ("z`", "che,ck" collate nocase)'): 'unique ("z`", "che,ck" collate nocase)',
    }


def test_an_index_is_compared_without_its_own_name_and_the_table_s() -> None:
    assert part_of_index("i", 'CREATE UNIQUE INDEX "i" ON "t (x)" ("a" DESC, b) WHERE a > 0') == {
        ("index", "i"): "unique (a desc, b) where a > 0"
    }
