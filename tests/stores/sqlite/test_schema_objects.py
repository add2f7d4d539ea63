"""What ``initialize`` made, as SQLite itself lists it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

import holdall
from holdall import Backend, Field, Index, Model


class Owner(Model):
    id: int = Field(primary_key=True)
    name: str = Field(unique=True)


class Thing(Model):
    id: int = Field(primary_key=True)
    owner: int | None = Field(default=None, references=Owner, on_delete="set_null", index=True)
    other: int | None = Field(default=None, references=Owner, on_delete="cascade")
    loose: int | None = Field(default=None, references=Owner, enforce=False)
    age: int = Field(default=0, ge=0)
    label: str = Field(default="", name='a "label"', max_length=5)
    rank: int | None = None

    class Meta:
        indexes = [Index("rank", "-age"), Index("label", "age", unique=True)]


@pytest.fixture
async def backend(sqlite_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(sqlite_url) as backend:
        await backend.initialize(Owner, Thing)
        yield backend


async def test_columns_and_constraints_are_there(backend: Backend) -> None:
    columns = {row["name"]: row for row in await backend.engine.fetch("select * from pragma_table_info('thing')")}
    keys = await backend.engine.fetch("select * from pragma_foreign_key_list('thing')")

    assert set(columns) == {"id", "owner", "other", "loose", "age", 'a "label"', "rank"}
    assert {name for name, row in columns.items() if row["notnull"]} >= {"age", 'a "label"'}
    assert {(row["from"], row["table"], row["on_delete"]) for row in keys} == {
        ("owner", "owner", "SET NULL"),
        ("other", "owner", "CASCADE"),
    }
    assert "CHECK" in await backend.engine.fetch_value("select sql from sqlite_master where name = 'thing'")


async def test_indexes_are_there(backend: Backend) -> None:
    found: set[tuple[tuple[tuple[str, int], ...], int]] = set()
    for table in ("thing", "owner"):
        for index in await backend.engine.fetch("select * from pragma_index_list(:table)", table=table):
            parts = await backend.engine.fetch(
                "select * from pragma_index_xinfo(:name) where key and cid >= 0 order by seqno", name=index["name"]
            )
            found.add((tuple((part["name"], part["desc"]) for part in parts), index["unique"]))

    assert found >= {((("name", 0),), 1), ((("owner", 0),), 0), ((("rank", 0), ("age", 1)), 0), (((('a "label"'), 0), ("age", 0)), 1)}
