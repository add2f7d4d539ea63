"""MariaDB and MySQL, which have grown apart: what differs, chosen by the version that the live server tells."""

from __future__ import annotations

import re
from dataclasses import dataclass

from holdall.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Flavour:
    """One of the two.

    Attributes:
        collation: exact, unpadded and by code point.
        settings: further variables of a session.
        isolation: the variable with the isolation level of transactions. ``read_only``: the one that forbids them to write.
        returning: INSERT gives back what it wrote.
        snapshot_writes: a write on what changed since the snapshot fails, instead of going on.
        statement_timeout: bounds the statements of the session to ``{0}`` seconds; empty where the client has to keep the time.
        timed: stands before a statement to bound it alone.
        pcre: regular expressions have named groups that refer to one another.
        json: a JSON expression ``{0}`` as what compares with ``canonical``, which is made of a canonical text. ``item`` is the same for
            a column of JSON_TABLE.
        simultaneous: an UPDATE computes all its values from the row as it was, instead of one after another.
        decimal_places: of a DECIMAL, at most.
        json_type: the type of a JSON value, as a text that compares with others. MariaDB's is no utf8mb4.
        digest: what a unique index of a long text is made of; MariaDB takes the text, and makes a hash of it.
        index_if_not_exists: CREATE INDEX knows IF NOT EXISTS.
        dash_keys: a quoted key in a JSON path may begin with "-"; to MariaDB's reader of paths that is a syntax error.
    """

    name: str
    collation: str
    settings: str
    isolation: str
    read_only: str
    returning: bool
    snapshot_writes: bool
    statement_timeout: str
    timed: str
    pcre: bool
    json: str
    item: str
    canonical: str
    simultaneous: bool
    decimal_places: int
    json_type: str
    digest: str | None
    index_if_not_exists: bool
    dash_keys: bool


SORTED_TEXTS = 16
"""Unbounded texts that a query can be ordered by."""
_SORTED_BYTES = 65_536  # of each; the server looks at no more
_KEYS = 15  # that the buffer must have room for, or the server does not sort
_SORTING = f"max_sort_length={_SORTED_BYTES}, sort_buffer_size={(SORTED_TEXTS + 1) * _SORTED_BYTES * _KEYS}"

_MARIADB = Flavour(
    name="MariaDB",
    collation="utf8mb4_nopad_bin",
    settings=f"{_SORTING}, innodb_snapshot_isolation=ON",
    isolation="tx_isolation",
    read_only="tx_read_only",
    returning=True,
    snapshot_writes=True,
    statement_timeout="set max_statement_time={0:.6f}",
    timed="SET STATEMENT max_statement_time={0:.6f} FOR ",
    pcre=True,
    json="JSON_COMPACT({0}) COLLATE utf8mb4_nopad_bin",
    item="{0} COLLATE utf8mb4_nopad_bin",
    canonical="{0}",
    simultaneous=True,
    decimal_places=38,
    json_type="JSON_TYPE({0})",
    digest=None,
    index_if_not_exists=True,
    dash_keys=False,
)
_MYSQL = Flavour(
    name="MySQL",
    collation="utf8mb4_0900_bin",
    settings=_SORTING,
    isolation="transaction_isolation",
    read_only="transaction_read_only",
    returning=False,
    snapshot_writes=False,
    statement_timeout="",
    timed="",
    pcre=False,
    json="{0}",
    item="{0}",
    canonical="CAST({0} AS JSON)",
    simultaneous=False,
    decimal_places=30,
    json_type="JSON_TYPE({0}) COLLATE utf8mb4_0900_bin",
    digest="UNHEX(SHA2({0}, 256))",
    index_if_not_exists=False,
    dash_keys=True,
)
DEFAULT = _MARIADB

_MARIADB_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)-MariaDB")
_OLDEST_MARIADB = (10, 6, 18)  # the first with innodb_snapshot_isolation, JSON_TABLE and SKIP LOCKED
_OLDEST_MYSQL = (8, 0, 19)


def flavour_of(version: str) -> Flavour:
    """Return the flavour of a server by the version of its greeting.

    Raises:
        ConfigurationError: the server is too old.
    """
    match = _MARIADB_VERSION.search(version)
    flavour, oldest = (_MARIADB, _OLDEST_MARIADB) if match else (_MYSQL, _OLDEST_MYSQL)
    parts = match.groups() if match else (re.findall(r"\d+", version) + ["0"] * 3)[:3]
    if tuple(map(int, parts)) < oldest:
        raise ConfigurationError(f"the server is {flavour.name} {'.'.join(parts)}, and holdall needs {'.'.join(map(str, oldest))} or newer")
    return flavour
