"""Names of indexes and fields, and ids of documents: each an injective image of what the model says, in the characters that are allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from holdall.errors import LimitExceeded
from holdall.record.metadata import FieldSpec, ModelInfo

ID_BYTES = 512
INDEX_BYTES = 255
_NOT_INDEX = re.compile(r"[^a-z0-9_.-]|^[_.-]")
# ``.`` would make an object, ``*`` a pattern, and ``#`` stands before the names of shadow fields.
_NOT_FIELD = re.compile(r"[^A-Za-z0-9_-]|^_")


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"~{byte:02x}" for byte in match[0].encode())


def alias_of(info: ModelInfo, prefix: str) -> str:
    """Return the alias by which all requests go.

    Raises:
        LimitExceeded: the name is too long.
    """
    name = prefix + _NOT_INDEX.sub(_escaped, info.name)
    # Room for the number of the index behind the alias.
    if len(name) > INDEX_BYTES - 10:
        raise LimitExceeded(f"{info.label}: the name of the index in bytes", limit=INDEX_BYTES - 10, value=len(name))
    return name


def index_of(alias: str, number: int) -> str:
    """Return the name of an index behind an alias; no model's alias is called so, because hexadecimal digits follow its ``~``."""
    return f"{alias}~v{number:06d}"


def only_of(index: str) -> str:
    """Return the alias of this one index alone: writes by it fail when the index is gone, where its name would become a new index."""
    return index.replace("~v", "~o")


def number_of(index: str) -> int:
    """Return the number in the name of an index."""
    return int(index.rpartition("~v")[2])


def reservations_of(alias: str) -> str:
    """Return the index of the unique values."""
    return f"{alias}~unique"


def field_of(spec: FieldSpec) -> str:
    """Return the name of a field in documents."""
    return _NOT_FIELD.sub(_escaped, spec.stored_name)


def id_maker(natives: Sequence[Callable[[Any], Any] | None], *, numeric: bool) -> Callable[[tuple[Any, ...]], str]:
    """Return the function from a plain key to the id of its document.

    Args:
        natives: turn its parts into what is stored.
        numeric: it is one whole number, whose digits are an id as they are.
    """
    if numeric:
        (native,) = natives
        return (lambda key: str(key[0])) if native is None else (lambda key: str(native(key[0])))

    def parts(key: tuple[Any, ...]) -> list[str]:
        return [_text(part if native is None else native(part)) for native, part in zip(natives, key, strict=True)]

    def one(key: tuple[Any, ...]) -> str:
        return _bounded(parts(key)[0])

    def several(key: tuple[Any, ...]) -> str:
        return _bounded(",".join(part.replace("~", "~0").replace(",", "~1") for part in parts(key)))

    return one if len(natives) == 1 else several


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _bounded(text: str) -> str:
    """Return a text as an id: it must not be empty, nor look like a name of the server's or a step in a path, nor be too long."""
    if len(text.encode()) >= ID_BYTES:
        # An id of this kind begins like none of the others: ``~`` is doubled in these.
        return f"~#{blake2b(text.encode(), digest_size=32).hexdigest()}"
    return f"~{text}" if not text or text[0] in "~._" else text
