"""Lookups that ignore case, as regular expressions that the client builds: exact by ``str.casefold``, and as fast as ``LOWER``.

One class of characters stands for each folded character. Where folds of several characters overlap (``ss`` is ß), groups that refer to one
another spell the ways out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import NamedTuple

from holdall.capabilities import Capability
from holdall.errors import UnsupportedOperation

ANCHORS: dict[str, tuple[bool, bool]] = {
    "iexact": (True, True),
    "istartswith": (True, False),
    "iendswith": (False, True),
    "icontains": (False, False),
}
"""For each lookup, whether the needle stands at the start and at the end of the text."""


_LAST_WITH_CASE = 0x1FFFF  # the planes beyond hold ideographs, tags and private use


class _Folds(NamedTuple):
    """Which characters fold to something else.

    Attributes:
        others: from a folded text to the characters that fold to it and are not it.
        several: the folded texts of more than one character.
    """

    others: dict[str, list[str]]
    several: tuple[str, ...]

    def sources(self, folded: str) -> list[str]:
        """Return the characters that fold to a text; of a character that does not fold itself they begin with it."""
        same = [folded] if len(folded) == 1 and folded.casefold() == folded else []
        return [*same, *self.others.get(folded, ())]


@cache
def _folds() -> _Folds:
    others: dict[str, list[str]] = defaultdict(list)
    for character in map(chr, range(_LAST_WITH_CASE + 1)):
        folded = character.casefold()
        if folded != character:
            others[folded].append(character)
    return _Folds(dict(others), tuple(folded for folded in others if len(folded) > 1))


@lru_cache(maxsize=256)
def pattern(operator: str, needle: str, *, references: bool = True) -> str:
    """Return the pattern of the texts that match; ``needle`` is folded already. An empty one is in every text, and equal to the empty one.

    Raises:
        UnsupportedOperation: the pattern wants groups that refer to one another, and the server (``references=False``) has none.
    """
    start, end = ANCHORS[operator]
    if not needle:
        return r"\A\z" if start and end else r"\A"
    found = _Pattern(needle, end=end)
    if found.overlaps and not references:
        raise UnsupportedOperation(
            f"{operator} of {needle!r}: the regular expressions of MySQL cannot tell all ways in which such letters fold; use MariaDB, "
            "or store a casefolded copy of the text in a field of its own",
            missing=(Capability.CASEFOLD,),
        )
    head, rest = found.grouped() if found.overlaps else ("", found.nested())
    ways = [rest(0)]
    if not start:
        ways += found.begins_inside(rest)
    return f"{head}{chr(92) + 'A' if start else ''}(?:{'|'.join(ways)}){chr(92) + 'z' if end else ''}"


class _Pattern:
    def __init__(self, needle: str, *, end: bool) -> None:
        self._needle = needle
        self._end = end
        self._folds = _folds()
        size = len(needle)
        self.overlaps = any(needle[at : at + width] in self._folds.others for width in (2, 3) for at in range(size - width + 1))

    def grouped(self) -> tuple[str, Callable[[int], str]]:
        def rest(at: int) -> str:
            return "" if at >= len(self._needle) else f"(?&p{at})"

        groups = "".join(f"(?<p{at}>{'|'.join(self._ways(at, rest)) or '(*FAIL)'})" for at in range(len(self._needle)))
        return f"(?(DEFINE){groups})", rest

    def nested(self) -> Callable[[int], str]:
        parts = [""] * (len(self._needle) + 1)
        for at in range(len(self._needle) - 1, -1, -1):
            ways = self._ways(at, parts.__getitem__)
            parts[at] = ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})" if ways else "(?!)"
        return parts.__getitem__

    def _ways(self, at: int, rest: Callable[[int], str]) -> list[str]:
        """Return how the text may go on where the needle is at a place."""
        needle, size = self._needle, len(self._needle)
        pairs = [(width, self._folds.sources(needle[at : at + width])) for width in (1, 2, 3) if at + width <= size]
        found = [_class(sources) + rest(at + width) for width, sources in pairs if sources]
        if not self._end:  # a fold of several characters that sticks out at the end
            tail = needle[at:]
            longer = [fold for fold in self._folds.several if len(fold) > len(tail) and fold.startswith(tail)]
            beyond = [source for fold in longer for source in self._folds.sources(fold)]
            found += [_class(beyond)] if beyond else []
        return found

    def begins_inside(self, rest: Callable[[int], str]) -> list[str]:
        """Return the ways in which the needle begins in the middle of a fold of several characters."""
        found: list[str] = []
        for fold in self._folds.several:
            for at in range(1, len(fold)):
                tail = fold[at:]
                if self._needle.startswith(tail):
                    found.append(_class(self._folds.sources(fold)) + rest(len(tail)))
                elif not self._end and tail.startswith(self._needle):
                    found.append(_class(self._folds.sources(fold)))
        return found


def _class(characters: Iterable[str]) -> str:
    codes = [f"\\x{{{ord(character):x}}}" for character in characters]
    return f"[{''.join(codes)}]" if len(codes) > 1 else codes[0]
