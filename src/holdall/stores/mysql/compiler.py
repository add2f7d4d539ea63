"""The SQL of MariaDB and MySQL: the tables behind the shared compiler, and what the shared one does not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import orjson

from holdall.errors import UnsupportedOperation
from holdall.query.operations import Insert, InsertAbsent, InsertMany, Lock, Select, Update, UpdateWhere, Upsert
from holdall.query.planner import Test
from holdall.query.predicates import Arithmetic
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.types import Kind
from holdall.sql.compiler import Compiler, Statement
from holdall.sql.dialect import Dialect, Parameters
from holdall.sql.naming import quote
from holdall.stores.mysql.casefold import ANCHORS, pattern
from holdall.stores.mysql.flavours import SORTED_TEXTS, Flavour
from holdall.stores.mysql.limits import check_fields, check_order, check_row
from holdall.stores.mysql.literals import MARK, row_literals

_TESTS: Mapping[str, tuple[str, str]] = {
    "eq": ("{c} = {p}", "{c} <> {p}"),
    "lt": ("{c} < {p}", ""),
    "lte": ("{c} <= {p}", ""),
    "gt": ("{c} > {p}", ""),
    "gte": ("{c} >= {p}", ""),
    # LOCATE and RIGHT take every character literally, and compare by the column's collation.
    "contains": ("LOCATE({p}, {c}) > 0", "LOCATE({p}, {c}) = 0"),
    "startswith": ("LEFT({c}, CHAR_LENGTH({p})) = {p}", "LEFT({c}, CHAR_LENGTH({p})) <> {p}"),
    "endswith": ("RIGHT({c}, CHAR_LENGTH({p})) = {p}", "RIGHT({c}, CHAR_LENGTH({p})) <> {p}"),
    "month": ("MONTH({c}) = {p}", "MONTH({c}) <> {p}"),
    "day": ("DAYOFMONTH({c}) = {p}", "DAYOFMONTH({c}) <> {p}"),
}
_BIGGEST_LIMIT = str(2**64 - 1)
_PIECE_BYTES = 1 << 20  # of an INSERT of many rows; longer ones gain nothing


def _list(parameters: Parameters, values: Sequence[Any]) -> str:
    return f"({', '.join([parameters.bind(value) for value in values])})"


def _membership(parameters: Parameters, column: str, test: Test) -> str:
    return f"{column} {'NOT IN' if test.negated else 'IN'} {_list(parameters, test.value)}"


def _keys(parameters: Parameters, fields: tuple[FieldSpec, ...], keys: list[tuple[Any, ...]]) -> str:
    columns = [quote(spec.stored_name) for spec in fields]
    if len(columns) == 1:
        return f"{columns[0]} IN {_list(parameters, [key[0] for key in keys])}"
    # Not "(a, b) IN (…)", for which MariaDB scans.
    ways = [" AND ".join(f"{column} = {parameters.bind(part)}" for column, part in zip(columns, key, strict=True)) for key in keys]
    return "(" + " OR ".join(f"({way})" for way in ways) + ")"


def _lock(lock: Lock) -> str:
    return " FOR UPDATE" + (" NOWAIT" if lock.nowait else " SKIP LOCKED" if lock.skip_locked else "")


def _arithmetic(target: FieldSpec, operator: str, left: str, right: str) -> str:
    if target.type.kind is Kind.INT:
        # Only the result has to fit: what is computed on the way may be larger than 64 bits.
        return f"(CAST({left} AS DECIMAL(65)) {operator} CAST({right} AS DECIMAL(65)))"
    return f"({left} {operator} {right})"


def _folded(parameters: Parameters, column: str, test: Test, *, pcre: bool) -> str:
    found = parameters.bind(pattern(test.operator, test.value.casefold(), references=pcre))
    return f"{column} {'NOT REGEXP' if test.negated else 'REGEXP'} {found}"


# -- documents -------------------------------------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """A place in a document: the column, the JSON path as a literal's mark, the extracted value, and what must hold for it to exist."""

    column: str
    items: str
    value: str


def _path(parts: Sequence[str | int]) -> str:
    # A key is compared as the documents have it: in its canonical text, line breaks escaped.
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{orjson.dumps(part).decode()}" for part in parts)


