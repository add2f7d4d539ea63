"""Names of tables, columns, indexes and constraints: quoted, and within the server's length."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from holdall.record.fields import Index
from holdall.record.metadata import FieldSpec, ModelInfo


def quote(name: str) -> str:
    """Return a name as a quoted identifier of standard SQL."""
    return '"' + name.replace('"', '""') + '"'


def constraint_name(prefix: str, info: ModelInfo, fields: Iterable[FieldSpec], limit: int = 63) -> str:
    """Return the name of an index or constraint: ``prefix_table_column_column``, shortened by a digest where it is too long."""
    return shortened("_".join((prefix, info.name, *(spec.stored_name for spec in fields))), limit)


def index_name(info: ModelInfo, index: Index, limit: int = 63) -> str:
    """Return the name of a declared index; its directions are part of it."""
    specs = [info.by_name[name.removeprefix("-")] for name in index.fields]
    parts = [spec.stored_name + ("_desc" if name.startswith("-") else "") for name, spec in zip(index.fields, specs, strict=True)]
    return index.name or shortened("_".join(("uq" if index.unique else "ix", info.name, *parts)), limit)


def shortened(name: str, limit: int) -> str:
    """Return the name if it has at most that many bytes, else its beginning and a digest of all of it."""
    if len(name.encode()) <= limit:
        return name
    digest = hashlib.blake2b(name.encode(), digest_size=5).hexdigest()
    return name.encode()[: limit - len(digest) - 1].decode(errors="ignore") + "_" + digest


def constraints(info: ModelInfo, limit: int = 63) -> dict[str, tuple[FieldSpec, ...]]:
    """Return the fields of every key, unique, foreign-key and check constraint and unique index of a model, by its name in the database."""
    found = {constraint_name("pk", info, info.key, limit): info.key}
    for spec in info.fields:
        if spec.storage.unique:
            found[constraint_name("uq", info, (spec,), limit)] = (spec,)
    for index in info.indexes:
        if index.unique:
            found[index_name(info, index, limit)] = tuple(info.by_name[name.removeprefix("-")] for name in index.fields)
    for spec in info.fields:
        if spec.reference is not None:
            found[constraint_name("fk", info, (spec,), limit)] = (spec,)
        found[constraint_name("ck", info, (spec,), limit)] = (spec,)
    return found
