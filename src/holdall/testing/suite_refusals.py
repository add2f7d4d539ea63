"""Refusals: what a store does not declare is refused before any I/O, by an error that names it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NoReturn

from holdall.backend import Backend
from holdall.capabilities import Capability
from holdall.errors import DuplicateKeyError, UnsupportedOperation
from holdall.query.expressions import F
from holdall.query.operations import Operation, Select
from holdall.query.stream import RowStream
from holdall.record.metadata import ModelInfo
from holdall.store import BeginOptions, Difference, Store
from holdall.testing.suite_checks import expect
from holdall.testing.suite_models import Article, Child, Fleeting, Member, Person, Plain, Sample, Ticket

C = Capability
Probe = Callable[[Backend], Awaitable[object]]


class SealedStore:
    """A store that declares what another one does, and fails whatever reaches it."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.capabilities = inner.capabilities
        self.limits = inner.limits
        self.values = inner.values

    async def open(self) -> None:
        """Do nothing."""

    async def close(self, timeout: float) -> None:
        """Do nothing."""

    async def ping(self) -> None:
        """Fail."""
        _reached("ping")

    async def prepare(self, models: Sequence[ModelInfo]) -> None:
        """Fail."""
        _reached("prepare", *models)

    async def drop(self, models: Sequence[ModelInfo]) -> None:
        """Fail."""
        _reached("drop", *models)

    async def compare(self, models: Sequence[ModelInfo]) -> list[Difference]:
        """Fail."""
        _reached("compare", *models)

    async def execute(self, operation: Operation) -> Any:
        """Fail, unless the store refuses it before any I/O, as it does when it explains it."""
        self._inner.explain(operation)
        _reached(operation)

    async def stream(self, operation: Select, batch: int) -> RowStream:
        """Fail, in the same way."""
        self._inner.explain(operation)
        _reached(operation, batch)

    def begin(self, options: BeginOptions) -> SealedTransaction:
        """Return a transaction that nothing must reach, either."""
        del options
        return SealedTransaction()

    def explain(self, operation: Operation) -> str:
        """Return what the store says, which costs no I/O."""
        return self._inner.explain(operation)

    def stats(self) -> Mapping[str, Any]:
        """Return nothing: no test asks."""
        return {}


class SealedTransaction:
    """A transaction that never begins."""

    is_open = False

    async def execute(self, operation: Operation) -> Any:
        """Fail."""
        _reached(operation)

    async def stream(self, operation: Select, batch: int) -> RowStream:
        """Fail."""
        _reached(operation, batch)

    async def commit(self) -> None:
        """Do nothing: there is nothing to commit."""

    async def rollback(self) -> None:
        """Do nothing."""

    def abandon(self) -> None:
        """Do nothing."""

    async def savepoint(self, name: str) -> None:
        """Fail."""
        _reached("savepoint", name)

    async def release(self, name: str) -> None:
        """Fail."""
        _reached("release", name)

    async def rollback_to(self, name: str) -> None:
        """Fail."""
        _reached("rollback_to", name)


def _reached(*what: object) -> NoReturn:
    shown = " ".join(item if isinstance(item, str) else type(item).__name__ for item in what)
    raise AssertionError(f"{shown} reached the store, which should have been spared")


def sealed(backend: Backend) -> Backend:
    """Return a backend that declares the same, and whose store must not be reached."""
    return Backend(SealedStore(backend.store), backend.settings)


async def check_refused(backend: Backend, capability: Capability) -> None:
    """Check that what needs the capability, which the store does not declare, is refused before any I/O.

    Raises:
        AssertionError: it is not.
    """
    if capability in _WEAKER and C.WRITE in backend.capabilities:
        await _WEAKER[capability](backend)
        return
    error = await expect(UnsupportedOperation, _PROBES[capability](sealed(backend)))
    missing: frozenset[Capability] = error.missing
    wanted = frozenset({capability, _WITHIN.get(capability, capability)}) - backend.capabilities
    assert wanted & missing, f"{capability.name} is not in .missing, which is {_names(missing)}"
    declared = missing & backend.capabilities
    assert not declared, f"the store declares {_names(declared)}, and the refusal says that it is missing"


def _names(found: frozenset[Capability]) -> str:
    return ", ".join(sorted(item.name for item in found)) or "empty"


def _filtered(**lookups: object) -> Probe:
    return lambda backend: backend.query(Person).filter(**lookups).all()


def _in_session(**options: Any) -> Probe:
    async def probe(backend: Backend) -> None:
        async with backend.session(**options) as session:
            await session.get(Plain, 1)

    return probe


async def _savepoint(backend: Backend) -> None:
    async with backend.session() as session, session.savepoint():
        pass


async def _stream(backend: Backend) -> None:
    async for _ in backend.query(Plain).stream():
        pass


async def _later_page(backend: Backend) -> None:
    """Ask for the page behind a cursor, which another backend gave."""
    await backend.query(Plain).page(size=1, after=await _cursor())


async def _cursor() -> str:
    from holdall.opening import open as open_backend  # noqa: PLC0415  - opened for this probe alone

    async with open_backend("memory://") as other:
        await other.initialize(Plain)
        await other.create_many([Plain(id=1), Plain(id=2)])
        cursor = (await other.query(Plain).page(size=1)).next
    assert cursor is not None
    return cursor


