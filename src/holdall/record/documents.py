"""Documents: lists, dicts, nested models and JSON values, and their canonical JSON text.

Canonical means that two documents are equal exactly when their texts are: keys sorted, no spaces, an integral float written as an int
(numbers compare by value), ``-0.0`` as ``0``, Decimals and times inside as one text each.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Values of any type are told apart by isinstance here, and what is inside a list or dict then counts as unknown.

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

import orjson
import pydantic
from pydantic import TypeAdapter

from holdall.errors import ValidationError
from holdall.record.types import FieldType, Kind, Structure
from holdall.record.values import INT_MAX, INT_MIN, WrongTypeError, check_text, plain_scalar

MAX_DEPTH = 200
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
# What orjson writes in another way than the canonical one, or must not write: floats, NaN (as null), U+0000, ints beyond 64 bits.
_SUSPECT = re.compile(rb"\.|\de|null|\\u0000|\d{19}")
_MICROSECOND = timedelta(microseconds=1)

Convert = Callable[[Any], Any]


def canonical(value: Any) -> str:
    """Return the canonical JSON text of a JSON value.

    Raises:
        WrongTypeError: something in it is not JSON.
        ValidationError: something in it no store may keep.
    """
    if value.__class__ is list and not value:
        return "[]"
    if value.__class__ is dict and not value:
        return "{}"
    try:
        text = orjson.dumps(value, option=_OPTIONS)
    except (TypeError, RecursionError):
        return _strict(value)
    return _strict(value) if _SUSPECT.search(text) else text.decode()


def _strict(value: Any) -> str:
    try:
        return orjson.dumps(_clean(value, 0), option=_OPTIONS).decode()
    except orjson.JSONEncodeError as exc:
        raise WrongTypeError(str(exc)) from exc


def _clean(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        msg = f"a document must not nest deeper than {MAX_DEPTH}"
        raise ValidationError(msg)
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return check_text(str.__str__(value))
    if isinstance(value, int):
        return _int(int(value))
    if isinstance(value, float):
        return _number(float(value))
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_key(key): _clean(item, depth + 1) for key, item in value.items()}
    msg = f"{value!r} is not a JSON value"
    raise WrongTypeError(msg)


def _key(key: Any) -> str:
    if not isinstance(key, str):
        msg = f"the key {key!r} of a dict is not a str"
        raise WrongTypeError(msg)
    return check_text(str.__str__(key))


def _int(value: int) -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    msg = f"{value} does not fit 64 bits"
    raise ValidationError(msg, value=value)


def _number(value: float) -> int | float:
    if value - value != 0.0:
        msg = f"{value!r} is not a finite number"
        raise ValidationError(msg, value=value)
    return int(value) if value.is_integer() and INT_MIN <= value <= INT_MAX else value


def loads(text: str | bytes) -> Any:
    """Parse JSON text."""
    return orjson.loads(text)


class Document:
    """Converts one type of document between Python and canonical JSON text.

    Attributes:
        to_json: turns a value into a JSON value; None when it is one already.
        from_json: turns a JSON value into the field's Python value; None when it is one already.
    """

    def __init__(self, kind: FieldType, metadata: tuple[Any, ...] = ()) -> None:
        self.kind = kind
        self.to_json, self.from_json = converters(kind)
        self._metadata = metadata
        self._is_valid: Callable[[Any], bool] | None = None

    def dump(self, value: Any) -> str:
        """Return the canonical text of a value that is not None.

        Changes in place are not seen by pydantic, so that the value is checked against its annotation here.

        Raises:
            WrongTypeError, ValidationError: as ``canonical``.
        """
        if self._is_valid is None:
            self._is_valid = validity(self.kind.annotation, self._metadata)
        if not self._is_valid(value):
            raise WrongTypeError
        return canonical(value if self.to_json is None else self.to_json(value))

    def load(self, text: str | bytes) -> Any:
        """Return the Python value of a canonical text."""
        value = orjson.loads(text)
        return value if self.from_json is None else self.from_json(value)


@lru_cache(maxsize=4096)
def document_of(kind: FieldType) -> Document:
    """Return the converter of a part of a document, made once."""
    return Document(kind)


def validity(annotation: Any, metadata: tuple[Any, ...]) -> Callable[[Any], bool]:
    """Return the strict test of a value against an annotation and its metadata."""
    whole: Any = Annotated[(annotation, *metadata)] if metadata else annotation  # pyright: ignore[reportInvalidTypeForm]  # made at run time
    adapter: TypeAdapter[Any] = TypeAdapter(whole)
    test = adapter.validator.isinstance_python
    return lambda value: test(value, strict=True)


def converters(kind: FieldType) -> tuple[Convert | None, Convert | None]:
    """Return (to JSON, from JSON) for a part of a document; None where the value is the same."""
    if kind.kind is not Kind.DOCUMENT:
        pair = _scalar_converters(kind)
    else:
        assert kind.structure is not None
        pair = _STRUCTURES[kind.structure.form](kind, kind.structure)
    return _optional(pair[0]), _optional(pair[1])


def _optional(convert: Convert | None) -> Convert | None:
    if convert is None:
        return None
    return lambda value: None if value is None else convert(value)


def _scalar_converters(kind: FieldType) -> tuple[Convert | None, Convert | None]:
    write, read = SCALAR_TEXTS.get(kind.kind, (None, None))
    enum = kind.enum
    if enum is None:
        return (None if write is None else (lambda value: write(plain_scalar(kind, value)))), read
    member = enum._value2member_map_.__getitem__
    return (
        (lambda value: plain_scalar(kind, value) if write is None else write(plain_scalar(kind, value))),
        (lambda value: member(value if read is None else read(value))),
    )


def _decimal_text(value: Decimal) -> str:
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").removesuffix(".")
    return text


# The one text of each scalar that JSON has no type for. Those of times are of fixed width, so that they order as the values do.
SCALAR_TEXTS: Mapping[Kind, tuple[Convert, Convert]] = {
    Kind.FLOAT: (float, float),
    Kind.DECIMAL: (_decimal_text, Decimal),
    Kind.UUID: (str, UUID),
    Kind.BYTES: (lambda value: b64encode(value).decode(), b64decode),
    Kind.DATETIME: (lambda value: value.isoformat(timespec="microseconds"), datetime.fromisoformat),
    Kind.DATE: (date.isoformat, date.fromisoformat),
    Kind.TIME: (lambda value: value.isoformat(timespec="microseconds"), time.fromisoformat),
    Kind.TIMEDELTA: (lambda value: value // _MICROSECOND, lambda value: timedelta(microseconds=value)),
}


def _any(_kind: FieldType, _structure: Structure) -> tuple[None, None]:
    return None, None


def _list(_kind: FieldType, structure: Structure) -> tuple[Convert | None, Convert | None]:
    assert structure.item is not None
    write, read = converters(structure.item)
    return (
        None if write is None else (lambda value: [write(item) for item in value]),
        None if read is None else (lambda value: [read(item) for item in value]),
    )


def _dict(_kind: FieldType, structure: Structure) -> tuple[Convert | None, Convert | None]:
    assert structure.item is not None
    write, read = converters(structure.item)
    return (
        None if write is None else (lambda value: {key: write(item) for key, item in value.items()}),
        None if read is None else (lambda value: {key: read(item) for key, item in value.items()}),
    )


def _object(_kind: FieldType, structure: Structure) -> tuple[Convert | None, Convert | None]:
    pairs = {name: converters(member) for name, member in structure.members.items()}
    writers = {name: write for name, (write, _) in pairs.items()}
    readers = {name: read for name, (_, read) in pairs.items()}
    cls = structure.cls
    if cls is not None and issubclass(cls, pydantic.BaseModel):
        return _model_writer(cls, structure, writers), _model_reader(cls, readers)
    convert_in = None if not any(writers.values()) else _mapping(writers)
    return convert_in, None if not any(readers.values()) else _mapping(readers)


def _mapping(converts: Mapping[str, Convert | None]) -> Convert:
    def convert(value: dict[str, Any]) -> dict[str, Any]:
        return {name: item if (each := converts.get(name)) is None else each(item) for name, item in value.items()}

    return convert


def _model_writer(cls: type[pydantic.BaseModel], structure: Structure, writers: Mapping[str, Convert | None]) -> Convert:
    """Return the writer of a nested model, whose members are checked here: an instance passes pydantic's own test whatever it holds."""
    tests: dict[str, Callable[[Any], bool]] = {}

    def write(value: Any) -> dict[str, Any]:
        if not isinstance(value, cls):
            raise WrongTypeError
        if not tests:
            tests.update(_member_tests(cls, structure))
        values = value.__dict__
        if not all(name in values and test(values[name]) for name, test in tests.items()):
            raise WrongTypeError
        found = {name: values[name] if each is None else each(values[name]) for name, each in writers.items() if name in values}
        return found | (value.__pydantic_extra__ or {})

    return write


