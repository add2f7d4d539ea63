"""What a field's annotation means to a store: a kind, and what the kind needs to know."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Values of any type are told apart by isinstance here, and what is inside a list or dict then counts as unknown.

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NewType,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from uuid import UUID

import pydantic
from pydantic.fields import FieldInfo
from typing_extensions import ReadOnly, TypeAliasType
from typing_extensions import is_typeddict as is_extension_typeddict

from holdall.errors import ConfigurationError

# From Python 3.12 on ``type X = …`` makes one of typing's, which is not the extension's.
_ALIASES: tuple[type[Any], ...] = (TypeAliasType, getattr(typing, "TypeAliasType", TypeAliasType))
MAX_DIGITS = 34
DEFAULT_PLACES = 12


class Kind(Enum):
    """How a value is stored. ``DOCUMENT`` is everything that JSON carries; all others are scalars."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    STR = "str"
    BYTES = "bytes"
    DECIMAL = "Decimal"
    UUID = "UUID"
    DATE = "date"
    DATETIME = "datetime"
    TIME = "time"
    TIMEDELTA = "timedelta"
    DOCUMENT = "document"


# ``datetime`` stands before ``date`` and ``bool`` before ``int``, of which they are subclasses.
SCALARS: Mapping[type, Kind] = {
    bool: Kind.BOOL,
    int: Kind.INT,
    float: Kind.FLOAT,
    str: Kind.STR,
    bytes: Kind.BYTES,
    Decimal: Kind.DECIMAL,
    UUID: Kind.UUID,
    datetime: Kind.DATETIME,
    date: Kind.DATE,
    time: Kind.TIME,
    timedelta: Kind.TIMEDELTA,
}
PYTHON_TYPES: Mapping[Kind, type] = {kind: python for python, kind in SCALARS.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """What is known about the inside of a document.

    ``form`` is "any" for untyped JSON, "list", "dict", "object" for nested models and TypedDicts, and "opaque" for types that only pydantic
    understands.
    """

    form: Literal["any", "list", "dict", "object", "opaque"]
    item: FieldType | None = None
    members: Mapping[str, FieldType] = field(default_factory=dict[str, "FieldType"])
    cls: type | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FieldType:
    """The type of a field, or of a part of a document.

    Attributes:
        kind: how it is stored.
        nullable: None is a value of it.
        digits, places: of a ``Decimal``: digits in all, and behind the point.
        enum: the ``Enum`` class of its values; they are stored by value.
        choices: the values of a ``Literal``.
        structure: of a document.
        annotation: what the model says, for messages and for pydantic.
    """

    kind: Kind
    nullable: bool = False
    digits: int = MAX_DIGITS
    places: int = DEFAULT_PLACES
    enum: type[Enum] | None = None
    choices: tuple[Any, ...] = ()
    structure: Structure | None = None
    annotation: Any = None

    @property
    def is_list(self) -> bool:
        """Whether ``has`` can look into it."""
        return self.structure is not None and self.structure.form == "list"

    def __str__(self) -> str:
        annotation = self.annotation
        return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation).replace("typing.", "")


def analyse(annotation: Any, metadata: tuple[Any, ...] = (), *, inside: bool = False, seen: tuple[Any, ...] = ()) -> FieldType:
    """Return what an annotation means to a store.

    ``inside`` says that it is part of a document, where types unknown here are left to pydantic.

    Raises:
        ConfigurationError: the type cannot be stored.
    """
    bare, extra, nullable = _unwrap(annotation)
    metadata = (*metadata, *extra)
    found = _scalar(bare, metadata) or _choices(bare) or _document(bare, seen)
    if found is None:
        if not inside:
            msg = f"the type {annotation!r} cannot be stored; use a scalar, list[T], dict[str, T], a nested model, a TypedDict or JsonValue"
            raise ConfigurationError(msg)
        found = FieldType(Kind.DOCUMENT, structure=Structure("opaque"))
    return replace(found, nullable=nullable or found.nullable or _is_untyped(bare), annotation=annotation)


def _unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """Take away ``Annotated``, ``NewType``, aliases and ``| None``; return the type, the metadata and whether None is allowed."""
    metadata: tuple[Any, ...] = ()
    nullable = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            metadata += tuple(part for item in more for part in (item.metadata if isinstance(item, FieldInfo) else (item,)))
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, _ALIASES) and not _is_untyped(annotation):
            annotation = annotation.__value__
        elif origin in (Required, NotRequired, ReadOnly):
            (annotation,) = get_args(annotation)
        elif origin in (Union, UnionType):
            others = tuple(member for member in get_args(annotation) if member is not NoneType)
            if len(others) == len(get_args(annotation)) or len(others) != 1:
                return annotation, metadata, nullable
            annotation, nullable = others[0], True
        else:
            return annotation, metadata, nullable


