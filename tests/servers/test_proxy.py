"""The proxy, before a server that answers each line with the same line, doubled."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.servers import Proxy

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line + line)
    writer.close()


@pytest.fixture
async def proxy() -> AsyncGenerator[Proxy]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with Proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


@asynccontextmanager
async def client_of(proxy: Proxy) -> AsyncGenerator[Client]:
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(client: Client, *lines: bytes) -> list[bytes]:
    reader, writer = client
    writer.write(b"".join(lines))
    return [await reader.readline() for _ in range(2 * len(lines))]


async def test_bytes_pass_unchanged_in_both_directions(proxy: Proxy) -> None:
    long = b"x" * 60_000 + b"\n"

    async with client_of(proxy) as client:
        assert await ask(client, long) == [long, long]

    assert (proxy.bytes_sent, proxy.bytes_received) == (60_001, 120_002)


async def test_each_request_after_a_reply_is_a_round_trip(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        for _ in range(3):
            await ask(client, b"a\n")

    assert (proxy.round_trips, proxy.connections) == (3, 1)


async def test_pipelined_requests_are_one_round_trip(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        await ask(client, b"a\n", b"b\n", b"c\n")

    assert proxy.round_trips == 1


async def test_round_trips_of_two_connections_add_up(proxy: Proxy) -> None:
    async with client_of(proxy) as one, client_of(proxy) as other:
        await ask(one, b"a\n")
        await ask(other, b"a\n")

    assert (proxy.round_trips, proxy.connections) == (2, 2)


async def test_counts_begin_again_after_a_reset(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        await ask(client, b"a\n")
        proxy.reset_counts()
        await ask(client, b"bc\n")

    assert (proxy.round_trips, proxy.bytes_sent, proxy.bytes_received, proxy.connections) == (1, 3, 6, 0)


async def test_a_cut_ends_open_connections_and_admits_new_ones(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        await ask(client, b"a\n")
        proxy.cut()
        assert await client[0].read() == b""

    async with client_of(proxy) as client:
        assert await ask(client, b"b\n") == [b"b\n", b"b\n"]


@pytest.mark.parametrize("count", [0, 1, 5, 7])
async def test_a_cut_after_some_bytes_is_exact(proxy: Proxy, count: int) -> None:
    async with client_of(proxy) as (reader, writer):
        proxy.cut_after_reply_bytes(count)
        writer.write(b"abc\n")

        assert await reader.read() == b"abc\nabc\n"[:count]


@pytest.mark.parametrize("count", [0, 2, 3])
async def test_a_request_that_is_cut_does_not_arrive(proxy: Proxy, count: int) -> None:
    async with client_of(proxy) as client:
        await ask(client, b"before\n")
        proxy.reset_counts()
        proxy.cut_after_request_bytes(count)
        client[1].write(b"abc\n")

        assert await client[0].read() == b""
    assert proxy.bytes_sent == count
    async with client_of(proxy) as client:
        assert await ask(client, b"after\n") == [b"after\n", b"after\n"]


async def test_a_cut_far_into_a_long_reply_is_exact(proxy: Proxy) -> None:
    async with client_of(proxy) as (reader, writer):
        proxy.cut_after_reply_bytes(70_001)
        writer.write(b"x" * 50_000 + b"\n")

        assert len(await reader.read()) == 70_001


async def test_a_refusing_proxy_keeps_open_connections(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        await ask(client, b"a\n")
        proxy.refuse()

        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(proxy.host, proxy.port)
        assert await ask(client, b"b\n") == [b"b\n", b"b\n"]


async def test_a_refusing_proxy_admits_again_on_the_same_port(proxy: Proxy) -> None:
    port = proxy.port
    proxy.refuse()
    await proxy.admit()

    async with client_of(proxy) as client:
        assert await ask(client, b"a\n") == [b"a\n", b"a\n"]
    assert proxy.port == port


async def test_held_replies_arrive_after_the_release(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        proxy.hold_replies()
        asking = asyncio.create_task(ask(client, b"a\n"))
        await proxy.wait_for_request()
        assert not asking.done()

        proxy.release_replies()
        assert await asking == [b"a\n", b"a\n"]


async def test_a_trickle_and_a_delay_lose_nothing(proxy: Proxy) -> None:
    proxy.chunk, proxy.delay = 1, 0.001

    async with client_of(proxy) as client:
        assert await ask(client, b"abc\n", b"d\n") == [b"abc\n"] * 2 + [b"d\n"] * 2


async def test_a_delay_comes_before_each_chunk_of_a_reply(proxy: Proxy) -> None:
    clock = asyncio.get_running_loop().time
    proxy.chunk, proxy.delay = 1, 0.004

    async with client_of(proxy) as client:
        begun = clock()
        assert await ask(client, b"abcd\n") == [b"abcd\n"] * 2

    assert clock() - begun >= 10 * 0.0039  # of ten bytes; the loop's timers may be early by their resolution


async def test_a_dead_target_ends_the_connection() -> None:
    async with Proxy("127.0.0.1", 1) as proxy, client_of(proxy) as (reader, _):
        assert await reader.read() == b""


async def test_the_end_of_a_proxy_ends_its_connections(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        await ask(client, b"a\n")
        async with Proxy(proxy.host, proxy.port) as outer, client_of(outer) as other:
            await ask(other, b"a\n")
            assert outer.open_connections == 1
        assert outer.open_connections == 0
        assert await ask(client, b"b\n") == [b"b\n", b"b\n"]


def test_the_url_of_a_server_gets_the_address_of_the_proxy() -> None:
    proxy = Proxy("db.example.org", 5432)
    proxy.port = 7000

    assert proxy.url("postgresql://me:secret@db.example.org:5432/shop?a=b") == "postgresql://me:secret@127.0.0.1:7000/shop?a=b"
