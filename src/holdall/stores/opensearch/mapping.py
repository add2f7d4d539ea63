"""What a model becomes: the mapping of its index, the function from rows to documents, ids, and the names by which hits become rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from holdall.errors import ConfigurationError, LimitExceeded
from holdall.query.oracle import check_rules
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.types import Kind
from holdall.stores.opensearch import values
from holdall.stores.opensearch.naming import field_of, id_maker
from holdall.stores.opensearch.values import Shadow, is_long_text, native_of, shadows_of, type_of

MOST_FIELDS = 1000
TEXT = "t"
"""The subfield with the analysed text of a field that can be searched."""
WORDS = "w"
"""The subfield with its words as they are written, of which suggestions are made: those of an analyser may be stems."""
# fmt: off
ANALYZERS = frozenset((
    "arabic", "armenian", "basque", "bengali", "brazilian", "bulgarian", "catalan", "cjk", "czech", "danish", "dutch", "english",
    "estonian", "finnish", "french", "galician", "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian",
    "keyword", "latvian", "lithuanian", "norwegian", "persian", "portuguese", "romanian", "russian", "simple", "sorani",
    "spanish", "standard", "stop", "swedish", "thai", "turkish", "whitespace",
))
# fmt: on
Row = tuple[Any, ...]
Encode = Callable[[Row], dict[str, Any]]


class Shape:
    """All that the store knows of a model, worked out once.

    Attributes:
        names: of the fields in documents, in the order of the model's.
        id_of: from a plain key to the id of its document.
        to_document: from a plain row to a document.
        has_shadows: whether documents hold more than the model's fields.
    """

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        self.names = tuple(field_of(spec) for spec in info.fields)
        self.natives = tuple(native_of(spec) for spec in info.fields)
        self.key_positions = tuple(spec.position for spec in info.key)
        self.id_of = id_maker([self.natives[position] for position in self.key_positions])
        self.shadows = tuple(shadows_of(spec) for spec in info.fields)
        self.has_shadows = any(self.shadows)
        self.bounded = tuple(spec for spec in info.fields if spec.bounds)
        self.to_document = _encoder(self, info.fields)

    def name(self, spec: FieldSpec) -> str:
        """Return the name of a field in documents."""
        return self.names[spec.position]

    def native(self, spec: FieldSpec, value: Any) -> Any:
        """Return the stored value of a plain one."""
        convert = self.natives[spec.position]
        return value if convert is None or value is None else convert(value)

    def key_of(self, row: Row) -> Row:
        """Return the plain key in a plain row."""
        return tuple([row[position] for position in self.key_positions])

    def part(self, fields: Sequence[FieldSpec], row: Sequence[Any]) -> dict[str, Any]:
        """Return what a change of these fields writes, with their shadows; ``row`` holds their plain values in this order."""
        return _part_encoder(self, tuple(fields))(tuple(row))

    def plain_row(self, source: Mapping[str, Any]) -> Row:
        """Return the plain row of a document."""
        return tuple([values.plain_of(spec, source.get(name)) for spec, name in zip(self.info.fields, self.names, strict=True)])

    def check(self, fields: Sequence[FieldSpec], row: Sequence[Any]) -> None:
        """Check the rules that other stores have as constraints; raises ``ValidationError``."""
        for spec, value in zip(fields, row, strict=True):
            if spec.bounds and value is not None:
                check_rules(spec, spec.python(value), self.info.label)

    def check_row(self, row: Row) -> None:
        """Check the rules of a whole row."""
        if self.bounded:
            self.check(self.bounded, [row[spec.position] for spec in self.bounded])

    @cached_property
    def mapping(self) -> dict[str, Any]:
        """The mapping of the index.

        Raises:
            ConfigurationError: an analyser that there is not.
            LimitExceeded: there are too many fields.
        """
        properties: dict[str, Any] = {}
        for spec, name, shadows in zip(self.info.fields, self.names, self.shadows, strict=True):
            properties[name] = _property(self.info, spec)
            properties.update({name + suffix: _typed(kind) for suffix, kind, _ in shadows})
        if len(properties) > MOST_FIELDS:
            raise LimitExceeded(f"{self.info.label}: the fields of its index", limit=MOST_FIELDS, value=len(properties))
        return {"dynamic": "strict", "date_detection": False, "properties": properties}


@lru_cache(maxsize=4096)
def shape_of(info: ModelInfo) -> Shape:
    """Return the shape of a model, made once."""
    return Shape(info)


def _typed(kind: str) -> dict[str, Any]:
    # Without coerce=false 5.9 would be indexed as 5.
    if kind in ("long", "double", "byte"):
        return {"type": kind, "coerce": False}
    return {"type": kind, "format": "epoch_millis"} if kind == "date" else {"type": kind}


def _property(info: ModelInfo, spec: FieldSpec) -> dict[str, Any]:
    found = _typed(type_of(spec.type))
    if spec.type.kind is Kind.DOCUMENT or is_long_text(spec):
        found |= {"index": False, "doc_values": False}
    analyzer = spec.storage.search
    if analyzer is not None:
        if analyzer not in ANALYZERS:
            raise ConfigurationError(
                f"{info.label}.{spec.name}: OpenSearch has no analyser {analyzer!r} of its own; use one of {', '.join(sorted(ANALYZERS))}"
            )
        found["fields"] = {TEXT: {"type": "text", "analyzer": analyzer}, WORDS: {"type": "text", "analyzer": "standard"}}
    return found


# -- rows into documents ---------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _part_encoder(shape: Shape, fields: tuple[FieldSpec, ...]) -> Encode:
    return _encoder(shape, fields)


def _encoder(shape: Shape, fields: Sequence[FieldSpec]) -> Encode:
    """Return the function from a tuple of the fields' plain values to a part of a document, its conversions inlined."""
    label = shape.info.label
    names: dict[str, Any] = dict(values.SHADOW_NAMES)
    items: list[str] = []
    for position, spec in enumerate(fields):
        variable = f"v{position}"
        native = shape.natives[spec.position]
        names[f"n{position}"] = native
        names[f"check{position}"] = values.checked_text(label, spec)
        names[f"tokens{position}"] = values.checked_tokens(label, spec)
        text = variable if native is None else f"n{position}({variable})"
        if spec.type.kind is Kind.STR and not is_long_text(spec):
            text = f"({variable} if len({variable}) <= 4096 else check{position}({variable}))"
        if spec.type.kind is Kind.BYTES:
            names[f"check{position}"] = values.checked_text(label, spec)
            text = f"check{position}({text})"
        items.append(f"{shape.name(spec)!r}: {_optional(spec, variable, text)}")
        items += [_shadow(shape.name(spec), spec, variable, position, shadow) for shadow in shape.shadows[spec.position]]
    variables = "".join(f"v{position}," for position in range(len(fields)))
    body = f"def encode(r):\n {variables} = r\n return {{{', '.join(items)}}}"
    exec(body, names)  # noqa: S102  - names of fields are quoted with repr
    return names["encode"]  # type: ignore[no-any-return]


def _shadow(name: str, spec: FieldSpec, variable: str, position: int, shadow: Shadow) -> str:
    suffix, _, text = shadow
    text = text.format(v=variable, whole="whole", milliseconds="milliseconds", tokens=f"tokens{position}")
    return f"{name + suffix!r}: {_optional(spec, variable, text)}"


def _optional(spec: FieldSpec, variable: str, text: str) -> str:
    return text if text == variable or not spec.nullable else f"(None if {variable} is None else {text})"