class _Documents:
    """Tests of, and inside, documents, which are columns of canonical JSON text."""

    def __init__(self, flavour: Flavour) -> None:
        self._flavour = flavour
        self._lists: Mapping[str, Callable[[Parameters, _Place, Any], str]] = {
            "has": lambda parameters, place, item: self._has_any(parameters, place, (item,)),
            "has_any": self._has_any,
            "has_all": self._has_all,
        }
        self._tests: Mapping[str, Callable[[Parameters, _Place, Test], str]] = {
            "eq": self._equals,
            "in": self._is_one_of,
            "between": self._between,
            **dict.fromkeys(self._lists, self._list),
            **dict.fromkeys(_TEXTS, self._text),
            **dict.fromkeys(ANCHORS, self._text),
            **dict.fromkeys(_SIGNS, self._order),
        }

    def test(self, parameters: Parameters, column: str, test: Test) -> str:
        if not test.path and test.operator == "eq":
            return f"{column} {'<>' if test.negated else '='} {parameters.bind(test.value)}"
        if not test.path and test.operator == "in":
            return _membership(parameters, column, test)
        place = self._place(parameters, column, test.path)
        if test.operator == "is_null":
            text = f"COALESCE({self._type(place.value)}, 'NULL') = 'NULL'"
            return f"NOT ({text})" if test.negated else text
        inside = self._tests[test.operator](parameters, place, test)
        return f"({inside}) IS NOT TRUE" if test.negated else f"({inside})"

    def _place(self, parameters: Parameters, column: str, path: tuple[str | int, ...]) -> _Place:
        odd = next((part for part in path if isinstance(part, str) and part.startswith("-")), None)
        if odd is not None and not self._flavour.dash_keys:
            raise UnsupportedOperation(
                f"{self._flavour.name} cannot reach the key {odd!r} of a document: its paths know no key that begins with '-'; rename it"
            )
        value = f"JSON_EXTRACT({column}, {parameters.bind(_path(path))})"
        for at, part in enumerate(path):
            if isinstance(part, int):
                # "[0]" of a scalar or an object is that itself: a path must not change its meaning with the data.
                parent = f"JSON_EXTRACT({column}, {parameters.bind(_path(path[:at]))})"
                value = f"IF({self._type(parent)} = 'ARRAY', {value}, NULL)"
        # The path of JSON_TABLE is a literal of the grammar, which takes no expression.
        return _Place(column, parameters.bind(_path(path) + "[*]"), value)

    def _equals(self, parameters: Parameters, place: _Place, test: Test) -> str:
        return f"{self._json(place.value)} = {self._canonical(parameters, test.value)}"

    def _is_one_of(self, parameters: Parameters, place: _Place, test: Test) -> str:
        return f"{self._json(place.value)} IN ({', '.join(self._canonical(parameters, item) for item in test.value)})"

    def _list(self, parameters: Parameters, place: _Place, test: Test) -> str:
        return f"{self._type(place.value)} = 'ARRAY' AND {self._lists[test.operator](parameters, place, test.value)}"

    def _text(self, parameters: Parameters, place: _Place, test: Test) -> str:
        text = f"JSON_UNQUOTE({place.value}) COLLATE {self._flavour.collation}"
        if test.operator in ANCHORS:
            inside = _folded(parameters, text, test._replace(negated=False), pcre=self._flavour.pcre)
        else:
            inside = _TESTS[test.operator][0].format(c=text, p=parameters.bind(test.value))
        return f"{self._type(place.value)} = 'STRING' AND {inside}"

    def _between(self, parameters: Parameters, place: _Place, test: Test) -> str:
        low, high = test.value
        return f"{self._ordered(parameters, place.value, '>=', low)} AND {self._ordered(parameters, place.value, '<=', high)}"

    def _order(self, parameters: Parameters, place: _Place, test: Test) -> str:
        return self._ordered(parameters, place.value, _SIGNS[test.operator], test.value)

    def _ordered(self, parameters: Parameters, value: str, sign: str, bound: Any) -> str:
        plain = f"JSON_UNQUOTE({value}) COLLATE {self._flavour.collation}"
        if isinstance(bound, str):
            return f"{self._type(value)} = 'STRING' AND {plain} {sign} {parameters.bind(bound)}"
        if isinstance(bound, bool):
            return f"{self._type(value)} = 'BOOLEAN' AND ({plain} = 'true') {sign} {parameters.bind(bound)}"
        # Whole numbers compare as such, exactly; all others are doubles, far from any that a bound could be rounded to.
        whole = _whole(parameters, f"CAST({plain} AS SIGNED)", sign, bound)
        real = f"CAST({plain} AS DOUBLE) {sign} {parameters.bind(float(bound))}"
        return (
            f"{self._type(value)} IN ('INTEGER', 'UNSIGNED INTEGER', 'DOUBLE', 'DECIMAL') "
            f"AND IF({plain} REGEXP '^-?[0-9]+$', {whole}, {real})"
        )

    def _has_any(self, parameters: Parameters, place: _Place, items: tuple[str, ...]) -> str:
        wanted = ", ".join(self._canonical(parameters, item) for item in items)
        return f"EXISTS (SELECT 1 FROM {self._table(place)} WHERE {self._item()} IN ({wanted}))"

    def _has_all(self, parameters: Parameters, place: _Place, items: tuple[str, ...]) -> str:
        return " AND ".join(self._has_any(parameters, place, (item,)) for item in items) or "TRUE"

    @staticmethod
    def _table(place: _Place) -> str:
        return f"JSON_TABLE({place.column}, {place.items} COLUMNS (holdall_item JSON PATH '$')) AS holdall_items"

    def _item(self) -> str:
        return self._flavour.item.format("holdall_items.holdall_item")

    def _type(self, value: str) -> str:
        return self._flavour.json_type.format(value)

    def _json(self, text: str) -> str:
        return self._flavour.json.format(text)

    def _canonical(self, parameters: Parameters, text: str) -> str:
        return self._flavour.canonical.format(parameters.bind(text))


