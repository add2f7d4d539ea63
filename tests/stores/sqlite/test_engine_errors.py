"""SQLite's errors in the library's own words, as the real engine raises them."""

import sqlite3
from collections.abc import Generator
from pathlib import Path

import pytest

from holdall.errors import (
    BackendError,
    DuplicateKeyError,
    ForeignKeyError,
    HoldallError,
    LockNotAvailable,
    SerializationError,
    StatementTimeout,
    ValidationError,
)
from holdall.stores.sqlite.errors import is_translatable, translate

pytestmark = pytest.mark.engine("sqlite")

SCHEMA = """
create table people (id integer primary key, mail text unique, a integer, b integer, age integer not null check (age >= 0), unique (a, b)) strict;
create unique index folded on people (lower(mail));
create table "odd.name" (id integer primary key, "a.b" integer unique);
create table pets (id integer primary key, owner integer references people (id) on delete restrict);
insert into people values (1, 'x', 1, 1, 5);
insert into pets values (1, 1);
insert into "odd.name" values (1, 1);
"""
NAMES: dict[tuple[str, tuple[str, ...]], tuple[str, tuple[str, ...]]] = {
    ("people", ("id",)): ("Person", ("id",)),
    ("people", ("mail",)): ("Person", ("email",)),
    ("people", ("a", "b")): ("Person", ("first", "second")),
    ("folded", ()): ("Person", ("email",)),
    ("odd.name", ("a.b",)): ("Odd", ("both",)),
}


@pytest.fixture
def connection(tmp_path: Path) -> Generator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "test.db", isolation_level=None, timeout=0)
    connection.executescript("pragma journal_mode=wal; pragma foreign_keys=on;" + SCHEMA)
    yield connection
    connection.close()


def lookup(table: str, columns: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
    return NAMES.get((table, columns))


def translated(connection: sqlite3.Connection, sql: str, *values: object) -> HoldallError:
    with pytest.raises(Exception) as caught:
        connection.execute(sql, values).fetchall()
    assert is_translatable(caught.value)
    return translate(caught.value, lookup, model="Pet")


@pytest.mark.parametrize(
    ("sql", "model", "fields"),
    [
        ("insert into people values (1, 'y', 2, 2, 1)", "Person", ("id",)),
        ("insert into people values (2, 'x', 2, 2, 1)", "Person", ("email",)),
        ("insert into people values (2, 'X', 2, 2, 1)", "Person", ("email",)),
        ("insert into people values (2, 'y', 1, 1, 1)", "Person", ("first", "second")),
        ('insert into "odd.name" values (2, 1)', "Odd", ("both",)),
        ('insert into "odd.name" values (1, 2)', "odd.name", ("id",)),
        ("insert into pets values (1, 1)", "pets", ("id",)),
    ],
)
def test_duplicates_name_model_and_fields(connection: sqlite3.Connection, sql: str, model: str, fields: tuple[str, ...]) -> None:
    error = translated(connection, sql)

    assert isinstance(error, DuplicateKeyError)
    assert (error.model, error.fields) == (model, fields)


@pytest.mark.parametrize("sql", ["insert into pets values (2, 77)", "delete from people"])
def test_broken_references(connection: sqlite3.Connection, sql: str) -> None:
    error = translated(connection, sql)

    assert isinstance(error, ForeignKeyError)
    assert error.model == "Pet"


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("insert into people (age) values (?)", -1),
        ("insert into people (age) values (?)", None),
        ("insert into people (age) values (?)", "x"),
        ("insert into people (age) values (?)", 2**63),
        ("insert into people (mail) values (?)", "\ud800"),
        ("update people set age = 9223372036854775807 + ?", 1),
        ("select abs(?)", -(2**63)),
        ("select zeroblob(?)", 2_000_000_000),
    ],
)
def test_values_that_cannot_be_kept(connection: sqlite3.Connection, sql: str, value: object) -> None:
    assert isinstance(translated(connection, sql, value), ValidationError)


def test_locks(connection: sqlite3.Connection, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    other.execute("begin immediate")
    assert isinstance(translated(connection, "begin immediate"), LockNotAvailable)
    connection.execute("begin")
    connection.execute("select * from people").fetchall()
    other.execute("update people set age = 6")
    other.execute("commit")
    other.close()

    assert isinstance(translated(connection, "update people set age = 7"), SerializationError)


def test_an_interrupt(connection: sqlite3.Connection) -> None:
    connection.set_progress_handler(lambda: True, 1000)

    assert isinstance(
        translated(connection, "with recursive r(x) as (select 1 union all select x + 1 from r) select x from r"), StatementTimeout
    )


def test_a_read_only_file_says_what_to_check(connection: sqlite3.Connection) -> None:
    connection.execute("pragma query_only=on")
    error = translated(connection, "delete from pets")

    assert type(error) is BackendError
    assert "check that the file" in str(error)


def test_a_full_database_is_a_backend_error(connection: sqlite3.Connection) -> None:
    connection.execute("create table big (x)")
    connection.execute("pragma max_page_count=20")
    error = translated(connection, "insert into big values (zeroblob(1000000))")

    assert type(error) is BackendError
    assert "full" in str(error)


def test_the_rest_is_a_backend_error_with_sqlites_text(connection: sqlite3.Connection) -> None:
    for sql, text in (("select nonsense", "no such column"), ("selec", "syntax error")):
        error = translated(connection, sql)
        assert type(error) is BackendError
        assert text in str(error)


def test_errors_of_the_application_are_left_alone() -> None:
    assert not is_translatable(LookupError("x"))
    assert not is_translatable(OverflowError("math range error"))
