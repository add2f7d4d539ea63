"""What ``initialize`` made, as PostgreSQL itself lists it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

import holdall
from holdall import Backend, Field, Index, Model


class PgOwner(Model):
    id: int = Field(primary_key=True)
    name: str = Field(unique=True)


class PgThing(Model):
    id: int = Field(primary_key=True)
    owner: int | None = Field(default=None, references=PgOwner, on_delete="set_null", index=True)
    other: int | None = Field(default=None, references=PgOwner, on_delete="cascade")
    loose: int | None = Field(default=None, references=PgOwner, enforce=False)
    age: int = Field(default=0, ge=0)
    label: str = Field(default="", name='a "label"', max_length=5)
    rank: int | None = None

    class Meta:
        indexes = [Index("rank", "-age"), Index("age", "-rank"), Index("label", "age", unique=True)]


@pytest.fixture
async def backend(postgres_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(postgres_url) as backend:
        await backend.drop(PgOwner, PgThing)
        await backend.initialize(PgOwner, PgThing)
        yield backend
        await backend.drop(PgOwner, PgThing)


async def test_constraints_are_there(backend: Backend) -> None:
    found = await backend.engine.fetch(
        "select contype::text as kind, pg_get_constraintdef(oid) as text from pg_constraint where conrelid in ('pg_thing'::regclass, 'pg_owner'::regclass)"
    )

    texts = [row["text"] for row in found if row["kind"] != "n"]
    assert {"PRIMARY KEY (id)", "UNIQUE (name)"} <= set(texts)
    assert any(text.startswith("FOREIGN KEY (owner) REFERENCES pg_owner(id) ON DELETE SET NULL") for text in texts)
    assert any(text.startswith("FOREIGN KEY (other) REFERENCES pg_owner(id) ON DELETE CASCADE") for text in texts)
    assert not any("(loose)" in text for text in texts)
    assert any(text.startswith("CHECK") and "age" in text and "0" in text for text in texts)


async def test_columns_are_not_null_and_compare_by_code_point(backend: Backend) -> None:
    found = await backend.engine.fetch(
        "select column_name, is_nullable, collation_name from information_schema.columns where table_name = 'pg_thing'"
    )

    assert {row["column_name"] for row in found if row["is_nullable"] == "NO"} == {"id", "age", 'a "label"'}
    assert {row["column_name"]: row["collation_name"] for row in found}['a "label"'] in ("C", None)


async def test_indexes_are_there_with_the_place_of_null(backend: Backend) -> None:
    found = [row["indexdef"] for row in await backend.engine.fetch("select indexdef from pg_indexes where tablename = 'pg_thing'")]

    def has(part: str) -> bool:
        return any(part in text for text in found)

    assert has("(owner)")
    assert has("(rank, age DESC)")
    assert has("(age, rank DESC NULLS LAST)")
    assert any("UNIQUE" in text and '("a ""label""", age)' in text.replace(' COLLATE "C"', "") for text in found)
