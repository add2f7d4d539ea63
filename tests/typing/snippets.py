"""What the documentation shows, with the types that users are promised. It passes both type checkers, and runs."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple, TypedDict, assert_type
from uuid import UUID

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, JsonValue, PrivateAttr

import holdall
from holdall import (
    Backend,
    Dates,
    Engine,
    Explanation,
    F,
    Field,
    Index,
    Model,
    Page,
    Q,
    QueryBuilder,
    Ranges,
    SearchBuilder,
    SearchResult,
    Session,
    Stream,
    Terms,
    WriteBatch,
    col,
    utc_now,
    uuid7,
)
from holdall.integrations.fastapi import SessionDependency, add_error_handlers


class Customer(Model):
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    email: str = Field(max_length=320, unique=True)
    name: str
    city: str | None = None
    age: int | None = Field(default=None, ge=0, index=True)
    tags: list[str] = []
    profile: dict[str, JsonValue] = {}
    balance: Decimal = Field(default=Decimal(0), max_digits=18, decimal_places=2)
    version: int = Field(default=1, version=True)
    created_at: datetime = Field(default_factory=utc_now)
    updated_at: datetime = Field(default_factory=utc_now, auto_now=True)

    class Meta:
        name = "customers"
        indexes = [Index("city", "-created_at")]
        order_by = ["-created_at"]


class Order(Model):
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    customer_id: UUID = Field(references=Customer, on_delete="restrict", index=True)
    total: Decimal = Field(max_digits=18, decimal_places=2)


class Article(Model):
    id: int = Field(primary_key=True)
    title: str = Field(search="english")
    topic: str = ""
    size: int = 0
    made: datetime = Field(default_factory=utc_now)


class Regular(Customer):
    discount: Decimal = Decimal(0)

    class Meta(Customer.Meta):
        name = "regulars"


class Counted(Model):
    """What else pydantic's users write in a model."""

    model_config = ConfigDict(extra="forbid")

    id: int | None = Field(default=None, primary_key=True, generated=True)
    label: str = Field(..., max_length=20)
    size: Annotated[int, Field(index=True, ge=0)] = 0
    weights: list[float] | None = None
    shown: str = Field(default="x", alias="show", description="shown to users")
    kinds: ClassVar[tuple[str, ...]] = ("a", "b")
    _seen: bool = PrivateAttr(default=False)


class AuditEvent(Model):
    stream: Annotated[str, Field(primary_key=True)]
    number: Annotated[int, Field(primary_key=True)]
    text: str = ""

    class Meta:
        backend = "audit"


class NameAge(NamedTuple):
    name: str
    age: int | None


@dataclass
class NameAgeData:
    name: str
    age: int | None


class NameAgeStruct(msgspec.Struct):
    name: str
    age: int | None


class NameAgeDict(TypedDict):
    name: str
    age: int | None


class NameAgeModel(BaseModel):
    name: str
    age: int | None


class NewOrder(BaseModel):
    customer_id: UUID
    total: Decimal


async def models() -> None:
    customer = Customer(email="ada@example.org", name="Ada", age=36)
    assert_type(customer.id, UUID)
    assert_type(customer.age, int | None)
    assert_type(customer.tags, list[str])
    assert_type(customer.model_copy(), Customer)
    assert_type(holdall.is_stored(customer), bool)
    assert_type(holdall.changes(customer), dict[str, tuple[Any, Any]])
    assert_type(Regular(email="r@example.org", name="R", discount=Decimal(1)).discount, Decimal)
    assert_type(Counted(label="x", show="y").size, int)
    assert_type(Counted(label="x").shown, str)
    assert_type(AuditEvent(stream="a", number=1).number, int)
    assert_type(uuid7(), UUID)
    assert_type(utc_now(), datetime)


async def opening(url: str) -> None:
    async with holdall.open(url) as backend:
        assert_type(backend, Backend)
        await backend.initialize(Customer, Order)
        await backend.ping()
        await backend.clear(Order, Customer)
        await backend.drop(Customer, Order)
    backend = await holdall.open(url, coalesce=False).open()
    assert_type(backend, Backend)
    await backend.close()