def _member_tests(cls: type[pydantic.BaseModel], structure: Structure) -> Mapping[str, Callable[[Any], bool]]:
    # The conversion of an enum checks it, and takes the bare values that ``use_enum_values`` leaves in the model.
    members = structure.members
    return {name: validity(info.annotation, tuple(info.metadata)) for name, info in cls.model_fields.items() if members[name].enum is None}


def _model_reader(cls: type[pydantic.BaseModel], readers: Mapping[str, Convert | None]) -> Convert:
    def read(value: dict[str, Any]) -> pydantic.BaseModel:
        found: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for name, item in value.items():
            each = readers.get(name)
            (found if name in readers else extra)[name] = item if each is None else each(item)
        return construct(cls, found, extra)

    return read


def construct(cls: type[pydantic.BaseModel], values: dict[str, Any], extra: dict[str, Any]) -> pydantic.BaseModel:
    """Make a nested model of values that were validated when they were written; a member that is missing gets its default."""
    instance = cls.__new__(cls)
    present = set(values)
    for name, info in cls.model_fields.items():
        if name not in present and not info.is_required():
            values[name] = info.get_default(call_default_factory=True, validated_data=values)
    object.__setattr__(instance, "__dict__", values)
    object.__setattr__(instance, "__pydantic_fields_set__", present)
    object.__setattr__(instance, "__pydantic_extra__", extra if cls.model_config.get("extra") == "allow" else None)
    object.__setattr__(instance, "__pydantic_private__", None)
    if cls.__pydantic_post_init__:
        instance.model_post_init(None)
    return instance


def _opaque(kind: FieldType, _structure: Structure) -> tuple[Convert, Convert]:
    adapter: TypeAdapter[Any] = TypeAdapter(kind.annotation)
    return (lambda value: adapter.dump_python(value, mode="json")), adapter.validate_python


_STRUCTURES: Mapping[str, Callable[[FieldType, Structure], tuple[Convert | None, Convert | None]]] = {
    "any": _any,
    "list": _list,
    "dict": _dict,
    "object": _object,
    "opaque": _opaque,
}
