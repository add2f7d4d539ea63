"""``Record``: what lies under ``Model``; a pydantic model that knows its fields and its stored self, and no database."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, dataclass_transform

import pydantic
from pydantic import ConfigDict

# Pydantic has no public name for its metaclass, and type checkers take no ``type(pydantic.BaseModel)`` for a base class.
from pydantic._internal._model_construction import ModelMetaclass

from holdall.errors import ConfigurationError
from holdall.naming import near_miss
from holdall.record.fields import Field, storage_of
from holdall.record.lazy_slots import LAZY_SLOTS
from holdall.record.metadata import META_OPTIONS, model_info
from holdall.record.state import State, plain_state

_building = threading.local()
R = TypeVar("R", bound="Record")


@dataclass_transform(kw_only_default=True, field_specifiers=(Field, pydantic.Field, pydantic.PrivateAttr))
class RecordMeta(ModelMetaclass):
    """Gives a column for each field, read on the class.

    It looks only at the class's own columns, and is silent while any class is being built: pydantic asks the bases for attributes of the
    names of fields, and would take a column for a default.
    """

    def __new__(mcs, name: str, bases: tuple[type[Any], ...], namespace: dict[str, Any], **options: Any) -> type:
        """Build the class and check what can be checked before it is used."""
        depth = getattr(_building, "depth", 0)
        _building.depth = depth + 1
        try:
            cls: type[Any] = super().__new__(mcs, name, bases, namespace, **options)
        finally:
            _building.depth = depth
        type.__setattr__(cls, "__holdall_columns__", {field: cls.__holdall_column__(field) for field in cls.__pydantic_fields__})
        type.__setattr__(cls, "__holdall_info__", None)
        _check_names(cls)
        if cls.__pydantic_complete__ and any(_is_key(info) for info in cls.__pydantic_fields__.values()) and not _is_generic(cls):
            model_info(cls)
        return cls

    if not TYPE_CHECKING:  # else a misspelt field would be of type Any

        def __getattr__(cls, name: str) -> Any:
            """Return the column of that name."""
            if not getattr(_building, "depth", 0):
                columns = cls.__dict__.get("__holdall_columns__")
                if columns is not None and name in columns:
                    return columns[name]
            return super().__getattr__(name)


def _is_key(info: Any) -> bool:
    return storage_of(info.metadata).primary_key


def _is_generic(cls: Any) -> bool:
    return bool(cls.__pydantic_generic_metadata__["parameters"])


def _check_names(cls: type[Record]) -> None:
    """Refuse fields that would hide our methods, and options of ``Meta`` that mean nothing."""
    ours = {name for base in cls.__mro__ if base.__module__.startswith("holdall.") for name in base.__dict__ if not name.startswith("_")}
    # Records were checked when they were made; a mixin that is no record was not.
    inherited = {name for base in cls.__bases__ if isinstance(base, RecordMeta) for name in getattr(base, "__pydantic_fields__", ())}
    taken = [name for name in cls.__pydantic_fields__ if name in ours and name not in inherited]
    if taken and not cls.__module__.startswith("holdall."):
        name = taken[0]
        msg = (
            f"{cls.__name__}.{name} would hide Model.{name}; call the field {name}_ and keep the names outside: "
            f"{name}_: … = Field(name={name!r}, alias={name!r})"
        )
        raise ConfigurationError(msg)
    meta: type[Any] | None = cls.__dict__.get("Meta")
    for option in () if meta is None else vars(meta):
        if not option.startswith("__") and option not in META_OPTIONS:
            msg = f"{cls.__name__}.Meta has no option {option!r}{near_miss(option, META_OPTIONS)}"
            raise ConfigurationError(msg)


class Record(pydantic.BaseModel, metaclass=RecordMeta, defer_build=True):
    """A pydantic model that can be stored. A ``class Meta`` in it says how: ``name, indexes, order_by, backend``.

    There is none here: type checkers would want every model's to be a subclass of it.
    """

    if TYPE_CHECKING:  # where it must not be an argument of the constructor
        __holdall_state__: State | None = pydantic.PrivateAttr(None)
    else:
        __slots__ = ("__holdall_state__",)
        vars().update(LAZY_SLOTS)
    __holdall_columns__: ClassVar[dict[str, Any]]

    model_config = ConfigDict(validate_assignment=True)

    @classmethod
    def __holdall_column__(cls, name: str) -> Any:
        """Return what reading a field on the class gives; ``Model`` gives columns."""
        return name

    if not TYPE_CHECKING:  # else a misspelt field would be of type Any

        def __getattr__(self, name: str) -> Any:
            """Answer for the slot of the stored state, which is empty until the record is stored."""
            if name == "__holdall_state__":
                return None
            return super().__getattr__(name)

    def __copy__(self) -> Self:
        """Copy the record and what it knows about its stored self."""
        return _with_state(super().__copy__(), self.__holdall_state__)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the record deeply; the stored row is immutable and shared."""
        return _with_state(super().__deepcopy__(memo), self.__holdall_state__)

    def __getstate__(self) -> dict[Any, Any]:
        """Return the state for pickles, with the stored row as plain values."""
        return {**super().__getstate__(), "__holdall_state__": plain_state(self)}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Take the state of a pickle."""
        row = state.pop("__holdall_state__", None)
        super().__setstate__(state)
        set_state(self, None if row is None else (None, row))


# The base classes hold no values: their own build is put off, because it would take a third of `import holdall`; models are built at once.
del Record.model_config["defer_build"]


def _with_state(record: R, state: State | None) -> R:
    set_state(record, state)
    return record


set_state = Record.__dict__["__holdall_state__"].__set__
"""Set the stored state of a record: ``(origin, row)``, or None when it is not stored."""


# Before 2.11 pydantic's validators take nothing but aliases, unless the model says otherwise.
_BY_NAME = tuple(map(int, pydantic.VERSION.split(".")[:2])) >= (2, 11)


def validate(model: type[Record], values: dict[str, Any]) -> None:
    """Run pydantic's validation over values by field name; raises pydantic's error."""
    instance = model.__new__(model)
    if _BY_NAME:
        model.__pydantic_validator__.validate_python(values, self_instance=instance, by_name=True)
        return
    if not model.model_config.get("populate_by_name"):
        aliases = {name: info.validation_alias for name, info in model.model_fields.items()}
        values = {alias if isinstance(alias := aliases[name], str) else name: value for name, value in values.items()}
    model.__pydantic_validator__.validate_python(values, self_instance=instance)


__all__ = ("Record", "RecordMeta", "set_state", "validate")
