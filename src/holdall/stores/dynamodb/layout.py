"""Where a model's records are: table, keys, indexes and attributes; and the generated functions between plain rows and items."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from holdall.errors import ConfigurationError, CorruptRecordError, LimitExceeded
from holdall.record.decoder import Decoder
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.types import Kind
from holdall.stores.dynamodb.keys import PLAIN, READABLE, Style, part_text
from holdall.stores.dynamodb.options import SingleTable
from holdall.stores.dynamodb.values import AttributeValue, Item, codec_of, decode

TYPE_ATTRIBUTE = "_type"
EXPIRY_ATTRIBUTE = "_expires"
_PARTITION_BYTES, _SORT_BYTES, _NAME_BYTES = 2048, 1024, 255
_FIELD = re.compile(r"\{(\w+)\}")
Values = Callable[[FieldSpec], Any]


@dataclass(frozen=True, slots=True)
class Key:
    """A partition or sort key: the attribute of one field, or a text composed of several.

    Attributes:
        attribute: its name in the item.
        parts: literals and fields, in order. A native key has one field.
        style: how parts are joined; None for a native key.
        marked: each part begins with a mark that tells None (``1``, which sorts last) from a value (``0``).
        limit: how many bytes it may have.
    """

    attribute: str
    parts: tuple[str | FieldSpec, ...]
    style: Style | None
    marked: bool
    limit: int

    @property
    def specs(self) -> tuple[FieldSpec, ...]:
        """The fields in it."""
        return tuple(part for part in self.parts if isinstance(part, FieldSpec))

    @property
    def type(self) -> str:
        """The attribute's type: S, N or B."""
        return "S" if self.style is not None else codec_of(self.specs[0]).tag

    def part(self, part: str | FieldSpec, value: Any) -> str:
        """Return the text of a part of a composed key."""
        assert self.style is not None
        if isinstance(part, str):
            return part
        if value is None:
            return "1"
        text = part_text(part.type, value, self.style)
        return "0" + text if self.marked else text

    def value(self, values: Values) -> AttributeValue:
        """Return the attribute value, given the plain value of each field.

        Raises:
            LimitExceeded: it is longer than the service permits.
        """
        if self.style is None:
            spec = self.specs[0]
            found = codec_of(spec).value(values(spec))
        else:
            texts = [self.part(part, None if isinstance(part, str) else values(part)) for part in self.parts]
            found = {"S": self.style.separator.join(texts)}
        return self.checked(found)

    def checked(self, value: AttributeValue) -> AttributeValue:
        """Return the value, or raise ``LimitExceeded``."""
        ((tag, text),) = value.items()
        if tag != "N" and len(text) * 3 > self.limit:
            size = len(text.encode()) if tag == "S" else len(text) * 3 // 4 - text[-2:].count("=")
            if size > self.limit:
                names = ", ".join(spec.name for spec in self.specs)
                raise LimitExceeded(f"the key attribute {self.attribute!r} of {names} in bytes", limit=self.limit, value=size)
        return value


@dataclass(frozen=True, slots=True)
class Place:
    """Where items can be looked up by partition and sort key: the table itself (``name`` is None) or a secondary index."""

    name: str | None
    partition: Key
    sort: Key | None

    @property
    def keys(self) -> tuple[Key, ...]:
        """Both keys, or the one that there is."""
        return (self.partition,) if self.sort is None else (self.partition, self.sort)


