"""Operations into SQL: pure functions over a dialect's tables. Names are quoted, values are bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from holdall.query.operations import (
    Count,
    Delete,
    DeleteMany,
    DeleteWhere,
    Exists,
    Fetch,
    FetchMany,
    Insert,
    InsertAbsent,
    Operation,
    Select,
    Update,
    UpdateWhere,
    Upsert,
)
from holdall.query.planner import All, Normal, Test, normalise
from holdall.query.predicates import Arithmetic, OrderTerm, Predicate
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.sql.dialect import Dialect, Encode, Parameters
from holdall.sql.naming import quote


class Statement(NamedTuple):
    """A text and its values."""

    text: str
    values: Sequence[Any]


class _Texts:
    """What is the same in every statement of a model."""

    def __init__(self, info: ModelInfo, dialect: Dialect) -> None:
        self.table = quote(info.name)
        self.columns = {spec: quote(spec.stored_name) for spec in info.fields}
        self.all_columns = ", ".join(self.columns.values())
        self.encoders = {spec: dialect.encoder(spec) for spec in info.fields}
        self.key = tuple(self.columns[spec] for spec in info.key)
        mark = dialect.mark
        conditions = " AND ".join(f"{column} = {mark}{number}" for number, column in enumerate(self.key, 1))
        self.fetch = f"SELECT {self.all_columns} FROM {self.table} WHERE {conditions}"
        self.delete = f"DELETE FROM {self.table} WHERE {conditions}"
        self.encode_row = row_encoder(tuple(self.encoders[spec] for spec in info.fields))
        self.encode_key = row_encoder(tuple(self.encoders[spec] for spec in info.key))


def row_encoder(encoders: Sequence[Encode | None]) -> Encode | None:
    """Return the function from plain to native tuples; None where they are the same."""
    if not any(encoders):
        return None
    names: dict[str, Any] = {f"e{position}": encode for position, encode in enumerate(encoders)}
    items = [f"r[{i}]" if encode is None else f"(None if r[{i}] is None else e{i}(r[{i}]))" for i, encode in enumerate(encoders)]
    exec(f"def encode(r): return ({''.join(item + ',' for item in items)})", names)  # noqa: S102 - generated from positions alone
    found: Encode = names["encode"]
    return found


class Compiler:
    """Compiles operations for one dialect; keeps the texts that depend on nothing but the model."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._texts: dict[ModelInfo, _Texts] = {}
        self._inserts: dict[Any, str] = {}
        self._updates: dict[Any, str] = {}
        self._table: Mapping[type[Any], Callable[[Any], Statement]] = {
            Fetch: self.fetch,
            FetchMany: self.fetch_many,
            Select: lambda operation: self.select(operation)[0],
            Count: self.count,
            Exists: self.exists,
            Insert: self.insert,
            InsertAbsent: self.insert_absent,
            Upsert: self.upsert,
            Update: self.update,
            UpdateWhere: self.update_where,
            Delete: self.delete,
            DeleteMany: self.delete_many,
            DeleteWhere: self.delete_where,
        }

    def texts(self, info: ModelInfo) -> _Texts:
        """Return what is the same in every statement of a model."""
        found = self._texts.get(info)
        if found is None:
            found = self._texts[info] = _Texts(info, self.dialect)
        return found

    def compile(self, operation: Operation) -> Statement:
        """Return the statement of an operation, of a page its first."""
        return self._table[type(operation)](operation)

    # -- by key ------------------------------------------------------------------------------------------------------------------------

    def fetch(self, operation: Fetch) -> Statement:
        """Compile a read by key."""
        texts = self.texts(operation.info)
        key = operation.key if texts.encode_key is None else texts.encode_key(operation.key)
        text = texts.fetch
        if operation.lock is not None and self.dialect.lock is not None:
            text += self.dialect.lock(operation.lock)
        return Statement(text, key)

    def fetch_many(self, operation: FetchMany) -> Statement:
        """Compile a read by keys."""
        texts = self.texts(operation.info)
        condition, values = self._keys(operation.info, operation.keys)
        return Statement(f"SELECT {texts.all_columns} FROM {texts.table} WHERE {condition}", values)

    def _keys(self, info: ModelInfo, keys: Sequence[tuple[Any, ...]]) -> tuple[str, list[Any]]:
        encode = self.texts(info).encode_key
        parameters = Parameters(self.dialect.mark)
        text = self.dialect.keys(parameters, info.key, [key if encode is None else encode(key) for key in keys])
        return text, parameters.values

    def insert(self, operation: Insert) -> Statement:
        """Compile the insert of a row; a generated key is left out when it is None, and returned."""
        return self._insert(operation.info, operation.row, "")

    def insert_absent(self, operation: InsertAbsent) -> Statement:
        """Compile the insert of a row unless the unique values are taken; it returns a row when it was inserted."""
        columns = ", ".join(quote(spec.stored_name) for spec in operation.unique)
        return self._insert(operation.info, operation.row, f" ON CONFLICT ({columns}) DO NOTHING", returning=True)

    def _insert(self, info: ModelInfo, row: tuple[Any, ...], conflict: str, *, returning: bool = False) -> Statement:
        texts = self.texts(info)
        generated = info.generated
        leave_out = generated is not None and row[generated.position] is None
        key = (info, leave_out, conflict, returning)
        text = self._inserts.get(key)
        if text is None:
            specs = [spec for spec in info.fields if not (leave_out and spec is generated)]
            result = f" RETURNING {texts.columns[generated]}" if generated is not None else " RETURNING 1" if returning else ""
            text = self._inserts[key] = self.insert_text(info, specs) + conflict + result
        values = row if texts.encode_row is None else texts.encode_row(row)
        if leave_out and generated is not None:
            values = (*values[: generated.position], *values[generated.position + 1 :])
        return Statement(text, values)

    def insert_text(self, info: ModelInfo, specs: Sequence[FieldSpec]) -> str:
        """Return the text of an insert of one row of these fields."""
        texts = self.texts(info)
        if not specs:
            return f"INSERT INTO {texts.table} DEFAULT VALUES"
        marks = ", ".join(f"{self.dialect.mark}{number}" for number in range(1, len(specs) + 1))
        return f"INSERT INTO {texts.table} ({', '.join(texts.columns[spec] for spec in specs)}) VALUES ({marks})"

    def upsert(self, operation: Upsert) -> Statement:
        """Compile an upsert by key; it returns one row: the fields of ``returning``, or 1."""
        info = operation.info
        texts = self.texts(info)
        key = (info, "upsert")
        text = self._inserts.get(key)
        if text is None:
            fixed = {*info.key, *operation.keep, info.version}
            changes = [f"{texts.columns[spec]} = EXCLUDED.{texts.columns[spec]}" for spec in info.fields if spec not in fixed]
            if info.version is not None:
                column = texts.columns[info.version]
                changes.append(f"{column} = {texts.table}.{column} + 1")
            changes = changes or [f"{texts.key[0]} = EXCLUDED.{texts.key[0]}"]
            result = ", ".join(texts.columns[spec] for spec in operation.returning) or "1"
            text = self._inserts[key] = (
                f"{self.insert_text(info, info.fields)} ON CONFLICT ({', '.join(texts.key)}) "
                f"DO UPDATE SET {', '.join(changes)} RETURNING {result}"
            )
        return Statement(text, operation.row if texts.encode_row is None else texts.encode_row(operation.row))

    def update(self, operation: Update) -> Statement:
        """Compile the change of some fields of one record."""
        info = operation.info
        texts = self.texts(info)
        key = (info, operation.fields, operation.version is None)
        text = self._updates.get(key)
        if text is None:
            text = self._updates[key] = self._update_text(info, operation)
        encoders = texts.encoders
        values = [
            value if value is None or (encode := encoders[spec]) is None else encode(value)
            for spec, value in zip(operation.fields, operation.values, strict=True)
        ]
        values.extend(operation.key if texts.encode_key is None else texts.encode_key(operation.key))
        if operation.version is not None:
            values.append(operation.version)
        return Statement(text, values)

    def _update_text(self, info: ModelInfo, operation: Update) -> str:
        texts = self.texts(info)
        mark = self.dialect.mark
        changes = ", ".join(f"{texts.columns[spec]} = {mark}{number}" for number, spec in enumerate(operation.fields, 1))
        columns = texts.key if operation.version is None or info.version is None else (*texts.key, texts.columns[info.version])
        conditions = " AND ".join(f"{column} = {mark}{number}" for number, column in enumerate(columns, len(operation.fields) + 1))
        return f"UPDATE {texts.table} SET {changes} WHERE {conditions}"

    def delete(self, operation: Delete) -> Statement:
        """Compile the removal of one record."""
        texts = self.texts(operation.info)
        key = operation.key if texts.encode_key is None else texts.encode_key(operation.key)
        if operation.version is None or operation.info.version is None:
            return Statement(texts.delete, key)
        column = texts.columns[operation.info.version]
        return Statement(f"{texts.delete} AND {column} = {self.dialect.mark}{len(key) + 1}", (*key, operation.version))

    def delete_many(self, operation: DeleteMany) -> Statement:
        """Compile the removal of several records."""
        condition, values = self._keys(operation.info, operation.keys)
        return Statement(f"DELETE FROM {self.texts(operation.info).table} WHERE {condition}", values)

    # -- by condition ------------------------------------------------------------------------------------------------------------------

    def select(self, operation: Select) -> list[Statement]:
        """Compile a query. A page that begins where a column changes from values to NULL is two statements, each served by an index."""
        parameters = Parameters(self.dialect.mark)
        if operation.after is None:
            divided = not self.dialect.nulls_clause and self._divides(operation)
            text = self._divided(operation, parameters) if divided else self._select(operation, parameters, operation.order, None)
            return [Statement(text, parameters.values)]
        found: list[Statement] = []
        for zone, order in _zones(operation.order, operation.after):
            parameters = Parameters(self.dialect.mark)
            shown = self._present(order) if order is operation.order else order
            found.append(Statement(self._select(operation, parameters, shown, zone), parameters.values))
        return found

    def _divides(self, operation: Select) -> bool:
        """Tell whether an index can serve the two parts of an order, and not the whole: the first field's values, and None."""
        first = operation.order[0] if operation.order else None
        if first is None or operation.limit is None or operation.offset or operation.lock is not None:
            return False
        return first.field.nullable and first.nulls_first is not (self.dialect.nulls_high == first.descending)

    def _divided(self, operation: Select, parameters: Parameters) -> str:
        order = operation.order
        column = quote(order[0].field.stored_name)
        parts = [
            self._select(operation, parameters, self._present(order), (f"{column} IS NOT NULL", (), ())),
            self._select(operation, parameters, order[1:], (f"{column} IS NULL", (), ())),
        ]
        if order[0].nulls_first:
            parts.reverse()
        return f"({parts[0]}) UNION ALL ({parts[1]}) LIMIT {operation.limit:d}"

    def _present(self, order: tuple[OrderTerm, ...]) -> tuple[OrderTerm, ...]:
        """Return an order in which the first field is known not to be None, where its text need not say where None comes."""
        first = order[0]
        return order if self.dialect.nulls_clause else (first._replace(nulls_first=self.dialect.nulls_high == first.descending), *order[1:])

    def _select(self, operation: Select, parameters: Parameters, order: tuple[OrderTerm, ...], zone: _Zone | None) -> str:
        texts = self.texts(operation.info)
        columns = ", ".join(texts.columns[spec] for spec in operation.decoder.fields)
        text = f"SELECT {columns} FROM {texts.table}"
        conditions = [self._condition(operation.predicate, parameters)]
        if zone is not None:
            conditions += [self._after(texts, parameters, *zone)]
        text += _where(conditions)
        if order:
            text += " ORDER BY " + ", ".join(self._term(texts, term) for term in order)
        # A limit in the text lets the server plan for it; the few values that a program uses make few texts.
        text += "" if operation.limit is None else f" LIMIT {operation.limit:d}"
        if operation.offset:
            if operation.limit is None and self.dialect.no_limit is not None:
                text += f" LIMIT {self.dialect.no_limit}"
            text += f" OFFSET {parameters.bind(operation.offset)}"
        if operation.lock is not None and self.dialect.lock is not None:
            text += self.dialect.lock(operation.lock)
        return text

    def count(self, operation: Count) -> Statement:
        """Compile an exact count."""
        return self._with_condition(f"SELECT count(*) FROM {self.texts(operation.info).table}", operation.predicate)

    def exists(self, operation: Exists) -> Statement:
        """Compile whether there is any."""
        found = self._with_condition(f"SELECT 1 FROM {self.texts(operation.info).table}", operation.predicate)
        return Statement(f"{found.text} LIMIT 1", found.values)

    def delete_where(self, operation: DeleteWhere) -> Statement:
        """Compile the removal of all that matches."""
        return self._with_condition(f"DELETE FROM {self.texts(operation.info).table}", operation.predicate)

    def update_where(self, operation: UpdateWhere) -> Statement:
        """Compile the change of all that matches."""
        texts = self.texts(operation.info)
        parameters = Parameters(self.dialect.mark)
        changes = [f"{texts.columns[spec]} = {self._value(parameters, spec, value)}" for spec, value in operation.assignments.items()]
        condition = self._condition(operation.predicate, parameters)
        return Statement(f"UPDATE {texts.table} SET {', '.join(changes)}{_where([condition])}", parameters.values)

    def _with_condition(self, text: str, predicate: Predicate) -> Statement:
        parameters = Parameters(self.dialect.mark)
        return Statement(text + _where([self._condition(predicate, parameters)]), parameters.values)

    def _value(self, parameters: Parameters, target: FieldSpec, value: Any) -> str:
        if isinstance(value, FieldSpec):
            return quote(value.stored_name)
        if isinstance(value, Arithmetic):
            left = self._value(parameters, target, value.left)
            right = self._value(parameters, target, value.right)
            return self.dialect.arithmetic(target, value.operator, left, right)
        encode = self.dialect.encoder(target)
        # A factor of a Decimal is an int, which is not scaled.
        scaled = encode is not None and value is not None and not isinstance(value, int)
        return parameters.bind(encode(value) if scaled and encode is not None else value)

    # -- conditions --------------------------------------------------------------------------------------------------------------------

    def _condition(self, predicate: Predicate, parameters: Parameters) -> str:
        normal = normalise(predicate)
        if normal is True:
            return ""
        return "FALSE" if normal is False else self._normal(normal, parameters)

    def _normal(self, normal: Normal, parameters: Parameters) -> str:
        if isinstance(normal, Test):
            return self._test(normal, parameters)
        assert not isinstance(normal, bool)
        joint = " AND " if isinstance(normal, All) else " OR "
        return _joined(joint, [self._normal(item, parameters) for item in normal.items])

    def _test(self, test: Test, parameters: Parameters) -> str:
        column = quote(test.field.stored_name)
        if test.operator == "is_null" and not test.path:
            return f"{column} IS {'NOT ' if test.negated else ''}NULL"
        if test.field.document is not None:
            return self.dialect.document_test(parameters, column, test)
        if test.operator == "in":
            return self.dialect.membership(parameters, column, test)
        operator, value = test.operator, test.value
        if operator in FOLDED and self.dialect.folded_test is not None:
            return self.dialect.folded_test(parameters, column, test)
        encode = None if operator in _RAW_VALUES else self.dialect.encoder(test.field)
        if operator in FOLDED and self.dialect.fold is not None:
            operator, value, column = FOLDED[operator], value.casefold(), self.dialect.fold(column)
        mark = parameters.bind(value if encode is None else encode(value))
        return self.dialect.tests[operator][test.negated].format(c=column, p=mark)

    # -- orders and pages --------------------------------------------------------------------------------------------------------------

    def _term(self, texts: _Texts, term: OrderTerm) -> str:
        text = texts.columns[term.field] + (" DESC" if term.descending else "")
        if not term.field.nullable:
            return text
        nulls_first_by_default = self.dialect.nulls_high == term.descending
        if term.nulls_first == nulls_first_by_default:
            return text
        if not self.dialect.nulls_clause:
            return f"{texts.columns[term.field]} IS NULL{' DESC' if term.nulls_first else ''}, {text}"
        return f"{text} NULLS {'FIRST' if term.nulls_first else 'LAST'}"

    def _after(self, texts: _Texts, parameters: Parameters, fixed: str, terms: tuple[OrderTerm, ...], values: tuple[Any, ...]) -> str:
        """Return the condition of what comes behind the values, in a zone."""
        conditions = [fixed] if fixed else []
        bound = [None if value is None else self._bound(texts, term, value) for term, value in zip(terms, values, strict=True)]
        if terms:
            conditions.append(self._behind(texts, parameters, terms, bound, zoned=not fixed))
        return " AND ".join(conditions)

    def _bound(self, texts: _Texts, term: OrderTerm, value: Any) -> Any:
        encode = texts.encoders[term.field]
        return value if encode is None else encode(value)

    def _behind(self, texts: _Texts, parameters: Parameters, terms: tuple[OrderTerm, ...], values: list[Any], *, zoned: bool) -> str:
        columns = [texts.columns[term.field] for term in terms]
        plain = not any(term.field.nullable for term in (terms[1:] if zoned else terms)) and values[0] is not None
        if self.dialect.row_values and plain and len({term.descending for term in terms}) == 1:
            marks = [parameters.bind(value) for value in values]
            return f"({', '.join(columns)}) {'<' if terms[0].descending else '>'} ({', '.join(marks)})"
        marks = ["" if value is None else parameters.bind(value) for value in values]
        ways: list[str] = []
        for last, term in enumerate(terms):
            # NULL of the first column is a zone of its own.
            beyond = _beyond(term, columns[last], marks[last], zoned=zoned and not last)
            if beyond:
                same = [
                    f"{column} = {mark}" if mark else f"{column} IS NULL" for column, mark in zip(columns[:last], marks[:last], strict=True)
                ]
                ways.append(" AND ".join([*same, beyond]))
        either = "(" + " OR ".join(f"({way})" for way in ways) + ")" if ways else "FALSE"
        # Says nothing new, but gives an index its range.
        lead = (
            f"{columns[0]} {'<=' if terms[0].descending else '>='} {marks[0]} AND "
            if marks[0] and (zoned or not terms[0].field.nullable)
            else ""
        )
        return lead + either


