"""Named parameters of raw SQL: ``:name`` into the server's placeholders, leaving texts, quoted names, comments and ``::`` casts alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache, lru_cache

from holdall.errors import QueryError
from holdall.naming import near_miss


@cache
def _tokens() -> re.Pattern[str]:
    comment = r"/\*(?:(?!/\*|\*/).)*\*/"
    for _ in range(3):  # PostgreSQL's comments nest
        comment = rf"/\*(?:(?!/\*|\*/).|{comment})*\*/"
    return re.compile(
        rf"""
          (?P<escape>(?<!\w)[eE]'(?:[^'\\]|''|\\.)*')
        | (?P<text>'(?:[^']|'')*')
        | (?P<name>"(?:[^"]|"")*")
        | (?P<line>--[^\n]*)
        | (?P<block>{comment})
        | (?P<dollar>(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)
        | (?P<cast>::)
        | (?<![\w:]):(?P<parameter>[^\W\d]\w*)
        """,
        re.VERBOSE | re.DOTALL,
    )


@lru_cache(maxsize=512)
def positional(sql: str, mark: str) -> tuple[str, tuple[str, ...]]:
    """Return the text with numbered placeholders, and the names in the order of their numbers; a name used twice has one number."""
    names: list[str] = []

    def replace(match: re.Match[str]) -> str:
        name = match["parameter"]
        if name is None:
            return match[0]
        if name not in names:
            names.append(name)
        return f"{mark}{names.index(name) + 1}"

    return _tokens().sub(replace, sql), tuple(names)


def bound(names: tuple[str, ...], given: Iterable[str], value: Callable[[str], object]) -> list[object]:
    """Return the values of the names.

    Raises:
        QueryError: a parameter of the text has no value, or a value has no parameter.
    """
    known = set(given)
    for name in names:
        if name not in known:
            raise QueryError(f"the SQL has a parameter :{name} without a value{near_miss(name, known)}")
    unused = known.difference(names)
    if unused:
        name = min(unused)
        raise QueryError(f"the SQL has no parameter :{name}{near_miss(name, names)}")
    return [value(name) for name in names]
