"""The page of errors has a section for every class, and says what a web service answers."""

from __future__ import annotations

import inspect
import re

import pytest

from holdall import errors
from holdall.errors import HoldallError
from holdall.integrations.problems import ANSWERS, UNEXPECTED
from tests.docs.pages import DOCS, Page

PAGE = Page(DOCS / "errors.md")
SECTIONS = dict(re.findall(r"^## (\w+)\n((?:(?!## ).*\n)*)", PAGE.text, re.MULTILINE))
CLASSES = {name: found for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, HoldallError)}
ROWS = re.findall(r"^\|[^|]*\|(.*\[.*)\| (\d+) \|$", PAGE.text, re.MULTILINE)
STATUS = {name: int(status) for errors_of_row, status in ROWS for name in re.findall(r"\[(\w+)\]", errors_of_row)}


def test_every_error_has_a_section_and_every_section_an_error() -> None:
    assert sorted(SECTIONS) == sorted(CLASSES)


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - {"HoldallError"}))
def test_a_section_says_cause_and_remedy(name: str) -> None:
    assert "**Cause.**" in SECTIONS[name]
    assert "**Remedy.**" in SECTIONS[name]


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - {"HoldallError"}))
def test_the_table_tells_what_a_web_service_answers(name: str) -> None:
    answer = next((ANSWERS[base] for base in CLASSES[name].__mro__ if base in ANSWERS), UNEXPECTED)

    assert STATUS[name] == answer.status


def test_attributes_of_an_error_are_named_in_its_section() -> None:
    unnamed = [
        f"{name}.{attribute}"
        for name, found in CLASSES.items()
        for attribute in re.findall(r"self\.(\w+)\b.* = ", _constructor(found))
        if f"`.{attribute}`" not in SECTIONS[name]
    ]

    assert unnamed == []


def _constructor(found: type[HoldallError]) -> str:
    return inspect.getsource(found.__init__) if "__init__" in vars(found) else ""
