"""throw-away"""
from datetime import UTC, datetime, timedelta, date
from decimal import Decimal
from typing import Any, ClassVar
import pytest, asyncio
import holdall
from pydantic import JsonValue
from holdall import *
from holdall import col, F, Q
from holdall.stores.dynamodb import SingleTable
from tests.stores.dynamodb.conftest import OpenBackend


class Uk(Model):
    u: str = Field(primary_key=True)
    n: int = Field(primary_key=True)
    k: int = 0

class Un(Model):
    u: int = Field(primary_key=True)

async def test_batch_u(opened):
    async with opened(Uk) as backend:
        a, b = await backend.create_many([Uk(u="a", n=1), Uk(u="a", n=2)])
        async with backend.write_batch() as batch:
            batch.delete(a); batch.delete(b)
        assert await backend.query(Uk).allow_scan().count() == 0

async def test_batch_un(opened):
    async with opened(Un) as backend:
        a, b = await backend.create_many([Un(u=1), Un(u=2)])
        async with backend.write_batch() as batch:
            batch.delete(a); batch.delete(b)
        assert await backend.query(Un).allow_scan().count() == 0

class Dec(Model):
    g: str = Field(primary_key=True)
    p: Decimal = Field(primary_key=True, max_digits=10, decimal_places=2)
    q: Decimal = Field(default=Decimal(0), max_digits=10, decimal_places=2, index=True)
    big: Decimal = Decimal(0)
    n: int = Field(default=0)
    class Meta:
        indexes = (Index("g", "q"), Index("g", "n"))

@pytest.mark.parametrize("v", ["1.005", "1.00", "-1.005", "1E+30", "-1E+30", "0.001", "99999999.995", "99999999.99", "100000000"])
@pytest.mark.parametrize("f", ["p", "q"])
async def test_decimals(opened, v, f):
    async with opened(Dec) as backend, holdall.open("memory://") as mem:
        await mem.initialize(Dec)
        rows = [Dec(g="a", p=Decimal(x), q=Decimal(x)) for x in ["1.00", "1.01", "0.99", "-1.00", "-1.01", "0", "99999999.99", "-99999999.99"]]
        await backend.create_many([r.model_copy() for r in rows]); await mem.create_many([r.model_copy() for r in rows])
        for ops in (("gt",), ("gte",), ("lt",), ("lte",), ("eq",), ("ne",), ("in",)):
            for extra in ({}, {f"{f}__lt": Decimal("5")}, {f"{f}__gt": Decimal("-5")}):
                op = ops[0]
                out = []
                for b in (backend, mem):
                    try:
                        q = b.query(Dec).filter(g="a", **extra).filter(**{f"{f}__{op}": Decimal(v) if op != "in" else [Decimal(v), Decimal("1.01")]}).allow_scan()
                        out.append(sorted(x.p for x in await q))
                    except Exception as e:
                        out.append(type(e).__name__)
                print(op, extra, out)
                assert out[0] == out[1] or out[0] in ("UnsupportedOperation",), (op, extra, out)

@pytest.mark.parametrize("v", [2**64, -2**64, 2**63, 10**30, -10**30])
async def test_ints(opened, v):
    async with opened(Dec) as backend, holdall.open("memory://") as mem:
        await mem.initialize(Dec)
        rows = [Dec(g="a", p=Decimal(i), n=x) for i, x in enumerate([0, 2**63-1, -2**63])]
        await backend.create_many([r.model_copy() for r in rows]); await mem.create_many([r.model_copy() for r in rows])
        for op in ("gt", "gte", "lt", "lte", "eq", "ne"):
            out = []
            for b in (backend, mem):
                try:
                    q = b.query(Dec).filter(g="a").filter(**{f"n__{op}": v})
                    out.append(sorted(x.p for x in await q))
                except Exception as e:
                    out.append(type(e).__name__)
            print(op, out)
            assert out[0] == out[1]

async def test_minus(opened):
    async with opened(Dec) as backend:
        big = Decimal("1111111111111111111111.111111111111")
        await backend.create(Dec(g="a", p=Decimal(1), big=big))
        await backend.query(Dec).filter(g="a", p=Decimal(1)).update(big=F("big") - big)
        assert (await backend.get(Dec, ("a", Decimal(1)))).big == 0

class Uni(Model):
    id: int = Field(primary_key=True)
    email: str | None = Field(default=None, unique=True)
    tags: list[str] = []
    data: JsonValue = None
    size: int | None = None

async def test_never(opened):
    async with opened(Uni) as backend:
        await backend.create(Uni(id=1, email="x"))
        assert await backend.query(Uni).filter(email="x").filter(col(Uni.tags).has_any([])) == []
        assert await backend.query(Uni).filter(email="x").filter(col(Uni.tags).has_any([])).count() == 0
        assert await backend.query(Uni).filter(id=1).filter(col(Uni.tags).has_any([])).update(size=F("size")+1) == 0
        assert await backend.query(Uni).filter(email="x").filter(col(Uni.tags).has_any([])).update(size=1) == 0
        assert await backend.query(Uni).filter(email="x").filter(col(Uni.tags).has_any([])).delete() == 0

