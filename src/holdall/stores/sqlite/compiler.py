"""SQLite's SQL: the tables behind the shared compiler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from holdall.query.planner import Test
from holdall.record.decimals import INTEGER_DIGITS
from holdall.record.metadata import FieldSpec
from holdall.record.types import Kind
from holdall.sql.dialect import Dialect, Parameters
from holdall.sql.naming import quote
from holdall.stores.sqlite.functions import describe_test
from holdall.stores.sqlite.values import column_type, encoder

_LONG = 512  # values beyond which a list travels as one JSON text

_TESTS: Mapping[str, tuple[str, str]] = {
    "eq": ("{c} = {p}", "{c} <> {p}"),
    "lt": ("{c} < {p}", ""),
    "lte": ("{c} <= {p}", ""),
    "gt": ("{c} > {p}", ""),
    "gte": ("{c} >= {p}", ""),
    "contains": ("instr({c}, {p}) > 0", "instr({c}, {p}) = 0"),
    "startswith": ("substr({c}, 1, length({p})) = {p}", "substr({c}, 1, length({p})) <> {p}"),
    "endswith": ("substr({c}, -length({p})) = {p}", "substr({c}, -length({p})) <> {p}"),
    # Dates and datetimes are texts of fixed width: 2024-02-29T…
    "month": ("cast(substr({c}, 6, 2) AS INTEGER) = {p}", "cast(substr({c}, 6, 2) AS INTEGER) <> {p}"),
    "day": ("cast(substr({c}, 9, 2) AS INTEGER) = {p}", "cast(substr({c}, 9, 2) AS INTEGER) <> {p}"),
}
_FROM_JSON = {"BLOB": "holdall_bytes(value)", "REAL": "holdall_real(value)", "TEXT": "value", "INTEGER": "value"}


def _list(parameters: Parameters, values: Sequence[Any], column: str) -> str:
    """Return the values of a list in brackets. Its length is rounded up to a power of two, so that few texts stand for all lengths."""
    if len(values) > _LONG:
        return f"(SELECT {_FROM_JSON[column]} FROM json_each({parameters.bind(_json(values))}))"
    padded = [*values, *([values[-1]] * ((1 << (len(values) - 1).bit_length()) - len(values)))]
    return f"({parameters.bind_all(padded)})"


def _json(values: Sequence[Any]) -> str:
    # JSON has no bytes, and SQLite's reading of a float is not exact to the last bit.
    return orjson.dumps([value.hex() if isinstance(value, bytes | float) else value for value in values]).decode()


def _membership(parameters: Parameters, column: str, test: Test) -> str:
    encode = encoder(test.field)
    values = list(test.value) if encode is None else [encode(value) for value in test.value]
    return f"{column} {'NOT IN' if test.negated else 'IN'} {_list(parameters, values, column_type(test.field.type))}"


def _keys(parameters: Parameters, fields: tuple[FieldSpec, ...], keys: list[tuple[Any, ...]]) -> str:
    if len(fields) == 1:
        return f"{quote(fields[0].stored_name)} IN {_list(parameters, [key[0] for key in keys], column_type(fields[0].type))}"
    columns = ", ".join(quote(spec.stored_name) for spec in fields)
    items = ", ".join(
        _FROM_JSON[column_type(spec.type)].replace("value", f"json_extract(value, '$[{place}]')") for place, spec in enumerate(fields)
    )
    text = parameters.bind("[" + ",".join(_json(key) for key in keys) + "]")
    return f"({columns}) IN (SELECT {items} FROM json_each({text}))"


def _document_test(parameters: Parameters, column: str, test: Test) -> str:
    if not test.path and test.operator == "eq":
        return f"{column} {'<>' if test.negated else '='} {parameters.bind(test.value)}"
    if not test.path and test.operator == "in":
        return f"{column} {'NOT IN' if test.negated else 'IN'} {_list(parameters, test.value, 'TEXT')}"
    return f"{'NOT ' if test.negated else ''}holdall_document({column}, {parameters.bind(describe_test(test))})"


def _arithmetic(target: FieldSpec, operator: str, left: str, right: str) -> str:
    if target.type.kind is Kind.DECIMAL and target.type.digits > INTEGER_DIGITS:
        return f"holdall_decimal({left}, {right}, '{operator}', {target.type.digits})"
    return f"({left} {operator} {right})"


DIALECT = Dialect(
    mark="?",
    nulls_high=False,
    tests=_TESTS,
    fold=lambda text: f"holdall_casefold({text})",
    encoder=encoder,
    membership=_membership,
    document_test=_document_test,
    keys=_keys,
    lock=None,
    arithmetic=_arithmetic,
    no_limit="-1",
)
