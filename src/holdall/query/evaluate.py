"""``evaluate``: run a query over objects in memory, by the oracle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from holdall.query import oracle
from holdall.query.builder import QueryBuilder
from holdall.record.encoder import encode

T = TypeVar("T")


def evaluate(query: QueryBuilder[T], records: Iterable[Any]) -> list[T]:
    """Return what the query gives when exactly these records of its model are stored; no I/O.

    It follows the rules of the documentation of queries one by one, and is what every store is compared with.
    """
    operation = query._select()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  - the oracle is a second way to run a query
    rows = [encode(operation.info, record.__dict__) for record in records]
    plain = oracle.select(operation, rows)
    return [_shaped(query, operation, row) for row in plain]


def _shaped(query: Any, operation: Any, row: Any) -> Any:
    values = {spec.name: spec.python(row[spec.position]) for spec in operation.decoder.fields}
    if query._shape is None:  # noqa: SLF001
        return operation.info.model.model_construct(**values)
    return query._shape(**values)  # noqa: SLF001
