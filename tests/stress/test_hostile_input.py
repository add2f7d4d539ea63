"""Hostile names, texts, keys, cursors and SQL: nothing is injected, and what is refused is refused by an error of ours."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

import holdall
from holdall import (
    Backend,
    ConfigurationError,
    DuplicateKeyError,
    F,
    Field,
    HoldallError,
    Model,
    QueryError,
    UnsupportedOperation,
    ValidationError,
    col,
)
from tests.stress.conftest import Opener
from tests.stress.hostile import fuzzed, kept, may_be_kept, texts


class Canary(Model):
    id: int = Field(primary_key=True)
    text: str

    class Meta:
        name = "canary"


class Note(Model):
    id: int = Field(primary_key=True)
    text: str = ""
    tags: list[str] = []
    data: dict[str, JsonValue] = {}

    class Meta:
        name = "hostile_note"


MODELS = (Canary, Note)
ALIVE = {1: "alive", 2: "well"}


@pytest.fixture
async def backend(open_backend: Opener) -> AsyncGenerator[Backend]:
    """A backend with a canary, which must be alive when the test has ended."""
    async with open_backend(cursor_key="the key of the tests") as backend:
        await backend.create_many([Canary(id=id, text=text) for id, text in ALIVE.items()])
        yield backend
        assert {canary.id: canary.text for canary in await backend.query(Canary)} == ALIVE


# -- names -------------------------------------------------------------------------------------------------------------------------------


def hostile_model(table: str, column: str, other: str) -> type[Any]:
    """Make a model with these names in the store."""
    body = {
        "__module__": __name__,
        "__qualname__": "Hostile",
        "__annotations__": {"id": int, "value": str, "number": int},
        "id": Field(primary_key=True),
        "value": Field(unique=True, name=column, max_length=50),
        "number": Field(default=0, index=True, name=other),
        "Meta": type("Meta", (), {"__qualname__": "Hostile.Meta", "name": table}),
    }
    kind: Any = type(Model)
    return cast("type[Any]", kind("Hostile", (Model,), body))


@fuzzed
@given(table=texts, column=texts, other=texts)
async def test_names_in_the_store_are_names_and_nothing_else(backend: Backend, table: str, column: str, other: str) -> None:
    try:
        model = hostile_model(f"h{table}", f"c{column}", f"o{other}")
        await backend.initialize(model)
    except HoldallError:
        return
    try:
        await backend.create(model(id=1, value="it's", number=1))
        await backend.create_many([model(id=id, value=f"v{id}", number=id) for id in (2, 3)])
        await backend.upsert(model(id=3, value="v3", number=4))
        await backend.query(model).filter(value="v2").update(number=F("number") + 10)
        with pytest.raises(DuplicateKeyError) as caught:
            await backend.create(model(id=9, value="it's"))

        if f"{table}{column}".isprintable():  # some servers write other characters of a name in escapes
            assert caught.value.fields == ("value",)
        assert (await backend.get(model, 1)).value == "it's"
        assert await backend.query(model).order_by("-number").values("id", "value", "number") == [
            {"id": 2, "value": "v2", "number": 12},
            {"id": 3, "value": "v3", "number": 4},
            {"id": 1, "value": "it's", "number": 1},
        ]
        assert await backend.query(model).filter(number__gt=3).delete() == 2
    finally:
        await backend.drop(model)


async def test_a_duplicate_is_told_by_its_fields_whatever_the_names_hold(backend: Backend) -> None:
    names = [("dotted", "column"), ("dotted.with", "a.column"), ("comma, too", "a, column")]
    models = [hostile_model(table, column, "other") for table, column in names]
    await backend.initialize(*models)
    for model in models:
        await backend.create(model(id=1, value="x"))
        with pytest.raises(DuplicateKeyError) as caught:
            await backend.create(model(id=2, value="x"))
        assert caught.value.fields == ("value",)
    await backend.drop(*models)


async def test_names_that_differ_beyond_the_servers_length_are_refused_or_kept_apart(backend: Backend) -> None:
    models = [hostile_model("t" * 70 + end, "value", "number") for end in "ab"]
    try:
        await backend.initialize(*models)
    except HoldallError:
        return
    await backend.create(models[0](id=1, value="of a"))
    assert await backend.query(models[1]).count() == 0
    await backend.drop(*models)


@fuzzed
@given(name=texts, value=texts)
async def test_names_given_to_queries_are_fields_or_refused(backend: Backend, name: str, value: str) -> None:
    query = backend.query(Note)
    uses: list[Callable[[], Any]] = [
        lambda: query.filter(**{name: value}),
        lambda: query.filter(**{f"text__{name}": value}),
        lambda: query.order_by(name),
        lambda: query.order_by(f"-{name}"),
        lambda: query.values(name),
    ]
    for use in uses:
        try:
            use()
        except HoldallError:
            continue
        assert name in {"text__", "data__"}, f"{name!r} is no field"
    with pytest.raises(HoldallError):
        await query.update(**{name: value})
    with pytest.raises(HoldallError):
        await backend.get_or_create(Note, {name: value})


# -- values ------------------------------------------------------------------------------------------------------------------------------


@fuzzed
@given(text=texts)
async def test_texts_are_values_and_nothing_else(backend: Backend, text: str) -> None:
    await backend.clear(Note)
    variants = dict(enumerate([text, f"{text}x", f"x{text}", text.swapcase(), f"{text} ", "", "plain"]))
    notes = [Note(id=id, text=variant, tags=[variant], data={"k": variant}) for id, variant in variants.items()]
    if not may_be_kept(text):
        with pytest.raises(ValidationError):
            await backend.create_many(notes)
        with pytest.raises(HoldallError):
            await backend.query(Note).filter(text=text).all()
        return
    await backend.create_many(notes)

    async def ids(**lookups: Any) -> set[int]:
        return {note.id for note in await backend.query(Note).filter(**lookups)}

    def those(holds: Callable[[str], bool]) -> set[int]:
        return {id for id, variant in variants.items() if holds(variant)}

    assert {note.id: (note.text, note.tags, note.data) for note in await backend.query(Note)} == {
        id: (variant, [variant], {"k": variant}) for id, variant in variants.items()
    }
    assert await ids(text=text) == await ids(text__in=[text, "none"]) == await ids(data__k=text) == those(lambda v: v == text)
    assert await ids(tags__has=text) == those(lambda v: v == text)
    assert await ids(text__contains=text) == those(lambda v: text in v)
    assert await ids(text__startswith=text) == those(lambda v: v.startswith(text))
    assert await ids(text__endswith=text) == those(lambda v: v.endswith(text))
    assert await ids(text__icontains=text) == those(lambda v: text.casefold() in v.casefold())
    assert [note.text for note in await backend.query(Note).order_by("text", "id")] == sorted(variants.values())
    assert await backend.query(Note).filter(id=6).update(text=text) == 1
    assert await backend.engine.fetch_value("select text from hostile_note where text = :text and id = :id", text=text, id=6) == text


@fuzzed
@given(keys=st.lists(texts, min_size=1, max_size=3, unique=True), value=kept)
async def test_keys_of_json_are_keys_and_nothing_else(backend: Backend, keys: list[str], value: str) -> None:
    await backend.clear(Note)
    nested: Any = value
    for key in reversed(keys):
        nested = {key: nested}
    others: list[dict[str, JsonValue]] = [{}, {keys[0]: None}, {keys[0] + "x": value}, {"x": nested}, {".".join(keys) + ".": value}]
    notes = [Note(id=0, data=nested), *(Note(id=id, data=other) for id, other in enumerate(others, 1))]
    path: Any = col(Note.data)
    for key in keys:
        path = path[key]
    if not all(map(may_be_kept, keys)):
        with pytest.raises(ValidationError):
            await backend.create_many(notes)
        with pytest.raises(HoldallError):
            await backend.query(Note).filter(path == value).all()
        return
    await backend.create_many(notes)

    assert (await backend.get(Note, 0)).data == nested
    try:
        found = await backend.query(Note).filter(path == value)
    except UnsupportedOperation:  # a server whose paths do not reach it
        assert any(key.startswith("-") for key in keys)
        return
    assert [note.id for note in found] == [0]
    assert {note.id for note in await backend.query(Note).filter(path != value)} == {1, 2, 3, 4, 5}


@fuzzed
@given(key=texts, value=texts)
async def test_lookups_into_json_never_crash(backend: Backend, key: str, value: str) -> None:
    try:
        found = await backend.query(Note).filter(**{f"data__{key}": value})
    except HoldallError:
        return
    assert found == []


# -- cursors -----------------------------------------------------------------------------------------------------------------------------


def changed(cursor: str, place: int, sign: str) -> str:
    return cursor[: place % len(cursor)] + sign + cursor[place % len(cursor) + 1 :]


@fuzzed
@given(text=texts, raw=st.binary(max_size=60), place=st.integers(0, 500), sign=st.sampled_from("ABab01-_=+/ \0é"))
async def test_cursors_that_were_made_up_or_changed_are_refused(backend: Backend, text: str, raw: bytes, place: int, sign: str) -> None:
    if await backend.query(Note).count() < 3:
        await backend.create_many([Note(id=id, text=text if may_be_kept(text) else "x") for id in range(3)])
    query = backend.query(Note).order_by("text", "id")
    cursor = (await query.page(size=1)).next
    assert cursor is not None
    mutated = changed(cursor, place, sign)
    fakes: list[Any] = [text, base64.urlsafe_b64encode(raw).decode(), cursor + text, cursor[:place], 7, raw]
    for fake in [*fakes, *([mutated] if _decoded(mutated) != _decoded(cursor) else [])]:
        if fake == cursor or _decoded(fake) == _decoded(cursor):
            continue
        with pytest.raises(QueryError):
            await query.page(size=1, after=fake)
    with pytest.raises(QueryError):
        await backend.query(Note).order_by("-id").page(size=1, after=cursor)
    assert len((await query.page(size=1, after=cursor)).items) == 1


def _decoded(cursor: Any) -> bytes | None:
    """Return the bytes of a cursor: some texts differ in bits that stand for nothing."""
    try:
        return base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
    except (ValueError, AttributeError):
        return None


# -- raw SQL -----------------------------------------------------------------------------------------------------------------------------


@fuzzed
@given(name=texts, value=kept)
async def test_names_of_parameters_are_those_of_the_text_or_refused(backend: Backend, name: str, value: str) -> None:
    sql = "select id from canary where text = :wanted"
    attempts: list[dict[str, Any]] = [{name: value}, {"wanted": "alive", name: value}]
    for parameters in attempts:
        with pytest.raises(QueryError):
            await backend.engine.fetch(sql, **parameters)
        with pytest.raises(QueryError):
            await backend.engine.execute_many("update canary set text = :wanted where id = -1", [parameters])
    try:
        found = await backend.engine.fetch(f"select id from canary where text = :{name}", **{name: value})
    except HoldallError:
        return
    assert found == []


_PIECES = (
    ":v",
    "':v'",
    '":v"',
    "-- :v\n",
    "/* :v */",
    "::",
    ":",
    "$1",
    "$$",
    "?",
    "%s",
    "select",
    "1",
    ",",
    "'",
    '"',
    "(",
    ")",
    "e'\\'",
    ";",
    "\n",
)


@fuzzed
@given(pieces=st.lists(st.sampled_from(_PIECES), max_size=8), value=texts)
async def test_sql_of_any_shape_never_crashes(backend: Backend, pieces: list[str], value: str) -> None:
    for sql in ("".join(pieces), " ".join(["select", *pieces])):
        for parameters in ({}, {"v": value}):
            try:
                await backend.engine.fetch(sql, **parameters)
            except HoldallError:
                continue


@fuzzed
@given(text=kept.filter(lambda text: "\\" not in text), first=kept, second=kept)
async def test_parameters_beside_quoted_text_are_bound_and_the_text_stays(backend: Backend, text: str, first: str, second: str) -> None:
    quoted = text.replace("'", "''")
    sql = f"select id from canary where text = :first or text = '{quoted}' or text = :second /* :nothing '{{' */ -- :nothing"
    await backend.query(Canary).filter(id=2).update(text=text)
    try:
        assert await backend.engine.fetch(sql, first=first, second="alive") == [{"id": 1}, {"id": 2}]
        expected = [{"id": 2}] if text in (first, second, text) else []
        assert await backend.engine.fetch(sql, first=first, second=second) == expected
    finally:
        await backend.query(Canary).filter(id=2).update(text=ALIVE[2])


# -- models ------------------------------------------------------------------------------------------------------------------------------


@fuzzed
@given(name=texts)
def test_a_name_in_the_store_is_a_text_without_what_no_store_may_keep(name: str) -> None:
    if may_be_kept(name) and name:
        assert holdall.is_stored(hostile_model(name, name, name + "x")(id=1, value="")) is False
        return
    with pytest.raises(ConfigurationError):
        model = hostile_model(name, "value", "number")
        holdall.open("memory://").query(model)