class Layout:
    """Where the records of a model are, and how they are written.

    Attributes:
        table: the table's name, and ``stored_name`` without the prefix. ``side``: that of its unique values.
        place: the table's own keys. ``indexes``: the secondary ones.
        entity: the name of the model in a table that it shares, else None.
        key: from a plain key to the key's attributes. ``item``: from a plain row to an item. ``row``: from an item to a row of all fields.
    """

    def __init__(self, info: ModelInfo, prefix: str) -> None:
        self.info = info
        option = _single_table(info)
        self.stored_name = _taken_name(info.name if option is None else option.table, "table")
        self.table = prefix + self.stored_name
        self.side = f"{self.table}.unique"
        self.entity = None if option is None else info.name
        self.place = _own_place(info) if option is None else _shared_place(info, option)
        self.indexes = _distinct(
            info, (*_declared(info, None if option is None else info.name), *(() if option is None else _shared_indexes(info, option)))
        )
        self.dependants = {spec: [place for place in self.indexes if any(spec in key.specs for key in place.keys)] for spec in info.fields}
        self._check_names()
        self.key = _compile_key(self)
        self.item = _compile_item(self)
        self._rows: dict[tuple[FieldSpec, ...], Callable[[Item], tuple[Any, ...]]] = {}
        self.row = self.row_of(info.fields)
        self._decoder: Decoder | None = None

    def _check_names(self) -> None:
        ours = [key.attribute for place in (self.place, *self.indexes) for key in place.keys if key.style is not None]
        ours += [TYPE_ATTRIBUTE, EXPIRY_ATTRIBUTE]
        for spec in self.info.fields:
            if spec.stored_name in ours:
                msg = f"{self.info.label}.{spec.name}: the stored name {spec.stored_name!r} is one that DynamoDB's keys need; set another"
                raise ConfigurationError(msg)
        sides = [self.side] if self.info.uniques else []
        for name in (self.table, *sides, *(key.attribute for place in self.indexes for key in place.keys)):
            if len(name.encode()) > _NAME_BYTES:
                what = f"the name {name[:40]!r}… of a table or an index's key of {self.info.label} in bytes (state a shorter one)"
                raise LimitExceeded(what, limit=_NAME_BYTES, value=len(name.encode()))

    def index_item(self, place: Place, row: Sequence[Any]) -> Item:
        """Return the attributes of an index, from a plain row."""
        return {key.attribute: key.value(lambda spec: row[spec.position]) for key in place.keys}

    def row_of(self, fields: tuple[FieldSpec, ...]) -> Callable[[Item], tuple[Any, ...]]:
        """Return the function from an item to the row of some fields, made once."""
        found = self._rows.get(fields)
        if found is None:
            if len(self._rows) > 1000:
                self._rows.clear()  # shapes made on the fly must not pile up
            found = self._rows[fields] = _compile_row(self.info, fields)
        return found

    def plain(self, item: Item) -> tuple[Any, ...]:
        """Return the plain row of an item."""
        if self._decoder is None:
            self._decoder = Decoder(self.info, self.info.fields, decode)
        return self._decoder.plain(self.row(item))

    def is_live(self, item: Item, now: str | None) -> bool:
        """Tell whether an item is a record of the model that has not expired at that moment."""
        if self.entity is not None and item.get(TYPE_ATTRIBUTE) != {"S": self.entity}:
            return False
        spec = self.info.expires
        if spec is None or now is None:
            return True
        until = item.get(spec.stored_name)
        return until is None or bool(until["S"] > now)


def _taken_name(name: str, kind: str) -> str:
    """Return a name that the service takes: of three characters at least, each a letter, a digit or one of ``_.-``."""
    found = re.sub(r"[^A-Za-z0-9_.-]", lambda match: f"-{ord(match[0]):x}-", name)
    return found if len(found) >= 3 else f"{found}_{kind}"


def expiry(moment: datetime) -> AttributeValue:
    """Return the whole second from which the service may remove an item."""
    return {"N": str(math.ceil(moment.timestamp()))}


@lru_cache(maxsize=4096)
def layout_of(info: ModelInfo, prefix: str) -> Layout:
    """Return the layout of a model, made once.

    Raises:
        ConfigurationError: the model's options do not fit its fields.
    """
    return Layout(info, prefix)


# -- keys ------------------------------------------------------------------------------------------------------------------------------


def _single_table(info: ModelInfo) -> SingleTable | None:
    found = [option for option in info.store_options if isinstance(option, SingleTable)]
    if len(found) > 1:
        msg = f"{info.label}.Meta.store_options has {len(found)} SingleTable options; a model is in one table"
        raise ConfigurationError(msg)
    return found[0] if found else None


def _native(spec: FieldSpec, limit: int) -> Key:
    return Key(spec.stored_name, (spec,), None, marked=False, limit=limit)


def _own_place(info: ModelInfo) -> Place:
    first, rest = info.key[0], info.key[1:]
    sort = None
    if len(rest) == 1:
        sort = _native(rest[0], _SORT_BYTES)
    elif rest:
        sort = Key("_sort", rest, PLAIN, marked=True, limit=_SORT_BYTES)
    return Place(None, _native(first, _PARTITION_BYTES), sort)


