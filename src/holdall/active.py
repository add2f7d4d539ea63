"""``Model``: the record plus what makes it active: ``objects``, ``save``, ``delete``, ``refresh``."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

from holdall.backend import Backend
from holdall.data_access import DataAccess
from holdall.opening import get_backend
from holdall.query.builder import QueryBuilder
from holdall.query.expressions import Column, Condition, Order
from holdall.query.stream import Stream
from holdall.record.metadata import model_info
from holdall.record.record import Record
from holdall.session import Session

M = TypeVar("M", bound="Model")
V = TypeVar("V")


def _bound(model: type[Record]) -> Backend:
    return get_backend(model_info(model).backend or "default")


class Manager(Generic[M]):
    """The records of a model in the backend that it is bound to; called with a backend, in that one."""

    __slots__ = ("_model",)

    def __init__(self, model: type[M]) -> None:
        self._model = model

    def __call__(self, backend: DataAccess) -> QueryBuilder[M]:
        """Return a query of another backend, or of a session."""
        return backend.query(self._model)

    def query(self) -> QueryBuilder[M]:
        """Return a query of all records."""
        return _bound(self._model).query(self._model)

    def __await__(self) -> Generator[Any, None, list[M]]:
        """Return all records."""
        return self.query().__await__()

    def filter(self, *conditions: Condition, **lookups: object) -> QueryBuilder[M]:
        """Return a query of what matches."""
        return self.query().filter(*conditions, **lookups)

    def exclude(self, *conditions: Condition, **lookups: object) -> QueryBuilder[M]:
        """Return a query of what does not match."""
        return self.query().exclude(*conditions, **lookups)

    def order_by(self, *terms: str | Order | Column[Any]) -> QueryBuilder[M]:
        """Return a query with an order."""
        return self.query().order_by(*terms)

    def limit(self, count: int) -> QueryBuilder[M]:
        """Return a query of at most that many."""
        return self.query().limit(count)

    def values(self, *names: str) -> QueryBuilder[dict[str, Any]]:
        """Return a query that gives dicts."""
        return self.query().values(*names)

    def into(self, shape: type[V]) -> QueryBuilder[V]:
        """Return a query that gives instances of a shape."""
        return self.query().into(shape)

    def stream(self, *, batch: int = 500) -> Stream[M]:
        """Return an async iterator over all records."""
        return self.query().stream(batch=batch)

    async def all(self) -> list[M]:
        """Return all records."""
        return await self.query().all()

    async def first(self) -> M | None:
        """Return the first record, by the model's order or else by key; None when there is none."""
        return await self.query().first()

    async def count(self) -> int:
        """Return how many records there are."""
        return await self.query().count()

    async def exists(self) -> bool:
        """Tell whether there is any record."""
        return await self.query().exists()

    async def create(self, **values: Any) -> M:
        """Make a record of the values and store it; errors as ``Backend.create``."""
        return await _bound(self._model).create(self._model(**values))

    async def get(self, key: Any, *, lock: bool = False, strict: bool = False) -> M:
        """Return the record with this key; errors as ``Backend.get``."""
        return await _bound(self._model).get(self._model, key, lock=lock, strict=strict)

    async def get_or_none(self, key: Any, *, lock: bool = False, strict: bool = False) -> M | None:
        """Return the record with this key, or None."""
        return await _bound(self._model).get_or_none(self._model, key, lock=lock, strict=strict)

    async def get_or_create(self, lookup: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None) -> tuple[M, bool]:
        """Return the record with these values and False, or a new one and True; as ``Backend.get_or_create``."""
        return await _bound(self._model).get_or_create(self._model, lookup, defaults=defaults)


class _Objects:
    def __get__(self, instance: object, owner: type[M]) -> Manager[M]:
        return Manager(owner)


class Model(Record, defer_build=True):
    """A pydantic model that can be stored.

    Declare fields with ``Field``, at least one with ``primary_key=True``, and options in ``class Meta``. The class itself knows no
    database: pass it to a backend, or bind it by ``holdall.configure`` for ``Model.objects``, ``save()``, ``delete()`` and ``refresh()``.
    """

    objects: ClassVar[_Objects] = _Objects()

    @classmethod
    def __holdall_column__(cls, name: str) -> Column[Any]:
        """Return the column that reading a field on the class gives."""
        return Column(cls, name)

    async def save(self, *, session: Session | None = None) -> Self:
        """Store a new record, or write what changed; errors as ``Backend.save``."""
        return await (session or _bound(type(self))).save(self)

    async def delete(self, *, session: Session | None = None) -> bool:
        """Remove the record; errors as ``Backend.delete``."""
        return await (session or _bound(type(self))).delete(self)

    async def refresh(self, *, session: Session | None = None) -> Self:
        """Read the record again; errors as ``Backend.refresh``."""
        return await (session or _bound(type(self))).refresh(self)


del Model.model_config["defer_build"]  # as in `Record`