_RAW_VALUES = frozenset(("contains", "icontains", "endswith", "iendswith", "istartswith", "iexact", "month", "day"))
_WIDE = 100
FOLDED = {"icontains": "contains", "istartswith": "startswith", "iendswith": "endswith", "iexact": "eq"}

_Zone = tuple[str, tuple[OrderTerm, ...], tuple[Any, ...]]


def _beyond(term: OrderTerm, column: str, mark: str, *, zoned: bool) -> str:
    """Return the condition that a column comes strictly behind a value; empty where nothing does."""
    if not mark:
        return f"{column} IS NOT NULL" if term.nulls_first else ""
    text = f"{column} {'<' if term.descending else '>'} {mark}"
    return f"({text} OR {column} IS NULL)" if term.field.nullable and not term.nulls_first and not zoned else text


def _zones(order: tuple[OrderTerm, ...], after: tuple[Any, ...]) -> list[tuple[_Zone, tuple[OrderTerm, ...]]]:
    """Divide what comes behind a position where the first column changes between values and NULL.

    Returns:
        per zone: (the condition on the first column, the terms and values that what comes behind them must pass), and the order within it.
    """
    first, value = order[0], after[0]
    if not first.field.nullable:
        return [(("", order, after), order)]
    column = quote(first.field.stored_name)
    present, absent = f"{column} IS NOT NULL", f"{column} IS NULL"
    if value is None:
        rest: list[tuple[_Zone, tuple[OrderTerm, ...]]] = [((absent, order[1:], after[1:]), order[1:])]
        return [*rest, ((present, (), ()), order)] if first.nulls_first else rest
    found: list[tuple[_Zone, tuple[OrderTerm, ...]]] = [(("", order, after), order)]
    return found if first.nulls_first else [*found, ((absent, (), ()), order[1:])]


def _joined(joint: str, texts: Sequence[str]) -> str:
    """Return the conditions as one, long lists as a balanced tree: servers bound the depth of an expression."""
    if len(texts) > _WIDE:
        half = len(texts) // 2
        texts = [_joined(joint, texts[:half]), _joined(joint, texts[half:])]
    return "(" + joint.join(texts) + ")"


def _where(conditions: Sequence[str]) -> str:
    found = [text for text in conditions if text]
    return " WHERE " + " AND ".join(found) if found else ""
