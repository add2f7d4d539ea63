"""The query cache of a session, on every store, by counting what reaches it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from holdall import Backend, Capability, ConfigurationError, F, Field, Model, Q, QueryError, col
from holdall.query.operations import Operation


class Author(Model):
    id: int = Field(primary_key=True)
    name: str
    age: int | None = None
    weight: float | None = None
    wealth: Decimal | None = None
    alive: bool = True

    class Meta:
        name = "cache_authors"


class Book(Model):
    id: int = Field(primary_key=True)
    author_id: int | None = Field(default=None, references=Author, on_delete="cascade")
    title: str = ""

    class Meta:
        name = "cache_books"


class Loan(Model):
    id: int = Field(primary_key=True)
    book_id: int | None = Field(default=None, references=Book, on_delete="set_null")

    class Meta:
        name = "cache_loans"


class City(Model):
    id: int = Field(primary_key=True)

    class Meta:
        name = "cache_cities"


class NameOf(NamedTuple):
    name: str


MODELS = (Author, Book, Loan, City)


@pytest.fixture
async def sent(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of the operations that reach the transactions of sessions; three authors, a book, a loan and a city are there."""
    await backend.create_many([Author(id=1, name="Ada", age=1), Author(id=2, name="Bob", age=2), Author(id=3, name="Cyd", age=2)])
    await backend.create(Book(id=1, author_id=1))
    await backend.create(Loan(id=1, book_id=1))
    await backend.create(City(id=1))
    kinds: list[str] = []
    begin = backend.store.begin

    def counted(options: Any) -> Any:
        transaction: Any = begin(options)
        execute = transaction.execute

        async def count(operation: Operation) -> Any:
            kinds.append(type(operation).__name__)
            return await execute(operation)

        transaction.execute = count
        return transaction

    monkeypatch.setattr(backend.store, "begin", counted)
    return kinds


