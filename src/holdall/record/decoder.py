"""Rows into objects: one generated function per model, columns and store, the conversion of every field inlined.

A store says how its rows become plain values by a ``ValueTable``: a function from a field to an ``Expression``, or None where the row holds
the plain value already. Documents arrive as JSON text. Nothing is validated.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Values of any type are told apart by isinstance here, and what is inside a list or dict then counts as unknown.

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, is_dataclass
from dataclasses import fields as dataclass_fields
from typing import Any, get_type_hints

import pydantic

from holdall.errors import CorruptRecordError, QueryError
from holdall.naming import near_miss
from holdall.record.documents import canonical, loads
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.record import Record, set_state
from holdall.record.state import PlainRow
from holdall.record.types import is_typed_dict

GC_PAUSE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Expression:
    """Source text that turns ``{v}``, a value that is not None, into its plain value, and the names that the text uses."""

    text: str
    names: dict[str, Any] = field(default_factory=dict[str, Any])


ValueTable = Callable[[FieldSpec], Expression | None]


class Decoder:
    """Turns the rows of some columns into objects.

    Attributes:
        fields: what is read, in the order of the row.
        one: from one row to one object. ``many``: from rows to a list.
    """

    __slots__ = ("_plain", "_table", "fields", "info", "many", "one", "tracks")

    def __init__(self, info: ModelInfo, fields: Sequence[FieldSpec], table: ValueTable, shape: Any = None) -> None:
        self.info = info
        self.fields = tuple(fields)
        self.tracks = shape is None
        self._table = table
        self._plain: Callable[[Any], PlainRow] | None = None
        source = _Source(self, table)
        self.one, self.many = source.compile(_body(self, source, shape))

    def plain(self, row: Any) -> PlainRow:
        """Return the plain row of a row of all fields."""
        if self._plain is None:
            source = _Source(self, self._table)
            self._plain = source.compile([f"o = ({''.join(source.plain(spec) + ',' for spec in self.fields)})"])[0]
        return self._plain(row)

    def corrupt(self, row: Any, error: Exception) -> CorruptRecordError:
        """Find the field that cannot be read and return the error that names it."""
        values = dict(zip((spec.name for spec in self.fields), row, strict=False))
        key = tuple(values.get(spec.name) for spec in self.info.key)
        for position, spec in enumerate(self.fields):
            source = _Source(self, self._table)
            source.lines = [f"o = {source.python(spec)}"]
            try:
                source.compile(source.lines, only=position)[0](row)
            except Exception as exc:  # noqa: BLE001  - whatever a converter raises says that the stored value is broken
                return CorruptRecordError(self.info.label, key[0] if len(key) == 1 else key, spec.name, f"{row[position]!r} ({exc})")
        return CorruptRecordError(self.info.label, key[0] if len(key) == 1 else key, self.fields[0].name, str(error))


class _Source:
    """Collects the source of one decoder, and the names it needs."""

    def __init__(self, decoder: Decoder, table: ValueTable) -> None:
        self.decoder = decoder
        self.table = table
        self.names: dict[str, Any] = {
            "decoder": decoder,
            "gc_off": gc.disable,
            "gc_on": gc.enable,
            "gc_is_on": gc.isenabled,
            "PAUSE": GC_PAUSE_ROWS,
        }
        self.lines: list[str] = []
        self.variables = {spec: f"v{position}" for position, spec in enumerate(decoder.fields)}

    def name(self, value: Any) -> str:
        """Return a name for a value that the source uses."""
        found = f"n{len(self.names)}"
        self.names[found] = value
        return found

    def _native(self, spec: FieldSpec) -> str:
        """Return the text of the expression for the plain value, of a value that is not None."""
        expression = self.table(spec)
        if expression is None:
            return self.variables[spec]
        text = expression.text.replace("{v}", self.variables[spec])
        for name, value in expression.names.items():
            text = text.replace(f"{{{name}}}", self.name(value))
        return text

    def _optional(self, spec: FieldSpec, text: str) -> str:
        variable = self.variables[spec]
        return text if text == variable or not spec.nullable else f"(None if {variable} is None else {text})"

    def plain(self, spec: FieldSpec) -> str:
        """Return the text of the expression for the plain value."""
        text = self._native(spec)
        if spec.document is not None:
            # A store may format JSON in its own way; the canonical text is what values are compared by.
            text = f"{self.name(canonical)}({self.name(loads)}({text}))"
        return self._optional(spec, text)

    def python(self, spec: FieldSpec) -> str:
        """Return the text of the expression for the Python value."""
        text = self._native(spec)
        if spec.document is not None:
            text = f"{self.name(loads)}({text})"
            if spec.document.from_json is not None:
                text = f"{self.name(spec.document.from_json)}({text})"
        elif spec.type.enum is not None:
            text = f"{self.name(spec.type.enum._value2member_map_)}[{text}]"
        return self._optional(spec, text)

    def compile(self, body: Sequence[str], only: int | None = None) -> tuple[Callable[[Any], Any], Callable[[Iterable[Any]], list[Any]]]:
        """Return (one, many) for a body that assigns the object to ``o``."""
        variables = ",".join(self.variables.values())
        unpack = f"{variables}, = r" if only is None else f"v{only} = r[{only}]"
        inner = [unpack, *body]
        lines = ["def one(r):", " try:", *(f"  {line}" for line in inner), "  return o"]
        lines += [" except Exception as exc: raise decoder.corrupt(r, exc) from exc" if only is None else " finally: pass"]
        lines += [*_MANY_HEAD, *(f"   {line}" for line in inner), *_MANY_TAIL]
        exec("\n".join(lines), self.names)  # noqa: S102  - generated; names of fields are quoted with repr
        return self.names["one"], self.names["many"]


# The collector would walk all new objects again and again; nothing here can make a cycle.
_MANY_HEAD = (
    "def many(rows):",
    " out = []; add = out.append",
    " pause = len(rows) > PAUSE and gc_is_on()",
    " if pause: gc_off()",
    " try:",
    "  for r in rows:",
)
_MANY_TAIL = (
    "   add(o)",
    " except Exception as exc: raise decoder.corrupt(r, exc) from exc",
    " finally:",
    "  if pause: gc_on()",
    " return out",
)


def _body(decoder: Decoder, source: _Source, shape: Any) -> list[str]:
    if shape is None:
        return _record_body(decoder, source)
    if shape is dict or is_typed_dict(shape):
        return [f"o = {_display(decoder, source)}"]
    if isinstance(shape, type) and issubclass(shape, tuple):
        values = "".join(source.python(spec) + "," for spec in decoder.fields)
        return [f"o = {source.name(tuple.__new__)}({source.name(shape)}, ({values}))"]
    if isinstance(shape, type) and issubclass(shape, pydantic.BaseModel):
        return [*_instance_body(decoder, source, shape), *_slots_body(source, shape), *_post_init(shape)]
    arguments = ", ".join(f"{spec.name}={source.python(spec)}" for spec in decoder.fields)
    return [f"o = {source.name(shape)}({arguments})"]


def _display(decoder: Decoder, source: _Source) -> str:
    return "{" + ", ".join(f"{spec.name!r}: {source.python(spec)}" for spec in decoder.fields) + "}"


def _instance_body(decoder: Decoder, source: _Source, cls: type[pydantic.BaseModel]) -> list[str]:
    return [
        f"o = {source.name(object.__new__)}({source.name(cls)})",
        f"{source.name(pydantic.BaseModel.__dict__['__dict__'].__set__)}(o, {_display(decoder, source)})",
    ]


def _slots_body(source: _Source, cls: type[pydantic.BaseModel]) -> list[str]:
    """Fill the slots of a pydantic instance, which is what validation does at its end; those of a record fill themselves."""
    if issubclass(cls, Record):
        return []
    base = pydantic.BaseModel.__dict__
    setters = {name: base[name].__set__ for name in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")}
    extra = "{}" if cls.model_config.get("extra") == "allow" else "None"
    return [
        f"{source.name(setters['__pydantic_fields_set__'])}(o, {source.name(set(cls.model_fields))}.copy())",
        f"{source.name(setters['__pydantic_extra__'])}(o, {extra})",
        f"{source.name(setters['__pydantic_private__'])}(o, None)",
    ]


def _record_body(decoder: Decoder, source: _Source) -> list[str]:
    cls = decoder.info.model
    state = f"{source.name(set_state)}(o, (decoder, r))"
    return [*_instance_body(decoder, source, cls), state, *_post_init(cls)]


def _post_init(cls: type[pydantic.BaseModel]) -> list[str]:
    """Fill private attributes, and do what the user's own ``model_post_init`` does."""
    return ["o.model_post_init(None)"] if cls.__pydantic_post_init__ else []


