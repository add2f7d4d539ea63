"""Regular expressions that fold case as Python does: every code point, and texts made to be hard."""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncGenerator, Callable

import pytest
from pydantic import JsonValue

import holdall
from holdall import Backend, Field, Model
from holdall.stores.mysql.casefold import ANCHORS, _folds


class Text(Model):
    id: int = Field(primary_key=True)
    text: str = ""
    extra: dict[str, JsonValue] = {}


@pytest.fixture
async def backend(mysql_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(mysql_url) as backend:
        await backend.drop(Text)
        await backend.initialize(Text)
        yield backend
        await backend.drop(Text)


def test_every_character_that_folds_is_known() -> None:
    folds = _folds()
    for character in map(chr, range(sys.maxunicode + 1)):
        folded = character.casefold()
        assert (character in folds.sources(folded)) or 0xD800 <= ord(character) < 0xE000
        assert folded == character or character in folds.others[folded]


async def test_every_code_point_that_folds_is_found_by_its_fold(backend: Backend) -> None:
    characters = [character for fold in _folds().others.values() for character in fold]
    await backend.create_many([Text(id=ord(character), text=character) for character in characters])
    folds = sorted({character.casefold() for character in characters})

    for fold in random.Random(5).sample(folds, 150):
        expected = sorted(ord(character) for character in characters if character.casefold() == fold)
        found = await backend.query(Text).filter(text__iexact=fold).values("id").all()
        assert sorted(row["id"] for row in found) == expected, fold


HOLDS: dict[str, Callable[[str, str], bool]] = {
    "iexact": lambda text, needle: text == needle,
    "istartswith": str.startswith,
    "iendswith": str.endswith,
    "icontains": str.__contains__,
}
PIECES = [
    "s",
    "S",
    "ß",
    "ẞ",
    "ſ",
    "ﬀ",
    "ﬃ",
    "f",
    "F",
    "i",
    "İ",
    "I",
    "ı",
    "ŉ",
    "ʼ",
    "n",
    "ΐ",
    "ι",
    "Ι",
    "\u0308",
    "\u0301",
    "K",
    "k",
    "å",
    "Å",
    "a",
    ".",
]


async def test_texts_whose_folds_overlap_are_compared_exactly(backend: Backend) -> None:
    chance = random.Random(11)
    texts = ["".join(chance.choices(PIECES, k=chance.randrange(6))) for _ in range(250)]
    await backend.create_many([Text(id=number, text=text) for number, text in enumerate(texts)])

    for _ in range(60):
        needle = "".join(chance.choices(PIECES, k=chance.randrange(1, 4)))
        operator = chance.choice(list(ANCHORS))
        expected = [number for number, text in enumerate(texts) if HOLDS[operator](text.casefold(), needle.casefold())]
        found = await backend.query(Text).filter(**{f"text__{operator}": needle}).order_by("id").values("id").all()
        assert [row["id"] for row in found] == expected, (operator, needle)


@pytest.mark.parametrize(("operator", "expected"), [("iexact", [2]), ("istartswith", [1, 2]), ("iendswith", [1, 2]), ("icontains", [1, 2])])
async def test_an_empty_needle_inside_a_document_is_in_every_text(backend: Backend, operator: str, expected: list[int]) -> None:
    """Of plain fields the planner has made another condition of it."""
    await backend.create_many([Text(id=1, extra={"a": "x"}), Text(id=2, extra={"a": ""}), Text(id=3, extra={"a": 1}), Text(id=4)])

    lookup = {f"extra__a__{operator}": ""}
    found = await backend.query(Text).filter(**lookup).order_by("id").values("id").all()
    others = await backend.query(Text).exclude(**lookup).order_by("id").values("id").all()

    assert [row["id"] for row in found] == expected
    assert [row["id"] for row in others] == [number for number in range(1, 5) if number not in expected]
