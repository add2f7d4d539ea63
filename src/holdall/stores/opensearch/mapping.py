"""What a model becomes: the mapping of its index, the function from rows to documents, ids, and the names by which hits become rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from holdall.errors import ConfigurationError, LimitExceeded
from holdall.query.oracle import check_rules
from holdall.record.decimals import scale
from holdall.record.metadata import FieldSpec, ModelInfo
from holdall.record.types import Kind
from holdall.stores.opensearch import values
from holdall.stores.opensearch.naming import field_of, id_maker
from holdall.stores.opensearch.tokens import whole
from holdall.stores.opensearch.values import is_long_text, native_of, shadows_of, type_of

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
    """

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        self.names = tuple(field_of(spec) for spec in info.fields)
        self.natives = tuple(native_of(spec) for spec in info.fields)
        self.key_positions = tuple(spec.position for spec in info.key)
        numeric = len(info.key) == 1 and type_of(info.key[0].type) == "long"
        self.id_of = id_maker([self.natives[position] for position in self.key_positions], numeric=numeric)
        self.shadows = tuple(shadows_of(spec) for spec in info.fields)
        self.bounded = tuple(spec for spec in info.fields if spec.bounds)
        self.to_document = _encoder(self, info.fields)

    def name(self, spec: FieldSpec) -> str:
        """Return the name of a field in documents."""
        return self.names[spec.position]

    def native(self, spec: FieldSpec, value: Any) -> Any:
        """Return the stored value of a plain one."""
        convert = self.natives[spec.position]
        return value if convert is None or value is None else convert(value)

    def id_of_row(self, row: Row) -> str:
        """Return the id of the document of a plain row."""
        return self.id_of((row[self.key_positions[0]],) if len(self.key_positions) == 1 else self.key_of(row))

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
    names: dict[str, Any] = {"casefold": str.casefold, "whole": whole, "scale": scale}
    lines: list[str] = []
    items: list[str] = []
    for position, spec in enumerate(fields):
        variable, stored = f"v{position}", shape.name(spec)
        text = _native(shape, spec, position, names)
        native = variable if text == variable else f"n{position}"
        if native != variable:
            lines.append(f"{native} = {_optional(spec, variable, text)}")
        items.append(f"{stored!r}: {native}")
        for suffix, _, source in shape.shadows[spec.position]:
            shadow = source.format(v=variable, n=native, tokens=f"tokens{position}")
            items.append(f"{stored + suffix!r}: {_optional(spec, variable, shadow)}")
        names[f"tokens{position}"] = values.checked_tokens(shape.info.label, spec)
    variables = "".join(f"v{position}," for position in range(len(fields)))
    body = "\n ".join([f"{variables} = r", *lines, f"return {{{', '.join(items)}}}"])
    exec(f"def encode(r):\n {body}", names)  # noqa: S102  - names of fields are quoted with repr
    return names["encode"]  # type: ignore[no-any-return]


def _native(shape: Shape, spec: FieldSpec, position: int, names: dict[str, Any]) -> str:
    """Return the source text of the stored value of ``v{position}``, which is not None."""
    variable = f"v{position}"
    names[f"native{position}"], names[f"check{position}"] = shape.natives[spec.position], values.checked_text(shape.info.label, spec)
    if spec.type.kind is Kind.STR and not is_long_text(spec):
        return f"({variable} if len({variable}) <= {values.SAFE_CHARACTERS} else check{position}({variable}))"
    text = variable if shape.natives[spec.position] is None else f"native{position}({variable})"
    if spec.type.kind is Kind.DECIMAL and type_of(spec.type) == "long":
        return f"int(scale({variable}, {spec.type.places}))"
    return f"check{position}({text})" if spec.type.kind is Kind.BYTES else text


def _optional(spec: FieldSpec, variable: str, text: str) -> str:
    return text if text == variable or not spec.nullable else f"(None if {variable} is None else {text})"