async def by_key(backend: Backend) -> None:
    ada = await backend.create(Customer(email="ada@example.org", name="Ada"))
    assert_type(ada, Customer)
    key, k1, k2, k3 = ada.id, ada.id, uuid7(), ada.id
    ada = await backend.get(Customer, ada.id)
    assert_type(ada, Customer)
    bob = await backend.get_or_none(Customer, key)
    assert_type(bob, Customer | None)
    found = await backend.get_many(Customer, [k1, k2, k3])
    assert_type(found, list[Customer | None])
    ada.city = "London"
    assert_type(await backend.save(ada), Customer)
    assert_type(await backend.update(ada), Customer)
    assert_type(await backend.upsert(ada), Customer)
    assert_type(await backend.refresh(ada), Customer)
    removed = await backend.delete(ada)
    assert_type(removed, bool)
    obj, created = await backend.get_or_create(Customer, {"email": "x@y.z"}, defaults={"name": "X"})
    assert_type(obj, Customer)
    assert_type(created, bool)
    customers = [Customer(email="n@example.org", name="N")]
    assert_type(await backend.create_many(customers), list[Customer])
    removed_count = await backend.delete_many(customers)
    assert_type(removed_count, int)
    assert_type(await backend.get(Customer, obj.id, strict=True), Customer)
    regular = await backend.create(Regular(email="r@example.org", name="R"))
    assert_type(regular, Regular)


async def queries(backend: Backend) -> None:
    adults = await backend.query(Customer).filter(age__gte=18).order_by("-age", "name").limit(10)
    assert_type(adults, list[Customer])
    adults = await backend.query(Customer).filter(age__gte=18).limit(10).all()
    assert_type(adults, list[Customer])
    same = await backend.query(Customer).filter(
        col(Customer.age) >= 18, (col(Customer.city) == "London") | ~col(Customer.name).startswith("A")
    )
    assert_type(same, list[Customer])
    query = backend.query(Customer).exclude(age=36).offset(0).limit(3)
    assert_type(query, QueryBuilder[Customer])
    assert_type(query.explain(), Explanation)
    await backend.query(Customer).order_by("-age", col(Customer.name).asc(nulls="first"), col(Customer.city).desc())
    await backend.query(Customer).filter(Q(age__gte=18) | Q(city="London") & ~Q(name="X"))
    await backend.query(Customer).filter(profile__address__city="London")
    await backend.query(Customer).filter(col(Customer.profile)["address"]["city"] == "London")
    counted = await backend.query(Customer).update(balance=F("balance") + 10)
    assert_type(counted, int)
    assert_type(await backend.query(Regular).all(strict=True), list[Regular])


async def columns(backend: Backend) -> None:
    age, balance, city = col(Customer.age), col(Customer.balance), col(Customer.city)
    assert_type(age, holdall.Column[int | None])
    assert_type(balance, holdall.Column[Decimal])
    assert_type(city, holdall.Column[str | None])
    conditions = [
        balance >= Decimal("1.5"), balance < 10, balance.between(0, Decimal(100)), balance.in_([Decimal(1), Decimal(2)]),
        age > 18, age.is_null(), age.is_null(False), age.not_in([1, None]), age != 3, age == None,  # noqa: E711
        city.icontains("lon"), city.iexact("london"), city.in_({"London"}), col(Customer.name).endswith("a"),
        col(Customer.tags).has("x"), col(Customer.tags).has_any(["x"]), col(Counted.weights).has_all([1.0, 2]),
        col(Customer.created_at) <= utc_now(), col(Customer.created_at).year(2024), col(Customer.id) == uuid7(),
    ]  # fmt: skip
    assert_type(conditions, list[holdall.Condition])
    await backend.query(Customer).filter(*conditions[:16], *conditions[17:])


