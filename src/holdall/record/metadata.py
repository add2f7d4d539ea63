"""What a model class says, worked out once: fields, keys, indexes, references."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

import annotated_types
from pydantic.fields import FieldInfo

from holdall.errors import ConfigurationError, QueryError, ValidationError
from holdall.naming import near_miss
from holdall.record.documents import Document, validity
from holdall.record.fields import Index, OnDelete, Storage, StorageOption, StoreOption, storage_of
from holdall.record.types import FieldType, Kind, analyse
from holdall.record.values import INT_MAX, INT_MIN, WrongTypeError, check_text, plain_scalar

if TYPE_CHECKING:
    from holdall.record.record import Record

META_OPTIONS = ("name", "indexes", "order_by", "backend", "store_options")
_BOUNDS = {
    annotated_types.Ge: (">=", "ge"),
    annotated_types.Gt: (">", "gt"),
    annotated_types.Le: ("<=", "le"),
    annotated_types.Lt: ("<", "lt"),
}


@dataclass(frozen=True, slots=True)
class Reference:
    """A field that holds the key of another record."""

    target: type[Record] | str
    on_delete: OnDelete
    enforce: bool


@dataclass(frozen=True, slots=True)
class Bound:
    """A rule of a field that stores can check too.

    ``operator`` is one of ``>= > <= <`` (of the value) or ``max_length min_length`` (of the text).
    """

    operator: str
    value: Any


@dataclass(frozen=True, eq=False)
class FieldSpec:
    """One field of a model.

    Attributes:
        name: the attribute. ``stored_name``: the column or key in the store.
        type: what is stored; ``nullable`` says whether a stored record can hold None.
        position: its place among the fields, and in a plain row.
    """

    name: str
    stored_name: str
    type: FieldType
    position: int
    storage: Storage
    nullable: bool
    reference: Reference | None
    bounds: tuple[Bound, ...]
    document: Document | None
    info: FieldInfo

    def plain(self, value: Any) -> Any:
        """Return the plain value.

        Raises:
            WrongTypeError: the value is not of the field's type.
            ValidationError: no store may keep the value.
        """
        if value is None:
            if self.nullable or self.storage.generated:
                return None
            raise WrongTypeError
        return self.document.dump(value) if self.document is not None else plain_scalar(self.type, value)

    @cached_property
    def accepts(self) -> Callable[[Any], bool]:
        """Whether a value keeps the rules of the field, as assigning it would."""
        metadata = tuple(item for item in self.info.metadata if not isinstance(item, StorageOption))
        return validity(self.info.annotation, metadata)

    def python(self, plain: Any) -> Any:
        """Return the Python value of a plain one."""
        if plain is None:
            return None
        if self.document is not None:
            return self.document.load(plain)
        return self.type.enum(plain) if self.type.enum is not None else plain


def _never(_: Any) -> bool:
    return False


_PLAIN_KEYS: Mapping[Kind, Callable[[Any], bool]] = {
    Kind.INT: lambda key: type(key) is int and INT_MIN <= key <= INT_MAX,
    Kind.STR: lambda key: type(key) is str and key.isascii() and "\0" not in key,
    Kind.UUID: lambda key: type(key) is UUID,
}


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """What a model class says.

    Attributes:
        model: the class. ``label``: its name in messages. ``name``: the stored name of the table, index or collection.
        fields: in the order of declaration; a *plain row* is a tuple of plain values in this order.
        key: the fields of the primary key. ``version``, ``generated``, ``expires``: the fields of that role, or None.
        uniques: the sets of fields that are unique together, the key excepted.
        store_options: what the model says to one store alone.
    """

    model: type[Record]
    label: str
    name: str
    fields: tuple[FieldSpec, ...]
    key: tuple[FieldSpec, ...]
    version: FieldSpec | None
    generated: FieldSpec | None
    auto_now: tuple[FieldSpec, ...]
    auto_now_add: tuple[FieldSpec, ...]
    expires: FieldSpec | None
    indexes: tuple[Index, ...]
    uniques: tuple[tuple[FieldSpec, ...], ...]
    order_by: tuple[str, ...]
    backend: str | None
    store_options: tuple[StoreOption, ...]
    by_name: Mapping[str, FieldSpec]

    @cached_property
    def references(self) -> tuple[tuple[FieldSpec, ModelInfo], ...]:
        """The fields that hold keys of other models, with these models; names are resolved here, on first use."""
        found = tuple((spec, model_info(self._target(spec))) for spec in self.fields if spec.reference is not None)
        for spec, target in found:
            key = target.key[0].type
            if len(target.key) > 1 or key.kind is not spec.type.kind or key.places != spec.type.places:
                wanted = ", ".join(str(part.type) for part in target.key)
                msg = f"{self.label}.{spec.name} is {spec.type} and cannot hold the key of {target.label}, which is {wanted}"
                raise ConfigurationError(msg)
        return found

    def _target(self, spec: FieldSpec) -> type[Record]:
        assert spec.reference is not None
        target = spec.reference.target
        if not isinstance(target, str):
            return target
        if target in (self.model.__name__, "self"):
            return self.model
        named = [model for model in _known_models(self.model) if model.__name__ == target]
        found = [model for model in named if model.__module__ == self.model.__module__] or named
        if len(found) != 1:
            what = "several models" if found else "no model"
            msg = f"{self.label}.{spec.name} references {target!r}, which names {what}; pass the class"
            raise ConfigurationError(msg)
        return found[0]

    def field(self, name: str) -> FieldSpec:
        """Return the field of that name.

        Raises:
            QueryError: there is none; the text names the nearest.
        """
        spec = self.by_name.get(name)
        if spec is None:
            msg = f"{self.label.lower()} has no field {name!r}{near_miss(name, self.by_name)}"
            raise QueryError(msg)
        return spec

    @cached_property
    def _is_plain_key(self) -> Callable[[Any], bool]:
        """Tell quickly that a bare key is plain already; False says nothing."""
        kind = self.key[0].type
        return _PLAIN_KEYS.get(kind.kind, _never) if len(self.key) == 1 and kind.enum is None else _never

    def plain_key(self, key: Any) -> tuple[Any, ...]:
        """Return the plain values of a key: the bare value, or a tuple in the order of the key's fields.

        Raises:
            QueryError: the key is not of the model's type.
            ValidationError: no store may keep the value.
        """
        if self._is_plain_key(key):
            return (key,)
        parts: tuple[Any, ...] = (key,)
        if len(self.key) != 1:
            parts = key if isinstance(key, tuple) else ()  # pyright: ignore[reportUnknownVariableType]  # of anything
        if len(parts) != len(self.key):
            msg = f"the key of {self.label} is a tuple ({', '.join(spec.name for spec in self.key)}), not {key!r}"
            raise QueryError(msg)
        try:
            return tuple([self._plain_key_part(spec, part) for spec, part in zip(self.key, parts, strict=True)])
        except WrongTypeError as exc:
            msg = f"{key!r} is not a key of {self.label}: {', '.join(f'{spec.name} is {spec.type}' for spec in self.key)}"
            raise QueryError(msg) from exc

    @staticmethod
    def _plain_key_part(spec: FieldSpec, part: Any) -> Any:
        if part is None:
            raise WrongTypeError
        return plain_scalar(spec.type, part)

    def key_of(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the plain key among a record's values by field name; raises as ``plain_key``."""
        names = self._key_names
        return self.plain_key(values[names[0]] if len(names) == 1 else tuple([values[name] for name in names]))

    @cached_property
    def _key_names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.key)

    def bare_key(self, row: Iterable[Any]) -> Any:
        """Return the key of a plain row as users see it."""
        values = tuple(row)
        parts = tuple(spec.python(values[spec.position]) for spec in self.key)
        return parts[0] if len(parts) == 1 else parts