def _declared(info: ModelInfo, entity: str | None) -> Iterable[Place]:
    """Return an index for each one that the model declares: the first field is the partition, the others and the key are the order."""
    wanted: list[tuple[str, tuple[FieldSpec, ...], str | None]] = [
        (spec.stored_name, (spec,), None) for spec in info.fields if spec.storage.index
    ]
    for index in info.indexes:
        specs = tuple(info.by_name[name.removeprefix("-")] for name in index.fields)
        if not index.unique:
            wanted.append((".".join(spec.stored_name for spec in specs), specs, index.name))
    for stored, (first, *rest), stated in wanted:
        name = _taken_name(stated or (stored if entity is None else f"{entity}.{stored}"), "index")
        order = (*rest, *(spec for spec in info.key if spec not in (first, *rest)))
        partition = Key(f"_h.{name}", (first,), PLAIN, marked=True, limit=_PARTITION_BYTES)
        yield Place(name, partition, Key(f"_s.{name}", order, PLAIN, marked=True, limit=_SORT_BYTES) if order else None)


def _distinct(info: ModelInfo, places: Iterable[Place]) -> tuple[Place, ...]:
    """Return each index once; raises ``ConfigurationError`` when two that differ have one name."""
    found: dict[str | None, Place] = {}
    for place in places:
        other = found.setdefault(place.name, place)
        if other != place:
            shown = " and ".join(", ".join(spec.name for key in one.keys for spec in key.specs) for one in (other, place))
            msg = f"{info.label}: the indexes of {shown} have the same name {place.name!r}; state another one, as in Index(…, name=…)"
            raise ConfigurationError(msg)
    return tuple(found.values())


def _shared_place(info: ModelInfo, option: SingleTable) -> Place:
    partition = _template(info, option.partition_attribute, option.partition_key, _PARTITION_BYTES)
    sort = None if option.sort_key is None else _template(info, option.sort_attribute, option.sort_key, _SORT_BYTES)
    place = Place(None, partition, sort)
    if sort is not None and sort.attribute == partition.attribute:
        msg = f"{info.label}: both keys of SingleTable are called {sort.attribute!r}; set another sort_attribute"
        raise ConfigurationError(msg)
    found = [spec for key in place.keys for spec in key.specs]
    if sorted(spec.name for spec in found) != sorted(spec.name for spec in info.key):
        wanted = ", ".join(spec.name for spec in info.key)
        msg = (
            f"{info.label}: the partition key and sort key of SingleTable hold each field of the model's key once ({wanted}), and no other"
        )
        raise ConfigurationError(msg)
    return place


def _shared_indexes(info: ModelInfo, option: SingleTable) -> Iterable[Place]:
    for stated, (partition, sort) in option.indexes.items():
        name = _taken_name(stated, "index")
        first = _template(info, f"{name}_PK", partition, _PARTITION_BYTES)
        yield Place(name, first, _template(info, f"{name}_SK", sort, _SORT_BYTES))


def _template(info: ModelInfo, attribute: str, text: str, limit: int) -> Key:
    parts = tuple(_segment(info, text, segment) for segment in text.split(READABLE.separator))
    if len(parts) == 1 and isinstance(parts[0], FieldSpec) and parts[0].type.kind in (Kind.STR, Kind.BYTES):
        msg = f"{info.label}: the key {text!r} would be empty for an empty {parts[0].name}; begin it with a literal, such as 'NAME#{text}'"
        raise ConfigurationError(msg)
    return Key(attribute, parts, READABLE, marked=False, limit=limit)


def _segment(info: ModelInfo, text: str, segment: str) -> str | FieldSpec:
    found = _FIELD.fullmatch(segment)
    if found is None:
        if "{" in segment or "}" in segment or "$" in segment or "\x01" in segment:
            msg = f"{info.label}: in the key {text!r} each segment between # is a literal without $ or one field in braces, not {segment!r}"
            raise ConfigurationError(msg)
        return segment
    spec = info.by_name.get(found[1])
    if spec is None or spec.nullable or spec.type.kind is Kind.DOCUMENT:
        why = "is no field of the model" if spec is None else "can be None; use Meta.indexes" if spec.nullable else "has no order"
        msg = f"{info.label}: the key {text!r} cannot be made of {found[1]!r}, which {why}"
        raise ConfigurationError(msg)
    return spec


# -- items -----------------------------------------------------------------------------------------------------------------------------


