"""Raw rows on SQLite: statements, and values as columns hold them: times as texts, amounts in cents."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from benchmarks.people import COLUMNS, values_of

NAMES = ", ".join(COLUMNS)
GET = f"select {NAMES} from people where id = ?"
RANGE = f"select {NAMES} from people where id >= ? and id < ?"
EVERYBODY = f"select {NAMES} from people"
INSERT = f"insert into newcomers ({NAMES}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
RENAME = "update people set name = ? where id = ?"
AGE = "update people set age = ? where id = ?"
_TYPES = (
    "(id integer primary key, email text not null, name text not null, age integer not null, score real not null,"
    " active integer not null, created text not null, balance integer not null, tag text) strict"
)
TABLES = tuple(f"create table {table} {_TYPES}" for table in ("people", "newcomers"))
FILL = INSERT.replace("newcomers", "people")


def native_values_of(number: int) -> tuple[Any, ...]:
    """Return the values of a person as the columns hold them."""
    id, email, name, age, score, active, created, balance, tag = values_of(number)
    return (id, email, name, age, score, int(active), created.isoformat("T", "microseconds"), int(balance * 100), tag)


def native_rows(numbers: range) -> Iterator[tuple[Any, ...]]:
    """Return the rows of some people."""
    return map(native_values_of, numbers)


def dict_of_row(row: Sequence[Any]) -> dict[str, Any]:
    """Return a row by column."""
    return dict(zip(COLUMNS, row, strict=True))


def from_native(row: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a person of what the columns hold; a row of a server that has these types is as it should be."""
    if isinstance(row[6], datetime):
        return row
    return (*row[:5], bool(row[5]), datetime.fromisoformat(row[6]), Decimal(row[7]).scaleb(-2), row[8])
