"""What every write adds by itself: versions and times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdall.errors import QueryError
from holdall.query.predicates import Arithmetic
from holdall.record.generators import utc_now
from holdall.record.metadata import FieldSpec, ModelInfo


def stamped(info: ModelInfo, assignments: Mapping[FieldSpec, Any]) -> Mapping[FieldSpec, Any]:
    """Return the assignments of an update by query with the version counted up and ``auto_now`` fields set.

    Raises:
        QueryError: the version is assigned by hand.
    """
    found = dict(assignments)
    if info.version is not None:
        if info.version in found:
            msg = f"{info.label}.{info.version.name} is the version, which every update counts up by itself"
            raise QueryError(msg)
        found[info.version] = Arithmetic("+", info.version, 1)
    now = utc_now() if info.auto_now else None
    for spec in info.auto_now:
        found[spec] = now
    return found
