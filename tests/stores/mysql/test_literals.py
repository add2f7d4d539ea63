"""Values in the text of a statement: exact, by type, and never more than a value."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

import holdall
from holdall import Backend, Field, Model, ValidationError
from holdall.sql.compiler import Statement
from holdall.stores.mysql.literals import MARK, literal, render


class Word(Enum):
    IT = "it's"


class Number(IntEnum):
    TWO = 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "1"),
        (-3, "-3"),
        (0.1, "0.1e0"),
        (1e22, "1e+22"),
        (Decimal("-1.50"), "-1.50"),
        (Decimal("1E+3"), "1000"),
        ("", "''"),
        ("it's", "'it''s'"),
        ("\\' or 1=1 -- ", "'\\'' or 1=1 -- '"),
        (b"", "x''"),
        (b"'\x00", "x'2700'"),
        (UUID(int=1), "x'00000000000000000000000000000001'"),
        (datetime(1, 2, 3, tzinfo=UTC), "TIMESTAMP'0001-02-03 00:00:00.000000'"),
        (datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1))), "TIMESTAMP'2023-12-31 23:00:00.000000'"),
        (date(9999, 12, 31), "DATE'9999-12-31'"),
        (time(1, 2, 3, 4), "TIME'01:02:03.000004'"),
        (timedelta(days=-1, microseconds=1), "-86399999999"),
        (Number.TWO, "2"),
    ],
)
def test_a_value_is_one_literal(value: Any, text: str) -> None:
    assert literal(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), [1], {"a": 1}, {"' or 1=1": 1}, object(), {1}])
def test_what_is_no_value_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        literal(value)


def test_values_stand_where_their_marks_are() -> None:
    text = f"a = {MARK}2 AND b = {MARK}1 AND c = {MARK}12"
    assert render(Statement(text, [*range(12)])) == "a = 1 AND b = 0 AND c = 11"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_text_ends_where_it_ends(value: str) -> None:
    text = literal(value)
    assert text[0] == text[-1] == "'"
    assert "'" not in text[1:-1].replace("''", "")


class Thing(Model):
    id: int = Field(primary_key=True)
    text: str = ""
    extra: dict[str, JsonValue] = {}


@pytest.fixture
async def backend(driver_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(driver_url) as backend:
        await backend.drop(Thing)
        await backend.initialize(Thing)
        yield backend
        await backend.drop(Thing)


HOSTILE = ["'; drop table thing; -- ", "\\'; drop table thing; -- ", "\\", "%s %(a)s {0} :a ? \x01", "\x1a", "''", '"', "`", "😀"]


async def test_hostile_texts_are_texts(backend: Backend) -> None:
    for number, text in enumerate(HOSTILE):
        await backend.create(Thing(id=number, text=text))
        assert (await backend.query(Thing).filter(text=text).one()).id == number
        assert await backend.engine.fetch_value("select text from thing where text = :text", text=text) == text
    assert await backend.query(Thing).count() == len(HOSTILE)


async def test_the_keys_of_dicts_reach_no_escaping_of_the_driver(backend: Backend) -> None:
    """asyncmy writes the keys of a dict into the text as they are."""
    key = "a` = 1; drop table thing; -- "
    with pytest.raises(ValidationError):
        await backend.engine.fetch("select :given", given={key: "x"})
    with pytest.raises(ValidationError):
        await backend.engine.execute_many("update thing set text = :given", [{"given": {key: 1}}])

    await backend.create(Thing(id=1, extra={key: "x", "'": 1, '"': 2, "\\": 3}))

    assert (await backend.get(Thing, 1)).extra == {key: "x", "'": 1, '"': 2, "\\": 3}
    assert await backend.query(Thing).filter(**{f"extra__{key}": "x"}).count() == 1
    assert await backend.query(Thing).filter(holdall.col(Thing.extra)["\\"] == 3).count() == 1