async def test_in_none(opened):
    async with opened(Uni) as backend:
        await backend.create(Uni(id=1, email="x"))
        assert len(await backend.query(Uni).filter(id=1, size=None).filter(size__in=[1, None])) == 1
        assert len(await backend.query(Uni).filter(id__in=[1, 1, 2])) == 1
        assert len(await backend.query(Uni).filter(size=None).filter(size__in=[1, None]).allow_scan()) == 1

class Names1(Model):
    id: int = Field(primary_key=True)
    a: str = Field(default="", name="é", index=True)
    b: str = Field(default="", name="ü", index=True)

async def test_idx_names(opened):
    async with opened(Names1) as backend:
        await backend.create(Names1(id=1, a="x", b="y"))
        assert len(await backend.query(Names1).filter(a="x")) == 1
        assert len(await backend.query(Names1).filter(b="y")) == 1
        assert len(await backend.query(Names1).filter(b="x")) == 0

class Names2(Model):
    id: int = Field(primary_key=True)
    a: str = Field(default="")
    b: str = Field(default="")
    c: str = Field(default="", name="a.b", index=True)
    class Meta:
        indexes = (Index("a", "b"),)

async def test_idx_names2(opened):
    async with opened(Names2) as backend:
        await backend.create(Names2(id=1, a="x", b="y", c="z"))
        assert len(await backend.query(Names2).filter(a="x")) == 1
        assert len(await backend.query(Names2).filter(c="z")) == 1

async def test_big_update(opened):
    async with opened(Uni) as backend:
        o = await backend.create(Uni(id=1, email="x"))
        o.tags = ["x" * 300_000]
        await backend.save(o)
        p = await backend.get(Uni, 1)
        p.data = "y" * 300_000
        with pytest.raises(LimitExceeded):
            await backend.save(p)
        with pytest.raises(LimitExceeded):
            p.email = "z"
            await backend.save(p)
        with pytest.raises(LimitExceeded):
            await backend.query(Uni).filter(id=1).update(data="y" * 300_000)

async def test_big_batch(opened):
    async with opened(Uni) as backend:
        with pytest.raises(LimitExceeded):
            async with backend.write_batch() as batch:
                for i in range(20):
                    batch.create(Uni(id=i, tags=["x" * 300_000]))
        with pytest.raises(LimitExceeded):
            async with backend.write_batch() as batch:
                for i in range(101):
                    batch.delete(Uni(id=i))

async def test_big_in(opened):
    async with opened(Uni) as backend:
        await backend.create(Uni(id=1, email="x"))
        q = backend.query(Uni).filter(id=1).filter(email__in=["x" * 1000 + str(i) for i in range(3000)])
        try:
            print(await q)
        except HoldallError as e:
            print(repr(e)[:300])
        q = backend.query(Uni).filter(email__in=["x" * 1000 + str(i) for i in range(3000)]).allow_scan()
        try:
            print(await q)
        except HoldallError as e:
            print(repr(e)[:300])

class LongName(Model):
    id: int = Field(primary_key=True)
    email: str = Field(default="", unique=True)
    class Meta:
        name = "x" * 250

async def test_long_name():
    b = holdall.open("dynamodb://nowhere?endpoint_url=http://127.0.0.1:1&access_key_id=a&secret_access_key=b")
    with pytest.raises(HoldallError) as e:
        await b.initialize(LongName)
    print(e.value)

@pytest.mark.parametrize("ep", ["localhost:8000", "http://h:8000/path", "ftp://h", "http://h:99999", "http://u:p@h/", "http://h?x=1", "", "http://"])
def test_endpoint(ep):
    with pytest.raises(ConfigurationError):
        holdall.open("dynamodb://us-east-1", endpoint_url=ep, access_key_id="a", secret_access_key="b")

@pytest.mark.parametrize("o", [dict(page_size=-1), dict(pool_max_size=-1), dict(scan_segments=-1), dict(scan_segments=10**7), dict(max_attempts=-1), dict(capacity_timeout=0), dict(connect_timeout=-1)])
def test_neg(o):
    with pytest.raises(ConfigurationError):
        holdall.open("dynamodb://us-east-1", **o)

async def test_unsaid_profile():
    b = holdall.open("dynamodb://us-east-1", endpoint_url="http://127.0.0.1:1", access_key_id="a", secret_access_key="b", profile="nonesuch")
    with pytest.raises(ConfigurationError):
        await b.ping()
async def test_unsaid_profile2():
    b = holdall.open("dynamodb://us-east-1", endpoint_url="http://127.0.0.1:1", profile="nonesuch")
    with pytest.raises(ConfigurationError) as e:
        await b.ping()
    print(e.value)
