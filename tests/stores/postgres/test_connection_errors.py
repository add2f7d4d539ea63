"""The same mistake gives the same class: provoked on a real server, not made up."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import asyncpg
import pytest

from holdall.errors import (
    BackendError,
    CommitUnknownError,
    ConnectionLost,
    DeadlockError,
    DuplicateKeyError,
    ForeignKeyError,
    HoldallError,
    LockNotAvailable,
    SerializationError,
    StatementTimeout,
    TransactionError,
    ValidationError,
)
from holdall.stores.postgres.connection import AsyncpgConnection, PostgresConnector, PostgresOptions, begin_statement, commit
from holdall.stores.postgres.errors import ErrorContext, translate
from tests.servers import Proxy

TABLES = """
drop table if exists e_child, e_parent;
create table e_parent (
    id int primary key, email varchar(10) constraint e_email unique, a text, b text, age smallint constraint e_age check (age >= 0),
    name text not null default '', doc jsonb, constraint e_pair unique (a, b));
create table e_child (id int primary key, parent_id int constraint e_ref references e_parent deferrable);
insert into e_parent (id, email, a, b) values (1, 'x@y.z', 'l', 'r'), (2, null, 'l, r', 'r');
insert into e_child values (1, 1);
"""
CONSTRAINTS = {
    "e_email": ("Parent", ("mail",)),
    "e_pair": ("Parent", ("a", "b")),
    "e_ref": ("Child", ("parent",)),
    "e_age": ("Parent", ("age",)),
}
CONTEXT = ErrorContext(constraint=CONSTRAINTS.get, model="Parent")


@pytest.fixture
async def connections(postgres_url: str) -> AsyncGenerator[tuple[AsyncpgConnection, AsyncpgConnection]]:
    connector = PostgresConnector(PostgresOptions(dsn=postgres_url))
    one, two = await connector.open(), await connector.open()
    await one.execute(TABLES)
    yield one, two
    connector.terminate(two)
    connector.terminate(one)


@pytest.fixture
def connection(connections: tuple[AsyncpgConnection, AsyncpgConnection]) -> AsyncpgConnection:
    return connections[0]


async def error_of(connection: AsyncpgConnection, sql: str, *arguments: Any, context: ErrorContext = CONTEXT) -> HoldallError:
    with pytest.raises(Exception) as caught:
        await connection.execute(sql, *arguments)
    translated = translate(caught.value, context)
    assert translated is not None
    return translated


async def test_a_duplicate_names_model_fields_and_values(connection: AsyncpgConnection) -> None:
    error = await error_of(connection, "insert into e_parent (id, email) values (3, 'x@y.z')")

    assert isinstance(error, DuplicateKeyError)
    assert (error.model, error.fields, error.values) == ("Parent", ("mail",), ("x@y.z",))


async def test_the_values_being_written_are_told_as_they_are(connection: AsyncpgConnection) -> None:
    context = ErrorContext(constraint=lambda _: ("Parent", ("id",)), values={"id": 1, "name": "n"})

    error = await error_of(connection, "insert into e_parent (id) values (1)", context=context)

    assert isinstance(error, DuplicateKeyError)
    assert error.values == (1,)


@pytest.mark.parametrize(("a", "values"), [("l", ("l", "r")), ("l, r", ())])
async def test_values_of_several_fields_are_told_where_they_can_be_told_apart(
    connection: AsyncpgConnection, a: str, values: tuple[str, ...]
) -> None:
    error = await error_of(connection, "insert into e_parent (id, a, b) values (3, $1, 'r')", a)

    assert isinstance(error, DuplicateKeyError)
    assert (error.fields, error.values) == (("a", "b"), values)


async def test_an_unknown_constraint_is_told_by_its_table_and_columns(connection: AsyncpgConnection) -> None:
    error = await error_of(connection, "insert into e_child values (1, 1)", context=ErrorContext())

    assert isinstance(error, DuplicateKeyError)
    assert (error.model, error.fields, error.values) == ("e_child", ("id",), ("1",))


@pytest.mark.parametrize("sql", ["insert into e_child values (2, 77)", "delete from e_parent where id = 1"])
async def test_a_broken_reference_is_a_foreign_key_error(connection: AsyncpgConnection, sql: str) -> None:
    error = await error_of(connection, sql)

    assert isinstance(error, ForeignKeyError)
    assert error.model == "Child"


@pytest.mark.parametrize(
    ("sql", "field"),
    [
        ("insert into e_parent (id, name) values (3, null)", "name"),
        ("insert into e_parent (id, age) values (3, -1)", "age"),
        ("insert into e_parent (id, age) values (3, 100000)", None),
        ("insert into e_parent (id, email) values (3, 'longer than ten')", None),
        ("insert into e_parent (id, doc) values (3, '{')", None),
        ("insert into e_parent (id, doc) values (3, '\"\\u0000\"')", None),
        ("select '2020-13-01'::date", None),
    ],
)
async def test_a_value_that_cannot_be_kept_is_a_validation_error(connection: AsyncpgConnection, sql: str, field: str | None) -> None:
    error = await error_of(connection, sql)

    assert isinstance(error, ValidationError)
    assert error.field == field


async def test_a_bound_value_of_the_wrong_type_is_a_validation_error(connection: AsyncpgConnection) -> None:
    assert isinstance(await error_of(connection, "select $1::int", "seven"), ValidationError)
    assert isinstance(await error_of(connection, "select $1::int", 2**40), ValidationError)


async def test_a_statement_timeout_has_its_name_and_length(connection: AsyncpgConnection) -> None:
    await connection.execute(begin_statement(timeout_seconds=0.02))

    error = await error_of(connection, "select pg_sleep(5)", context=ErrorContext(timeout=0.02))

    assert isinstance(error, StatementTimeout)
    assert error.timeout == 0.02
    assert isinstance(await error_of(connection, "select 1"), TransactionError)


async def test_a_timeout_of_the_driver_is_a_statement_timeout(connection: AsyncpgConnection) -> None:
    with pytest.raises(TimeoutError) as caught:
        await connection.execute("select pg_sleep(5)", timeout=0.02)

    assert isinstance(translate(caught.value), StatementTimeout)


async def test_a_cancel_by_somebody_else_is_no_timeout(connections: tuple[AsyncpgConnection, AsyncpgConnection]) -> None:
    one, two = connections
    task = asyncio.create_task(error_of(one, "select pg_sleep(30)", context=ErrorContext(timeout=60)))
    await wait_for_event(two, one, "PgSleep")
    await two.execute(f"select pg_cancel_backend({one.get_server_pid()})")

    assert type(await task) is BackendError


async def test_a_lock_that_is_held_is_not_available(connections: tuple[AsyncpgConnection, AsyncpgConnection]) -> None:
    one, two = connections
    await one.execute("begin; select * from e_parent where id = 1 for update")

    assert isinstance(await error_of(two, "select * from e_parent where id = 1 for update nowait"), LockNotAvailable)
    assert isinstance(await error_of(two, "set lock_timeout = '10ms'; update e_parent set name = 'x' where id = 1"), LockNotAvailable)


async def test_a_deadlock_and_a_stale_snapshot_may_be_run_again(connections: tuple[AsyncpgConnection, AsyncpgConnection]) -> None:
    one, two = connections
    for connection, mine in ((one, 1), (two, 2)):
        await connection.execute(f"set deadlock_timeout = '20ms'; begin; update e_parent set name = 'x' where id = {mine}")
    results = await asyncio.gather(
        one.execute("update e_parent set name = 'x' where id = 2; rollback"),
        two.execute("update e_parent set name = 'x' where id = 1; rollback"),
        return_exceptions=True,
    )
    assert [type(translate(result)) for result in results if isinstance(result, Exception)] == [DeadlockError]
    await one.execute("rollback")
    await two.execute("rollback")

    await one.execute(begin_statement("repeatable read"))
    await one.fetch("select * from e_parent")
    await two.execute("update e_parent set name = 'changed' where id = 1")
    assert isinstance(await error_of(one, "update e_parent set name = 'y' where id = 1"), SerializationError)


@pytest.mark.filterwarnings("ignore:there is already a transaction")
async def test_an_aborted_transaction_says_so_and_does_not_commit(connection: AsyncpgConnection) -> None:
    await connection.execute(begin_statement())
    await connection.execute("update e_parent set name = 'lost' where id = 1")
    assert isinstance(await error_of(connection, "select 1/0"), BackendError)

    aborted = await error_of(connection, "select 1")
    with pytest.raises(TransactionError, match="rolled back instead"):
        await commit(connection)

    assert type(aborted) is TransactionError
    assert "savepoint" in str(aborted)
    assert await connection.fetchval("select name from e_parent where id = 1") == ""


async def test_a_deferred_check_fails_the_commit_by_name(connection: AsyncpgConnection) -> None:
    await connection.execute("begin; set constraints all deferred; insert into e_child values (2, 77)")

    with pytest.raises(ForeignKeyError):
        await commit(connection, CONTEXT)


async def test_a_commit_whose_answer_is_lost_is_unknown(connection: AsyncpgConnection, postgres_url: str) -> None:
    host, _, port = postgres_url.partition("@")[2].partition("/")[0].partition(":")
    async with Proxy(host, int(port)) as proxy:
        through = await PostgresConnector(PostgresOptions(dsn=proxy.url(postgres_url))).open()
        await through.execute("begin; update e_parent set name = 'committed' where id = 1")
        proxy.cut_after_reply_bytes(0)
        with pytest.raises(CommitUnknownError):
            await commit(through)
        with pytest.raises(ConnectionLost, match="rolled"):
            await commit(through)

    assert await connection.fetchval("select name from e_parent where id = 1") == "committed"


async def test_a_closed_connection_is_lost(connection: AsyncpgConnection) -> None:
    await connection.close()

    assert isinstance(await error_of(connection, "select 1"), ConnectionLost)


async def test_an_idle_transaction_that_the_server_ended_is_lost(connection: AsyncpgConnection) -> None:
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    await connection.execute("set idle_in_transaction_session_timeout = '10ms'; begin")
    await ended.wait()

    assert isinstance(await error_of(connection, "select 1"), ConnectionLost)


async def test_what_has_no_name_is_a_backend_error_with_its_state(connection: AsyncpgConnection) -> None:
    assert "22012" in str(await error_of(connection, "select 1/0"))
    missing = await error_of(connection, "select * from nowhere")
    assert type(missing) is BackendError
    assert "initialize" in str(missing)


def test_what_is_not_the_drivers_is_left_alone() -> None:
    assert translate(ValueError("mine")) is None
    assert translate(KeyError("mine")) is None
    assert isinstance(translate(ConnectionResetError(104, "reset")), ConnectionLost)
    assert isinstance(translate(asyncpg.InternalClientError("odd")), BackendError)


async def wait_for_event(watcher: AsyncpgConnection, watched: AsyncpgConnection, event: str) -> None:
    while await watcher.fetchval("select wait_event from pg_stat_activity where pid = $1", watched.get_server_pid()) != event:
        await watcher.execute("select pg_sleep(0.005)")