def _compile_item(layout: Layout) -> Callable[[Sequence[Any]], Item]:
    info = layout.info
    names: dict[str, Any] = {"layout": layout, "expiry": expiry}
    lines = ["def item(r):", f" {','.join(f'v{spec.position}' for spec in info.fields)}, = r", " i = {}"]
    for spec in info.fields:
        variable, codec = f"v{spec.position}", codec_of(spec)
        names[f"w{spec.position}"] = codec.write
        written = codec.source.replace("{v}", variable) or f"w{spec.position}({variable})"
        value = f"{{{codec.tag!r}: {written}}}" if codec.tag else written
        test = f"if {variable} is not None: " if spec.nullable else ""
        lines.append(f" {test}i[{spec.stored_name!r}] = {value}")
        if spec is info.expires:
            lines.append(f" if {variable} is not None: i[{EXPIRY_ATTRIBUTE!r}] = expiry({variable})")
    if layout.entity is not None:
        lines.append(f" i[{TYPE_ATTRIBUTE!r}] = {{'S': {layout.entity!r}}}")
    lines += [f" i.update(layout.index_item(layout.indexes[{number}], r))" for number in range(len(layout.indexes))]
    # A native key is the field's own attribute; its length is checked, as that of a composed one is.
    for number, key in enumerate(layout.place.keys):
        names[f"k{number}"] = key
        value = f"k{number}.value(lambda spec: r[spec.position])" if key.style else f"k{number}.checked(i[{key.attribute!r}])"
        lines.append(f" i[{key.attribute!r}] = {value}")
    exec("\n".join((*lines, " return i")), names)  # noqa: S102  - generated; names are quoted with repr
    return names["item"]  # type: ignore[no-any-return]


def _compile_key(layout: Layout) -> Callable[[Sequence[Any]], Item]:
    names: dict[str, Any] = {"composed": _composed}
    specs = layout.info.key
    lines = ["def key(k):", f" {','.join(f'v{number}' for number in range(len(specs)))}, = k", " return {"]
    for number, key in enumerate(layout.place.keys):
        names |= {f"k{number}": key, f"w{number}": codec_of(key.specs[0]).write if key.style is None else None, "specs": specs}
        if key.style is None:
            codec, variable = codec_of(key.specs[0]), f"v{specs.index(key.specs[0])}"
            text = codec.source.replace("{v}", variable) or f"w{number}({variable})"
            value = f"{{{codec.tag!r}: {text}}}"
            if codec.tag != "N":
                value = f"k{number}.checked({value})"
        else:
            value = f"composed(k{number}, specs, k)"
        lines.append(f"  {key.attribute!r}: {value},")
    exec("\n".join((*lines, " }")), names)  # noqa: S102  - generated; names are quoted with repr
    return names["key"]  # type: ignore[no-any-return]


def _composed(key: Key, specs: Sequence[FieldSpec], values: Sequence[Any]) -> AttributeValue:
    return key.value(dict(zip(specs, values, strict=True)).__getitem__)


def _compile_row(info: ModelInfo, fields: tuple[FieldSpec, ...]) -> Callable[[Item], tuple[Any, ...]]:
    def broken(item: Item) -> CorruptRecordError:
        for spec in fields:
            found, tag = item.get(spec.stored_name), codec_of(spec).tag
            if (found is None and not spec.nullable) or (found is not None and tag and tag not in found):
                key = tuple(next(iter(item.get(part.stored_name, {"": None}).values())) for part in info.key)
                problem = "it is missing" if found is None else f"{found!r} is not of the type {tag}"
                return CorruptRecordError(info.label, key[0] if len(key) == 1 else key, spec.name, problem)
        raise AssertionError  # the generated function has failed for one of these reasons

    def piece(spec: FieldSpec) -> str:
        tag = codec_of(spec).tag
        inside = f"[{tag!r}]" if tag else ""
        if not spec.nullable:
            return f"i[{spec.stored_name!r}]{inside},"
        return f"(None if (a := g({spec.stored_name!r})) is None else a{inside}),"

    names: dict[str, Any] = {"broken": broken}
    lines = ["def row(i):", " g = i.get", f" try: return ({''.join(map(piece, fields))})"]
    lines.append(" except (KeyError, TypeError) as exc: raise broken(i) from exc")
    exec("\n".join(lines), names)  # noqa: S102
    return names["row"]  # type: ignore[no-any-return]
