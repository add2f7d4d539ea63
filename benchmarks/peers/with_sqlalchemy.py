"""SQLAlchemy's ORM under asyncio: 2.0 style, ``expire_on_commit=False``, one session for each piece of work."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, Integer, Numeric, insert, make_url, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.peer import Peer, Place, Way
from benchmarks.people import HELD, dict_of
from benchmarks.work import Kind, Rename

DRIVERS = {"postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite", "mysql": "mysql+aiomysql"}


class Base(DeclarativeBase):
    """The registry."""


class Columns:
    """The nine columns."""

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)
    email: Mapped[str]
    name: Mapped[str]
    age: Mapped[int] = mapped_column(BigInteger)
    score: Mapped[float]
    active: Mapped[bool]
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    balance: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    tag: Mapped[str | None]


class Person(Columns, Base):
    """A stored person."""

    __tablename__ = "people"


class Newcomer(Columns, Base):
    """The same, in a table that begins empty."""

    __tablename__ = "newcomers"


_ALL = select(Person)
# Without it, rows with and without a null go in groups, each a statement of its own.
_INSERT = insert(Newcomer).execution_options(render_nulls=True)
_COLUMNS = select(*Person.__table__.columns)


class Work:
    """The work, in sessions of one factory."""

    def __init__(self, session: async_sessionmaker[AsyncSession], held: Sequence[Person]) -> None:
        self._session = session
        self._held = held

    async def get(self, number: int) -> Any:
        async with self._session() as session:
            return await session.get(Person, number)

    async def objects(self, keys: range) -> Any:
        async with self._session() as session:
            return (await session.scalars(_ALL.where(Person.id >= keys.start, Person.id < keys.stop))).all()

    async def dicts(self, keys: range) -> Any:
        async with self._session() as session:
            return (await session.execute(_COLUMNS.where(Person.id >= keys.start, Person.id < keys.stop))).mappings().all()

    async def tuples(self, keys: range) -> Any:
        async with self._session() as session:
            return (await session.execute(_COLUMNS.where(Person.id >= keys.start, Person.id < keys.stop))).all()

    async def create(self, number: int) -> None:
        async with self._session.begin() as session:
            session.add(Newcomer(**dict_of(number)))

    async def save(self, change: Rename) -> None:
        person = self._held[change.number - 1]
        async with self._session.begin() as session:
            session.add(person)
            person.name = change.name

    async def change(self, number: int) -> None:
        async with self._session.begin() as session:
            person = await session.get_one(Person, number)
            person.age += 1

    async def create_many(self, rows: list[dict[str, Any]]) -> None:
        async with self._session.begin() as session:
            await session.execute(_INSERT, rows)

    async def stream(self, batch: int) -> int:
        total = 0
        async with self._session() as session:
            async for person in await session.stream_scalars(_ALL.execution_options(yield_per=batch)):
                total += person.id
        return total

    def ways(self) -> Sequence[Way]:
        """Return the ways."""
        return (
            Way(Kind.GET, self.get),
            Way(Kind.OBJECTS, self.objects),
            Way(Kind.DICTS, self.dicts),
            Way(Kind.TUPLES, self.tuples),
            Way(Kind.CREATE, self.create),
            Way(Kind.SAVE, self.save),
            Way(Kind.CHANGE, self.change),
            Way(Kind.CREATE_MANY, self.create_many, "bulk insert", lambda keys: [dict_of(number) for number in keys]),
            Way(Kind.STREAM, self.stream),
        )


@asynccontextmanager
async def opened(place: Place) -> AsyncGenerator[Sequence[Way]]:
    """Open an engine with a pool of the same size as the others'."""
    url = make_url(place.url)
    url = url.set(drivername=DRIVERS[url.drivername])
    engine = create_async_engine(url, pool_size=place.pool_size, max_overflow=0)
    try:
        if place.is_empty:
            await _fill(engine, place.people)
        session = async_sessionmaker(engine, expire_on_commit=False)
        async with session() as loading:
            held = (await loading.scalars(_ALL.where(Person.id <= HELD).order_by(Person.id))).all()
        yield Work(session, held).ways()
    finally:
        await engine.dispose()


async def _fill(engine: AsyncEngine, people: int) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(insert(Person), [dict_of(number) for number in range(1, people + 1)])


def aware(row: Sequence[Any]) -> Sequence[Any]:
    """Return the row with its time in UTC; on SQLite the time zone is not kept."""
    created = row[6] if isinstance(row[6], datetime) else datetime.fromisoformat(row[6])
    balance = Decimal(row[7]).quantize(Decimal("0.01"))
    return (*row[:5], bool(row[5]), created.replace(tzinfo=UTC), balance, row[8])


SQLALCHEMY = Peer("SQLAlchemy ORM", opened, read=aware, stored=aware)