def _scalar(bare: Any, metadata: tuple[Any, ...]) -> FieldType | None:
    if not isinstance(bare, type) or issubclass(bare, Enum):
        return None
    kind = SCALARS.get(bare)
    if kind is Kind.DECIMAL:
        digits, places = _decimal_digits(metadata)
        return FieldType(kind, digits=digits, places=places)
    return None if kind is None else FieldType(kind)


def _decimal_digits(metadata: tuple[Any, ...]) -> tuple[int, int]:
    """Return (digits in all, places) that hold every value which pydantic accepts under these constraints."""
    declared = places = None
    for item in metadata:
        declared = getattr(item, "max_digits", None) or declared
        places = getattr(item, "decimal_places", None) if getattr(item, "decimal_places", None) is not None else places
    if declared is None:
        digits, places = MAX_DIGITS, DEFAULT_PLACES if places is None else places
    elif places is None:
        # Without places pydantic allows the point anywhere among the digits.
        places = min(DEFAULT_PLACES, declared)
        digits = min(MAX_DIGITS, declared + places)
    else:
        digits = max(declared, places)
    if digits > MAX_DIGITS or places > digits:
        msg = f"a Decimal of {declared or digits} digits with {places} places cannot be stored; the most is {MAX_DIGITS} digits in all"
        raise ConfigurationError(msg)
    return digits, places


def _choices(bare: Any) -> FieldType | None:
    if isinstance(bare, type) and issubclass(bare, Enum):
        kind = _common_kind([member.value for member in bare], bare)
        return FieldType(kind, enum=bare)
    if get_origin(bare) is Literal:
        values = _literal_values(bare)
        kind = _common_kind([value.value if isinstance(value, Enum) else value for value in values if value is not None], bare)
        enums = {type(value) for value in values if isinstance(value, Enum)}
        return FieldType(kind, nullable=None in values, choices=values, enum=enums.pop() if enums else None)
    return None


def _literal_values(bare: Any) -> tuple[Any, ...]:
    values: list[Any] = []
    for value in get_args(bare):
        values.extend(_literal_values(value) if get_origin(value) is Literal else (value,))
    return tuple(values)


def _common_kind(values: list[Any], annotation: Any) -> Kind:
    kinds = {_kind_of(value) for value in values}
    if len(kinds) != 1 or None in kinds:
        msg = f"{annotation!r} cannot be stored: its values must all be of one scalar type (str, int …)"
        raise ConfigurationError(msg)
    found = kinds.pop()
    assert found is not None
    return found


def _kind_of(value: Any) -> Kind | None:
    return next((kind for python, kind in SCALARS.items() if isinstance(value, python)), None)


def _document(bare: Any, seen: tuple[Any, ...]) -> FieldType | None:
    if _is_untyped(bare):
        return FieldType(Kind.DOCUMENT, structure=Structure("any"))
    build = _BUILDERS.get(get_origin(bare) or bare)
    if build is not None:
        return FieldType(Kind.DOCUMENT, structure=build(bare, seen))
    if isinstance(bare, type) and (issubclass(bare, pydantic.BaseModel) or is_typed_dict(bare)):
        # A model that contains itself is left to pydantic from the second round on.
        structure = Structure("opaque") if bare in seen else Structure("object", members=_members(bare, (*seen, bare)), cls=bare)
        return FieldType(Kind.DOCUMENT, structure=structure)
    return None


def _is_untyped(bare: object) -> bool:
    return bare is pydantic.JsonValue or bare is Any or bare is object


def is_typed_dict(shape: object) -> bool:
    """Tell whether it is a ``TypedDict`` of ``typing`` or of ``typing_extensions``."""
    return is_typeddict(shape) or is_extension_typeddict(shape)


def _members(cls: type[Any], seen: tuple[Any, ...]) -> Mapping[str, FieldType]:
    if issubclass(cls, pydantic.BaseModel):
        return {name: analyse(info.annotation, tuple(info.metadata), inside=True, seen=seen) for name, info in cls.model_fields.items()}
    return {name: analyse(hint, inside=True, seen=seen) for name, hint in get_type_hints(cls, include_extras=True).items()}


def _list(bare: Any, seen: tuple[Any, ...]) -> Structure:
    args = get_args(bare)
    item = analyse(args[0], inside=True, seen=seen) if args and not isinstance(args[0], TypeVar) else analyse(pydantic.JsonValue)
    return Structure("list", item=item)


def _dict(bare: Any, seen: tuple[Any, ...]) -> Structure:
    args = get_args(bare)
    if args and _unwrap(args[0])[0] is not str:
        msg = f"{bare!r} cannot be stored: the keys of a dict must be str"
        raise ConfigurationError(msg)
    item = analyse(args[1], inside=True, seen=seen) if args and not isinstance(args[1], TypeVar) else analyse(pydantic.JsonValue)
    return Structure("any" if item.structure is not None and item.structure.form == "any" else "dict", item=item)


_BUILDERS: Mapping[Any, Callable[[Any, tuple[Any, ...]], Structure]] = {list: _list, dict: _dict}
