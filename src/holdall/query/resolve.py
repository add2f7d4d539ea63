"""From what users write to what it means for a model: names, operators and values are checked here, once, for every store."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Values of any type are told apart by isinstance here, and what is inside a list or dict then counts as unknown.

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from holdall.errors import QueryError, ValidationError
from holdall.naming import near_miss
from holdall.query.expressions import Column, Combination, Comparison, Condition, F, Negation, Order, Q
from holdall.query.predicates import And, Arithmetic, Leaf, Not, Or, OrderTerm, Predicate
from holdall.record.documents import canonical, converters, document_of
from holdall.record.encoder import checked
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.types import FieldType, Kind
from holdall.record.values import WrongTypeError, check_text, plain_scalar

_NOT_VALUES: tuple[type[Any], ...] = (Column, F, Condition)
_NUMBERS = (Kind.INT, Kind.FLOAT, Kind.DECIMAL)
OPERATORS = (
    *("eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "between", "is_null", "contains", "icontains", "startswith", "istartswith"),
    *("endswith", "iendswith", "iexact", "has", "has_any", "has_all", "year", "month", "day"),
)


def resolve_all(info: ModelInfo, conditions: Iterable[object], lookups: Mapping[str, object]) -> Predicate:
    """Return what conditions and lookups mean together: all must hold.

    Raises:
        QueryError: something in them has no meaning for the model.
        ValidationError: a value that no store may keep.
    """
    items = [resolve(info, condition) for condition in conditions]
    items += [_lookup(info, name, value) for name, value in lookups.items()]
    return items[0] if len(items) == 1 else And(tuple(items))


def resolve(info: ModelInfo, condition: object) -> Predicate:
    """Return what one condition means."""
    if isinstance(condition, Comparison):
        column = condition.column
        return _comparison(info, _column_field(info, column), column.path, condition.operator, condition.value)
    if isinstance(condition, Q):
        return resolve_all(info, condition.conditions, condition.lookups)
    if isinstance(condition, Combination):
        items = tuple(resolve(info, item) for item in condition.items)
        return And(items) if condition.operator == "and" else Or(items)
    if isinstance(condition, Negation):
        return Not(resolve(info, condition.item))
    hint = "; compare a field read on the class (Customer.name == …), not on an instance" if isinstance(condition, bool) else ""
    msg = f"filter() takes conditions such as col({info.label}.{info.fields[-1].name}) == … or lookups, not {condition!r}{hint}"
    raise QueryError(msg)


def column_name(info: ModelInfo, column: Column[Any]) -> str:
    """Return the name of a column that belongs to the model.

    Raises:
        QueryError: it is another model's.
    """
    if not issubclass(info.model, column.model):
        msg = f"{column!r} is not a field of {info.label}"
        raise QueryError(msg)
    return column.name


def _column_field(info: ModelInfo, column: Column[Any]) -> FieldSpec:
    return info.field(column_name(info, column))


def _lookup(info: ModelInfo, lookup: str, value: object) -> Predicate:
    parts = lookup.split("__")
    # A field's own name may hold "__", so that the longest name wins.
    for end in range(len(parts), 0, -1):
        spec = info.by_name.get("__".join(parts[:end]))
        if spec is not None:
            break
    else:
        spec, end = info.field(parts[0]), 1
    rest = parts[end:]
    operator = rest.pop() if rest and rest[-1] in OPERATORS else "eq"
    if rest and spec.document is None:
        msg = f"{info.label}.{spec.name} has no operator {rest[0]!r}{near_miss(rest[0], OPERATORS)}"
        raise QueryError(msg)
    return _comparison(info, spec, tuple(rest), operator, value)


def _comparison(info: ModelInfo, spec: FieldSpec, path: tuple[str | int, ...], operator: str, value: object) -> Predicate:
    place = f"{info.label}.{spec.name}" + "".join(f"[{part!r}]" for part in path)
    if isinstance(value, _NOT_VALUES):
        msg = f"{place}: a filter compares with values, not with {type(value).__name__}"
        raise QueryError(msg)
    _check_keys(info, spec, path)
    kind = _type_at(spec.type, path, place)
    if operator in ("ne", "not_in"):
        return Not(_comparison(info, spec, path, {"ne": "eq", "not_in": "in"}[operator], value))
    if operator == "is_null" or (operator == "eq" and value is None):
        if operator == "is_null" and not isinstance(value, bool):
            msg = f"{place}: is_null takes True or False, not {value!r}"
            raise QueryError(msg)
        leaf = Leaf(spec, path, kind, "is_null", None)
        return Not(leaf) if value is False else leaf
    convert = _untyped(place) if path and kind is None else _typed(kind or spec.type, in_document=bool(path), place=place)
    try:
        return Leaf(spec, path, kind, operator, convert(operator, value))
    except WrongTypeError as exc:
        msg = f"{place} is {kind or 'JSON'}: {value!r} is not a value for the operator {operator!r}"
        raise QueryError(msg) from exc
    except ValidationError as exc:
        raise ValidationError(str(exc), model=info.label, field=spec.name, value=value) from exc


def _check_keys(info: ModelInfo, spec: FieldSpec, path: tuple[str | int, ...]) -> None:
    for part in path:
        try:
            check_text(str(part))
        except ValidationError as exc:
            raise ValidationError(f"a key of its path: {exc}", model=info.label, field=spec.name, value=part) from exc


def _type_at(kind: FieldType, path: tuple[str | int, ...], place: str) -> FieldType | None:
    """Return the type at the end of a path; None where the inside is untyped.

    Raises:
        QueryError: there is no such member.
    """
    found: FieldType | None = kind
    for part in path:
        structure = None if found is None else found.structure
        if found is None or (structure is not None and structure.form in ("any", "opaque")):
            return None
        if structure is None or (structure.form == "list") != isinstance(part, int):
            msg = f"{place}: there is no {part!r} in {found}"
            raise QueryError(msg)
        if structure.form == "object":
            if part not in structure.members:
                msg = f"{place}: {found} has no member {part!r}{near_miss(str(part), structure.members)}"
                raise QueryError(msg)
            found = structure.members[str(part)]
        else:
            found = structure.item
    untyped = found is not None and path and found.structure is not None and found.structure.form in ("any", "opaque")
    return None if untyped else found


Convert = Callable[[str, Any], Any]


def _refuse(place: str, kind: object, operator: str) -> QueryError:
    return QueryError(f"{place} is {kind}, which has no operator {operator!r}")


def _items(value: Any) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise WrongTypeError
    return list(value)


def _pair(value: Any) -> Sequence[Any]:
    items = _items(value)
    if len(items) != 2:
        raise WrongTypeError
    return items


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise WrongTypeError
    return check_text(str.__str__(value))


def _number_of(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongTypeError
    return value


def _typed(kind: FieldType, *, in_document: bool, place: str) -> Convert:
    """Return the conversion of values that are compared with a field, or a part of a document, of a known type."""
    plain = _document_value(kind) if in_document or kind.kind is Kind.DOCUMENT else _scalar_value(kind)

    def convert(operator: str, value: Any) -> Any:
        group = _GROUPS[operator]
        if not _allows(kind, group, in_document=in_document):
            raise _refuse(place, kind, operator)
        if group == "list":
            assert kind.structure is not None
            assert kind.structure.item is not None
            item = _document_value(kind.structure.item)
            return item(value) if operator == "has" else tuple(item(each) for each in _items(value))
        if group == "order":
            if operator == "between":
                return tuple(_ordered(kind, each, plain, in_document=in_document) for each in _pair(value))
            return _ordered(kind, value, plain, in_document=in_document)
        if operator == "in":
            return tuple(None if each is None else plain(each) for each in _items(value))
        return {"text": _text, "date": _number_of}.get(group, plain)(value)

    return convert


def _present(value: Any) -> Any:
    if value is None:
        raise WrongTypeError
    return value


def _ordered(kind: FieldType, value: Any, plain: Callable[[Any], Any], *, in_document: bool) -> Any:
    _present(value)
    if not in_document:
        return plain(value)
    to_json, _ = converters(kind)
    plain_scalar(kind, value)
    return value if to_json is None else to_json(value)


def _scalar_value(kind: FieldType) -> Callable[[Any], Any]:
    return lambda value: plain_scalar(kind, _present(value))


def _document_value(kind: FieldType) -> Callable[[Any], Any]:
    """Return the conversion to canonical JSON text of values of a type, as they stand in a document."""
    to_json, _ = converters(kind)

    def convert(value: Any) -> str:
        if value is None:
            if not kind.nullable:
                raise WrongTypeError
            return "null"
        if kind.kind is Kind.DOCUMENT:
            return document_of(kind).dump(value)
        plain_scalar(kind, value)
        return canonical(value if to_json is None else to_json(value))

    return convert


_GROUPS: Mapping[str, str] = {
    **dict.fromkeys(("eq", "in"), "equality"),
    **dict.fromkeys(("gt", "gte", "lt", "lte", "between"), "order"),
    **dict.fromkeys(("contains", "icontains", "startswith", "istartswith", "endswith", "iendswith", "iexact"), "text"),
    **dict.fromkeys(("has", "has_any", "has_all"), "list"),
    **dict.fromkeys(("year", "month", "day"), "date"),
}


def _allows(kind: FieldType, group: str, *, in_document: bool) -> bool:
    if group == "order":
        # Inside JSON a Decimal and bytes are texts that do not order as the values do.
        return kind.kind is not Kind.DOCUMENT and not (in_document and kind.kind in (Kind.DECIMAL, Kind.BYTES))
    if group == "text":
        return kind.kind is Kind.STR
    if group == "list":
        return kind.is_list
    if group == "date":
        return kind.kind in (Kind.DATE, Kind.DATETIME) and not in_document
    return True


def _untyped(place: str) -> Convert:
    """Return the conversion of values that are compared with untyped JSON: across types a comparison is false, never an error."""

    def convert(operator: str, value: Any) -> Any:
        group = _GROUPS[operator]
        if group == "date":
            raise _refuse(place, "JSON", operator)
        if group == "text":
            return _text(value)
        if operator == "in":
            return tuple(None if each is None else canonical(each) for each in _items(value))
        if operator in ("has_any", "has_all"):
            return tuple(canonical(each) for each in _items(value))
        if group == "order":
            return _json_ordered(value) if operator != "between" else tuple(_json_ordered(each) for each in _pair(value))
        return canonical(value)

    return convert


def _json_ordered(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise WrongTypeError
    canonical(value)
    return value


def resolve_order(info: ModelInfo, terms: Iterable[object]) -> tuple[OrderTerm, ...]:
    """Return what the terms of an order mean; the key is not appended yet.

    Raises:
        QueryError: a term has no meaning, or orders by a document.
    """
    return tuple(_term(info, term) for term in terms)


def _term(info: ModelInfo, term: object) -> OrderTerm:
    descending = nulls_first = False
    if isinstance(term, Order):
        descending, nulls_first, term = term.descending, term.nulls == "first", term.column
    if isinstance(term, Column):
        if term.path:
            msg = f"cannot order by {term!r}: the inside of a document has no order; store the value in a field of its own"
            raise QueryError(msg)
        spec = _column_field(info, term)
    elif isinstance(term, str):
        descending = term.startswith("-")
        spec = info.field(term.removeprefix("-"))
    else:
        msg = f"order_by() takes names such as '-age' or terms such as col({info.label}.{info.fields[0].name}).desc(), not {term!r}"
        raise QueryError(msg)
    if spec.document is not None:
        msg = f"cannot order by {info.label}.{spec.name}: {spec.type} has no order; store the value in a field of its own"
        raise QueryError(msg)
    return OrderTerm(spec, descending, nulls_first)


def total_order(info: ModelInfo, terms: tuple[OrderTerm, ...]) -> tuple[OrderTerm, ...]:
    """Return the order with the key appended, in the direction of the last term; repeated fields are left out."""
    found: dict[FieldSpec, OrderTerm] = {}
    for term in terms:
        found.setdefault(term.field, term)
    descending = bool(terms) and terms[-1].descending
    for spec in info.key:
        found.setdefault(spec, OrderTerm(spec, descending, nulls_first=False))
    return tuple(found.values())


def resolve_assignments(info: ModelInfo, values: Mapping[str, object]) -> dict[FieldSpec, Any]:
    """Return what ``update(**values)`` assigns: plain values or ``Arithmetic``.

    Raises:
        QueryError: an unknown field, a key, or an expression that does not fit the field.
        ValidationError: a value that the field does not take.
    """
    if not values:
        msg = "update() needs at least one field=value"
        raise QueryError(msg)
    found: dict[FieldSpec, Any] = {}
    for name, value in values.items():
        spec = info.field(name)
        if spec.storage.primary_key:
            msg = f"{info.label}.{name} is part of the key, which cannot be updated; delete the record and create another"
            raise QueryError(msg)
        found[spec] = _expression(info, spec, value) if isinstance(value, F) else _assigned(info, spec, value)
    return found


def _assigned(info: ModelInfo, spec: FieldSpec, value: object) -> Any:
    plain = checked(info, spec)(value)
    if plain is not None and not spec.accepts(value):
        msg = f"{value!r} breaks a rule of the field"
        raise ValidationError(msg, model=info.label, field=spec.name, value=value)
    return plain


def _expression(info: ModelInfo, target: FieldSpec, value: object) -> Any:
    if isinstance(value, F):
        if value.operator is None:
            source = info.field(value.name)
            if source.type.kind is not target.type.kind or source.type.places != target.type.places or source.document is not None:
                msg = f"{info.label}.{target.name} is {target.type} and cannot be computed from {source.name}, which is {source.type}"
                raise QueryError(msg)
            return source
        if target.type.kind not in _NUMBERS or target.type.enum is not None:
            msg = f"{info.label}.{target.name} is {target.type}; only int, float and Decimal fields are computed"
            raise QueryError(msg)
        if value.operator == "*" and target.type.kind is Kind.DECIMAL and isinstance(value.left, F) and isinstance(value.right, F):
            msg = f"{info.label}.{target.name}: a store multiplies no two Decimals, because the product would have to be rounded"
            raise QueryError(msg)
        left, right = (_operand(info, target, operand, value.operator) for operand in (value.left, value.right))
        return Arithmetic(value.operator, left, right)
    return _operand(info, target, value, "+")


def _operand(info: ModelInfo, target: FieldSpec, value: object, operator: str) -> Any:
    if isinstance(value, F):
        return _expression(info, target, value)
    try:
        number = plain_scalar(target.type, value)
    except WrongTypeError as exc:
        msg = f"{info.label}.{target.name} is {target.type} and cannot be computed with {value!r}"
        raise QueryError(msg) from exc
    except ValidationError as exc:
        raise ValidationError(str(exc), model=info.label, field=target.name, value=value) from exc
    if operator == "*" and target.type.kind is Kind.DECIMAL and number != number.to_integral_value():
        msg = f"{info.label}.{target.name}: a Decimal is multiplied by whole numbers only, because the product would have to be rounded"
        raise QueryError(msg)
    return int(number) if operator == "*" and target.type.kind is Kind.DECIMAL else number
