"""What a row may hold on these servers, checked before I/O: the lengths of texts in keys, and the depth of documents."""

# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# What is inside a list or dict counts as unknown.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from holdall.errors import ConfigurationError, LimitExceeded
from holdall.query.predicates import OrderTerm
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.types import Kind
from holdall.stores.mysql.capabilities import LIMITS
from holdall.stores.mysql.flavours import SORTED_TEXTS

KEY_BYTES = 3072  # of an index in InnoDB
_ROW_BYTES = 60_000  # of all columns of bounded length; the server's limit is 65,535, with bytes for lengths and NULLs
_CHARACTER = 4
_SPARE = 64
_LAST_OF_NAMES = 0xFFFF
_LONG = frozenset((Kind.STR, Kind.BYTES, Kind.DOCUMENT))
_WIDTHS = {Kind.UUID: 16, Kind.DATETIME: 8, Kind.TIME: 6, Kind.DECIMAL: 17, Kind.DATE: 3}


@lru_cache(maxsize=1024)
def text_lengths(info: ModelInfo) -> dict[FieldSpec, int]:
    """Return the texts and bytes whose columns are bounded, with their lengths in characters or bytes; all others are unbounded.

    What is part of the key must be bounded: where the model states no length, the room of a key is divided among its texts.
    """
    found: dict[FieldSpec, int] = {}
    texts = [spec for spec in info.key if _is_text(spec)]
    if texts:
        share = (KEY_BYTES - sum(_width(spec) for spec in info.key if not _is_text(spec))) // len(texts)
        found.update({spec: min(_declared(spec) or share, share // _unit(spec)) for spec in texts})
    left = _ROW_BYTES - sum(size * _unit(spec) for spec, size in found.items())
    for spec in sorted(
        (spec for spec in info.fields if _is_text(spec) and spec not in found), key=lambda spec: not _is_indexed(info, spec)
    ):
        size = _reference_length(info, spec, found) or _declared(spec)
        if size is not None and size * _unit(spec) <= min(KEY_BYTES, left):
            found[spec] = size
            left -= size * _unit(spec)
    return found


def _unit(spec: FieldSpec) -> int:
    """Return how many bytes one of the column's length takes."""
    return 1 if spec.type.kind is Kind.BYTES else _CHARACTER


def _width(spec: FieldSpec) -> int:
    return _WIDTHS.get(spec.type.kind, 8)


def index_prefixes(info: ModelInfo, fields: Sequence[FieldSpec]) -> dict[FieldSpec, int]:
    """Return, of the fields of an index, those of which it can hold a beginning only, with its length."""
    lengths = text_lengths(info)
    long = [spec for spec in fields if spec.type.kind in _LONG and spec not in lengths]
    bounded = sum(lengths[spec] * _unit(spec) if spec in lengths else _width(spec) for spec in fields if spec not in long)
    if bounded > KEY_BYTES:  # texts of bounded length that are too long together: each gets its share
        long = [spec for spec in fields if spec.type.kind in _LONG]
        bounded = sum(_width(spec) for spec in fields if spec not in long)
    shares = {spec: max((KEY_BYTES - bounded) // len(long) // _unit(spec), 1) for spec in long}
    return {spec: share for spec, share in shares.items() if lengths.get(spec, share + 1) > share}


def _reference_length(info: ModelInfo, spec: FieldSpec, own: Mapping[FieldSpec, int]) -> int | None:
    """Return the length of the key that a field refers to: the server wants both columns alike."""
    if spec.reference is None or not spec.reference.enforce:
        return None
    target = next(target for other, target in info.references if other is spec)
    lengths = own if target is info else text_lengths(target)
    return lengths.get(target.key[0])


def _is_text(spec: FieldSpec) -> bool:
    return spec.type.kind in (Kind.STR, Kind.BYTES)


def _is_indexed(info: ModelInfo, spec: FieldSpec) -> bool:
    names = {name.removeprefix("-") for index in info.indexes for name in index.fields}
    return spec.storage.index or spec.storage.unique or spec.reference is not None or spec.name in names


def _declared(spec: FieldSpec) -> int | None:
    """Return the longest text that the field allows, in characters."""
    choices = [member.value for member in spec.type.enum] if spec.type.enum is not None else [*spec.type.choices]
    if choices:
        # Room for the choices of later versions of the model: initialize alters no column.
        return max((len(choice) for choice in choices if isinstance(choice, str | bytes)), default=0) + _SPARE
    lengths = [bound.value for bound in spec.bounds if bound.operator == "max_length"]
    return max(min(lengths), 1) if lengths else None


@lru_cache(maxsize=1024)
def _checks(info: ModelInfo) -> tuple[tuple[tuple[FieldSpec, int], ...], tuple[FieldSpec, ...]]:
    lengths = text_lengths(info)
    bounded = tuple((spec, size) for spec, size in lengths.items() if (_declared(spec) or size + 1) > size)
    return bounded, tuple(spec for spec in info.fields if spec.document is not None)


def check_row(info: ModelInfo, row: tuple[Any, ...]) -> None:
    """Raise ``LimitExceeded`` for a row that the server would not take, or not take apart later."""
    bounded, documents = _checks(info)
    for spec, size in bounded:
        check_value(info, spec, row[spec.position], size)
    for spec in documents:
        check_depth(info, spec, row[spec.position])


def check_fields(info: ModelInfo, fields: tuple[FieldSpec, ...], values: tuple[Any, ...]) -> None:
    """Do the same for some fields."""
    bounded, documents = _checks(info)
    if bounded or documents:
        lengths = dict(bounded)
        for spec, value in zip(fields, values, strict=True):
            if spec in lengths:
                check_value(info, spec, value, lengths[spec])
            elif spec.document is not None:
                check_depth(info, spec, value)


def check_order(info: ModelInfo, order: Sequence[OrderTerm]) -> None:
    """Raise ``LimitExceeded`` for an order by more unbounded texts than the server's buffer is set up for; bounded ones fit its spare."""
    bounded = text_lengths(info)
    texts = sum(_is_text(term.field) and term.field not in bounded for term in order)
    if texts > SORTED_TEXTS:
        what = f"{info.label}: the texts without a max_length that a query is ordered by"
        raise LimitExceeded(what, limit=SORTED_TEXTS, value=texts)


def check_value(info: ModelInfo, spec: FieldSpec, value: Any, size: int) -> None:
    """Raise ``LimitExceeded`` for a text of a key that is too long."""
    if value is not None and len(value) > size:
        raise LimitExceeded(
            f"{'bytes' if isinstance(value, bytes) else 'characters'} of {info.label}.{spec.name}, a key on mysql; "
            "state max_length on the field, and keep long texts out of keys",
            limit=size,
            value=len(value),
        )


def check_depth(info: ModelInfo, spec: FieldSpec, text: Any) -> None:
    """Raise ``LimitExceeded`` for a document that the server's JSON functions would not read."""
    most = LIMITS.document_depth
    if isinstance(text, str) and text.count("[") + text.count("{") > most:
        depth = _depth(orjson.loads(text))
        if depth > most:
            raise LimitExceeded(f"levels of nesting in {info.label}.{spec.name} on mysql", limit=most, value=depth)


def _depth(value: Any) -> int:
    deepest = 0
    waiting: list[tuple[Any, int]] = [(value, 1)]
    while waiting:
        item, level = waiting.pop()
        children: list[Any] = list(item.values()) if isinstance(item, dict) else item if isinstance(item, list) else []
        if isinstance(item, dict | list):
            deepest = max(deepest, level)
        waiting += [(child, level + 1) for child in children]
    return deepest


def check_names(info: ModelInfo) -> None:
    """Raise ``ConfigurationError`` for a name that the server's dictionary cannot hold."""
    for what, name in ((info.label, info.name), *((f"{info.label}.{spec.name}", spec.stored_name) for spec in info.fields)):
        if any(ord(character) > _LAST_OF_NAMES for character in name) or name.endswith(" "):
            raise ConfigurationError(
                f"the stored name {name!r} of {what} is none for mysql, whose names have no characters above U+FFFF and end in no space; "
                "state another by Field(name=…) or Meta.name"
            )