def _known_models(model: type[Record]) -> list[type[Record]]:
    root = next(cls for cls in reversed(model.__mro__) if cls.__name__ == "Record" and cls.__module__.startswith("holdall."))
    found: list[type[Record]] = []
    waiting: list[type[Any]] = [root]
    while waiting:
        cls = waiting.pop()
        found.append(cls)
        waiting.extend(cls.__subclasses__())
    return found


_lock = threading.RLock()


def model_info(model: type[Record]) -> ModelInfo:
    """Return what the model says; worked out at the first call.

    Raises:
        ConfigurationError: the model cannot be stored as it is.
    """
    info = model.__dict__.get("__holdall_info__")
    if info is None:
        with _lock:
            info = model.__dict__.get("__holdall_info__") or _build(model)
            type.__setattr__(model, "__holdall_info__", info)
    return info


def _build(model: type[Record]) -> ModelInfo:
    if not model.__pydantic_complete__:
        model.model_rebuild()
    fields = tuple(_field(model, position, name, info) for position, (name, info) in enumerate(model.model_fields.items()))
    by_name = {spec.name: spec for spec in fields}
    meta: Any = getattr(model, "Meta", None)
    info = ModelInfo(
        model=model,
        label=model.__name__,
        name=stored_name(model),
        fields=fields,
        key=tuple(spec for spec in fields if spec.storage.primary_key),
        version=_single(model, fields, "version"),
        generated=_single(model, fields, "generated"),
        auto_now=tuple(spec for spec in fields if spec.storage.auto_now),
        auto_now_add=tuple(spec for spec in fields if spec.storage.auto_now_add),
        expires=_expires(model, fields),
        indexes=tuple(_own_index(model, index) for index in getattr(meta, "indexes", ())),
        uniques=(),
        order_by=tuple(getattr(meta, "order_by", ())),
        backend=getattr(meta, "backend", None),
        store_options=_store_options(model, meta),
        by_name=by_name,
    )
    _check(info)
    uniques: list[tuple[FieldSpec, ...]] = [(spec,) for spec in fields if spec.storage.unique]
    uniques += [tuple(by_name[name.removeprefix("-")] for name in index.fields) for index in info.indexes if index.unique]
    object.__setattr__(info, "uniques", tuple(uniques))
    return info


