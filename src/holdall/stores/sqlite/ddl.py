"""SQLite keeps the text of each definition and nothing else of it; taken apart, the texts of two hands can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from holdall.sql.drift import Definitions, Kind, Part

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<text>'(?:[^']|'')*')
    |(?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
    |\w+(?:\.\w*)?(?:(?<=[eE])[+-]\d+)?|[<>=!|]+|.
    """,
    re.VERBOSE | re.DOTALL,
)
_CONSTRAINTS = frozenset({"constraint", "primary", "unique", "check", "foreign"})


def parts_of_table(statement: str) -> dict[Part, str]:
    """Return the options, columns and constraints of a ``create table`` statement, by kind and name, written alike whoever wrote them."""
    tokens = _tokens(statement)
    opening = tokens.index("(")
    body, rest = _body(tokens[opening + 1 :])
    name = unquoted(tokens[opening - 1])
    parts: dict[Part, str] = {("table", name): _written(rest)}
    for item in body:
        kind: Kind = "constraint" if item[0].lower() in _CONSTRAINTS else "column"
        if kind == "column":
            parts[kind, unquoted(item[0])] = _written(item[1:])
        elif item[0].lower() == "constraint":
            parts[kind, unquoted(item[1])] = _written(item[2:])
        else:
            parts[kind, _written(item)] = _written(item)
    return parts


def part_of_index(name: str, statement: str) -> dict[Part, str]:
    """Return the definition of a ``create index`` statement, without names of the index and the table."""
    tokens = _tokens(statement)
    start = tokens.index("(")
    unique = ["unique"] if tokens[1].lower() == "unique" else []
    return {("index", name): _written([*unique, *tokens[start:]])}


def definitions(rows: Iterable[tuple[str, str, str, str]]) -> Definitions:
    """Return the parts of each table from rows of ``sqlite_schema``: type, name, table and statement."""
    found: dict[str, dict[Part, str]] = {}
    for kind, name, table, statement in rows:
        if kind == "table":
            found.setdefault(table, {}).update(parts_of_table(statement))
        elif kind == "index":
            found.setdefault(table, {}).update(part_of_index(name, statement))
    return found


def unquoted(token: str) -> str:
    """Return the name that a token means."""
    if token[0] == "[":
        return token[1:-1]
    return token[1:-1].replace(token[0] * 2, token[0]) if token[0] in "\"`'" else token


def _tokens(statement: str) -> list[str]:
    return [match[0] for match in _TOKEN.finditer(statement) if match["space"] is None]


def _body(tokens: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Return the items between the commas, up to the closing parenthesis, and what follows it."""
    items: list[list[str]] = [[]]
    depth = 0
    for position, word in enumerate(tokens):
        if word == ")" and depth == 0:
            return items, list(tokens[position + 1 :])
        depth += {"(": 1, ")": -1}.get(word, 0)
        if word == "," and depth == 0:
            items.append([])
        else:
            items[-1].append(word)
    raise AssertionError(tokens)  # SQLite has accepted the statement


def _written(tokens: Iterable[str]) -> str:
    """Return tokens as one text: keywords and names in lower case, as SQLite takes them, quotes where a name needs them."""
    text = ""
    for token in tokens:
        word = token if token[0] == "'" else _quoted(unquoted(token).lower()) if token[0] in '"`[' else token.lower()
        text += word if word in (")", ",") or text[-1:] in ("", "(") else " " + word
    return text


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[a-z_]\w*", name) else '"' + name.replace('"', '""') + '"'