async def terminals(backend: Backend) -> None:
    query = backend.query(Customer)
    assert_type(await query.first(), Customer | None)
    assert_type(await query.last(), Customer | None)
    assert_type(await query.limit(1).one(), Customer)
    assert_type(await query.limit(1).one_or_none(), Customer | None)
    assert_type(await query.count(), int)
    assert_type(await query.exists(), bool)
    found = await query.limit(1).one()
    assert_type(await query.get(found.id), Customer)
    async for customer in query.stream(batch=500):
        assert_type(customer, Customer)
    async with query.stream() as stream:
        assert_type(stream, Stream[Customer])
        iterator: AsyncIterator[Customer] = stream
        assert_type(await anext(iterator), Customer)
    page = await query.page(size=50)
    page = await query.page(size=50, after=page.next)
    assert_type(page, Page[Customer])
    assert_type(page.items, list[Customer])
    assert_type(page.next, str | None)
    assert_type(page.previous, str | None)
    assert_type(await query.filter(name="gone").delete(), int)


async def shapes(backend: Backend) -> None:
    query = backend.query(Customer)
    assert_type(await query.into(NameAge).all(), list[NameAge])
    assert_type(await query.into(NameAge), list[NameAge])
    assert_type(await query.into(NameAgeData), list[NameAgeData])
    assert_type(await query.into(NameAgeStruct), list[NameAgeStruct])
    assert_type(await query.into(NameAgeDict), list[NameAgeDict])
    assert_type(await query.into(NameAgeModel).first(), NameAgeModel | None)
    assert_type((await query.into(NameAge).page()).items, list[NameAge])
    assert_type(await query.values("name", "age"), list[dict[str, Any]])
    assert_type(await query.values("name", "age").first(), dict[str, Any] | None)


async def newest(query: QueryBuilder[Customer]) -> Sequence[Customer]:
    return await query.order_by("-created_at").limit(3)


async def covariance(backend: Backend) -> None:
    await newest(backend.query(Regular))


async def transfer(session: Session, payer_id: UUID, payee_id: UUID, amount: int) -> str:
    payer, payee = await session.get(Customer, payer_id), await session.get(Customer, payee_id)
    payer.balance -= amount
    payee.balance += amount
    await session.save(payer)
    await session.save(payee)
    return "done"


async def tip(session: Session, payee_id: UUID, *, amount: int) -> None:
    await session.query(Customer).filter(id=payee_id).update(balance=F("balance") + amount)


async def sessions(backend: Backend, ada_id: UUID, bob_id: UUID) -> None:
    async with backend.session() as session:
        assert_type(session, Session)
        ada = await session.get(Customer, ada_id, lock=True)
        ada.balance -= 10
        await session.save(ada)
        async with session.savepoint():
            await session.create(Order(customer_id=ada.id, total=Decimal(10)))
        await session.query(Customer).filter(name="nobody").for_update(nowait=True)
    async with backend.session(isolation="serializable", read_only=False) as session:
        called: list[str] = []
        session.on_commit(lambda: called.append("committed"))
        session.on_rollback(backend.ping)
        await session.commit()
        await session.rollback()
        async with backend.session(session) as given:
            assert_type(given, Session)
        with session.use() as used:
            assert_type(used, Session)
    out = await backend.run(transfer, ada_id, bob_id, 10, retries=5)
    assert_type(out, str)
    await backend.run(partial(tip, amount=3), ada_id)
    with holdall.detach():
        await backend.ping()
    async with backend.session() as session:
        assert_type(backend.sessions.get(), Session)
        backend.sessions.remove()
        backend.sessions.store(session)
        assert_type(backend.sessions.pop(), Session)


async def batches(backend: Backend, ada: Customer) -> None:
    async with backend.write_batch() as batch:
        assert_type(batch, WriteBatch)
        ada.balance -= 10
        batch.save(ada)
        assert_type(await batch.create(Order(customer_id=ada.id, total=Decimal(10))), Order)
        batch.delete(ada)
    assert_type(await backend.query(Customer).filter(name="Ada").consistent().allow_scan(), list[Customer])


