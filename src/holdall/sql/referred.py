"""The order of rows that refer to one another, for servers that check each reference at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdall.record.metadata import ModelInfo


def referred_first(info: ModelInfo, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
    """Return the rows so that those that others of them refer to come first."""
    own = [spec for spec, target in info.references if target is info and spec.reference is not None and spec.reference.enforce]
    if not own or len(info.key) != 1:
        return rows
    by_key = {row[info.key[0].position]: row for row in rows}
    done: dict[Any, tuple[Any, ...]] = {}
    for start in by_key:
        path = [start]
        while path:
            key = path[-1]
            wanted = [by_key[key][spec.position] for spec in own]
            missing = [other for other in wanted if other in by_key and other not in done and other not in path]
            if missing:
                path.append(missing[0])
            else:
                done.setdefault(key, by_key[path.pop()])
    return list(done.values()) if len(done) == len(rows) else rows
