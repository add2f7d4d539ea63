"""``WriteBatch``: writes that are collected, and sent at the end of a block as one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

from holdall.data_access import DataAccess, bare, delete_of, key_predicate, row_of, stamps_of, update_of, upsert_of, upserted
from holdall.errors import ConflictError, HoldallError, NotFoundError, QueryError
from holdall.pool import own_copy
from holdall.query.operations import Batch, Delete, Exists, Insert, Update, Upsert
from holdall.record.encoder import encode
from holdall.record.metadata import FieldSpec, ModelInfo, model_info
from holdall.record.record import Record, set_state
from holdall.record.state import PlainRow, plain_state

M = TypeVar("M", bound=Record)
T = TypeVar("T")
Write = Insert | Upsert | Update | Delete
OpenSession = Callable[[], AbstractAsyncContextManager[DataAccess]]


class Planned(NamedTuple):
    """A write that waits for the end of the block: its operation, and what the object learns when it is done."""

    record: Record
    operation: Write
    row: PlainRow
    stamps: Mapping[str, Any]


class Noted(Generic[T]):
    """What a method of a batch returns: it has noted the write already, and may be awaited as those of the backend are."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, T]:
        """Return the value without waiting."""
        yield from ()
        return self._value


class WriteBatch:
    """The block of ``backend.write_batch()``. Its methods collect; what is sent are the values of the moment of the call.

    They do no I/O, and need no ``await``.
    """

    def __init__(self, home: DataAccess, open_session: OpenSession | None) -> None:
        self._home = home
        self._open_session = open_session
        self._planned: list[Planned] = []
        self._seen: set[tuple[ModelInfo, Any]] = set()
        self._entered = False
        self._ended = False

    async def __aenter__(self) -> Self:
        """Begin to collect."""
        if self._entered:
            msg = "this batch was entered before; call backend.write_batch() again"
            raise QueryError(msg)
        self._entered = True
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Send what was collected, or forget it when the block raised.

        Raises:
            HoldallError: what the first write that failed raises by itself; ``reasons`` holds one entry per write. Nothing was written.
            LimitExceeded: more writes than the store takes as one; nothing was sent.
        """
        self._ended = True
        if error is None and self._planned:
            await (self._send() if self._open_session is None else self._transact(self._open_session))

    # -- collecting --------------------------------------------------------------------------------------------------------------------

    def create(self, record: M) -> Noted[M]:
        """Store a new record."""
        info = self._take(record)
        stamps = stamps_of(info, created=True)
        row = row_of(info, record, stamps)
        self._add(record, Insert(info, row), row, stamps)
        return Noted(record)

    def create_many(self, records: Iterable[M]) -> Noted[list[M]]:
        """Store new records."""
        found = list(records)
        for record in found:
            self.create(record)
        return Noted(found)

    def save(self, record: M) -> Noted[M]:
        """Store a new record, or write the fields that changed; does nothing when none did."""
        stored = plain_state(record)
        if stored is None:
            return self.create(record)
        info = self._take(record)
        now = encode(info, record.__dict__)
        changed = [spec for spec in info.fields if now[spec.position] != stored[spec.position]]
        if any(spec is not info.version and not spec.storage.auto_now for spec in changed):
            self._update(info, record, now, changed, stored)
        return Noted(record)

    def update(self, record: M) -> Noted[M]:
        """Write all fields of a record that is stored."""
        info = self._take(record)
        self._update(info, record, encode(info, record.__dict__), info.fields, plain_state(record))
        return Noted(record)

    def upsert(self, record: M) -> Noted[M]:
        """Store a record, or overwrite the one with the same key, whatever its version."""
        info = self._take(record)
        if info.generated is not None and getattr(record, info.generated.name) is None:
            return self.create(record)
        operation, stamps = upsert_of(info, record)
        self._add(record, operation, operation.row, stamps)
        return Noted(record)

    def delete(self, record: Record) -> Noted[None]:
        """Remove the record, which may be gone already."""
        info = self._take(record)
        self._add(record, delete_of(info, record), (), {})
        return Noted(None)

    def delete_many(self, records: Iterable[Record]) -> Noted[None]:
        """Remove records, whatever their versions."""
        for record in records:
            info = self._take(record)
            self._add(record, delete_of(info, record)._replace(version=None), (), {})
        return Noted(None)

    def _update(self, info: ModelInfo, record: Record, row: PlainRow, changed: Iterable[FieldSpec], stored: PlainRow | None) -> None:
        operation, row, stamps = update_of(info, record, row, changed, stored)
        if not operation.fields:
            msg = f"{info.label} has no fields beside its key, so that there is nothing to update in a batch; leave it out"
            raise QueryError(msg)
        self._add(record, operation, row, stamps)

    def _take(self, record: Record) -> ModelInfo:
        if not self._entered or self._ended:
            msg = "a batch collects inside its block: async with backend.write_batch() as batch"
            raise QueryError(msg)
        return model_info(type(record))

    def _add(self, record: Record, operation: Write, row: PlainRow, stamps: Mapping[str, Any]) -> None:
        info = operation.info
        key = tuple([operation.row[spec.position] for spec in info.key]) if isinstance(operation, Insert | Upsert) else operation.key
        place = (info, id(record) if None in key else key)
        if place in self._seen:
            msg = f"this batch writes {info.label} {key!r} already; write each record once, in its last state"
            raise QueryError(msg)
        self._seen.add(place)
        self._planned.append(Planned(record, operation, row, stamps))

    # -- sending -----------------------------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        results: list[Any] = await self._home.run_operation(Batch(tuple(planned.operation for planned in self._planned)))
        for planned, result in zip(self._planned, results, strict=True):
            _finish(self._home, planned, result)

    async def _transact(self, open_session: OpenSession) -> None:
        async with open_session() as session:
            for place, planned in enumerate(self._planned):
                try:
                    await _carry_out(session, planned)
                except HoldallError as exc:
                    copy: Any = own_copy(exc)  # an error that holds itself could not be pickled
                    exc.reasons = [copy if place == other else None for other in range(len(self._planned))]
                    raise


async def _carry_out(session: DataAccess, planned: Planned) -> None:
    operation = planned.operation
    result = await session.run_operation(operation)
    if isinstance(operation, Update | Delete) and not result:
        await _check_missing(session, operation)
    _finish(session, planned, result)


async def _check_missing(session: DataAccess, operation: Update | Delete) -> None:
    """Raise what a write that has found no record, or another version of it, means."""
    info, key, version = operation.info, operation.key, operation.version
    if version is not None and await session.run_operation(Exists(info, key_predicate(info, key))):
        raise ConflictError(info.label, bare(key), version)
    if isinstance(operation, Update):
        raise NotFoundError(info.label, bare(key))


def _finish(home: DataAccess, planned: Planned, result: Any) -> None:
    """Tell the object what is stored now."""
    record, operation = planned.record, planned.operation
    if isinstance(operation, Delete):
        home._remember(record, {})  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  - the class's methods for single writes use it, too
        set_state(record, None)
        return
    row, stamps = planned.row, planned.stamps
    if isinstance(operation, Upsert):
        row, stamps = upserted(operation, stamps, result)
    generated = result if isinstance(operation, Insert) else None
    home._written(operation.info, record, row, stamps, generated)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
