"""What lists, dicts and JSON values are found by: texts of their parts, beside the JSON itself, which is stored and not searched.

A token is a path, U+0000 (which no text may hold), a letter for the type, and the value: ``n`` a number as a text that sorts as numbers do,
``s`` a text, ``i`` the same casefolded, ``b`` a bool, ``l`` a list and ``o`` a dict by their canonical text, ``e`` an element of a list.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Values of any type are told apart by isinstance here, and what is inside a list or dict then counts as unknown.

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import orjson

from holdall.record.documents import canonical, loads

Path = Sequence[str | int]
_SHORT = 200


def path_of(keys: Path) -> str:
    """Return what the tokens at a path begin with."""
    return orjson.dumps(list(keys)).decode() + "\0"


def whole(text: str) -> str:
    """Return the token of a canonical JSON text: itself, or a digest where it is long."""
    if len(text) <= _SHORT:
        return text
    return "#" + b64encode(blake2b(text.encode(), digest_size=24).digest()).decode()


def number_text(value: float) -> str:
    """Return a text of a finite number that sorts as numbers do, equal for equal numbers."""
    number = Decimal(int(value)) if value == int(value) else Decimal(repr(value))
    if not number:
        return "5"
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).lstrip("0")
    magnitude = f"{exponent + len(text) + 5000:04d}{text.rstrip('0')}"
    # Negative numbers sort the other way: each digit by its complement, and the end after all of them.
    return f"6{magnitude}" if not sign else "4" + "".join(chr(105 - ord(digit)) for digit in magnitude) + "~"


def leaf(value: Any) -> str:
    """Return type and value, for equality."""
    if isinstance(value, bool):
        return f"b{value:d}"
    if isinstance(value, int | float):
        return f"n{number_text(value)}"
    if isinstance(value, str):
        return f"s{value}"
    return ("l" if isinstance(value, list) else "o") + whole(canonical(value))


def tokens(text: str) -> list[str]:
    """Return the tokens of a document."""
    return list(_tokens(loads(text), ()))


def _tokens(value: Any, keys: tuple[str | int, ...]) -> Iterator[str]:
    if value is None:
        return
    path = path_of(keys)
    if keys:
        yield path + leaf(value)
    if isinstance(value, str):
        yield f"{path}i{value.casefold()}"
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield f"{path}e{whole(canonical(item))}"
            yield from _tokens(item, (*keys, position))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tokens(item, (*keys, key))
