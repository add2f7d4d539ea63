"""The example service: what its demo does not show, and the demo itself, on every store, as a user runs it."""

import asyncio
import importlib
import io
import os
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from rich.console import Console

import examples.atlas
import holdall
from examples.atlas import importer
from examples.atlas.client import Client
from examples.atlas.demo import Report, take
from examples.atlas.models import MODELS, Country
from examples.atlas.tour import Part
from holdall.testing import pinned, record

ROOT = Path(__file__).parents[2]
ISLAND = {"code": "IS", "alpha_3": "ISL", "numeric": "352", "name": "Iceland"}
NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def client(backend_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the service, whose work is rolled back; the service reads DATABASE_URL when it is imported."""
    monkeypatch.setenv("DATABASE_URL", backend_url)
    for name in ("app", "catalogue", "database", "travellers"):
        monkeypatch.delitem(sys.modules, f"examples.atlas.{name}", raising=False)
        monkeypatch.delattr(examples.atlas, name, raising=False)  # where "from examples.atlas import app" would find it
    app: FastAPI = importlib.import_module("examples.atlas.app").app
    backend: holdall.Backend = importlib.import_module("examples.atlas.database").backend
    transport = httpx.ASGITransport(app)
    async with (
        pinned(backend, *MODELS),
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as made,
    ):
        yield made


async def run_demo(url: str) -> tuple[int | None, str]:
    process = await start_demo(url)
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def start_demo(url: str) -> asyncio.subprocess.Process:
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONWARNINGS": "error"}
    program = (sys.executable, "-m", "examples.atlas.demo")
    return await asyncio.create_subprocess_exec(
        *program, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )


# -- the service -----------------------------------------------------------------------------------------------------------------------


async def test_the_service_says_that_it_is_well_and_leads_to_its_documentation(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json() == {"database": "ok"}
    assert (await client.get("/")).headers["location"] == "/docs"
    assert (await client.get("/docs")).status_code == 200


async def test_openapi_names_every_endpoint(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    assert {"/countries/{code}", "/subdivisions", "/languages", "/currencies", "/travellers/{traveller_id}", "/transfers"} <= paths.keys()


async def test_a_batch_is_kept_whole_or_not_at_all(client: httpx.AsyncClient) -> None:
    twice = await client.post("/countries", json=[ISLAND, ISLAND])
    empty = await client.post("/countries", json=[])
    left = await client.get("/countries")

    assert (twice.status_code, empty.status_code) == (409, 422)
    assert left.json() == []


async def test_a_subdivision_of_no_country_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/subdivisions", json=[{"code": "IS-1", "country_code": "IS", "type": "Region", "name": "Höfuðborgarsvæði"}])

    assert (answer.status_code, answer.json()["type"]) == (409, "urn:holdall:foreign-key")


@pytest.mark.parametrize(
    "change",
    [{}, {"version": 1, "name": None}, {"version": 1, "name": ""}, {"version": "one"}],
    ids=["empty", "null", "no name", "version"],
)
async def test_a_change_that_means_nothing_is_refused(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    ada = (await client.post("/travellers", json={"email": "ada@example.org", "name": "Ada"})).json()

    assert (await client.patch(f"/travellers/{ada['id']}", json=change)).status_code == 422
    assert (await client.get(f"/travellers/{ada['id']}")).json()["version"] == 1


async def test_what_a_change_leaves_out_stays(client: httpx.AsyncClient) -> None:
    await client.post("/countries", json=[ISLAND])
    ada = (await client.post("/travellers", json={"email": "ada@example.org", "name": "Ada", "home": "IS"})).json()

    renamed = (await client.patch(f"/travellers/{ada['id']}", json={"version": 1, "name": "Ada L."})).json()
    moved = (await client.patch(f"/travellers/{ada['id']}", json={"version": 2, "home": None})).json()

    assert (renamed["name"], renamed["home"], renamed["version"]) == ("Ada L.", "IS", 2)
    assert (moved["name"], moved["home"], moved["version"]) == ("Ada L.", None, 3)


async def test_a_transfer_to_oneself_or_of_nothing_is_refused(client: httpx.AsyncClient) -> None:
    ada = (await client.post("/travellers", json={"email": "ada@example.org", "name": "Ada", "balance": 10})).json()["id"]

    for order in ({"payee": ada, "amount": 1}, {"payee": NOBODY, "amount": 0}, {"payee": NOBODY, "amount": "0.001"}):
        assert (await client.post("/transfers", json={"reference": "r", "payer": ada, **order})).status_code == 422


async def test_transfers_go_with_their_travellers(client: httpx.AsyncClient) -> None:
    people = [{"email": f"{name}@example.org", "name": name, "balance": 10} for name in ("ada", "bob")]
    ada, bob = [(await client.post("/travellers", json=person)).json()["id"] for person in people]
    made = await client.post("/transfers", json={"reference": "r", "payer": ada, "payee": bob, "amount": 1})
    before = (await client.get("/transfers", params={"traveller": ada})).json()
    await client.delete(f"/travellers/{bob}")

    assert made.status_code == 201
    assert [transfer["id"] for transfer in before] == [made.json()["id"]]
    assert (await client.get("/transfers")).json() == []


@pytest.mark.parametrize(
    "path", ["/countries?q=ice", "/countries/IS", "/countries/IS/subdivisions", "/subdivisions?country=IS", "/travellers"]
)
async def test_a_read_takes_one_round_trip(client: httpx.AsyncClient, path: str) -> None:
    await client.post("/countries", json=[ISLAND])

    with record() as calls:
        answer = await client.get(path)

    assert answer.status_code == 200
    calls.assert_round_trips(1)
    assert calls[0].site is not None
    assert Path(calls[0].site.file).parent == ROOT / "examples" / "atlas"


def test_every_parent_is_imported_before_what_lies_in_it() -> None:
    seen: set[str] = set()
    for subdivision in importer.subdivisions():
        assert subdivision.parent_code is None or subdivision.parent_code in seen
        seen.add(subdivision.code)


# -- the demo --------------------------------------------------------------------------------------------------------------------------


async def test_the_demo_gets_right_answers_on_every_store_whatever_an_earlier_run_left(backend_url: str) -> None:
    async with holdall.open(backend_url) as backend:
        await backend.initialize(*MODELS)
        await backend.create(Country(**ISLAND))

        status, output = await run_demo(backend_url)

        await backend.drop(*MODELS)  # the demo leaves its records for a look around
    assert status == 0, output
    assert "Every answer was right." in output
    assert "5,046 subdivisions on 21 pages, each seen once" in output
    assert "refused by" not in output


async def test_the_demo_shows_what_a_store_refuses_and_gets_right_answers_to_the_rest(opensearch_url: str) -> None:
    status, output = await run_demo(opensearch_url)

    async with holdall.open(opensearch_url) as backend:
        await backend.drop(*MODELS)
    assert status == 0, output
    assert "5,046 subdivisions on 21 pages, each seen once" in output
    assert "batch refused: this database does not promise that 'create_many and delete_many are all or nothing'" in output
    assert 'transfers refused: session(): OpenSearchStore refuses it: it does not promise "sessions are interactive transactions"' in output
    assert "6 parts were refused by this database." in output


async def test_the_demo_shows_what_has_no_key_or_index_as_refused(dynamodb_url: str) -> None:
    status, output = await run_demo(dynamodb_url)

    async with holdall.open(dynamodb_url) as backend:
        await backend.drop(*MODELS)
    assert status == 0, output
    assert "look up by key: all 249 countries" in output
    assert "16 states of Germany" in output
    assert "sort refused: cannot order Country by 'name', 'code' on dynamodb" in output
    assert 'transfers refused: session(): DynamoStore refuses it: it does not promise "sessions are interactive transactions"' in output
    assert "by 'async with backend.write_batch() as batch:'" in output
    assert "9 parts were refused by this database." in output


async def test_a_part_that_the_database_refuses_is_shown_as_refused() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(501, json={"detail": "this store has no session()"})

    async def send(client: Client) -> str:
        await client.post("/transfers", {})
        return "sent"

    report, screen = Report(), io.StringIO()
    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse), base_url="http://test") as http:
        await take(Part("transfers", send), Client(http), report, Console(file=screen))

    assert report.refused == 1
    assert "transfers refused: this store has no session()" in screen.getvalue()


async def test_the_demo_fails_in_one_line_without_a_database_and_keeps_the_password() -> None:
    status, output = await run_demo("postgresql://ada:hunter2@127.0.0.1:1/atlas?connect_timeout=2")

    assert status == 1
    assert "ConnectionLost" in output
    assert "Traceback" not in output
    assert "hunter2" not in output


async def test_a_demo_that_is_told_to_end_takes_its_service_along(sqlite_url: str) -> None:
    process = await start_demo(sqlite_url)
    assert process.stdout is not None
    address = ""
    while not address:
        line = (await process.stdout.readline()).decode()
        assert line, "the demo ended"
        address = next((word.removesuffix("/docs") for word in line.split() if word.startswith("http://")), "")
    process.send_signal(signal.SIGTERM)
    output, _ = await process.communicate()

    assert (process.returncode, output.decode().split()[-1]) == (130, "stopped")
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(address)
