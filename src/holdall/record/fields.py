"""``Field`` and ``Index``: what a model says about how it is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

import pydantic
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict, Unpack

from holdall.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import AliasChoices, AliasPath
    from pydantic.config import JsonDict
    from pydantic.types import Discriminator

T = TypeVar("T")
OnDelete = Literal["restrict", "cascade", "set_null"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """What ``Field`` says beyond pydantic; travels in the metadata of pydantic's ``FieldInfo``."""

    primary_key: bool = False
    unique: bool = False
    index: bool = False
    version: bool = False
    generated: bool = False
    auto_now: bool = False
    auto_now_add: bool = False
    references: type[pydantic.BaseModel] | str | None = None
    on_delete: OnDelete = "restrict"
    enforce: bool = True
    name: str | None = None

    def __post_init__(self) -> None:
        if self.on_delete not in ("restrict", "cascade", "set_null"):
            msg = f"on_delete={self.on_delete!r} is not one of 'restrict', 'cascade', 'set_null'"
            raise ConfigurationError(msg)


class FieldOptions(TypedDict, total=False):
    """The keyword arguments of ``Field``: those of ``pydantic.Field`` and those of ``Storage``."""

    primary_key: bool
    unique: bool
    index: bool
    version: bool
    generated: bool
    auto_now: bool
    auto_now_add: bool
    references: type[pydantic.BaseModel] | str | None
    on_delete: OnDelete
    enforce: bool
    name: str | None
    alias: str | None
    alias_priority: int | None
    validation_alias: str | AliasPath | AliasChoices | None
    serialization_alias: str | None
    title: str | None
    field_title_generator: Callable[[str, FieldInfo], str] | None
    description: str | None
    examples: list[Any] | None
    exclude: bool | None
    discriminator: str | Discriminator | None
    deprecated: str | bool | None
    json_schema_extra: JsonDict | Callable[[JsonDict], None] | None
    frozen: bool | None
    validate_default: bool | None
    repr: bool
    init: bool | None
    init_var: bool | None
    kw_only: bool | None
    pattern: str | None
    strict: bool | None
    coerce_numbers_to_str: bool | None
    gt: Any
    ge: Any
    lt: Any
    le: Any
    multiple_of: float | None
    allow_inf_nan: bool | None
    max_digits: int | None
    decimal_places: int | None
    min_length: int | None
    max_length: int | None
    union_mode: Literal["smart", "left_to_right"]
    fail_fast: bool | None


@overload
def Field(default: T, **options: Unpack[FieldOptions]) -> T: ...
@overload
def Field(*, default_factory: Callable[[], T] | Callable[[dict[str, Any]], T], **options: Unpack[FieldOptions]) -> T: ...
@overload
def Field(**options: Unpack[FieldOptions]) -> Any: ...
def Field(default: Any = ..., **options: Any) -> Any:
    """Describe a field: everything that ``pydantic.Field`` takes, and how the field is stored.

    Args:
        default: the default value; also ``default_factory=``.
        primary_key: part of the key; several make a composite key, in the order of declaration.
        unique: no two records have the same value; None may repeat.
        index: an index of this field alone. ``Meta.indexes`` declares those of several.
        version: an ``int`` that every write counts up; a stale one raises ``ConflictError``.
        generated: an ``int`` key that the store fills.
        auto_now: the time of every write. ``auto_now_add``: the time of the create.
        references: the model (or its name) whose key this field holds; ``on_delete`` says what its removal does:
            "restrict", "cascade" or "set_null". ``enforce=False`` declares the reference without a foreign key.
        name: the stored name; default: the field's.
        options: everything else goes to ``pydantic.Field``.

    Raises:
        ConfigurationError: the options contradict each other.
    """
    storage = Storage(**{name: options.pop(name) for name in Storage.__slots__ if name in options})
    info = cast("FieldInfo", pydantic.Field(**options) if default is ... else pydantic.Field(default, **options))
    info.metadata.append(storage)
    return info


@dataclass(frozen=True, slots=True, init=False)
class Index:
    """An index over several fields; ``-name`` orders one descending.

    Attributes:
        fields: the names, as given.
        unique: no two records have the same values.
        name: the stored name; default: made of the table and the fields.
    """

    fields: tuple[str, ...]
    unique: bool
    name: str | None

    def __init__(self, *fields: str, unique: bool = False, name: str | None = None) -> None:
        if not fields:
            msg = "an Index needs at least one field"
            raise ConfigurationError(msg)
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "unique", unique)
        object.__setattr__(self, "name", name)