def _expires(model: type[Record], fields: tuple[FieldSpec, ...]) -> FieldSpec | None:
    found = [spec for spec in fields if spec.storage.expires]
    if len(found) > 1:
        msg = f"{model.__name__} has {len(found)} fields with expires=True ({', '.join(spec.name for spec in found)}); at most one may be"
        raise ConfigurationError(msg)
    if found and (found[0].type.kind is not Kind.DATETIME or found[0].storage.primary_key):
        msg = f"{model.__name__}.{found[0].name}: expires=True needs a datetime field beside the key, not {found[0].type}"
        raise ConfigurationError(msg)
    return found[0] if found else None


def _store_options(model: type[Record], meta: Any) -> tuple[StoreOption, ...]:
    found: tuple[Any, ...] = tuple(getattr(meta, "store_options", ()))
    for option in found:
        if not isinstance(option, StoreOption):
            msg = f"{model.__name__}.Meta.store_options holds {option!r}, which is no option of a store; use one that a store's package has"
            raise ConfigurationError(msg)
    return found


def _own_index(model: type[Record], index: Index) -> Index:
    """Return an index under a name of the model's own, where its name was inherited: a database has each name once."""
    inherited = any(index in getattr(base.__dict__.get("Meta"), "indexes", ()) for base in model.__mro__[1:])
    if index.name is None or not inherited:
        return index
    return Index(*index.fields, unique=index.unique, name=f"{stored_name(model)}_{index.name}")


def stored_name(model: type[Record]) -> str:
    """Return ``Meta.name`` of the class itself, or its name in snake_case."""
    own = model.__dict__.get("Meta")
    name = None if own is None else own.__dict__.get("name")
    if name is None:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", model.__name__)
        name = re.sub(r"\W+", "_", words).strip("_").lower()
    return _checked_name(name, f"{model.__name__}.Meta.name")


def _checked_name(name: object, place: str) -> str:
    if isinstance(name, str) and name:
        try:
            return check_text(name)
        except ValidationError as exc:
            msg = f"{place}: {exc}"
            raise ConfigurationError(msg) from exc
    msg = f"{place} must be a text, not {name!r}"
    raise ConfigurationError(msg)


def _field(model: type[Record], position: int, name: str, info: FieldInfo) -> FieldSpec:
    storage = storage_of(info.metadata)
    metadata = tuple(item for item in info.metadata if not isinstance(item, StorageOption))
    try:
        kind = analyse(info.annotation, metadata)
    except ConfigurationError as exc:
        msg = f"{model.__name__}.{name}: {exc}"
        raise ConfigurationError(msg) from exc
    reference = None if storage.references is None else Reference(storage.references, storage.on_delete, storage.enforce)  # type: ignore[arg-type]
    return FieldSpec(
        name=name,
        stored_name=_checked_name(storage.name or name, f"{model.__name__}.{name}: the stored name"),
        type=kind,
        position=position,
        storage=storage,
        nullable=kind.nullable and not storage.primary_key,
        reference=reference,
        bounds=_bounds(kind, metadata),
        document=Document(kind, metadata) if kind.kind is Kind.DOCUMENT else None,
        info=info,
    )


