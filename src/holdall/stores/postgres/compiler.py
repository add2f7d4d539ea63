"""PostgreSQL's SQL: the tables behind the shared compiler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from holdall.query.operations import Lock
from holdall.query.planner import Test
from holdall.record.metadata import FieldSpec
from holdall.record.types import Kind
from holdall.sql.compiler import FOLDED
from holdall.sql.dialect import Dialect, Parameters
from holdall.stores.postgres.casefold import casefold_sql
from holdall.stores.postgres.values import TYPES

# The first and the last day are kept as infinities, which have no month and no day of their own.
_PARTS = {
    part: (
        f"CASE WHEN isfinite({{c}}) THEN extract({part} FROM {{c}} AT TIME ZONE 'UTC') "
        f"WHEN {{c}} > 'epoch' THEN {last} WHEN {{c}} < 'epoch' THEN 1 END"
    )
    for part, last in (("month", 12), ("day", 31))
}
# starts_with and right() take the bound value as text; a comparison takes the column's type by itself.
_TESTS: Mapping[str, tuple[str, str]] = {
    "eq": ("{c} = {p}", "{c} <> {p}"),
    "lt": ("{c} < {p}", ""),
    "lte": ("{c} <= {p}", ""),
    "gt": ("{c} > {p}", ""),
    "gte": ("{c} >= {p}", ""),
    "contains": ("strpos({c}, {p}) > 0", "strpos({c}, {p}) = 0"),
    "endswith": ("right({c}, char_length({p}::text)) = {p}::text", "right({c}, char_length({p}::text)) <> {p}::text"),
    "startswith": ("starts_with({c}, {p}::text)", "NOT starts_with({c}, {p}::text)"),
    **{part: (f"{text} = {{p}}::bigint", f"{text} <> {{p}}::bigint") for part, text in _PARTS.items()},
}


def _membership(parameters: Parameters, column: str, test: Test) -> str:
    """One array, so that the text is the same for every length."""
    mark = parameters.bind(list(test.value))
    return f"{column} <> ALL({mark})" if test.negated else f"{column} = ANY({mark})"


def _keys(parameters: Parameters, fields: tuple[FieldSpec, ...], keys: list[tuple[Any, ...]]) -> str:
    columns = ", ".join('"' + spec.stored_name.replace('"', '""') + '"' for spec in fields)
    arrays = [f"{parameters.bind([key[position] for key in keys])}::{TYPES[spec.type.kind]}[]" for position, spec in enumerate(fields)]
    if len(fields) == 1:
        return f"{columns} = ANY({arrays[0]})"
    return f"({columns}) IN (SELECT * FROM unnest({', '.join(arrays)}))"


def _lock(lock: Lock) -> str:
    return " FOR UPDATE" + (" NOWAIT" if lock.nowait else " SKIP LOCKED" if lock.skip_locked else "")


def _arithmetic(target: FieldSpec, operator: str, left: str, right: str) -> str:
    # Only the result has to fit: what is computed on the way may be larger than 64 bits.
    kind = "numeric" if target.type.kind is Kind.INT else TYPES[target.type.kind]
    if kind == "numeric":
        return f"({left}::numeric {operator} {right}::numeric)"
    sides = [f"{side}::{kind}" if side.startswith("$") else side for side in (left, right)]
    return f"({sides[0]} {operator} {sides[1]})"


# -- documents -------------------------------------------------------------------------------------------------------------------------


def _document_test(parameters: Parameters, column: str, test: Test) -> str:
    if not test.path:
        return _whole(parameters, column, test)
    place = column
    for part in test.path:
        # A path does not change its meaning with the data. "-> text" of a list gives NULL, but "-> 0" of a scalar the scalar itself.
        if isinstance(part, int):
            place = f"(CASE WHEN jsonb_typeof({place}) = 'array' THEN {place} -> {parameters.bind(part)}::integer END)"
        else:
            place = f"({place} -> {parameters.bind(part)}::text)"
    if test.operator == "is_null":
        if test.negated:
            return f"({place} IS NOT NULL AND {place} <> 'null'::jsonb)"
        return f"({place} IS NULL OR {place} = 'null'::jsonb)"
    inside = _inside(parameters, place, test)
    return f"({inside}) IS NOT TRUE" if test.negated else f"({inside})"


def _whole(parameters: Parameters, column: str, test: Test) -> str:
    if test.operator == "eq":
        return f"{column} {'<>' if test.negated else '='} {parameters.bind(test.value)}::jsonb"
    if test.operator == "in":
        array = f"{parameters.bind(list(test.value))}::text[]::jsonb[]"
        return f"{column} <> ALL({array})" if test.negated else f"{column} = ANY({array})"
    text = _LISTS[test.operator](parameters, column, test.value)
    return f"NOT ({text})" if test.negated else text


def _inside(parameters: Parameters, place: str, test: Test) -> str:
    operator, value = test.operator, test.value
    if test.operator == "eq":
        return f"{place} = {parameters.bind(value)}::jsonb"
    if operator == "in":
        return f"{place} = ANY({parameters.bind(list(value))}::text[]::jsonb[])"
    if operator in _LISTS:
        # Only CASE promises that the list is not opened before its type is known.
        return f"CASE WHEN jsonb_typeof({place}) = 'array' THEN {_LISTS[operator](parameters, place, value)} END"
    text = f"({place} #>> '{{}}')"
    if operator in FOLDED:
        operator, value, text = FOLDED[operator], value.casefold(), casefold_sql(text)
    if operator in _TEXTS:
        return f"jsonb_typeof({place}) = 'string' AND {_TEXTS[operator].format(c=text, p=f'{parameters.bind(value)}::text')}"
    if operator == "between":
        low, high = (_ordered(parameters, place, sign, bound) for sign, bound in zip((">=", "<="), value, strict=True))
        return f"{low} AND {high}"
    return _ordered(parameters, place, _SIGNS[operator], value)


_SIGNS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_TEXTS = {operator: _TESTS[operator][0] for operator in ("contains", "startswith", "endswith", "eq")}


def _ordered(parameters: Parameters, place: str, sign: str, value: Any) -> str:
    if isinstance(value, str):
        return f"jsonb_typeof({place}) = 'string' AND ({place} #>> '{{}}') COLLATE \"C\" {sign} {parameters.bind(value)}::text"
    kind = "boolean" if isinstance(value, bool) else "number"
    return f"jsonb_typeof({place}) = '{kind}' AND {place} {sign} {parameters.bind(orjson.dumps(value).decode())}::jsonb"


def _is_nested(item: str) -> bool:
    return item.startswith(("[", "{"))


def _has(parameters: Parameters, place: str, item: str) -> str:
    # @> matches nested values partially; of scalars it is exact, and an index can serve it.
    return _has_any(parameters, place, (item,)) if _is_nested(item) else f"{place} @> {parameters.bind(item)}::jsonb"


def _has_any(parameters: Parameters, place: str, items: tuple[str, ...]) -> str:
    array = f"{parameters.bind(list(items))}::text[]::jsonb[]"
    return f"EXISTS (SELECT 1 FROM jsonb_array_elements({place}) AS item WHERE item = ANY({array}))"


def _has_all(parameters: Parameters, place: str, items: tuple[str, ...]) -> str:
    if not items:
        return "TRUE"
    if not any(map(_is_nested, items)):
        return f"{place} @> {parameters.bind('[' + ','.join(items) + ']')}::jsonb"
    array = f"{parameters.bind(list(items))}::text[]::jsonb[]"
    return (
        f"NOT EXISTS (SELECT 1 FROM unnest({array}) AS wanted "
        f"WHERE NOT EXISTS (SELECT 1 FROM jsonb_array_elements({place}) AS item WHERE item = wanted))"
    )


_LISTS: Mapping[str, Callable[[Parameters, str, Any], str]] = {"has": _has, "has_any": _has_any, "has_all": _has_all}

DIALECT = Dialect(
    mark="$",
    nulls_high=True,
    tests=_TESTS,
    fold=casefold_sql,
    encoder=lambda _: None,
    membership=_membership,
    document_test=_document_test,
    keys=_keys,
    lock=_lock,
    arithmetic=_arithmetic,
)
