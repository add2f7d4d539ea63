"""Hits into rows: the values of some fields of a document, in the order that the decoder wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any

from holdall.record.decoder import Decoder
from holdall.stores.opensearch.mapping import Shape

Source = Mapping[str, Any]


class Rows:
    """Decodes documents with one decoder."""

    __slots__ = ("_decoder", "_names", "_row")

    def __init__(self, shape: Shape, decoder: Decoder) -> None:
        self._decoder = decoder
        self._names = tuple(shape.name(spec) for spec in decoder.fields)
        self._row: Callable[[Source], Any] = itemgetter(*self._names) if len(self._names) > 1 else self._missing_row

    def one(self, source: Source) -> Any:
        """Return the object of a document."""
        try:
            row = self._row(source)
        except KeyError:
            row = self._missing_row(source)
        return self._decoder.one(row)

    def many(self, sources: Iterable[Source]) -> list[Any]:
        """Return the objects of documents."""
        found = list(sources)
        try:
            rows = list(map(self._row, found))
        except KeyError:  # a document that was written before the model had all of its fields
            rows = list(map(self._missing_row, found))
        return self._decoder.many(rows)

    def _missing_row(self, source: Source) -> tuple[Any, ...]:
        return tuple([source.get(name) for name in self._names])