def _bounds(kind: FieldType, metadata: tuple[Any, ...]) -> tuple[Bound, ...]:
    """Return the rules that stores check the same way as pydantic does: of numbers by value, of text by its length in code points."""
    found: list[Bound] = []
    for item in metadata:
        if kind.kind in (Kind.INT, Kind.FLOAT, Kind.DECIMAL) and type(item) in _BOUNDS:
            operator, attribute = _BOUNDS[type(item)]
            found.append(Bound(operator, getattr(item, attribute)))
        elif kind.kind is Kind.STR and isinstance(item, annotated_types.MaxLen):
            found.append(Bound("max_length", item.max_length))
        elif kind.kind is Kind.STR and isinstance(item, annotated_types.MinLen):
            found.append(Bound("min_length", item.min_length))
    return tuple(found)


def _single(model: type[Record], fields: tuple[FieldSpec, ...], role: str) -> FieldSpec | None:
    found = [spec for spec in fields if getattr(spec.storage, role)]
    if len(found) > 1:
        msg = f"{model.__name__} has {len(found)} fields with {role}=True ({', '.join(spec.name for spec in found)}); at most one may be"
        raise ConfigurationError(msg)
    if found and found[0].type.kind is not Kind.INT:
        msg = f"{model.__name__}.{found[0].name}: {role}=True needs an int field, not {found[0].type}"
        raise ConfigurationError(msg)
    return found[0] if found else None


def _check(info: ModelInfo) -> None:
    for problem in (*_key_problems(info), *_field_problems(info), *_search_problems(info), *_index_problems(info)):
        msg = f"{info.label}{problem}"
        raise ConfigurationError(msg)


def _key_problems(info: ModelInfo) -> Iterable[str]:
    if not info.key:
        yield " has no primary key; mark a field with Field(primary_key=True)"
    for spec in info.key:
        if spec.type.kind in (Kind.DOCUMENT, Kind.FLOAT):
            yield f".{spec.name}: {spec.type} cannot be a key; use int, str, UUID or another exact scalar"
        if spec.type.nullable and not spec.storage.generated:
            yield f".{spec.name}: a key cannot be None; only a generated one is, until it is stored"
    if info.generated is not None and info.key != (info.generated,):
        yield f".{info.generated.name}: a generated field must be the whole key"


def _field_problems(info: ModelInfo) -> Iterable[str]:
    stored = [spec.stored_name for spec in info.fields]
    if len({name.lower() for name in stored}) != len(stored):
        yield f": two fields have the same stored name ({', '.join(stored)})"
    for spec in info.fields:
        if (spec.storage.auto_now or spec.storage.auto_now_add) and spec.type.kind is not Kind.DATETIME:
            yield f".{spec.name}: auto_now and auto_now_add need a datetime field, not {spec.type}"
        if (spec.storage.unique or spec.storage.index) and spec.type.kind is Kind.DOCUMENT:
            yield f".{spec.name}: {spec.type} cannot be unique or indexed; use a scalar field"
        if spec.storage.version and spec.nullable:
            yield f".{spec.name}: a version cannot be None"
        if spec.reference is not None and spec.reference.on_delete == "set_null" and not spec.nullable:
            yield f".{spec.name}: on_delete='set_null' needs a field that can be None"


def _search_problems(info: ModelInfo) -> Iterable[str]:
    for spec in info.fields:
        if spec.storage.search is not None and (spec.type.kind is not Kind.STR or spec.type.enum is not None):
            yield f".{spec.name}: search={spec.storage.search!r} needs a text, not {spec.type}"


def _index_problems(info: ModelInfo) -> Iterable[str]:
    for name in [name.removeprefix("-") for index in info.indexes for name in index.fields]:
        spec = info.by_name.get(name)
        if spec is None:
            yield f".Meta.indexes: there is no field {name!r}{near_miss(name, info.by_name)}"
        elif spec.type.kind is Kind.DOCUMENT:
            yield f".Meta.indexes: {name!r} is {spec.type}, which cannot be indexed; use scalar fields"
    for name in [name.removeprefix("-") for name in info.order_by]:
        spec = info.by_name.get(name)
        if spec is None:
            yield f".Meta.order_by: there is no field {name!r}{near_miss(name, info.by_name)}"
        elif spec.type.kind is Kind.DOCUMENT:
            yield f".Meta.order_by: {name!r} is {spec.type}, which has no order; use scalar fields"
