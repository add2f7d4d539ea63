"""The pages of the documentation, and the blocks of code in them.

How a block is run follows from how it is written:

- one with ``title="models.py"`` is a file; the files of a page are a project, whose tests are run;
- one that calls ``asyncio.run`` is a program;
- any other goes on where those before it on its page ended, after the models of ``docs/models.md``, with an open ``backend`` and the stored
  customers ``ada`` and ``bob``.

A ``text`` block right behind one of these is what it prints. A comment before a block says what is not as usual:
``<!-- raises: NotFoundError -->`` (the text behind is the error's), or ``<!-- not run: why -->``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>raises|not run): (?P<said>.+?) -->\n+)?"
    r"^```(?P<language>python|toml|ini) ?(?P<options>.*)\n(?P<text>(?:.*\n)*?)```$"
    r"(?:\n\n```text\n(?P<output>(?:.*\n)*?)```$)?",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A block of code.

    ``line`` is that of its first line in the page; ``raises``, ``skipped`` and ``output`` are what comments and the text behind say.
    """

    language: str
    text: str
    line: int
    file: str | None
    raises: str | None
    skipped: str | None
    output: str | None

    @property
    def is_program(self) -> bool:
        return "asyncio.run(" in self.text


@dataclass(frozen=True)
class Page:
    """A page in Markdown."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        return [self._block(match) for match in _BLOCK.finditer(self.text)]

    @property
    def files(self) -> dict[str, str]:
        """The files of the project that the page is."""
        return {block.file: block.text for block in self.blocks if block.file is not None}

    def _block(self, match: re.Match[str]) -> Block:
        said = {match["mark"]: match["said"]} if match["mark"] else {}
        title = re.search(r'title="([^"]+)"', match["options"])
        line = self.text.count("\n", 0, match.start("text")) + 1
        return Block(match["language"], match["text"], line, title and title[1], said.get("raises"), said.get("not run"), match["output"])


def all_pages() -> list[Page]:
    """Return README and every page of ``docs/`` and of the stores."""
    return [Page(path) for path in sorted([ROOT / "README.md", *DOCS.rglob("*.md"), *(ROOT / "src").rglob("README.md")])]