def shape_fields(shape: Any) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass, ``msgspec.Struct``, ``NamedTuple``, ``TypedDict`` or pydantic model.

    Raises:
        QueryError: the shape is none of these.
    """
    if isinstance(shape, type):
        if issubclass(shape, pydantic.BaseModel):
            return tuple(shape.model_fields)
        found = getattr(shape, "_fields" if issubclass(shape, tuple) else "__struct_fields__", None)
        if found:
            return tuple(found)
        if is_dataclass(shape):
            return tuple(item.name for item in dataclass_fields(shape) if item.init)
        if is_typed_dict(shape):
            return tuple(get_type_hints(shape))
    msg = f"into() takes a dataclass, msgspec.Struct, NamedTuple, TypedDict or pydantic model, not {shape!r}"
    raise QueryError(msg)


def shape_specs(info: ModelInfo, names: Iterable[str], shape: Any) -> tuple[FieldSpec, ...]:
    """Return the fields that a shape takes from a model.

    Raises:
        QueryError: the model has no such field.
    """
    for name in names:
        if name not in info.by_name:
            msg = f"{getattr(shape, '__name__', shape)} has a field {name!r} that {info.label} has not{near_miss(name, info.by_name)}"
            raise QueryError(msg)
    return tuple(info.by_name[name] for name in names)
