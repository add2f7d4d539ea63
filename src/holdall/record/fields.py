"""``Field`` and ``Index``: what a model says about how it is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

import pydantic
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict, Unpack

from holdall.errors import ConfigurationError
from holdall.naming import near_miss

if TYPE_CHECKING:
    import re

    import annotated_types
    from pydantic import AliasChoices, AliasPath
    from pydantic.config import JsonDict
    from pydantic.types import Discriminator
    from typing_extensions import deprecated as deprecated_mark

T = TypeVar("T")
OnDelete = Literal["restrict", "cascade", "set_null"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """What ``Field`` says beyond pydantic."""

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
    search: str | None = None
    expires: bool = False

    def __post_init__(self) -> None:
        if self.on_delete not in ("restrict", "cascade", "set_null"):
            msg = f"on_delete={self.on_delete!r} is not one of 'restrict', 'cascade', 'set_null'"
            raise ConfigurationError(msg)


@dataclass(frozen=True, slots=True)
class StorageOption:
    """One option of ``Storage``, as it travels in the metadata of pydantic's ``FieldInfo``."""

    value: Any


# Where ``Annotated[…, Field(…)]`` meets a default ``Field(…)``, pydantic 2.10 keeps one item of each class: so each option has its own.
_OPTIONS: Mapping[str, type[StorageOption]] = {name: type(name, (StorageOption,), {}) for name in Storage.__slots__}


def storage_of(metadata: Iterable[object]) -> Storage:
    """Return what the ``Field`` calls of one field say together."""
    return Storage(**{type(item).__name__: item.value for item in metadata if isinstance(item, StorageOption)})


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
    search: str | None
    expires: bool
    alias: str | None
    alias_priority: int | None
    validation_alias: str | AliasPath | AliasChoices | None
    serialization_alias: str | None
    title: str | None
    field_title_generator: Callable[[str, FieldInfo], str] | None
    description: str | None
    examples: list[Any] | None
    exclude: bool | None
    exclude_if: Callable[[Any], bool] | None
    discriminator: str | Discriminator | None
    deprecated: deprecated_mark | str | bool | None
    json_schema_extra: JsonDict | Callable[[JsonDict], None] | None
    frozen: bool | None
    validate_default: bool | None
    repr: bool
    init: bool | None
    init_var: bool | None
    kw_only: bool | None
    pattern: str | re.Pattern[str] | None
    strict: bool | None
    coerce_numbers_to_str: bool | None
    gt: annotated_types.SupportsGt | None
    ge: annotated_types.SupportsGe | None
    lt: annotated_types.SupportsLt | None
    le: annotated_types.SupportsLe | None
    multiple_of: float | None
    allow_inf_nan: bool | None
    max_digits: int | None
    decimal_places: int | None
    min_length: int | None
    max_length: int | None
    union_mode: Literal["smart", "left_to_right"]
    fail_fast: bool | None


@overload
def Field(default: EllipsisType, **options: Unpack[FieldOptions]) -> Any: ...
@overload
def Field(default: T, **options: Unpack[FieldOptions]) -> T: ...
@overload
def Field(*, default_factory: Callable[[], T] | Callable[[dict[str, Any]], T], **options: Unpack[FieldOptions]) -> T: ...
@overload
def Field(**options: Unpack[FieldOptions]) -> Any: ...
def Field(default: Any = ..., **options: Any) -> Any:  # noqa: N802  - stands where pydantic.Field does
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
        search: the text can be searched by ``query.search``, analysed in this way: "standard", a language such as "english", or another
            analyser of the store. A store without full-text search passes over it, and refuses the search.
        expires: a ``datetime | None`` at which the record ceases to be: the store removes it, and no read finds it from then on.
        options: everything else goes to ``pydantic.Field``.

    Raises:
        ConfigurationError: an unknown option, or a value that it does not take.
    """
    for name in options.keys() - _KNOWN:
        msg = f"Field() has no option {name!r}{near_miss(name, _KNOWN)}"
        raise ConfigurationError(msg)
    said = [_OPTIONS[name](options.pop(name)) for name in _OPTIONS if name in options]
    storage_of(said)
    info = cast("FieldInfo", pydantic.Field(**options) if default is ... else pydantic.Field(default, **options))
    info.metadata.extend(said)
    return info


_KNOWN = FieldOptions.__annotations__.keys() | {"default_factory"}


class StoreOption:
    """The root of what ``Meta.store_options`` may hold. A store looks for its own, and passes over those of others."""

    __slots__ = ()


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
