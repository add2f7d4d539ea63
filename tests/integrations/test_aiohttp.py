"""aiohttp applications on every store: a session per request over a real, kept connection, errors as answers."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext, suppress
from typing import TypeAlias

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

import holdall
from holdall import Backend, Field, Model, NotFoundError, Session, SessionConflict, SessionNotFound, errors
from holdall.integrations.aiohttp import ANSWERS, backend_context, error_middleware, in_session, session_middleware


class Visitor(Model):
    id: int = Field(primary_key=True)
    email: str = Field(unique=True)

    class Meta:
        name = "aiohttp_visitors"


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Client: TypeAlias = "TestClient[web.Request, web.Application]"
Serve = Callable[[web.Application], Awaitable[Client]]


@pytest.fixture
async def backend(backend_url: str) -> AsyncGenerator[Backend]:
    async with holdall.open(backend_url) as opened:
        await opened.drop(Visitor)
        await opened.initialize(Visitor)
        yield opened
        await opened.drop(Visitor)


@pytest.fixture
async def serve() -> AsyncGenerator[Serve]:
    """Serve an application for the rest of the test; every client keeps one connection."""
    async with AsyncExitStack() as stack:

        async def start(app: web.Application) -> Client:
            return await stack.enter_async_context(TestClient(TestServer(app)))

        yield start


def application(backend: Backend, handler: Handler) -> web.Application:
    app = web.Application(middlewares=[error_middleware, session_middleware(backend)])
    app.router.add_route("*", "/", handler)
    return app


async def test_a_request_commits_before_its_response_is_sent(backend: Backend, serve: Serve) -> None:
    happened: list[str] = []

    async def handle(_: web.Request) -> web.Response:
        await backend.create(Visitor(id=1, email="ada@example.org"))
        backend.sessions.get().on_commit(lambda: happened.append("committed"))
        return web.json_response({})

    async def note(_request: web.Request, _response: web.StreamResponse) -> None:
        happened.append("sent")

    app = application(backend, handle)
    app.on_response_prepare.append(note)
    client = await serve(app)

    assert (await client.post("/")).status == 200
    assert happened == ["committed", "sent"]
    assert await backend.query(Visitor).count() == 1


@pytest.mark.parametrize(
    ("make", "status", "kept"),
    [
        (lambda: web.Response(status=201), 201, True),
        (lambda: web.Response(status=404), 404, True),
        (lambda: web.Response(status=500), 500, False),
        (lambda: web.Response(status=503), 503, False),
        (lambda: web.HTTPFound("/elsewhere"), 302, True),
        (web.HTTPNoContent, 204, True),
        (web.HTTPNotFound, 404, False),
        (web.HTTPConflict, 409, False),
        (web.HTTPServiceUnavailable, 503, False),
        (lambda: errors.ConflictError("Visitor", 1), 409, False),
        (lambda: NotFoundError("Visitor", 1), 404, False),
        (lambda: RuntimeError("boom"), 500, False),
    ],
    ids=lambda value: repr(value()) if callable(value) else str(value),
)
@pytest.mark.parametrize("backend_url", ["memory", "sqlite"], indirect=True)
async def test_the_outcome_of_a_request_decides_what_is_kept(
    backend: Backend, serve: Serve, make: Callable[[], web.Response | Exception], status: int, kept: bool
) -> None:
    async def handle(_: web.Request) -> web.StreamResponse:
        await backend.create(Visitor(id=1, email="ada@example.org"))
        outcome = make()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    client = await serve(application(backend, handle))

    assert (await client.post("/", allow_redirects=False)).status == status
    assert (await backend.query(Visitor).count() == 1) is kept


async def test_a_commit_that_fails_is_answered_as_an_error(backend: Backend, serve: Serve) -> None:
    async def handle(_request: web.Request) -> web.Response:
        for _attempt in range(2):
            with suppress(errors.DuplicateKeyError):  # the transaction has failed all the same
                await backend.create(Visitor(id=1, email="ada@example.org"))
        return web.json_response({"stored": True})

    client = await serve(application(backend, handle))

    answer = await client.post("/")

    assert answer.status == 500
    assert (await answer.json())["type"] == "urn:holdall:internal"
    assert await backend.query(Visitor).count() == 0


async def test_no_session_reaches_the_next_request_of_a_kept_connection(backend: Backend, serve: Serve) -> None:
    sessions: list[Session] = []
    connections: set[object] = set()

    async def handle(request: web.Request) -> web.Response:
        connections.add(request.transport)
        assert backend.sessions.get() not in sessions
        sessions.append(backend.sessions.get())
        await backend.create(Visitor(id=len(sessions), email=f"{len(sessions)}@example.org"))
        if request.method == "PUT":
            raise NotFoundError("Visitor", 0)
        return web.Response(status=500 if request.method == "PATCH" else 200)

    async def outside(request: web.Request) -> web.Response:
        connections.add(request.transport)
        with pytest.raises(SessionNotFound):
            backend.sessions.get()
        return web.json_response(await backend.query(Visitor).count())

    app = web.Application()
    app.add_subapp("/inside", application(backend, handle))
    app.router.add_get("/outside", outside)
    client = await serve(app)

    for method in ("POST", "PUT", "PATCH", "POST"):
        await (await client.request(method, "/inside/")).read()
        assert (await client.get("/outside")).status == 200

    assert len(connections) == 1
    assert len(sessions) == 4
    assert await (await client.get("/outside")).json() == 2


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
@pytest.mark.parametrize("outcome", ["returns", "raises", "is refused"])
async def test_requests_that_one_task_serves_share_nothing(backend: Backend, outcome: str) -> None:
    """Some versions of aiohttp serve all requests of a connection in one task, and in one context."""
    async with holdall.open("memory://") as second:
        sessions: set[Session] = set()

        async def handle(_: web.Request) -> web.Response:
            with pytest.raises(SessionNotFound):
                second.sessions.get()
            await second.session().__aenter__()  # and never left
            sessions.add(backend.sessions.get())
            if outcome == "raises":
                raise NotFoundError("Visitor", 1)
            return web.Response(status=500 if outcome == "is refused" else 200)

        serve_one = session_middleware(backend)
        for _ in range(3):
            with pytest.raises(NotFoundError) if outcome == "raises" else nullcontext():
                await serve_one(make_mocked_request("GET", "/"), handle)
            for each in (backend, second):
                with pytest.raises(SessionNotFound):
                    each.sessions.get()

        assert len(sessions) == 3


async def test_a_handler_opts_in_by_itself(backend: Backend, serve: Serve) -> None:
    @in_session(backend, isolation="serializable")
    async def place(_: web.Request, session: Session) -> web.Response:
        await session.create(Visitor(id=1, email="ada@example.org"))
        assert backend.sessions.get() is session
        return web.Response(status=500)

    async def read(_: web.Request) -> web.Response:
        with pytest.raises(SessionNotFound):
            backend.sessions.get()
        return web.json_response(await backend.query(Visitor).count())

    app = web.Application(middlewares=[error_middleware])
    app.router.add_post("/", place)
    app.router.add_get("/", read)
    client = await serve(app)

    assert (await client.post("/")).status == 500
    assert await (await client.get("/")).json() == 0


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_a_handler_that_opts_in_inside_the_middleware_gets_its_session(backend: Backend, serve: Serve) -> None:
    @in_session(backend)
    async def place(_: web.Request, session: Session) -> web.Response:
        assert backend.sessions.get() is session
        await session.create(Visitor(id=1, email="ada@example.org"))
        raise web.HTTPNotFound

    @in_session(backend, read_only=True)
    async def read(_: web.Request, _session: Session) -> web.Response:
        raise AssertionError

    app = application(backend, place)
    app.router.add_get("/read", read)
    client = await serve(app)

    assert (await client.post("/")).status == 404
    assert await backend.query(Visitor).count() == 0
    assert (await client.get("/read")).status == 500  # options for a session that is open already: ConfigurationError


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_an_answered_error_rolls_back_also_where_the_middlewares_stand_the_wrong_way_round(backend: Backend, serve: Serve) -> None:
    async def handle(_: web.Request) -> web.Response:
        await backend.create(Visitor(id=1, email="ada@example.org"))
        raise NotFoundError("Visitor", 2)

    app = web.Application(middlewares=[session_middleware(backend), error_middleware])
    app.router.add_post("/", handle)
    client = await serve(app)

    assert (await client.post("/")).status == 404
    assert await backend.query(Visitor).count() == 0


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_an_error_after_the_response_has_begun_sends_no_second_one(
    backend: Backend, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun")
        raise NotFoundError("Visitor", 1)

    client = await serve(application(backend, handle))

    with caplog.at_level(logging.CRITICAL):
        answer = await client.get("/")
        rest = await answer.content.read(100)

    assert answer.status == 200
    assert b"urn:holdall" not in rest


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_an_error_is_a_problem_document_as_the_shared_table_says(backend: Backend, serve: Serve) -> None:
    async def handle(_: web.Request) -> web.Response:
        raise errors.PoolTimeout(1.5, [])

    async def missing(_: web.Request) -> web.Response:
        await backend.get(Visitor, 7)
        raise AssertionError

    app = application(backend, handle)
    app.router.add_get("/missing", missing)
    client = await serve(app)

    busy = await client.get("/")
    assert (busy.status, busy.headers["Retry-After"]) == (503, "1")
    assert busy.content_type == "application/problem+json"
    assert (await busy.json())["detail"] == ANSWERS[errors.PoolTimeout].detail

    answer = await client.get("/missing")
    assert answer.status == 404
    assert await answer.json() == {
        "type": "urn:holdall:not-found",
        "title": "no such record",
        "status": 404,
        "detail": str(NotFoundError("Visitor", 7)),
        "model": "Visitor",
        "key": 7,
    }


async def test_the_backend_lives_as_long_as_the_application(backend_url: str) -> None:
    backend = holdall.open(backend_url)
    app = web.Application()
    app.cleanup_ctx.append(backend_context(backend, Visitor))

    async with TestClient(TestServer(app)):
        assert await backend.query(Visitor).count() == 0
        await backend.drop(Visitor)

    with pytest.raises(errors.PoolClosed):
        await backend.query(Visitor).count()


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_a_task_of_a_handler_is_told_how_to_share_the_session(backend: Backend, serve: Serve) -> None:
    async def handle(_: web.Request) -> web.Response:
        with pytest.raises(SessionConflict):
            await asyncio.create_task(backend.query(Visitor).count())
        return web.Response()

    client = await serve(application(backend, handle))

    assert (await client.get("/")).status == 200


@pytest.mark.parametrize("backend_url", ["memory"], indirect=True)
async def test_options_of_the_middleware_hold_for_its_sessions(backend: Backend, serve: Serve) -> None:
    async def handle(_: web.Request) -> web.Response:
        with pytest.raises(errors.TransactionError):
            await backend.create(Visitor(id=1, email="ada@example.org"))
        raise web.HTTPFound("/")  # a commit of what has failed

    app = web.Application(middlewares=[session_middleware(backend, read_only=True)])
    app.router.add_get("/", handle)
    client = await serve(app)

    assert (await client.get("/", allow_redirects=False)).status == 500