async def raw_sql(backend: Backend) -> None:
    async with backend.session(timeout=5.0) as session:
        rows = await session.fetch("select name from customers where age > :age", age=18)
        assert_type(rows, list[dict[str, Any]])
        assert_type(await session.fetch_one("select 1 as one"), dict[str, Any] | None)
        await session.fetch_value("select count(*) from customers")
        assert_type(await session.execute("delete from customers where age < :age", age=18), int)
        assert_type(await session.execute_many("delete from customers where age = :age", [{"age": 1}, {"age": 2}]), int)
    assert_type(backend.engine, Engine)
    assert_type(await backend.engine.fetch_as(Customer, "select * from customers"), list[Customer])
    assert_type(await backend.engine.fetch_as(NameAge, "select name, age from customers"), list[NameAge])
    async with backend.engine.session(read_only=True) as session:
        assert_type(session, Session)
    backend.engine.stats()


async def active_record(url: str) -> None:
    backend = holdall.configure(url)
    assert_type(backend, Backend)
    await backend.initialize(Customer)
    eve = await Customer.objects.create(email="eve@example.org", name="Eve")
    assert_type(eve, Customer)
    got = await Customer.objects.filter(age__gte=18).limit(10)
    assert_type(got, list[Customer])
    got = await Customer.objects(backend).filter(col(Customer.age) >= 18)
    assert_type(got, list[Customer])
    assert_type(await Customer.objects.get(eve.id), Customer)
    assert_type(await Customer.objects.get_or_none(eve.id), Customer | None)
    assert_type(await Customer.objects.get_or_create({"email": "x@y.z"}, defaults={"name": "X"}), tuple[Customer, bool])
    assert_type(Regular.objects.filter(age__gte=18), QueryBuilder[Regular])
    async with backend.session() as session:
        assert_type(await eve.save(session=session), Customer)
    assert_type(await eve.refresh(), Customer)
    assert_type(await eve.delete(), bool)
    assert_type(holdall.configure(url, name="audit"), Backend)
    assert_type(holdall.get_backend("audit"), Backend)
    await backend.drop(Customer)
    await backend.close()


async def search(backend: Backend) -> None:
    asked = backend.query(Article).filter(topic="animals").search("quick fox", fields=["title"], operator="and", fuzziness="auto")
    assert_type(asked, SearchBuilder[Article])
    more = asked.phrase("lazy dog", slop=1).highlight("title").facets(topics=Terms("topic"), sizes=Ranges("size", [(None, 5)]))
    found = await more.facets(days=Dates("made", "day")).suggest("quik").limit(10).offset(0)
    assert_type(found, SearchResult[Article])
    assert_type(found.records, list[Article])
    assert_type(found.hits[0].record, Article)
    assert_type(found.hits[0].score, float)
    assert_type(found.facets["topics"][0].count, int)
    assert_type(found.suggestions[0].text, str)
    assert_type(await backend.query(Article).values("title").search("fox").all(), SearchResult[dict[str, Any]])
    await backend.reindex(Article)


async def errors(backend: Backend) -> None:
    try:
        await backend.create(Customer(email="ada@example.org", name="Ada"))
    except holdall.DuplicateKeyError as error:
        assert_type(error.model, str)
        assert_type(error.fields, tuple[str, ...])
        assert_type(error.values, tuple[Any, ...])
        assert_type(holdall.is_retryable(error), bool)
    except holdall.UnsupportedOperation as error:
        assert_type(error.missing, frozenset[Any])
    except holdall.HoldallError:
        raise


backend = holdall.open(os.environ.get("DATABASE_URL", "sqlite:///shop.db"))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with backend:
        await backend.initialize(Customer, Order)
        yield


app = FastAPI(lifespan=lifespan)
add_error_handlers(app)
InSession = Annotated[Session, SessionDependency(backend)]


@app.get("/customers/{customer_id}")
async def read(customer_id: UUID) -> Customer:
    return await backend.get(Customer, customer_id)


@app.post("/orders", status_code=201)
async def place(order: NewOrder, session: InSession) -> Order:
    return await session.create(Order(customer_id=order.customer_id, total=order.total))
