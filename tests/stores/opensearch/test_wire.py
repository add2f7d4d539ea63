"""The HTTP of the store, against a stub that answers byte by byte as servers and proxies may."""

import asyncio
import json
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import pytest

import holdall
from holdall import Backend, BackendError, ConnectionLost, Field, Model, StatementTimeout
from holdall.stores.opensearch.wire import _dechunk
from tests.servers.process import ServerMissing, find_program
from tests.stores.opensearch.conftest import Stub


class Thing(Model):
    id: int = Field(primary_key=True)
    name: str = ""


Stubbed = Callable[..., AbstractAsyncContextManager[Stub]]
FOUND = {"found": True, "_source": {"id": 1, "name": "é" * 1000}}
BODY = json.dumps(FOUND).encode()


def chunked(*parts: bytes, trailer: bytes = b"") -> bytes:
    body = b"".join(b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n" + body + b"0\r\n" + trailer + b"\r\n"


async def get(backend: Backend) -> Thing:
    return await backend.get(Thing, 1)


@pytest.mark.parametrize(
    "answer",
    [
        chunked(BODY),
        chunked(BODY[:1], BODY[1:100], BODY[100:]),
        chunked(BODY[:7], BODY[7:], trailer=b"x-checksum: 1\r\n"),
        b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH:  %d \r\n\r\n%s" % (len(BODY), BODY),
    ],
)
async def test_bodies_with_a_length_and_in_chunks_are_read(stubbed: Stubbed, answer: bytes) -> None:
    async with stubbed((200, {}), answer, answer) as stub, holdall.open(stub.url) as backend:
        for _ in range(2):
            assert (await get(backend)).name == "é" * 1000
        assert backend.store.stats()["opened"] == 1


@pytest.mark.parametrize("answer", [chunked(BODY[:50], BODY[50:]), b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)])
async def test_an_answer_may_come_in_any_pieces(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for place in range(0, len(answer), 7):
            writer.write(answer[place : place + 7])
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        backend = holdall.open(f"opensearch://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert (await get(backend)).id == 1
        await backend.close()


def test_a_chunk_is_read_once_however_many_follow() -> None:
    """Or a body in many chunks takes time by their square."""
    body, buffer = bytearray(), bytearray()

    for number in range(100):
        buffer += b"4\r\n%04d\r\n" % number
        assert not _dechunk(buffer, body)
        assert not buffer

    assert _dechunk(bytearray(b"0\r\n\r\n"), body)
    assert len(body) == 400


async def test_a_server_that_says_close_is_connected_to_anew(stubbed: Stubbed) -> None:
    last = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
    async with stubbed((200, {}), last, (200, FOUND)) as stub, holdall.open(stub.url) as backend:
        assert (await get(backend)).id == 1
        assert (await get(backend)).id == 1
        assert backend.store.stats()["opened"] == 2


@pytest.mark.parametrize(
    "answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"]
)
async def test_what_is_not_http_is_a_lost_connection(stubbed: Stubbed, answer: bytes) -> None:
    async with stubbed((200, {}), answer, answer, (200, FOUND)) as stub, holdall.open(stub.url) as backend:
        with pytest.raises(ConnectionLost, match="not HTTP"):
            await get(backend)
        assert (await get(backend)).id == 1


async def test_what_nobody_asked_for_is_never_taken_for_an_answer(stubbed: Stubbed) -> None:
    asked = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
    stray = b'HTTP/1.1 200 OK\r\ncontent-length: 47\r\n\r\n{"found":true,"_source":{"id":9,"name":"stray"}}'
    async with stubbed((200, {}), *[asked + stray] * 3, *[asked] * 3) as stub, holdall.open(stub.url) as backend:
        for _ in range(4):
            with suppress(ConnectionLost):
                assert (await get(backend)).id == 1

        assert backend.store.stats()["opened"] >= 3


async def test_a_goodbye_on_an_idle_connection_ends_it() -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY))
        if not asked.is_set():
            await asked.wait()
            writer.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-le")
        with suppress(ConnectionError):
            await reader.read()
        ended.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        backend = holdall.open(f"opensearch://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert (await get(backend)).id == 1
        asked.set()
        await ended.wait()

        assert (await get(backend)).id == 1
        assert backend.store.stats()["opened"] == 2
        await backend.close()


async def test_what_is_not_json_is_an_error_with_its_begin(stubbed: Stubbed) -> None:
    page = b"<html>Bad Gateway</html>"
    answer = b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n%s" % (len(page), page)
    async with stubbed((200, {}), answer) as stub, holdall.open(stub.url) as backend:
        with pytest.raises(BackendError, match="Bad Gateway"):
            await get(backend)


async def test_a_read_is_sent_again_when_the_connection_was_stale_and_a_write_is_not(stubbed: Stubbed) -> None:
    async with stubbed((200, {}), b"", (200, FOUND), b"") as stub, holdall.open(stub.url) as backend:
        assert (await get(backend)).id == 1
        with pytest.raises(ConnectionLost):
            await backend.create(Thing(id=2))

    assert [method for method, path, _ in stub.requests if "/_doc/1" in path] == ["GET", "GET"]
    assert [path.split("?")[0] for method, path, _ in stub.requests if method == "POST"] == ["/thing/_create/2"]


async def test_a_server_that_does_not_answer_runs_into_the_timeout(stubbed: Stubbed) -> None:
    slow = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"
    async with stubbed((200, {}), slow, (200, FOUND)) as stub, holdall.open(stub.url, statement_timeout=0.1) as backend:
        with pytest.raises(StatementTimeout, match=r"0\.1 s"):
            await get(backend)
        assert (await get(backend)).id == 1


async def test_nobody_at_the_address_is_a_lost_connection() -> None:
    with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:1"):
        await holdall.open("opensearch://127.0.0.1:1").open()


@pytest.mark.parametrize("wire", ["holdall", "aiohttp"])
async def test_user_and_password_are_sent_and_not_shown(wire: str) -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(
            b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: 26\r\n\r\n"
            + b'{"error":"no","status":401}'[:26]
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        backend = holdall.open(f"opensearch://ann:s%40cret@127.0.0.1:{port}?wire={wire}")
        with pytest.raises(BackendError) as raised:
            await backend.get_or_none(Thing, 1)
        await backend.close()

    assert b64encode(b"ann:s@cret") in heads[0]
    assert "cret" not in repr(backend) + str(raised.value)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of this machine's own for 127.0.0.1, with its key."""
    try:
        program = find_program("openssl", package="openssl")
    except ServerMissing as error:
        pytest.skip(str(error))
    file = tmp_path / "node.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    kind = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1")
    subprocess.run([program, "req", *kind, *subject, "-keyout", str(file), "-out", str(tmp_path / "crt")], check=True, capture_output=True)
    file.write_text(file.read_text() + (tmp_path / "crt").read_text())
    return file


@pytest.mark.parametrize("wire", ["holdall", "aiohttp"])
async def test_the_certificate_of_the_server_is_checked(certificate: Path, wire: str) -> None:
    stub = Stub()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"opensearch://127.0.0.1:{server.sockets[0].getsockname()[1]}?tls=true&wire={wire}"
        async with holdall.open(f"{url}&ca_file={certificate}") as known:
            await known.ping()
        async with holdall.open(f"{url}&verify=false") as unchecked:
            await unchecked.ping()
        stranger = holdall.open(url)
        with pytest.raises(ConnectionLost, match=r"(?i)certificate"):
            await stranger.ping()
        await stranger.close()


def test_an_event_loop_that_ends_leaves_no_session_of_aiohttp(opensearch_url: str) -> None:
    backend = holdall.open(f"{opensearch_url}&wire=aiohttp")

    asyncio.run(backend.ping())
    asyncio.run(backend.close())


async def test_the_drivers_own_connection_does_the_same_work(opensearch_url: str) -> None:
    async with holdall.open(f"{opensearch_url}&wire=aiohttp") as backend:
        await backend.drop(Thing)
        await backend.initialize(Thing)
        await backend.create_many([Thing(id=number, name=f"ä{number}") for number in range(1500)])
        assert (await backend.get(Thing, 7)).name == "ä7"
        assert len(await backend.query(Thing)) == 1500
        assert await backend.query(Thing).filter(name__startswith="ä1").delete() == 611
        await backend.drop(Thing)
