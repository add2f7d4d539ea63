"""The library's source, as syntax trees."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "holdall"


@dataclass(frozen=True)
class SourceFile:
    """A file of the library."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def is_shared(self) -> bool:
        """Whether it serves all stores."""
        return not self.name.startswith("stores/")

    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.name)

    def classes(self) -> Iterator[ast.ClassDef]:
        return (node for node in ast.walk(self.tree()) if isinstance(node, ast.ClassDef))


@cache
def source_files() -> tuple[SourceFile, ...]:
    """Return all files of the library, in order of their names."""
    return tuple(SourceFile(path, path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py")))


def words(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of each identifier and string literal, docstrings and comments left out."""
    # A string that stands alone is documentation, of a module, class, function or attribute.
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) not in documentation:
            yield from ((getattr(node, "lineno", 0), text) for text in _own_words(node))


def _own_words(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)) | ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text):
            yield text
        case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text) | ast.ClassDef(name=text):
            yield text
        case ast.ImportFrom(module=str(text)) | ast.keyword(arg=str(text)):
            yield text
        case ast.alias(name=text, asname=other):
            yield from filter(None, (text, other))
        case _:
            return
