"""Raw SQL binds by name and leaves the rest of the text alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict
from uuid import UUID, uuid4

import msgspec
import pytest
from pydantic import BaseModel

import holdall
from holdall import Backend, BackendError, Capability, DuplicateKeyError, Field, Model, QueryError, TransactionError, UnsupportedOperation


class City(Model):
    id: int = Field(primary_key=True)
    name: str = Field(name="city_name", unique=True)
    people: int | None = None
    tags: list[str] = []
    token: UUID | None = None
    founded: datetime | None = None
    area: Decimal | None = Field(default=None, max_digits=18, decimal_places=2)


MODELS = (City,)
sql_only = pytest.mark.parametrize("backend_url", ["sqlite", "postgres", "mysql"], indirect=True)
postgres_only = pytest.mark.parametrize("backend_url", ["postgres"], indirect=True)

ROME = {"id": 1, "city_name": "Rome", "people": 2800}


@pytest.fixture(params=["engine", "session"])
async def access(request: pytest.FixtureRequest, backend: Backend) -> Any:
    """The engine, and a session: they have the same methods."""
    await backend.create_many(
        [City(id=1, name="Rome", people=2800, tags=["old"]), City(id=2, name="Oslo"), City(id=3, name="Łódź", people=600)]
    )
    if request.param == "engine":
        return backend.engine
    block = backend.session()
    with holdall.detach():
        session = await block.__aenter__()
    request.node.stash[_BLOCK] = block
    return session


_BLOCK: pytest.StashKey[Any] = pytest.StashKey()


@pytest.fixture(autouse=True)
async def _ended(request: pytest.FixtureRequest, backend: Backend) -> Any:
    yield
    block = request.node.stash.get(_BLOCK, None)
    if block is not None:
        await block.__aexit__(RuntimeError, RuntimeError(), None)


# -- binding -----------------------------------------------------------------------------------------------------------------------------


@sql_only
async def test_rows_come_as_dicts(access: Any) -> None:
    sql = "select id, city_name, people from city where people > :least order by id"
    assert await access.fetch(sql, least=1000) == [ROME]
    assert await access.fetch(sql, least=10**6) == []
    assert await access.fetch_one(sql, least=0) == ROME
    assert await access.fetch_one(sql, least=10**6) is None
    assert await access.fetch_value("select count(*) from city") == 3
    assert await access.fetch_value("select people from city where id = :id", id=2) is None
    assert await access.fetch_value("select people from city where id = :id", id=-2) is None


@sql_only
@pytest.mark.parametrize(
    ("sql", "parameters", "value"),
    [
        ("select cast(:a as integer) + cast(:b as integer)", {"a": 1, "b": 2}, 3),
        ("select cast(:a as integer) + cast(:a as integer) * 10", {"a": 2}, 22),
        ("select ':a'", {}, ":a"),
        ("select ':a' || cast(:a as text)", {"a": "x"}, ":ax"),
        ("select 'it''s :a'", {}, "it's :a"),
        ("select cast(:a as text) -- and :b is a comment", {"a": "x"}, "x"),
        ("select /* :b */ cast(:a as text) /* ':c */", {"a": "x"}, "x"),
        ('select x.":a" from (select cast(:a as text) as ":a") as x', {"a": "x"}, "x"),
        ("select 'a' like'a' and cast(:a as integer) = 1", {"a": 1}, True),
        ("select cast(:a1 as integer) - cast(:a as integer) - cast(:a_b as integer)", {"a": 1, "a1": 10, "a_b": 4}, 5),
        ("select cast(:select as integer)", {"select": 7}, 7),
        ("select cast(:self as integer) + cast(:sql as integer)", {"self": 7, "sql": 1}, 8),
        ("select cast(:ä as text)", {"ä": "umlaut"}, "umlaut"),
        ("select cast(:a as text)", {"a": "'; drop table city; --"}, "'; drop table city; --"),
        ("select cast(:a as text)", {"a": ":b"}, ":b"),
        ("select cast(:a as text)", {"a": "$1 ?1 %s"}, "$1 ?1 %s"),
        ("select '$1 ?1 %s' || cast(:a as text)", {"a": ""}, "$1 ?1 %s"),
    ],
)
async def test_names_are_bound_and_the_rest_of_the_text_is_left_alone(
    access: Any, backend_url: str, sql: str, parameters: dict[str, Any], value: Any
) -> None:
    if backend_url.startswith("mysql"):
        sql = sql.replace(" as text)", " as char)")
    assert await access.fetch_value(sql, **parameters) == value


@postgres_only
@pytest.mark.parametrize(
    ("sql", "parameters", "value"),
    [
        ("select :a::int + 1", {"a": 1}, 2),
        ("select '5'::int + :a::int", {"a": 1}, 6),
        ("select :a :: text", {"a": "x"}, "x"),
        ("select $$ :a 'it' $$ || :a::text", {"a": "x"}, " :a 'it' x"),
        ("select $tag$ :a $$ :b $tag$ || :a::text", {"a": "x"}, " :a $$ :b x"),
        ("select e'\\' :a ' || :a::text", {"a": "x"}, "' :a x"),
        ("select (array[1,2,3])[1:2]", {}, [1, 2]),
        ("select (array[1,2,3])[:a::int]", {"a": 2}, 2),
        ("select 'x' /* outer /* :inner */ :still */ || :a::text", {"a": "y"}, "xy"),
        ("select case when false then null else'\\' end || :a::text || 'z'", {"a": "x"}, "\\xz"),
        ("select :a::int[]", {"a": [1, 2]}, [1, 2]),
        ("select coalesce(:a::text, 'none')", {"a": None}, "none"),
    ],
)
async def test_what_only_postgresql_writes(access: Any, sql: str, parameters: dict[str, Any], value: Any) -> None:
    assert await access.fetch_value(sql, **parameters) == value


@sql_only
@pytest.mark.parametrize("method", ["fetch", "fetch_one", "fetch_value", "execute"])
async def test_missing_and_unused_names_are_refused(access: Any, method: str) -> None:
    run = getattr(access, method)
    with pytest.raises(QueryError, match=r":people.*did you mean"):
        await run("select * from city where people = :people", peopel=1)
    with pytest.raises(QueryError, match=":extra"):
        await run("select 1", extra=1)
    with pytest.raises(QueryError, match=":extra"):
        await run("select ':extra'", extra=1)
    with pytest.raises(QueryError):
        await run(b"select 1")
    with pytest.raises(QueryError):
        await run("select '\0'")
    assert await access.fetch_value("select 1") == 1  # nothing failed


@sql_only
async def test_values_of_many_types_are_bound(access: Any, backend_url: str) -> None:
    token = uuid4()
    moment = datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)
    sql = "update city set token = :token, founded = :founded, people = :people, city_name = :name where id = :id"
    assert await access.execute(sql, token=token, founded=moment, people=None, name="Ünïcödé '\"", id=1) == 1
    found = (await access.fetch_as(City, "select * from city where token = :token and founded = :founded", token=token, founded=moment))[0]
    assert (found.token, found.founded, found.people, found.name) == (token, moment, None, "Ünïcödé '\"")
    assert await access.fetch_value("select count(*) from city where founded > :day", day=datetime(2024, 2, 29, tzinfo=UTC)) == 1


@postgres_only
async def test_types_that_postgresql_alone_gives_back(access: Any) -> None:
    assert await access.fetch_value("select cast(:d as date)", d=date(2024, 1, 2)) == date(2024, 1, 2)
    assert await access.fetch_value("select cast(:d as numeric)", d=Decimal("1.10")) == Decimal("1.10")


@sql_only
async def test_execute_counts_rows(access: Any) -> None:
    assert await access.execute("update city set people = 1 where people is not null") == 2
    assert await access.execute("update city set people = 1 where id = :id", id=-1) == 0
    assert await access.execute("delete from city where id = :id", id=1) == 1
    assert await access.execute("insert into city (id, city_name, tags) select 9, city_name || 'x', tags from city where id = 2") == 1


@sql_only
async def test_fetch_may_write(access: Any) -> None:
    sql = "insert into city (id, city_name, tags) select 9, city_name || 'x', tags from city where id = :id returning id, city_name"
    assert await access.fetch(sql, id=1) == [{"id": 9, "city_name": "Romex"}]
    assert await access.fetch_value("select city_name from city where id = 9") == "Romex"


@sql_only
async def test_wrong_sql_is_a_backend_error_with_the_original(access: Any) -> None:
    with pytest.raises(BackendError) as caught:
        await access.fetch("select from where")
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__ is not caught.value


@sql_only
async def test_broken_constraints_have_their_names(access: Any) -> None:
    with pytest.raises(DuplicateKeyError):
        await access.execute("insert into city (id, city_name, tags) values (1, 'other', (select tags from city where id = 1))")


# -- many -----------------------------------------------------------------------------------------------------------------------------------


@sql_only
async def test_execute_many_runs_once_per_item(access: Any) -> None:
    count = await access.execute_many("update city set people = :people where id = :id", [{"id": n, "people": n} for n in (1, 2, 3, 4)])
    assert count == 3
    assert await access.fetch_value("select sum(people) from city") == 6
    assert await access.execute_many("update city set people = 1 where id = :id", iter([])) == 0


@sql_only
async def test_execute_many_is_all_or_nothing(access: Any, backend: Backend) -> None:
    sql = "update city set people = 7, city_name = :name where id = :id"
    with pytest.raises(DuplicateKeyError):
        await access.execute_many(sql, [{"id": 1, "name": "fine"}, {"id": 2, "name": "Łódź"}])
    if access is backend.engine:
        assert (await backend.get(City, 1)).name == "Rome"


@sql_only
async def test_execute_many_checks_every_item_before_the_first(access: Any) -> None:
    with pytest.raises(QueryError):
        await access.execute_many("update city set people = :people where id = 1", [{"people": 5}, {"persons": 6}])
    assert await access.fetch_value("select people from city where id = 1") == 2800


# -- shapes ------------------------------------------------------------------------------------------------------------------------------------


@dataclass
class AsDataclass:
    id: int
    people: int | None


class AsTuple(NamedTuple):
    id: int
    people: int | None


class AsStruct(msgspec.Struct):
    id: int
    people: int | None


class AsDict(TypedDict):
    id: int
    people: int | None


class AsPydantic(BaseModel):
    id: int
    people: int | None


@sql_only
@pytest.mark.parametrize("shape", [AsDataclass, AsTuple, AsStruct, AsDict, AsPydantic])
async def test_rows_take_any_shape(access: Any, shape: Any) -> None:
    found = await access.fetch_as(shape, "select people, id, city_name from city where id <= :id order by id", id=2)
    assert found == [shape(id=1, people=2800), shape(id=2, people=None)]
    assert await access.fetch_as(shape, "select people, id from city where id = -1") == []
    with pytest.raises(QueryError, match="people"):
        await access.fetch_as(shape, "select id from city")


@sql_only
async def test_rows_as_records_are_stored_records(access: Any, backend: Backend) -> None:
    found = await access.fetch_as(City, "select c.*, 1 as more from city c where city_name = :name", name="Rome")
    (rome,) = found
    assert rome == City(id=1, name="Rome", people=2800, tags=["old"])
    assert holdall.is_stored(rome)
    assert holdall.changes(rome) == {}
    rome.people = 1
    if access is not backend.engine:
        await access.save(rome)
        assert (await access.get(City, 1)).people == 1
    with pytest.raises(QueryError, match="city_name"):
        await access.fetch_as(City, "select id, people from city")


# -- where it runs -----------------------------------------------------------------------------------------------------------------------------------


@sql_only
async def test_the_engine_joins_the_ambient_session(backend: Backend) -> None:
    with pytest.raises(ZeroDivisionError):
        async with backend.session() as session:
            await backend.engine.execute("insert into city (id, city_name, tags) values (5, 'x', '[]')")
            assert await session.fetch_value("select count(*) from city") == 1
            assert await backend.query(City).count() == 1
            raise ZeroDivisionError
    assert await backend.engine.fetch_value("select count(*) from city") == 0


@sql_only
async def test_a_transaction_of_ones_own_does_not_leak(backend: Backend) -> None:
    """BEGIN by hand would leave the connection inside a transaction."""
    try:
        await backend.engine.execute("begin")
        await backend.engine.execute("insert into city (id, city_name, tags) values (5, 'x', '[]')")
    except holdall.HoldallError:
        pass
    async with asyncio.timeout(5):
        async with backend.session() as session:
            await session.create(City(id=6, name="y"))
    assert await backend.query(City).filter(id=6).exists()


@sql_only
async def test_a_commit_by_hand_inside_a_session_is_told(backend: Backend) -> None:
    with pytest.raises(holdall.HoldallError):
        async with backend.session() as session:
            await session.create(City(id=6, name="y"))
            await session.execute("commit")
            await session.create(City(id=7, name="z"))
    async with backend.session() as session:
        await session.create(City(id=8, name="after"))
    assert await backend.query(City).filter(id=8).exists()


@postgres_only
async def test_settings_do_not_leak_to_the_next_one(backend: Backend, backend_url: str) -> None:
    async with holdall.open(backend_url, pool_max_size=1) as small:
        await small.engine.execute("set statement_timeout = '12345'")
        assert await small.engine.fetch_value("show statement_timeout") == "0"
        async with small.session() as session:
            await session.execute("set search_path = nowhere")
        assert await small.query(City).count() == 0


@sql_only
async def test_a_failed_raw_statement_fails_the_session(backend: Backend) -> None:
    with pytest.raises(TransactionError):
        async with backend.session() as session:
            await session.create(City(id=6, name="y"))
            with pytest.raises(BackendError):
                await session.fetch("select * from nowhere")
    assert await backend.query(City).count() == 0


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_stores_without_sql_refuse_before_any_io(backend: Backend) -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        _ = backend.engine
    assert caught.value.missing == {Capability.RAW_SQL}
    async with backend.session() as session:
        for use in (session.fetch("select 1"), session.execute("select 1"), session.execute_many("select 1", [{}])):
            with pytest.raises(UnsupportedOperation):
                await use


class Everything(Model):
    """A field of every scalar type."""

    id: int = Field(primary_key=True)
    flag: bool = True
    real: float = 0.5
    text: str = "ä"
    raw: bytes = b"\xff"
    exact: Decimal = Field(default=Decimal("1.50"), max_digits=10, decimal_places=2)
    wide: Decimal = Decimal("-12345678901234567890.5")
    key: UUID = UUID(int=5)
    day: date = date(2024, 2, 29)
    moment: datetime = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
    clock: time = time(23, 59, 59, 999999)
    span: timedelta = timedelta(days=-1, microseconds=1)
    tags: list[str] = ["x"]
    nothing: datetime | None = None
    maybe: bool | None = None


@pytest.mark.parametrize("backend_url", ["sqlite", "postgres", "mysql", "asyncmy"], indirect=True)
async def test_rows_become_records_as_in_a_query(backend: Backend) -> None:
    await backend.drop(Everything)
    await backend.initialize(Everything)
    await backend.create_many([Everything(id=1), Everything(id=2, flag=False, maybe=True, nothing=datetime(1, 1, 1, tzinfo=UTC))])

    found = await backend.engine.fetch_as(Everything, "select * from everything order by id")

    assert found == await backend.query(Everything).order_by("id")
    assert [type(value) for value in vars(found[1]).values()] == [type(value) for value in vars(await backend.get(Everything, 2)).values()]
    await backend.drop(Everything)
