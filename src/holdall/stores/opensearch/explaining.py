"""What ``explain`` says: the request that an operation becomes, without its values."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# A request is JSON, whose parts are told apart by isinstance here.

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from holdall.query import operations as op
from holdall.stores.opensearch.compiler import WINDOW, Compiler, filtered, key_wanted
from holdall.stores.opensearch.naming import alias_of
from holdall.stores.opensearch.reading import PAGE
from holdall.stores.opensearch.searching import search_body
from holdall.stores.opensearch.settings import OpenSearchSettings

_VALUES = frozenset({"term", "terms", "wildcard", "prefix", "ids", "search_after"})
_TEXTS_OF_USERS = frozenset({"query", "text"})


def explain(operation: Any, settings: OpenSearchSettings) -> str:
    """Return the request."""
    compiler, alias = Compiler(operation.info), alias_of(operation.info, settings.prefix)
    return _TEXTS.get(type(operation), _by_key)(compiler, operation, alias)


def _select(compiler: Compiler, operation: op.Select, alias: str) -> str:
    if key_wanted(operation.info, operation.predicate) is not None and not operation.offset and operation.after is None:
        return f"GET /{alias}/_doc/?, in real time"
    wanted = None if operation.limit is None else (operation.offset or 0) + operation.limit
    size = PAGE if wanted is None else min(wanted, WINDOW)
    text = f"POST /{alias}/_search {_shown(compiler.search(operation, size=size))}"
    if wanted is not None and wanted <= WINDOW:
        return text
    return f"{text}\nand, if there are more than {size}, pages of {PAGE} at a point in time"


def _counted(compiler: Compiler, operation: Any, alias: str) -> str:
    return f"POST /{alias}/_count {_shown({'query': filtered(compiler.filter(operation.predicate))})}"


def _by_query(compiler: Compiler, operation: Any, alias: str) -> str:
    body = _shown({"query": filtered(compiler.filter(operation.predicate))})
    return f"POST /{alias}/_refresh, pages of {PAGE} at a point in time {body}, and a conditional write of each record"


def _search(compiler: Compiler, operation: Any, alias: str) -> str:
    return f"POST /{alias}/_search {_shown(search_body(compiler, operation))}"


def _by_key(_: Compiler, operation: Any, alias: str) -> str:
    return f"{type(operation).__name__} by id at /{alias}"


_TEXTS: Mapping[type[Any], Callable[[Compiler, Any, str], str]] = {
    op.Select: _select,
    op.Count: _counted,
    op.Exists: _counted,
    op.UpdateWhere: _by_query,
    op.DeleteWhere: _by_query,
    op.Search: _search,
}


def _shown(body: Any) -> str:
    return orjson.dumps(_without_values(body)).decode()


def _without_values(part: Any) -> Any:
    if isinstance(part, list):
        return [_without_values(item) for item in part]
    return {key: _item(key, item) for key, item in part.items()} if isinstance(part, dict) else part


def _item(key: str, item: Any) -> Any:
    if key in _VALUES:
        return _hidden(item)
    if key == "range":
        return {name: dict.fromkeys(bounds, "?") for name, bounds in item.items()}
    return "?" if key in _TEXTS_OF_USERS and isinstance(item, str) else _without_values(item)


def _hidden(item: Any) -> Any:
    return dict.fromkeys(item, "?") if isinstance(item, dict) else "?"
