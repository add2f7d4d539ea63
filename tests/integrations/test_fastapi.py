"""FastAPI services on every store: sessions as dependencies, errors as answers, models as bodies."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from typing_extensions import TypedDict

import holdall
from holdall import Backend, Capability, Field, Model, Session, errors, uuid7
from holdall.integrations.fastapi import ANSWERS, SessionDependency, add_error_handlers
from tests.integrations.serving import served


class Shopper(Model):
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    email: str = Field(max_length=320, unique=True)
    name: str
    purse: Decimal = Field(default=Decimal(0), max_digits=18, decimal_places=2)

    class Meta:
        name = "fastapi_shoppers"
        order_by = ["email"]


class Seat(Model):
    row: int = Field(primary_key=True)
    letter: str = Field(primary_key=True)
    shopper_id: UUID | None = Field(default=None, references=Shopper)

    class Meta:
        name = "fastapi_seats"


class NameOnly(BaseModel):
    name: str


class NameTuple(NamedTuple):
    name: str


class NameDict(TypedDict):
    name: str


@dataclass
class NameData:
    name: str


ADA = {"email": "ada@example.org", "name": "Ada"}


@pytest.fixture
async def backend(backend_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(backend_url) as opened:
        await opened.initialize(Shopper, Seat)
        yield opened
        await opened.drop(Shopper, Seat)


@pytest.fixture
def app() -> FastAPI:
    made = FastAPI()
    add_error_handlers(made)
    return made


@pytest.fixture
async def client(app: FastAPI) -> AsyncGenerator[httpx.AsyncClient]:
    # raise_app_exceptions: what a server would log and answer by 500 is an answer here too.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


# -- sessions --------------------------------------------------------------------------------------------------------------------------


async def test_session_commits_before_the_response_is_sent(app: FastAPI, backend: Backend) -> None:
    events: list[str] = []

    @app.post("/")
    async def create(shopper: Shopper, session: Annotated[Session, SessionDependency(backend)]) -> Shopper:
        session.on_commit(lambda: events.append("committed"))
        return await session.create(shopper)

    async def noting(scope: Any, receive: Any, send: Callable[[Any], Any]) -> None:
        async def note(message: Any) -> None:
            events.append(message["type"])
            await send(message)

        await app(scope, receive, note)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(noting), base_url="http://test") as client:
        answer = await client.post("/", json=ADA)

    assert answer.status_code == 200
    assert events[:2] == ["committed", "http.response.start"]
    assert await backend.get(Shopper, UUID(answer.json()["id"])) is not None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (HTTPException(418), 418),
        (RuntimeError("boom"), 500),
        (errors.NotFoundError("Shopper", 1), 404),
        (errors.ConflictError("Shopper", 1), 409),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_any_exception_rolls_back(app: FastAPI, client: httpx.AsyncClient, backend: Backend, error: Exception, status: int) -> None:
    @app.post("/")
    async def create(shopper: Shopper, session: Annotated[Session, SessionDependency(backend)]) -> None:
        await session.create(shopper)
        raise error

    assert (await client.post("/", json=ADA)).status_code == status
    assert await backend.query(Shopper).count() == 0


async def test_a_result_that_does_not_fit_its_response_model_rolls_back(app: FastAPI, client: httpx.AsyncClient, backend: Backend) -> None:
    @app.post("/")
    async def create(shopper: Shopper, session: Annotated[Session, SessionDependency(backend)]) -> int:
        return await session.create(shopper)  # type: ignore[return-value]  # wrong on purpose  # pyright: ignore[reportReturnType]

    assert (await client.post("/", json=ADA)).status_code == 500
    assert await backend.query(Shopper).count() == 0


async def test_a_swallowed_database_error_is_not_committed(app: FastAPI, client: httpx.AsyncClient, backend: Backend) -> None:
    await backend.create(Shopper(email="ada@example.org", name="Ada"))

    @app.post("/")
    async def create(session: Annotated[Session, SessionDependency(backend)]) -> str:
        await session.create(Shopper(email="bob@example.org", name="Bob"))
        try:
            await session.create(Shopper(email="ada@example.org", name="Eve"))
        except holdall.DuplicateKeyError:
            return "all is well"
        return "no error"

    assert (await client.post("/")).status_code == 500
    assert [shopper.name for shopper in await backend.query(Shopper)] == ["Ada"]


async def test_a_commit_that_fails_is_a_503(app: FastAPI, client: httpx.AsyncClient, postgres_url: str) -> None:
    both_have_written = asyncio.Barrier(2)
    async with holdall.open(postgres_url) as backend:
        await backend.initialize(Shopper)
        await backend.clear(Shopper)

        @app.post("/", status_code=201)
        async def create(shopper: Shopper, session: Annotated[Session, SessionDependency(backend, isolation="serializable")]) -> Shopper:
            shopper.purse = Decimal(await session.query(Shopper).count())
            await session.create(shopper)
            await both_have_written.wait()
            return shopper

        answers = await asyncio.gather(*(client.post("/", json={**ADA, "email": email}) for email in ("a@x", "b@x")))
        kept = await backend.query(Shopper).count()
        await backend.drop(Shopper)

    failed = next(answer for answer in answers if answer.status_code != 201)
    assert sorted(answer.status_code for answer in answers) == [201, 503]
    assert failed.headers["retry-after"] == "1"
    assert kept == 1


async def test_the_backend_itself_uses_the_session_of_the_request(app: FastAPI, client: httpx.AsyncClient, backend: Backend) -> None:
    @app.post("/", dependencies=[SessionDependency(backend)])
    async def create(shopper: Shopper) -> None:
        await backend.create(shopper)
        assert await backend.get(Shopper, shopper.id) == shopper
        raise HTTPException(400)

    assert (await client.post("/", json=ADA)).status_code == 400
    assert await backend.query(Shopper).count() == 0


async def test_equal_dependencies_of_one_request_share_a_session(app: FastAPI, client: httpx.AsyncClient, backend: Backend) -> None:
    async def current(session: Annotated[Session, SessionDependency(backend)]) -> Session:
        return session

    @app.get("/")
    async def compare(one: Annotated[Session, SessionDependency(backend)], other: Annotated[Session, Depends(current)]) -> bool:
        return one is other

    assert (await client.get("/")).json() is True


async def test_a_read_only_session_refuses_to_write(app: FastAPI, client: httpx.AsyncClient, backend: Backend) -> None:
    @app.post("/", status_code=201)
    async def create(shopper: Shopper, session: Annotated[Session, SessionDependency(backend, read_only=True)]) -> Shopper:
        return await session.create(shopper)

    assert (await client.post("/", json=ADA)).status_code >= 400
    assert await backend.query(Shopper).count() == 0


async def test_a_session_can_be_replaced_in_tests(app: FastAPI, client: httpx.AsyncClient, backend: Backend) -> None:
    declared = holdall.open("memory://")

    @app.post("/", status_code=201)
    async def create(shopper: Shopper, session: Annotated[Session, SessionDependency(declared)]) -> Shopper:
        return await session.create(shopper)

    app.dependency_overrides[SessionDependency(declared).dependency] = SessionDependency(backend).dependency

    assert (await client.post("/", json=ADA)).status_code == 201
    assert await backend.query(Shopper).count() == 1


async def test_background_tasks_run_after_the_commit_and_outside_the_session(
    app: FastAPI, client: httpx.AsyncClient, backend: Backend
) -> None:
    @app.post("/", status_code=201)
    async def create(shopper: Shopper, session: Annotated[Session, SessionDependency(backend)], tasks: BackgroundTasks) -> Shopper:
        async def rename() -> None:
            async with backend.session() as another:
                found = await another.get(Shopper, shopper.id)
                found.name += " the First"
                await another.save(found)

        tasks.add_task(rename)
        return await session.create(shopper)

    answer = await client.post("/", json=ADA)

    assert answer.json()["name"] == "Ada"
    assert (await backend.query(Shopper).one()).name == "Ada the First"


async def test_a_kept_alive_connection_inherits_no_session(app: FastAPI, backend: Backend) -> None:
    @app.post("/")
    async def create(shopper: Shopper, session: Annotated[Session, SessionDependency(backend)]) -> Shopper:
        return await session.create(shopper)

    @app.get("/count")
    async def count() -> int:
        async with backend.session() as session:  # SessionConflict, if the one of the request before were still there
            return await session.query(Shopper).count()

    async with served(app) as server, httpx.AsyncClient(base_url=server.address) as client:
        for number in range(3):
            assert (await client.post("/", json={**ADA, "email": f"{number}@x"})).status_code == 200
            assert (await client.post("/", json={**ADA, "email": f"{number}@x"})).status_code == 409
            assert (await client.get("/count")).json() == number + 1
        assert server.connections == 1


async def test_a_response_that_streams_holds_no_session(app: FastAPI, backend_url: str) -> None:
    pooled = not backend_url.startswith("memory")
    more = asyncio.Event()
    async with holdall.open(backend_url, **({"pool_max_size": 1, "acquire_timeout": 5.0} if pooled else {})) as backend:
        await backend.initialize(Shopper)

        @app.post("/")
        async def stream(shopper: Shopper, session: Annotated[Session, SessionDependency(backend)]) -> StreamingResponse:
            await session.create(shopper)

            async def lines() -> AsyncIterator[str]:
                yield f"{await backend.query(Shopper).count()}\n"
                await more.wait()
                yield f"{await backend.query(Shopper).count()}\n"

            return StreamingResponse(lines())

        async with (
            served(app) as server,
            httpx.AsyncClient(base_url=server.address) as client,
            client.stream("POST", "/", json=ADA) as answer,
        ):
            lines = answer.aiter_lines()
            first = await anext(lines)
            async with backend.session() as another:  # the pool's only connection
                await another.create(Shopper(email="bob@example.org", name="Bob"))
            more.set()
            rest = [line async for line in lines]
        await backend.drop(Shopper)

    assert (first, rest) == ("1", ["2"])


# -- errors ----------------------------------------------------------------------------------------------------------------------------

SECRET = "postgresql://ada:hunter2@db:5432/shop: select hash from users"


FAILURES: list[tuple[errors.HoldallError, int, dict[str, object]]] = [
    (errors.NotFoundError("Shopper", 7), 404, {"model": "Shopper", "key": 7}),
    (errors.NotFoundError("Seat", (1, UUID(int=5))), 404, {"key": [1, "00000000-0000-0000-0000-000000000005"]}),
    (errors.NotFoundError("Shopper", "\ud800"), 404, {"key": "\ud800"}),
    (errors.DuplicateKeyError("Shopper", ["email"], ["a@x"]), 409, {"model": "Shopper", "fields": ["email"]}),
    (errors.ConflictError("Shopper", 7, 2), 409, {"model": "Shopper", "key": 7, "version": 2}),
    (errors.ForeignKeyError("Seat", ["shopper_id"]), 409, {"model": "Seat", "fields": ["shopper_id"]}),
    (
        errors.ValidationError("no", model="Shopper", field="name"),
        422,
        {"model": "Shopper", "field": "name", "detail": "Shopper.name: no"},
    ),
    (errors.QueryError("no such field"), 422, {"detail": "no such field"}),
    (errors.LimitExceeded("too deep", limit=2, value=3), 422, {"limit": 2, "value": 3}),
    (errors.PoolTimeout(1.0, [SECRET]), 503, {}),
    (errors.ConnectionLost(SECRET), 503, {}),
    (errors.SerializationError(SECRET), 503, {}),
    (errors.DeadlockError(SECRET), 503, {}),
    (errors.LockNotAvailable(SECRET), 503, {}),
    (errors.StatementTimeout(1.0), 503, {}),
    (errors.CommitUnknownError(SECRET), 503, {}),
    (errors.UnsupportedOperation("no", missing=[Capability.SESSIONS]), 501, {"missing": [Capability.SESSIONS.value]}),
    (errors.BackendError(SECRET), 500, {"type": "urn:holdall:internal"}),
    (errors.TransactionError(SECRET), 500, {}),
    (errors.CorruptRecordError("Shopper", 7, "hash", SECRET), 500, {}),
    (errors.MultipleResultsError("Shopper"), 500, {}),
    (errors.PoolClosed(SECRET), 500, {}),
    (errors.ConfigurationError(SECRET), 500, {}),
]


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    FAILURES,
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_an_error_is_answered_by_a_problem_document(
    app: FastAPI, client: httpx.AsyncClient, error: Exception, status: int, shown: dict[str, object]
) -> None:
    @app.get("/")
    async def fail() -> None:
        raise error

    answer = await client.get("/")
    body = answer.json()

    assert (answer.status_code, body["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {name: body[name] for name in shown} == shown
    assert {"type", "title", "detail"} <= body.keys()
    assert "hunter2" not in answer.text
    assert "select" not in answer.text


async def test_retry_after_is_said_where_the_same_request_may_succeed(app: FastAPI, client: httpx.AsyncClient) -> None:
    failures: list[Exception] = [
        errors.PoolTimeout(1.0),
        errors.DeadlockError(),
        errors.CommitUnknownError(),
        errors.NotFoundError("Shopper"),
    ]

    @app.get("/{number}")
    async def fail(number: int) -> None:
        raise failures[number]

    said = ["retry-after" in (await client.get(f"/{number}")).headers for number in range(len(failures))]

    assert said == [True, True, False, False]


async def test_a_subclass_is_answered_as_its_base(app: FastAPI, client: httpx.AsyncClient) -> None:
    class NoSuchShopper(errors.NotFoundError):
        pass

    @app.get("/")
    async def fail() -> None:
        raise NoSuchShopper("Shopper", 7)

    answer = await client.get("/")

    assert (answer.status_code, answer.json()["type"]) == (404, "urn:holdall:not-found")


async def test_an_internal_error_is_logged_with_its_text(app: FastAPI, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    @app.get("/")
    async def fail() -> None:
        raise errors.BackendError("disk full")

    with caplog.at_level(logging.ERROR, "holdall"):
        await client.get("/")

    assert "disk full" in caplog.text


async def test_a_long_value_is_not_sent_back_whole(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.get("/")
    async def fail() -> None:
        raise errors.ValidationError("x" * 1_000_000)

    assert len((await client.get("/")).content) < 1000


def test_every_answer_of_the_table_is_tested() -> None:
    assert ANSWERS.keys() <= {type(error) for error, _, _ in FAILURES}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/shoppers/00000000-0000-0000-0000-000000000000", 404),
        ("/shoppers/not-a-uuid", 422),
        ("/page?after=nonsense", 422),
        ("/search?q=%00", 422),
        ("/order?by=beauty", 422),
    ],
)
async def test_mistakes_of_a_client_are_answered_alike_on_every_store(
    app: FastAPI, client: httpx.AsyncClient, backend: Backend, path: str, status: int
) -> None:
    @app.get("/shoppers/{key}")
    async def read(key: str) -> Shopper:
        return await backend.get(Shopper, UUID(key) if "0" in key else key)

    @app.get("/page")
    async def page(after: str) -> list[Shopper]:
        return (await backend.query(Shopper).page(size=10, after=after)).items

    @app.get("/search")
    async def search(q: str) -> list[Shopper]:
        return await backend.query(Shopper).filter(name__icontains=q)

    @app.get("/order")
    async def order(by: str) -> list[Shopper]:
        return await backend.query(Shopper).order_by(by)

    assert (await client.get(path)).status_code == status


async def test_a_duplicate_and_a_broken_reference_are_conflicts(app: FastAPI, client: httpx.AsyncClient, backend: Backend) -> None:
    @app.post("/shoppers")
    async def create(shopper: Shopper) -> Shopper:
        return await backend.create(shopper)

    @app.post("/seats")
    async def take(seat: Seat) -> Seat:
        return await backend.create(seat)

    await client.post("/shoppers", json=ADA)
    duplicate = await client.post("/shoppers", json=ADA)
    broken = await client.post("/seats", json={"row": 1, "letter": "A", "shopper_id": str(UUID(int=1))})

    assert (duplicate.status_code, duplicate.json()["model"], duplicate.json()["fields"]) == (409, "Shopper", ["email"])
    assert (broken.status_code, broken.json()["model"]) == (409, "Seat")


async def test_what_a_store_cannot_do_is_a_501(app: FastAPI, client: httpx.AsyncClient, memory_url: str) -> None:
    backend = holdall.open(memory_url)

    @app.get("/")
    async def raw(session: Annotated[Session, SessionDependency(backend)]) -> int:
        return int(await session.fetch_value("select 1"))

    answer = await client.get("/")

    assert answer.status_code == 501
    assert answer.json()["missing"] == [Capability.RAW_SQL.value]


# -- models as bodies ------------------------------------------------------------------------------------------------------------------


async def test_models_are_bodies_and_responses(app: FastAPI, client: httpx.AsyncClient, backend: Backend) -> None:
    @app.post("/", status_code=201)
    async def create(shoppers: list[Shopper]) -> list[Shopper]:
        return await backend.create_many(shoppers)

    @app.get("/", response_model=list[Shopper])
    async def read() -> Any:
        return await backend.query(Shopper)

    made = await client.post("/", json=[{**ADA, "purse": "12.50"}, {"email": "bob@example.org", "name": "Bob"}])
    wrong = await client.post("/", json=[{**ADA, "purse": "1.001"}])

    assert made.status_code == 201
    assert [(item["name"], Decimal(item["purse"])) for item in made.json()] == [("Ada", Decimal("12.5")), ("Bob", Decimal(0))]
    assert [item["id"] for item in (await client.get("/")).json()] == [item["id"] for item in made.json()]
    assert wrong.status_code == 422


@pytest.mark.parametrize("shape", [NameOnly, NameTuple, NameDict, NameData])
async def test_partial_shapes_are_responses(app: FastAPI, client: httpx.AsyncClient, backend: Backend, shape: type[Any]) -> None:
    await backend.create(Shopper(email="ada@example.org", name="Ada"))

    @app.get("/", response_model=list[shape])  # type: ignore[valid-type]
    async def names() -> Any:
        return await backend.query(Shopper).into(shape)

    @app.get("/page", response_model=holdall.Page[shape])  # type: ignore[valid-type]
    async def page() -> Any:
        return await backend.query(Shopper).into(shape).page(size=10)

    one = ["Ada"] if shape is NameTuple else {"name": "Ada"}
    assert (await client.get("/")).json() == [one]
    assert (await client.get("/page")).json() == {"items": [one], "next": None, "previous": None}


async def test_a_response_model_narrows_a_stored_object(app: FastAPI, client: httpx.AsyncClient, backend: Backend) -> None:
    stored = await backend.create(Shopper(email="ada@example.org", name="Ada"))

    @app.get("/", response_model=NameOnly)
    async def read() -> Any:
        return await backend.get(Shopper, stored.id)

    assert (await client.get("/")).json() == {"name": "Ada"}


async def test_openapi_describes_the_fields_of_a_model_and_nothing_else(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.post("/")
    async def create(shopper: Shopper) -> Shopper:
        return shopper

    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    shopper = next(schema for name, schema in schemas.items() if name.startswith("Shopper"))

    assert list(shopper["properties"]) == ["id", "email", "name", "purse"]
    assert shopper["properties"]["email"] == {"type": "string", "maxLength": 320, "title": "Email"}
    assert shopper["required"] == ["email", "name"]