def _fields_of(value: Any) -> set[FieldSpec]:
    """Return the fields that an assigned value is computed from."""
    if isinstance(value, Arithmetic):
        return _fields_of(value.left) | _fields_of(value.right)
    return {value} if isinstance(value, FieldSpec) else set()


def _whole(parameters: Parameters, value: str, sign: str, bound: Any) -> str:
    """Return the comparison of a whole number of 64 bits with a bound that may be a fraction, or out of their range."""
    if isinstance(bound, int):
        return f"{value} {sign} {parameters.bind(bound)}"
    if not -(2.0**63) <= bound < 2.0**63:
        return "TRUE" if (bound > 0) == (sign[0] == "<") else "FALSE"
    floor = int(bound // 1)
    if floor == bound:
        return f"{value} {sign} {parameters.bind(floor)}"
    return f"{value} {'<=' if sign[0] == '<' else '>'} {parameters.bind(floor)}"


_SIGNS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_TEXTS = frozenset(("contains", "startswith", "endswith"))


@cache
def dialect_of(flavour: Flavour) -> Dialect:
    """Return the dialect of a flavour."""
    return Dialect(
        mark=MARK,
        nulls_high=False,
        tests=_TESTS,
        fold=None,
        folded_test=partial(_folded, pcre=flavour.pcre),
        encoder=lambda _: None,
        membership=_membership,
        document_test=_Documents(flavour).test,
        keys=_keys,
        lock=_lock,
        arithmetic=_arithmetic,
        nulls_clause=False,
        row_values=False,
        no_limit=_BIGGEST_LIMIT,
    )


class MysqlCompiler(Compiler):
    """Compiles for one flavour; inserts are the dialect's own."""

    def __init__(self, flavour: Flavour) -> None:
        super().__init__(dialect_of(flavour))
        self.flavour = flavour

    def select(self, operation: Select) -> list[Statement]:
        """Compile a query.

        Raises:
            LimitExceeded: it is ordered by more texts than the server can sort by.
        """
        if len(operation.order) > SORTED_TEXTS:
            check_order(operation.info, operation.order)
        return super().select(operation)

    def insert(self, operation: Insert) -> Statement:
        """Compile the insert of a row; the server generates a key that is NULL."""
        check_row(operation.info, operation.row)
        return Statement(self._insert_text(operation.info), operation.row)

    def insert_absent(self, operation: InsertAbsent) -> Statement:
        """Compile the insert of a row, which fails where the unique values are taken."""
        check_row(operation.info, operation.row)
        return Statement(self._insert_text(operation.info), operation.row)

    def _insert_text(self, info: ModelInfo) -> str:
        text = self._inserts.get(info)
        if text is None:
            text = self._inserts[info] = self.insert_text(info, info.fields)
        return text

    def insert_many(self, operation: InsertMany) -> list[str]:
        """Return the statements that insert the rows: a MiB each, or a row each where the server does not return the generated keys."""
        info = operation.info
        texts = self.texts(info)
        head = f"INSERT INTO {texts.table} ({texts.all_columns}) VALUES "
        tail = f" RETURNING {texts.columns[info.generated]}" if info.generated is not None and self.flavour.returning else ""
        most = 1 if info.generated is not None and not self.flavour.returning else _PIECE_BYTES
        found: list[str] = []
        rows: list[str] = []
        size = 0
        for row in operation.rows:
            check_row(info, row)
            text = row_literals(row)
            if rows and size + len(text) > most:
                found.append(f"{head}{','.join(rows)}{tail}")
                rows, size = [], 0
            rows.append(text)
            size += len(text)
        found.append(f"{head}{','.join(rows)}{tail}")
        return found

    def upsert(self, operation: Upsert) -> Statement:
        """Compile an upsert by key: where another row has one of the unique values, its key becomes NULL, which the server refuses."""
        info = operation.info
        check_row(info, operation.row)
        key = (info, "upsert")
        text = self._inserts.get(key)
        if text is None:
            text = self._inserts[key] = self._upsert_text(operation)
        return Statement(text, operation.row)

    def _upsert_text(self, operation: Upsert) -> str:
        info = operation.info
        texts = self.texts(info)
        own = " AND ".join(f"{column} = VALUES({column})" for column in texts.key)
        changes = [f"{texts.key[0]} = IF({own}, {texts.key[0]}, NULL)"]
        fixed = {*info.key, *operation.keep, info.version}
        changes += [f"{texts.columns[spec]} = VALUES({texts.columns[spec]})" for spec in info.fields if spec not in fixed]
        if info.version is not None:
            column = texts.columns[info.version]
            changes.append(f"{column} = {texts.table}.{column} + 1")
        result = ", ".join(texts.columns[spec] for spec in operation.returning)
        tail = f" RETURNING {result}" if result and self.flavour.returning else ""
        return f"{self.insert_text(info, info.fields)} ON DUPLICATE KEY UPDATE {', '.join(changes)}{tail}"

    def update(self, operation: Update) -> Statement:
        """Compile the change of some fields of one record."""
        check_fields(operation.info, operation.fields, operation.values)
        return super().update(operation)

    def update_where(self, operation: UpdateWhere) -> Statement:
        """Compile the change of all that matches.

        Raises:
            UnsupportedOperation: fields are computed from one another, and the server assigns them one after another.
        """
        check_fields(operation.info, tuple(operation.assignments), tuple(operation.assignments.values()))
        if not self.flavour.simultaneous:
            operation = operation._replace(assignments=self._in_order(operation))
        return super().update_where(operation)

    def _in_order(self, operation: UpdateWhere) -> dict[FieldSpec, Any]:
        """Return the assignments in an order in which each field is read before it is written."""
        found: dict[FieldSpec, Any] = {}
        left = dict(operation.assignments)
        while left:
            read = {spec: {other for other, value in left.items() if other is not spec and spec in _fields_of(value)} for spec in left}
            last = next((spec for spec, readers in read.items() if not readers), None)
            if last is None:
                names = ", ".join(spec.name for spec in left)
                raise UnsupportedOperation(
                    f"{operation.info.label}: {self.flavour.name} assigns one field after another, and {names} are computed from one "
                    "another; read the record with lock=True, and save it"
                )
            found[last] = left.pop(last)
        return found

    def read_fields(self, info: ModelInfo, fields: Sequence[FieldSpec], by: Sequence[FieldSpec], values: Sequence[Any]) -> Statement:
        """Compile a read of some fields of the rows that have these values; of none, it tells whether there are any."""
        texts = self.texts(info)
        condition = " AND ".join(f"{texts.columns[spec]} = {MARK}{number}" for number, spec in enumerate(by, 1))
        columns = ", ".join(texts.columns[spec] for spec in fields) or "1"
        return Statement(f"SELECT {columns} FROM {texts.table} WHERE {condition} LIMIT 1", values)
