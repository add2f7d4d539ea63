"""The reader of our own on aiomysql's connection: every length, in any pieces, and what it does with half a reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import holdall
from holdall import Backend, ConnectionLost, Field, LimitExceeded, Model
from holdall.stores.mysql.rows import HUGE, LAST, MORE, Column, decoder, timedelta_of
from tests.servers import Proxy

INT, TEXT, BYTES = Column("int", nullable=False), Column("str", nullable=True), Column("bytes", nullable=True)


def packet(*values: bytes | None) -> bytes:
    payload = b"".join(b"\xfb" if value is None else size(len(value)) + value for value in values)
    return len(payload).to_bytes(3, "little") + b"\1" + payload


def size(count: int) -> bytes:
    if count < 251:
        return bytes((count,))
    width = 2 if count < 1 << 16 else 3
    return bytes((250 + width,)) + count.to_bytes(width, "little")


@pytest.mark.parametrize("length", [0, 1, 250, 251, 252, 65_535, 65_536, 100_000])
def test_every_length_is_read(length: int) -> None:
    data = packet(b"7", b"x" * length, None) + packet(b"-8", "ä".encode(), b"\xff")
    rows: list[Any] = []

    assert decoder((INT, TEXT, BYTES))(data, data.decode("latin-1"), 0, len(data), rows.append) == (len(data), MORE)
    assert rows == [(7, "x" * length, None), (-8, "ä", b"\xff")]


def test_half_a_row_waits_for_the_rest() -> None:
    data = packet(b"1", b"a", b"b") + packet(b"2", b"a", b"b")[:-1]
    rows: list[Any] = []

    stopped = decoder((INT, TEXT, BYTES))(data, data.decode("latin-1"), 0, len(data), rows.append)

    assert stopped == (len(packet(b"1", b"a", b"b")), MORE)
    assert rows == [(1, "a", b"b")]


def test_an_end_and_a_continued_packet_are_told_apart() -> None:
    end = b"\5\0\0\1\xfe\0\0\2\0"
    huge = b"\xff\xff\xff\1" + b"\xfd\xff\xff\x0f" + b"x" * 0xFFFFFB
    read = decoder((TEXT,))

    assert read(end, end.decode("latin-1"), 0, len(end), lambda _: None) == (0, LAST)
    assert read(huge, huge.decode("latin-1"), 0, len(huge), lambda _: None) == (0, HUGE)


def test_a_null_where_none_was_expected_is_none() -> None:
    data = packet(None)
    rows: list[Any] = []
    decoder((INT,))(data, data.decode("latin-1"), 0, len(data), rows.append)
    assert rows == [(None,)]


@pytest.mark.parametrize("place", range(6))
def test_a_null_where_none_was_expected_leads_no_row_astray(place: int) -> None:
    kinds = ("int", "float", "decimal", "datetime", "bool", "str")
    texts: list[bytes | None] = [b"7", b"0.5", b"1.25", b"2024-01-02 03:04:05.000006", b"1", b"a"]
    values: list[Any] = [7, 0.5, Decimal("1.25"), datetime(2024, 1, 2, 3, 4, 5, 6, UTC), True, "a"]
    broken, lost = [*texts], [*values]
    broken[place] = lost[place] = None
    data = packet(*texts) + packet(*broken) + packet(*texts) * 20 + packet(*broken)
    rows: list[Any] = []

    decoder(tuple(Column(kind, nullable=False) for kind in kinds))(data, data.decode("latin-1"), 0, len(data), rows.append)

    assert rows == [tuple(values), tuple(lost), *[tuple(values)] * 20, tuple(lost)]


def test_a_value_that_cannot_be_read_is_an_error() -> None:
    data = packet(b"0000-00-00 00:00:00.000000")
    with pytest.raises(ValueError, match="year 0"):
        decoder((Column("datetime", nullable=False),))(data, data.decode("latin-1"), 0, len(data), lambda _: None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("00:00:00", timedelta(0)),
        ("838:59:59.000001", timedelta(hours=838, minutes=59, seconds=59, microseconds=1)),
        ("-00:00:01.5", timedelta(seconds=-1.5)),
        ("12:34:56.000700", timedelta(hours=12, minutes=34, seconds=56, microseconds=700)),
    ],
)
def test_times_are_read(text: str, value: timedelta) -> None:
    assert timedelta_of(text) == value


class Blob(Model):
    id: int = Field(primary_key=True)
    first: bytes = b""
    second: str = ""


@pytest.fixture
async def backend(driver_url: str, proxy: Proxy) -> AsyncGenerator[Backend]:
    async with holdall.open(proxy.url(driver_url), pool_max_size=2, coalesce=False) as backend:
        await backend.drop(Blob)
        await backend.initialize(Blob)
        yield backend
        await backend.drop(Blob)


async def test_rows_above_the_size_of_a_packet_are_read(backend: Backend) -> None:
    """A packet has 16 MiB at most, and a row may have more."""
    await backend.create(Blob(id=1, first=b"\xff\0'" * (2 << 20)))
    await backend.query(Blob).filter(id=1).update(second="ä" * (6 << 20))

    found = await backend.get(Blob, 1)

    assert found.first == b"\xff\0'" * (2 << 20)
    assert found.second == "ä" * (6 << 20)
    assert await backend.query(Blob).values("id").all() == [{"id": 1}]


async def test_a_statement_that_the_server_would_not_take_is_refused_before_it_is_sent(backend: Backend, proxy: Proxy) -> None:
    await backend.ping()
    proxy.reset_counts()

    with pytest.raises(LimitExceeded, match="max_allowed_packet"):
        await backend.create(Blob(id=1, second="x" * (17 << 20)))

    assert proxy.round_trips == 0
    assert await backend.query(Blob).count() == 0


async def test_replies_in_single_bytes_are_read(backend: Backend, proxy: Proxy) -> None:
    await backend.create_many([Blob(id=number, first=b"x" * number, second="ä" * number) for number in range(20)])
    proxy.chunk = 1

    found = await backend.query(Blob).order_by("id").all()

    assert [(len(blob.first), len(blob.second)) for blob in found] == [(number, number) for number in range(20)]


async def test_an_error_in_the_middle_of_rows_is_an_error_and_the_connection_goes_on(backend: Backend) -> None:
    await backend.create_many([Blob(id=number) for number in range(2000)])

    with pytest.raises(holdall.HoldallError):
        await backend.engine.fetch("select id, (select id from blob where id < 2 and outside.id > 1500) from blob as outside")

    assert await backend.query(Blob).count() == 2000
    assert backend.engine.stats()["failed"] == 0


async def test_procedures_give_their_first_result(backend: Backend) -> None:
    await backend.engine.execute("drop procedure if exists two_results")
    await backend.engine.execute("create procedure two_results() begin select 1 as a; select 2 as b; end")

    assert await backend.engine.fetch("call two_results()") == [{"a": 1}]
    assert await backend.engine.fetch_value("select 3") == 3
    await backend.engine.execute("drop procedure two_results")


async def test_one_text_is_one_statement(backend: Backend) -> None:
    with pytest.raises(holdall.BackendError):
        await backend.engine.execute("select 1; drop table blob")
    assert await backend.query(Blob).count() == 0


async def test_a_server_that_says_goodbye_between_two_statements_is_not_an_error(backend: Backend, mysql_url: str) -> None:
    await backend.create(Blob(id=1))
    async with holdall.open(mysql_url) as other:
        for row in await other.engine.fetch(
            "select id from information_schema.processlist where db = database() and id <> connection_id()"
        ):
            await other.engine.execute(f"kill {int(row['id'])}")

    assert (await backend.get(Blob, 1)).id == 1


async def test_a_cut_reply_is_a_lost_connection(backend: Backend, proxy: Proxy) -> None:
    await backend.create(Blob(id=1, second="x" * 1000))
    proxy.cut_after_reply_bytes(500)

    with pytest.raises(ConnectionLost):
        async with backend.session() as session:
            await session.get(Blob, 1)

    async with asyncio.timeout(10):
        assert (await backend.get(Blob, 1)).id == 1


async def test_a_stream_begins_again_on_a_connection_that_was_stale(backend: Backend, proxy: Proxy) -> None:
    await backend.create_many([Blob(id=number) for number in range(5)])
    proxy.cut()  # which nobody here has noticed yet

    assert [blob.id async for blob in backend.query(Blob).order_by("id").stream(batch=2)] == [0, 1, 2, 3, 4]


async def test_a_ping_looks_at_the_server_and_not_at_a_stale_connection(backend: Backend, proxy: Proxy) -> None:
    await backend.ping()
    proxy.cut()

    await backend.ping()

    proxy.refuse()
    proxy.cut()
    with pytest.raises(ConnectionLost):
        await backend.ping()
    await proxy.admit()