async def test_the_same_query_runs_once_and_gives_the_same_objects(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        first = await session.query(Author).filter(age=2).order_by("name")
        second = await session.query(Author).filter(age=2).order_by("name").all()
        second.clear()
        third = await backend.query(Author).filter(age=2).order_by("name")

    assert sent == ["Select"]
    assert [author.name for author in third] == ["Bob", "Cyd"]
    assert all(one is other for one, other in zip(first, third, strict=True))


async def test_count_exists_first_pages_and_shapes_are_answered_too(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        for _ in range(2):
            query = session.query(Author).order_by("id")
            assert await query.count() == 3
            assert await query.exists()
            assert await query.first() is not None
            assert await query.values("name") == [{"name": "Ada"}, {"name": "Bob"}, {"name": "Cyd"}]
            assert await query.into(NameOf) == [("Ada",), ("Bob",), ("Cyd",)]
            page = await query.into(NameOf).page(size=2)
            back = await query.into(NameOf).page(size=2, after=(await query.into(NameOf).page(size=2, after=page.next)).previous)
            assert back.items == page.items == [NameOf("Ada"), NameOf("Bob")]

    assert len(sent) == 8


async def test_without_the_option_only_a_query_that_asks_is_answered_from_before(backend: Backend, sent: list[str]) -> None:
    async with backend.session() as session:
        one = await session.query(City).all()
        (two,) = await session.query(City).all(cache=True)
        (three,) = await session.query(City).all(cache=True)
        assert len(sent) == 2
        assert two is three is not one[0]
        await session.query(City).count()
        await session.query(City).count()
        await session.query(City)
        assert len(sent) == 5


async def test_a_query_may_ask_the_database_in_spite_of_the_option(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        (one,) = await session.query(City)
        (two,) = await session.query(City).all(cache=False)
        (three,) = await session.query(City)

    assert sent == ["Select", "Select"]
    assert one is three is not two


async def test_a_cached_read_outside_a_session_is_refused(backend: Backend, sent: list[str]) -> None:
    with pytest.raises(QueryError, match="session"):
        await backend.query(City).all(cache=True)
    async with backend.session() as session:
        with pytest.raises(ConfigurationError, match="query_cache"):
            backend.session(session, query_cache=True)
        assert len(await backend.query(City).all(cache=True)) == 1


QUERIES: dict[str, Callable[[Any], Any]] = {
    "all": lambda query: query,
    "int": lambda query: query.filter(age=1),
    "true": lambda query: query.filter(alive=True),
    "one is not true": lambda query: query.filter(id=1),
    "float": lambda query: query.filter(weight=1.0),
    "decimal": lambda query: query.filter(wealth=Decimal(1)),
    "in int": lambda query: query.filter(id__in=[1, 2]),
    "in others": lambda query: query.filter(id__in=[1, 3]),
    "not": lambda query: query.exclude(age=1),
    "or": lambda query: query.filter(Q(age=1) | Q(id=1)),
    "and": lambda query: query.filter(age=1, id=1),
    "lte": lambda query: query.filter(age__lte=1),
    "order": lambda query: query.order_by("age"),
    "reverse order": lambda query: query.order_by("-age"),
    "nulls first": lambda query: query.order_by(col(Author.age).asc(nulls="first")),
    "limit": lambda query: query.limit(1),
    "other limit": lambda query: query.limit(2),
    "offset": lambda query: query.limit(2).offset(1),
    "values": lambda query: query.values("name"),
    "other values": lambda query: query.values("age"),
    "shape": lambda query: query.into(NameOf),
}


async def test_queries_that_differ_in_anything_run_each(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        for _ in range(2):
            for describe in QUERIES.values():
                await describe(session.query(Author))
            await session.query(Author).count()
            await session.query(Author).exists()

    assert len(sent) == len(QUERIES) + 2


async def test_a_locking_read_always_runs_and_is_not_kept(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        (kept,) = await session.query(City)
        (locked,) = await session.query(City).for_update()
        await session.query(City).for_update().all(cache=True)
        (again,) = await session.query(City)

    assert sent == ["Select", "Select", "Select"]
    assert again is kept is not locked


async def test_reads_by_key_always_run(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        for _ in range(2):
            city = await session.get(City, 1)
            await session.get_many(City, [1])
            await session.refresh(city)

    assert len(sent) == 6


async def test_tasks_that_ask_the_same_at_once_share_one_read(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        found = await asyncio.gather(*(session.query(City).all() for _ in range(5)))

    assert sent == ["Select"]
    assert len({id(city) for (city,) in found}) == 1


@pytest.mark.parametrize("backend_url", ["sqlite", "postgres", "mysql"], indirect=True)  # memory does not wait
async def test_a_reader_that_is_cancelled_while_it_waits_harms_no_other(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        tasks = [asyncio.ensure_future(session.query(City).all()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(found[1], asyncio.CancelledError)
    assert found[0] == found[2]
    assert sent == ["Select"]


async def test_an_error_is_not_kept(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        for _ in range(2):
            with pytest.raises(QueryError):
                await session.query(City).filter(size=1)
        await session.query(City)

    assert sent == ["Select"]


# -- what drops answers ----------------------------------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[Any, Author], Awaitable[Any]]] = {
    "create": lambda session, _: session.create(Author(id=9, name="Zoe")),
    "create_many": lambda session, _: session.create_many([Author(id=9, name="Zoe")]),
    "get_or_create": lambda session, _: session.get_or_create(Author, {"id": 9}, defaults={"name": "Zoe"}),
    "upsert": lambda session, _: session.upsert(Author(id=9, name="Zoe")),
    "update": lambda session, author: session.update(author),
    "update by query": lambda session, _: session.query(Author).filter(id=1).update(age=F("age") + 1),
    "delete": lambda session, author: session.delete(author),
    "delete_many": lambda session, author: session.delete_many([author]),
    "delete by query": lambda session, _: session.query(Author).filter(id=1).delete(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_a_write_drops_the_answers_of_its_model_and_no_others(
    backend: Backend, sent: list[str], write: Callable[[Any, Author], Awaitable[Any]]
) -> None:
    async with backend.session(query_cache=True) as session:
        author = await session.get(Author, 1)
        await session.query(Author)
        cities = await session.query(City)
        await write(session, author)
        sent.clear()
        await session.query(Author)
        assert sent == ["Select"]
        assert await session.query(City) == cities
        assert sent == ["Select"]


async def test_a_delete_drops_the_answers_that_it_reaches_through_references(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        for model in MODELS:
            assert await session.query(model).exists()
        await session.query(Author).filter(id=2).update(age=5)
        sent.clear()
        assert await session.query(Book).exists()
        assert sent == []  # an update reaches nothing
        await session.query(Author).filter(id=1).delete()
        sent.clear()
        assert not await session.query(Book).exists()
        assert (await session.query(Loan).one()).book_id is None
        assert await session.query(City).exists()

    assert sent == ["Exists", "Select"]


@pytest.mark.parametrize("backend_url", ["sqlite", "postgres", "mysql"], indirect=True)
async def test_raw_sql_drops_everything(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        await session.query(City)
        await session.execute("update cache_authors set age = 7")
        await session.query(City)
        await session.fetch("select 1 as one")
        await session.query(City)

    assert sent == ["Select", "Raw", "Select", "Raw", "Select"]
    assert Capability.RAW_SQL in backend.capabilities


async def test_a_savepoint_that_is_undone_drops_what_was_seen_in_it(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        before = await session.query(City).count()
        with pytest.raises(RuntimeError):
            async with session.savepoint():
                await session.create(Author(id=9, name="Zoe"))
                assert await session.query(Author).count() == 4
                raise RuntimeError
        sent.clear()
        assert await session.query(Author).count() == 3
        assert await session.query(City).count() == before

    assert sent == ["Count"]


async def test_a_savepoint_inside_one_that_is_undone_goes_with_it(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        with pytest.raises(RuntimeError):
            async with session.savepoint():
                async with session.savepoint():
                    await session.create(Author(id=9, name="Zoe"))
                    assert await session.query(Author).count() == 4
                assert await session.query(Author).count() == 4
                raise RuntimeError
        assert await session.query(Author).count() == 3


async def test_a_savepoint_from_before_the_first_cached_read_drops_it(backend: Backend, sent: list[str]) -> None:
    async with backend.session() as session:
        with pytest.raises(RuntimeError):
            async with session.savepoint():
                await session.create(City(id=9))
                assert len(await session.query(City).all(cache=True)) == 2
                raise RuntimeError
        assert len(await session.query(City).all(cache=True)) == 1


async def test_a_savepoint_that_is_kept_keeps_the_answers(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        async with session.savepoint():
            await session.query(City)
        await session.query(City)

    assert sent == ["Select"]


@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_the_end_of_the_transaction_drops_everything(backend: Backend, sent: list[str], ending: str) -> None:
    async with backend.session(query_cache=True) as session:
        await session.query(City)
        await getattr(session, ending)()
        await session.query(City)

    assert sent == ["Select", "Select"]


async def test_a_failed_commit_leaves_no_answers(backend: Backend, sent: list[str]) -> None:
    async with backend.session(query_cache=True) as session:
        await session.create(City(id=9))
        assert await session.query(City).count() == 2
        await session.rollback()
        assert await session.query(City).count() == 1
