"""Wrong uses: mypy and pyright refuse every line marked with ``wrong``, and no other."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from pydantic import BaseModel

import holdall
from holdall import Backend, Field, Model, Session, col, uuid7
from tests.typing.snippets import Customer, NameAge, Order, tip, transfer


class Elsewhere(BaseModel):
    id: int


class Declared(Model):
    id: int = Field(default=1, primary_key="yes")  # wrong
    name: str = Field(default=3)  # wrong
    size: int = Field(default=1, primry_key=True)  # wrong
    owner: UUID = Field(references=Customer, on_delete="explode")  # wrong
    label: str = Field(max_length="long")  # wrong
    since: datetime = Field(default_factory=uuid7)  # wrong


def construction(customer: Customer) -> None:
    Customer(name="x")  # wrong
    Customer(email="x", name=1)  # wrong
    Customer(email="x", name="x", agee=1)  # wrong
    Customer("x", "y")  # wrong
    customer.age = "old"  # wrong
    customer.nme = "x"  # wrong
    print(customer.agee)  # wrong
    print(Customer.agee)  # wrong
    print(customer.age + 1)  # wrong
    print(customer.__holdall__)  # wrong


async def by_key(backend: Backend, customer: Customer, key: UUID) -> None:
    await backend.get(Elsewhere, 1)  # wrong
    await backend.get("Customer", key)  # wrong
    await backend.get(Customer)  # wrong
    await backend.create(Elsewhere(id=1))  # wrong
    await backend.create(Customer)  # wrong
    await backend.create_many(customer)  # wrong
    await backend.initialize(Elsewhere)  # wrong
    backend.get(Customer, key).name  # wrong
    backend.save(customer)  # wrong
    (await backend.get_or_none(Customer, key)).name  # wrong
    order: Order = await backend.get(Customer, key)  # wrong
    both: list[Customer] = await backend.get_many(Customer, [key])  # wrong
    print(order, both)
    await backend.get_or_create(Customer, {"email": "x"}, {"name": "X"})  # wrong
    holdall.changes(Elsewhere(id=1))  # wrong
    holdall.open(5)  # wrong


async def queries(backend: Backend, customer: Customer) -> None:
    query = backend.query(Customer)
    query.filter(True)  # wrong
    query.filter(customer.name == "x")  # wrong
    query.filter("age > 3")  # wrong
    query.filter(Customer.age >= 18)  # wrong
    query.order_by(3)  # wrong
    query.limit("10")  # wrong
    query.offset()  # wrong
    query.values(1)  # wrong
    query.allow_local(10)  # wrong
    query.for_update(wait=False)  # wrong
    backend.query(Elsewhere)  # wrong
    found: list[Customer] = query.all()  # wrong
    listed: list[Order] = await query  # wrong
    first: Customer = await query.first()  # wrong
    shaped: list[Customer] = await query.into(NameAge)  # wrong
    print(found, listed, first, shaped, (await query.into(NameAge))[0].city)  # wrong
    for one in query:  # wrong
        pass
    async for one in query:  # wrong
        pass
    len(query)  # wrong
    for one in query.stream():  # wrong
        pass
    await query.page(after=3)  # wrong
    (await query.page()).items[0].agee  # wrong
    await query.stream(batch="all")  # wrong


def columns() -> None:
    col(Customer.age) >= "x"  # wrong
    col(Customer.balance) < "1"  # wrong
    col(Customer.balance) < 1.5  # wrong
    col(Customer.created_at) > 5  # wrong
    col(Customer.age).between("a", "b")  # wrong
    col(Customer.age).in_(["a"])  # wrong
    col(Customer.age).in_(3)  # wrong
    col(Customer.name).startswith(3)  # wrong
    col(Customer.name).has("x")  # wrong
    col(Customer.age).is_null("no")  # wrong
    col(Customer.name).asc(nulls="middle")  # wrong
    col(Customer.name).between("a")  # wrong
    col(Customer.name).startswth("a")  # wrong
    (col(Customer.age) >= 18) | True  # wrong
    for letter in col(Customer.name):  # wrong
        pass
    col(Customer.nme)  # wrong
    col()  # wrong


async def sessions(backend: Backend, session: Session, key: UUID) -> None:
    await backend.run(transfer, key, key, "ten", retries=5)  # wrong
    await backend.run(transfer, key, key)  # wrong
    await backend.run(tip, key, amount=3)  # wrong
    await backend.run(print)  # wrong
    number: int = await backend.run(transfer, key, key, 10)  # wrong
    print(number)
    backend.session(isolation="snapshot")  # wrong
    backend.session(timeout="5")  # wrong
    with backend.session():  # wrong
        pass
    async with backend.session() as other:
        await other.get(Elsewhere, 1)  # wrong
    async with session.savepoint("name"):  # wrong
        pass
    session.on_commit("later")  # wrong
    session.commit()  # wrong
    rows: list[Customer] = await session.fetch("select 1")  # wrong
    text: str = await session.execute("delete from customers")  # wrong
    print(rows, text)
    await session.execute_many("delete from customers where age = :age", {"age": 1})  # wrong


class Total(NamedTuple):
    total: Decimal


async def active(backend: Backend, customer: Customer, key: UUID) -> None:
    found: list[Order] = await Customer.objects.filter(age=3)  # wrong
    totals: list[NameAge] = await Order.objects.into(Total)  # wrong
    print(found, totals)
    Elsewhere.objects  # wrong
    await customer.save(session=backend)  # wrong
    customer.save()  # wrong
    await Customer.objects("sqlite://").all()  # wrong
    await Customer.objects.get()  # wrong
    holdall.get_backend(name=3)  # wrong