async def _write_batch(backend: Backend) -> None:
    async with backend.write_batch() as batch:
        batch.create(Plain(id=1))


async def _engine(backend: Backend) -> None:
    await backend.engine.fetch("select 1")


async def _bulk_fails_loudly(backend: Backend) -> None:
    """Where bulk writes may stop halfway, they still say so, and store nothing that was not asked for."""
    await backend.drop(Plain)
    await backend.initialize(Plain)
    await backend.create(Plain(id=2, name="first"))
    await expect(DuplicateKeyError, backend.create_many([Plain(id=1), Plain(id=2, name="second"), Plain(id=3)]))
    assert (await backend.get(Plain, 2)).name == "first"
    await backend.drop(Plain)


async def _reads_by_key_are_fresh(backend: Backend) -> None:
    """Where queries lag behind writes, reads by key do not."""
    await backend.drop(Plain)
    await backend.initialize(Plain)
    record = await backend.create(Plain(id=1, name="a"))
    assert await backend.get(Plain, 1) == record
    record.name = "b"
    await backend.save(record)
    assert await backend.get_many(Plain, [1, 2]) == [record, None]
    await backend.delete(record)
    assert await backend.get_or_none(Plain, 1) is None
    await backend.drop(Plain)


# Where the second is missing, it is what is refused: without a session there is no savepoint to ask for.
_WITHIN: Mapping[Capability, Capability] = {
    C.SAVEPOINTS: C.SESSIONS,
    C.ATOMIC_BULK: C.WRITE,
    C.FRESH_QUERIES: C.WRITE,
    C.REINDEX: C.WRITE,
    C.UNIQUE: C.WRITE,
    C.FOREIGN_KEYS: C.WRITE,
    C.GENERATED_KEYS: C.WRITE,
    C.EXPIRY: C.WRITE,
    C.WRITE_BATCH: C.WRITE,
    C.INDEX_ORDER: C.ORDER,
}
_WEAKER: Mapping[Capability, Callable[[Backend], Awaitable[None]]] = {
    C.ATOMIC_BULK: _bulk_fails_loudly,
    C.FRESH_QUERIES: _reads_by_key_are_fresh,
}
_PROBES: Mapping[Capability, Probe] = {
    C.WRITE: lambda backend: backend.create(Plain(id=1)),
    C.WRITE_BATCH: _write_batch,
    C.CONSISTENT: lambda backend: backend.query(Person).consistent().all(),
    C.INDEX_ORDER: lambda backend: backend.query(Person).order_by("id").all(),
    C.EXPIRY: lambda backend: backend.initialize(Fleeting),
    C.TEXT_SUFFIX: _filtered(name__endswith="a"),
    C.FILTER: _filtered(age=1),
    C.TEXT_MATCH: _filtered(name__contains="a"),
    C.CASEFOLD: _filtered(name__iexact="a"),
    C.DATE_PARTS: lambda backend: backend.query(Sample).filter(moment__month=2).all(),
    C.DOCUMENT_EQUALITY: _filtered(tags=["a"]),
    C.LIST_MEMBERSHIP: _filtered(tags__has="a"),
    C.DOCUMENT_PATHS: _filtered(profile__a=1),
    C.ORDER: lambda backend: backend.query(Person).order_by("age").all(),
    C.OFFSET: lambda backend: backend.query(Person).order_by("age").offset(1).all(),
    C.COUNT: lambda backend: backend.query(Person).count(),
    C.STREAM: _stream,
    C.PAGES: _later_page,
    C.UPDATE_WHERE: lambda backend: backend.query(Plain).update(number=1),
    C.DELETE_WHERE: lambda backend: backend.query(Plain).delete(),
    C.EXPRESSIONS: lambda backend: backend.query(Plain).update(number=F("number") + 1),
    C.ATOMIC_BULK: lambda backend: backend.create_many([Plain(id=1)]),
    C.UNIQUE: lambda backend: backend.initialize(Member),
    C.FOREIGN_KEYS: lambda backend: backend.initialize(Child),
    C.GENERATED_KEYS: lambda backend: backend.initialize(Ticket),
    C.SESSIONS: _in_session(),
    C.SAVEPOINTS: _savepoint,
    C.REPEATABLE_READ: _in_session(isolation="repeatable read"),
    C.SERIALIZABLE: _in_session(isolation="serializable"),
    C.READ_ONLY: _in_session(read_only=True),
    C.STATEMENT_TIMEOUT: _in_session(timeout=1.0),
    C.ROW_LOCKS: lambda backend: backend.get(Plain, 1, lock=True),
    C.LOCK_NOWAIT: lambda backend: backend.query(Plain).for_update(nowait=True).all(),
    C.SKIP_LOCKED: lambda backend: backend.query(Plain).for_update(skip_locked=True).all(),
    C.RAW_SQL: _engine,
    C.FRESH_QUERIES: lambda backend: backend.create(Plain(id=1)),
    C.SEARCH: lambda backend: backend.query(Article).search("a").all(),
    C.REINDEX: lambda backend: backend.reindex(Plain),
    C.SCHEMA_CHECK: lambda backend: backend.check(Plain),
}
PROBED = frozenset(_PROBES)
