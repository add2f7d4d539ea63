"""Raw SQL with named parameters, for sessions and engines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard, TypeVar

from holdall.errors import QueryError, ValidationError
from holdall.query.operations import Operation, Raw
from holdall.record.decoder import Decoder, shape_fields
from holdall.record.metadata import ModelInfo, model_info
from holdall.record.record import Record
from holdall.sql.parameters import bound, positional

V = TypeVar("V")


class RawAccess:
    """``:name`` in the text binds the keyword argument ``name``; values are never written into the text."""

    async def run_operation(self, operation: Operation) -> Any:
        """Carry out an operation."""
        raise NotImplementedError

    def decoder(self, info: ModelInfo, names: tuple[str, ...] | None = None, shape: Any = None) -> Decoder:
        """Return what turns rows into objects."""
        raise NotImplementedError

    async def fetch(self, sql: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """Return all rows as dicts from column name to the driver's value."""
        columns, rows = await self._raw(sql, parameters)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    async def fetch_one(self, sql: str, /, **parameters: Any) -> dict[str, Any] | None:
        """Return the first row as a dict, or None."""
        columns, rows = await self._raw(sql, parameters)
        return dict(zip(columns, rows[0], strict=True)) if rows else None

    async def fetch_value(self, sql: str, /, **parameters: Any) -> Any:
        """Return the first column of the first row, or None."""
        _, rows = await self._raw(sql, parameters)
        return rows[0][0] if rows else None

    async def fetch_as(self, shape: type[V], sql: str, /, **parameters: Any) -> list[V]:
        """Return all rows as records of a model, or as a dataclass, ``msgspec.Struct``, ``NamedTuple``, ``TypedDict`` or pydantic model.

        Columns are matched by name (a model's by its stored names), and others are left out. A model's values are decoded as in a query.

        Raises:
            QueryError: the rows lack a column.
        """
        columns, rows = await self._raw(sql, parameters)
        if not rows:
            return []  # not every driver names the columns of no rows
        if _is_model(shape):
            info = model_info(shape)
            take = _positions([spec.stored_name for spec in info.fields], columns, shape)
            found: list[V] = self.decoder(info).many([tuple([row[position] for position in take]) for row in rows])
            return found
        names = shape_fields(shape)
        take = _positions(names, columns, shape)
        return [shape(**dict(zip(names, [row[position] for position in take], strict=True))) for row in rows]

    async def execute(self, sql: str, /, **parameters: Any) -> int:
        """Run a statement; return how many rows it affected."""
        affected: int = await self.run_operation(Raw("execute", _checked(sql, parameters), parameters))
        return affected

    async def execute_many(self, sql: str, /, items: Iterable[Mapping[str, Any]]) -> int:
        """Run a statement once per item, all or nothing; return how many rows it affected in all."""
        many = [dict(item) for item in items]
        affected: int = await self.run_operation(Raw("execute_many", _checked(sql, *many), {}, many)) if many else 0
        return affected

    async def _raw(self, sql: str, parameters: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
        found: tuple[list[str], list[Any]] = await self.run_operation(Raw("fetch", _checked(sql, parameters), parameters))
        return found


def _is_model(shape: object) -> TypeGuard[type[Record]]:
    return isinstance(shape, type) and issubclass(shape, Record)


def _checked(sql: object, *given: Mapping[str, Any]) -> str:
    """Return the text; refuse what is wrong with it before any I/O, which would leave a transaction failed and a batch half done."""
    if not isinstance(sql, str):
        msg = f"raw SQL is a text, not {sql!r}"
        raise QueryError(msg)
    if "\0" in sql:
        msg = "raw SQL must not hold U+0000; bind the value"
        raise QueryError(msg)
    _check_encodable(sql, *(value for parameters in given for value in parameters.values()))
    _, names = positional(sql, "$")
    for parameters in given:
        bound(names, parameters, parameters.__getitem__)
    return sql


def _check_encodable(*values: object) -> None:
    for value in values:
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as exc:
                msg = f"text must not hold lone surrogates: {value!r}"
                raise ValidationError(msg, value=value) from exc


def _positions(names: Iterable[str], columns: list[str], shape: type[Any]) -> list[int]:
    missing = [name for name in names if name not in columns]
    if missing:
        msg = f"{shape.__name__} needs the column {missing[0]!r}; the rows have {', '.join(columns) or 'none'}"
        raise QueryError(msg)
    return [columns.index(name) for name in names]
