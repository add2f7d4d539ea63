"""Requests: what is sent again and what is not, timeouts, cancelled calls, answers that are broken, event loops, and the signature."""

# pyright: reportUnknownMemberType=false
# botocore has no types.

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials as BotoCredentials  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

import holdall
from holdall import (
    Backend,
    BackendError,
    ConfigurationError,
    ConnectionLost,
    DuplicateKeyError,
    F,
    Field,
    HoldallError,
    Model,
    PoolClosed,
    PoolTimeout,
    SerializationError,
)
from holdall.stores.dynamodb import transport
from holdall.stores.dynamodb.aws import open_transport
from holdall.stores.dynamodb.signing import Credentials, Signer
from tests.stores.dynamodb.service import (
    Answer,
    Service,
    breaks_off,
    gives,
    hangs_up,
    keeps_silent,
    refuses,
    sends_chunks,
    service,
    speaks_html,
    speaks_html_of_an_error,
    speaks_nonsense,
)


class Thing(Model):
    id: int = Field(primary_key=True)
    name: str = ""
    count: int = 0


class Named(Model):
    id: int = Field(primary_key=True)
    name: str = Field(default="", unique=True)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause for no time between attempts."""
    monkeypatch.setattr(transport, "_BASE_DELAY", 0.0)


FOUND = gives({"Item": {"id": {"N": "1"}, "name": {"S": "x"}, "count": {"N": "0"}}})
THROTTLED = refuses("ProvisionedThroughputExceededException")
CONTENTION = refuses("TransactionCanceledException", CancellationReasons=[{"Code": "TransactionConflict"}, {"Code": "None"}])


def opened(made: Service, **options: Any) -> Backend:
    return holdall.open(made.url(), coalesce=False, **options)


RECOVERED: list[tuple[str, Answer]] = [
    ("throttled", THROTTLED),
    ("broken inside", refuses("InternalServerError", status=500)),
    ("a proxy's error", gives({}, 503)),
    ("hung up", hangs_up),
    ("broken off", breaks_off),
    ("nonsense", speaks_nonsense),
    ("a wrong checksum", gives({"Item": {}}, checksum=1)),
    ("a clock that differs", refuses("InvalidSignatureException")),
]


@pytest.mark.parametrize("answer", [answer for _, answer in RECOVERED], ids=[name for name, _ in RECOVERED])
async def test_a_read_is_sent_again(answer: Answer) -> None:
    async with service(gives({}), answer, answer, FOUND) as made, opened(made) as backend:
        assert (await backend.get(Thing, 1)).name == "x"
        assert [request.target for request in made.requests[-3:]] == ["GetItem"] * 3


async def test_who_may_not_list_tables_is_connected_all_the_same() -> None:
    async with service(usual=refuses("AccessDeniedException")) as made, opened(made) as backend:
        await backend.ping()
        with pytest.raises(BackendError, match="AccessDenied"):
            await backend.get(Thing, 1)


async def test_attempts_have_an_end() -> None:
    async with service(gives({}), usual=THROTTLED) as made, opened(made, max_attempts=3) as backend:
        with pytest.raises(BackendError, match="ProvisionedThroughputExceeded"):
            await backend.get(Thing, 1)
        assert len(made.requests) == 1 + 3


async def test_a_write_that_was_surely_not_applied_is_sent_again() -> None:
    async with service(gives({}), THROTTLED, THROTTLED) as made, opened(made) as backend:
        await backend.create(Thing(id=1))
        assert [request.target for request in made.requests[1:]] == ["PutItem"] * 3


@pytest.mark.parametrize("answer", [hangs_up, breaks_off, refuses("InternalServerError", status=500)], ids=["hung up", "broken", "500"])
async def test_a_write_of_unknown_outcome_is_sent_once_and_says_so(answer: Answer) -> None:
    async with service(gives({}), answer, answer) as made, opened(made) as backend:
        with pytest.raises(ConnectionLost, match="may or may not"):
            await backend.create(Thing(id=1))
        with pytest.raises(ConnectionLost, match="may or may not"):
            await backend.query(Thing).filter(id=1).update(count=F("count") + 1)
        assert [request.target for request in made.requests[1:]] == ["PutItem", "UpdateItem"]


async def test_a_transaction_is_sent_again_with_its_token() -> None:
    async with service(gives({}), hangs_up, refuses("TransactionInProgressException"), CONTENTION) as made, opened(made) as backend:
        await backend.create(Named(id=1, name="x"))
        sent = made.requests[1:]
        assert [request.target for request in sent] == ["TransactWriteItems"] * 4
        assert len({request.body["ClientRequestToken"] for request in sent}) == 1
        assert all(request.body == sent[0].body for request in sent)


async def test_a_batch_of_one_write_is_sent_again_with_its_token_too() -> None:
    async with service(gives({}), hangs_up) as made, opened(made) as backend:
        async with backend.write_batch() as batch:
            batch.create(Thing(id=1))
        assert [request.target for request in made.requests[1:]] == ["TransactWriteItems"] * 2
        assert len({request.body["ClientRequestToken"] for request in made.requests[1:]}) == 1


async def test_after_an_error_no_more_of_a_bulk_write_is_begun() -> None:
    async with service(gives({}), usual=refuses("AccessDeniedException")) as made, opened(made) as backend:
        with pytest.raises(BackendError, match="AccessDenied"):
            await backend.delete_many([Thing(id=number) for number in range(1000)])
        assert len(made.requests) < 100


@pytest.mark.parametrize(
    "answers",
    [
        [hangs_up, hangs_up],
        [breaks_off, THROTTLED],
        [THROTTLED, refuses("InternalServerError", status=500)],
        [gives({}, 503), refuses("ExpiredTokenException")],
        [hangs_up, refuses("TransactionInProgressException")],
    ],
    ids=["lost", "lost and throttled", "broken inside", "expired", "in progress"],
)
async def test_a_transaction_that_is_given_up_may_have_been_applied_and_says_so(answers: list[Answer]) -> None:
    async with service(gives({}), *answers) as made, opened(made, max_attempts=2) as backend:
        with pytest.raises(ConnectionLost, match="may or may not"):
            await backend.create(Named(id=1, name="x"))
        assert len(made.requests) == 3


async def test_a_transaction_that_the_service_decides_at_last_is_not_in_doubt() -> None:
    failed = refuses("TransactionCanceledException", CancellationReasons=[{"Code": "None"}, {"Code": "ConditionalCheckFailed"}])
    async with service(gives({}), hangs_up, failed) as made, opened(made, max_attempts=2) as backend:
        with pytest.raises(DuplicateKeyError):
            await backend.create(Named(id=1, name="x"))


async def test_what_is_not_dynamodb_is_told_apart() -> None:
    """Something else listens at the endpoint, or stands before it."""
    for answer in (speaks_html, speaks_html_of_an_error):
        async with service(usual=answer) as made:
            backend = opened(made, max_attempts=1)
            with pytest.raises(HoldallError, match="html"):
                await backend.ping()
            with pytest.raises(HoldallError, match="html"):
                await backend.create(Thing(id=1))
            await backend.close()


async def test_contention_without_end_can_be_run_again() -> None:
    async with service(gives({}), usual=CONTENTION) as made, opened(made, max_attempts=2) as backend:
        with pytest.raises(SerializationError) as failed:
            await backend.create(Named(id=1, name="x"))
        assert holdall.is_retryable(failed.value)


async def test_a_transaction_that_lost_its_reply_is_applied_once(dynamodb_url: str) -> None:
    """Against the real server, with the reply cut off on the way."""
    async with holdall.open(dynamodb_url) as backend:
        await backend.drop(Named)
        await backend.initialize(Named)
        carrier: Any = (await _transport(backend)).carrier
        real, lost = carrier.send, list[str]()

        async def send(target: str, body: dict[str, Any]) -> Any:
            answer = await real(target, body)
            if target == "TransactWriteItems" and not lost:
                lost.append(body["ClientRequestToken"])
                raise ConnectionResetError
            return answer

        carrier.send = send
        await backend.create(Named(id=1, name="x"))
        carrier.send = real
        assert lost
        assert (await backend.get(Named, 1)).name == "x"
        with pytest.raises(DuplicateKeyError):
            await backend.create(Named(id=1, name="y"))
        await backend.drop(Named)


async def _transport(backend: Backend) -> Any:
    store: Any = backend.store
    return await store._links.get().open()


async def test_what_the_service_leaves_out_of_a_batch_is_asked_for_again() -> None:
    def some(*numbers: int, left: tuple[int, ...]) -> Answer:
        items = [{"id": {"N": str(number)}, "name": {"S": ""}, "count": {"N": "0"}} for number in numbers]
        keys = {"thing": {"Keys": [{"id": {"N": str(number)}} for number in left]}} if left else {}
        return gives({"Responses": {"thing": items}, "UnprocessedKeys": keys})

    async with service(gives({}), some(3, left=(1, 2)), some(left=(1, 2)), some(2, 1, left=())) as made, opened(made) as backend:
        found = await backend.get_many(Thing, [1, 2, 3])
        assert [thing and thing.id for thing in found] == [1, 2, 3]
        assert [len(request.body["RequestItems"]["thing"]["Keys"]) for request in made.requests[1:]] == [3, 2, 2]
    async with service(gives({}), usual=some(left=(1, 2))) as made, opened(made) as backend:
        with pytest.raises(BackendError, match="not read"):
            await backend.get_many(Thing, [1, 2])
        assert len(made.requests) < 12


async def test_a_limit_is_filled_from_pages_that_are_empty_and_has_a_budget() -> None:
    def page(*numbers: int, more: bool = True) -> Answer:
        items = [{"id": {"N": str(number)}, "name": {"S": "x"}, "count": {"N": "0"}} for number in numbers]
        return gives({"Items": items, "Count": len(items)} | ({"LastEvaluatedKey": {"id": {"N": "9"}}} if more else {}))

    async with service(gives({}), page(), page(1), page(), page(2, 3)) as made, opened(made) as backend:
        query = backend.query(Thing).filter(name="x").allow_scan()
        with pytest.raises(holdall.MultipleResultsError):
            await query.one()
        assert [request.body.get("Limit") for request in made.requests[1:]] == [None] * 4
        assert made.requests[2].body["ExclusiveStartKey"] == {"id": {"N": "9"}}
    async with service(gives({}), usual=page()) as made, opened(made, request_budget=5) as backend:
        with pytest.raises(holdall.LimitExceeded, match="request_budget"):
            await backend.query(Thing).filter(name="x").allow_scan().one()
        assert len(made.requests) == 1 + 5


async def test_reads_are_consistent_unless_the_settings_say_otherwise_and_the_query_does_not() -> None:
    async def sent(work: Callable[[Backend], Any], **options: Any) -> bool:
        empty = gives({"Items": [], "Count": 0, "Responses": {}})
        async with service(gives({}), usual=empty) as made, opened(made, **options) as backend:
            await work(backend)
            body = made.requests[1].body
            return bool(body.get("RequestItems", {}).get("thing", body).get("ConsistentRead", False))

    reads: list[Callable[[Backend], Any]] = [
        lambda backend: backend.get_or_none(Thing, 1),
        lambda backend: backend.get_many(Thing, [1, 2]),
        lambda backend: backend.query(Thing).filter(id=1).all(),
        lambda backend: backend.query(Thing).filter(id__in=[1, 2]).all(),
        lambda backend: backend.query(Thing).filter(id=1, name="x").count(),
        lambda backend: backend.query(Thing).allow_scan().all(),
    ]
    for read in reads:
        assert await sent(read) is True
        assert await sent(read, consistent_reads=False) is False
    demanded: list[Callable[[Backend], Any]] = [
        lambda backend: backend.query(Thing).filter(id=1).consistent().all(),
        lambda backend: backend.query(Thing).filter(id__in=[1, 2]).consistent().all(),
        lambda backend: backend.query(Thing).filter(id=1, name="x").consistent().exists(),
        lambda backend: backend.query(Thing).allow_scan().consistent().count(),
        lambda backend: backend.query(Thing).filter(name="x").allow_scan().delete(),
        lambda backend: backend.query(Thing).filter(id=1, name="x").update(name="y"),
    ]
    for read in demanded:
        assert await sent(read, consistent_reads=False) is True


# -- time ------------------------------------------------------------------------------------------------------------------------------


async def test_an_answer_that_does_not_come_is_an_error_with_a_name() -> None:
    async with service(gives({}), usual=keeps_silent) as made, opened(made, read_timeout=0.05, max_attempts=2) as backend:
        with pytest.raises(ConnectionLost, match="read_timeout"):
            await backend.get(Thing, 1)
        assert len(made.requests) == 1 + 2
        with pytest.raises(ConnectionLost, match="may or may not"):
            await backend.create(Thing(id=1))
        assert len(made.requests) == 1 + 2 + 1
        made.usual = FOUND
        assert (await backend.get(Thing, 1)).name == "x"


async def test_a_request_waits_for_a_connection_up_to_a_deadline() -> None:
    async with service(gives({}), keeps_silent, usual=FOUND) as made:
        backend = opened(made, pool_max_size=1, acquire_timeout=0.05)
        async with backend:
            made.arrived.clear()
            busy = asyncio.create_task(backend.get(Thing, 1))
            await made.arrived.wait()
            with pytest.raises(PoolTimeout):
                await backend.get(Thing, 1)
            busy.cancel()
            with pytest.raises(asyncio.CancelledError):
                await busy
            assert (await backend.get(Thing, 1)).name == "x"


async def test_a_server_that_is_not_there_is_lost() -> None:
    async with service() as made:
        backend = opened(made, max_attempts=2)
    with pytest.raises(ConnectionLost, match="cannot be reached"):
        await backend.open()
    with pytest.raises(ConnectionLost):
        await backend.create(Thing(id=1))
    await backend.close()


# -- cancelled calls -------------------------------------------------------------------------------------------------------------------


async def test_a_cancelled_call_never_harms_the_next_one() -> None:
    """Its connection goes with it: the answer that is still on its way is nobody's."""
    released = asyncio.Event()

    async def late(_: Any, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        await gives({"Item": {"id": {"N": "1"}, "name": {"S": "the other's"}, "count": {"N": "0"}}})(_, writer)

    async with service(gives({}), late, usual=FOUND) as made, opened(made) as backend:
        made.arrived.clear()
        call = asyncio.create_task(backend.get(Thing, 1))
        await made.arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        released.set()
        assert [(await backend.get(Thing, 1)).name for _ in range(3)] == ["x"] * 3
        assert backend.store.stats()["in_use"] == 0


async def test_calls_that_are_cancelled_at_any_moment_leave_no_connection_behind(dynamodb_url: str) -> None:
    async with holdall.open(dynamodb_url, coalesce=False, pool_max_size=3) as backend:
        await backend.drop(Thing, Named)
        await backend.initialize(Thing, Named)
        await backend.create_many([Thing(id=number) for number in range(30)])

        async def stream() -> None:
            async for _ in backend.query(Thing).allow_scan().stream(batch=5):
                pass

        calls: list[Callable[[], Any]] = [
            lambda: backend.get(Thing, 1),
            lambda: backend.get_many(Thing, range(30)),
            lambda: backend.query(Thing).allow_scan().all(),
            lambda: backend.query(Thing).filter(id=1).update(name="y"),
            lambda: backend.upsert(Named(id=1, name="x")),
            stream,
        ]
        for call in calls:
            for steps in range(1, 12):
                task = asyncio.ensure_future(call())
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert (await backend.get(Thing, 7)).id == 7
        stats = backend.store.stats()
        assert (stats["in_use"], stats["waiting"]) == (0, 0)
        assert stats["size"] <= 3
        await backend.drop(Thing, Named)


async def test_closing_ends_what_is_under_way_and_refuses_what_comes() -> None:
    async with service(gives({}), keeps_silent) as made:
        backend = await opened(made).open()
        made.arrived.clear()
        call = asyncio.create_task(backend.get(Thing, 1))
        await made.arrived.wait()
        await backend.close(timeout=0.01)
        with pytest.raises((ConnectionLost, PoolClosed)):
            await call
        with pytest.raises(PoolClosed):
            await backend.get(Thing, 1)
        async with backend:
            await backend.ping()


# -- connections -----------------------------------------------------------------------------------------------------------------------


async def test_connections_are_used_again_unless_the_server_closes_them() -> None:
    async with service(usual=FOUND) as made, opened(made) as backend:
        for _ in range(5):
            await backend.get(Thing, 1)
        assert made.connections == 1
        made.script += [gives({"Item": {"id": {"N": "1"}, "name": {"S": ""}, "count": {"N": "0"}}}, closes=True)]
        await backend.get(Thing, 1)
        await backend.get(Thing, 1)
        assert made.connections == 2


async def test_answers_in_chunks_are_read() -> None:
    async with service(gives({}), sends_chunks, usual=FOUND) as made, opened(made) as backend:
        assert await backend.get_or_none(Thing, 1) is None
        assert (await backend.get(Thing, 1)).name == "x"


def test_each_event_loop_has_connections_of_its_own(dynamodb_url: str) -> None:
    backend = holdall.open(dynamodb_url)

    async def work(number: int) -> int:
        await backend.initialize(Thing)
        await backend.upsert(Thing(id=number, name=str(number)))
        return (await backend.get(Thing, number)).id

    found: list[int] = []

    def run(number: int) -> None:
        found.append(asyncio.run(work(number)))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1, 2]
    assert asyncio.run(work(7)) == 7

    async def end() -> None:
        await backend.drop(Thing)
        await backend.close()

    asyncio.run(end())


# -- aioboto3 --------------------------------------------------------------------------------------------------------------------------


async def test_the_client_of_aioboto3_carries_the_same_requests(dynamodb_url: str) -> None:
    class Mixed(Model):
        id: bytes = Field(primary_key=True)
        blob: bytes | None = None
        name: str | None = Field(default=None, unique=True)
        number: int = 0

    async with holdall.open(dynamodb_url, client="aioboto3") as backend:
        await backend.drop(Mixed)
        await backend.initialize(Mixed)
        record = await backend.create(Mixed(id=b"\0", blob=b"\xff", name="x"))
        assert await backend.get(Mixed, b"\0") == record
        for wrong in (Mixed(id=b"\0"), Mixed(id=b"1", name="x")):
            with pytest.raises(DuplicateKeyError):
                await backend.create(wrong)
        assert await backend.query(Mixed).filter(id=b"\0").update(number=F("number") + 1) == 1
        record = await backend.get(Mixed, b"\0")
        record.blob, record.name = b"new", "y"
        await backend.save(record)
        assert await backend.query(Mixed).filter(blob=b"new").allow_scan().one() == record
        assert await backend.delete(record) is True
        await backend.drop(Mixed)


async def test_region_endpoint_and_credentials_come_from_the_aws_configuration(
    dynamodb_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    settings = holdall.open(dynamodb_url).settings
    assert settings.endpoint_url is not None  # type: ignore[attr-defined]
    config = tmp_path / "config"
    config.write_text("[profile shop]\nregion = eu-north-1\naws_access_key_id = profilekey\naws_secret_access_key = b\nmax_attempts = 7\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", settings.endpoint_url)  # type: ignore[attr-defined]
    for client in ("own", "aioboto3"):
        async with holdall.open("dynamodb://?profile=shop", client=client) as backend:
            await backend.ping()
            assert (await _transport(backend))._attempts == 7
    monkeypatch.delenv("AWS_CONFIG_FILE")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="region"):
        await holdall.open("dynamodb://").ping()


@pytest.mark.parametrize("client", ["own", "aioboto3"])
async def test_credentials_that_cannot_be_had_are_an_error_with_a_remedy(
    client: Any, dynamodb_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The process that should give them fails, as it does when a login has expired."""
    config = tmp_path / "config"
    config.write_text("[profile shop]\nregion = eu-north-1\ncredential_process = false\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", holdall.open(dynamodb_url).settings.endpoint_url)  # type: ignore[attr-defined]
    backend = holdall.open("dynamodb://?profile=shop", client=client)
    with pytest.raises(ConfigurationError, match=r"custom-process.*secret_access_key"):
        await backend.get(Thing, 1)
    await backend.close()


async def test_credentials_that_cannot_be_refreshed_are_an_error_with_a_remedy(
    dynamodb_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The process gives some that are due, and then none."""
    given = tmp_path / "given"
    given.write_text('{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "Expiration": "2001-01-01T00:00:00Z"}')
    config = tmp_path / "config"
    config.write_text(f"[profile shop]\nregion = eu-north-1\ncredential_process = cat {given}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", holdall.open(dynamodb_url).settings.endpoint_url)  # type: ignore[attr-defined]
    backend = holdall.open("dynamodb://?profile=shop")
    with pytest.raises(BackendError, match="expired"):
        await backend.ping()
    given.unlink()
    with pytest.raises(BackendError, match="secret_access_key"):
        await backend.ping()
    await backend.close()


async def test_an_address_of_ipv6_is_written_in_brackets() -> None:
    async with service(usual=FOUND, host="::1") as made, holdall.open(made.url(), coalesce=False) as backend:
        await backend.get(Thing, 1)
        assert made.requests[-1].headers["host"] == f"[::1]:{made.port}"


texts = st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=20)


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=40), secret=texts.filter(bool), token=st.none() | st.just("token/+="), second=st.integers(0, 2**31))
def test_signatures_are_those_of_botocore(body: bytes, secret: str, token: str | None, second: int) -> None:
    target = "DynamoDB_20120810.GetItem"
    head = Signer("localhost:8000", "eu-west-1").head(target, body, Credentials("KEY", secret, token), second).decode()
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    request = AWSRequest("POST", "http://localhost:8000/", data=body, headers={"X-Amz-Target": target})
    signer = SigV4Auth(BotoCredentials("KEY", secret, token), "dynamodb", "eu-west-1")
    request.context["timestamp"] = headers["X-Amz-Date"]
    if token:
        request.headers["X-Amz-Security-Token"] = token
    request.headers["X-Amz-Date"] = headers["X-Amz-Date"]
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert headers["Authorization"].rpartition("Signature=")[2] == signer.signature(text, request)


# -- waiting for a connection ----------------------------------------------------------------------------------------------------------


async def test_who_waits_for_a_connection_is_served_before_those_who_come_later() -> None:
    async with service(usual=FOUND) as made, opened(made, pool_max_size=1) as backend:
        ended: list[str] = []

        async def greedy() -> None:
            for _ in range(50):
                await backend.get(Thing, 1)
            ended.append("greedy")

        async def patient() -> None:
            await backend.get(Thing, 1)
            ended.append("patient")

        await asyncio.gather(greedy(), patient(), patient())
        assert ended == ["patient", "patient", "greedy"]
        assert made.connections == 1
        stats = backend.store.stats()
        assert (stats["size"], stats["in_use"], stats["waiting"]) == (1, 0, 0)


async def test_turns_of_waiters_that_are_cancelled_pass_on() -> None:
    async with service(usual=FOUND) as made, opened(made, pool_max_size=2, acquire_timeout=1) as backend:
        for round_ in range(30):
            tasks = [asyncio.create_task(backend.get(Thing, 1)) for _ in range(12)]
            for number in range(4):
                for _ in range(number):
                    await asyncio.sleep(0)
                tasks[(round_ + 3 * number) % 12].cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(each, Thing | asyncio.CancelledError) for each in found)
        stats = backend.store.stats()
        assert (stats["in_use"], stats["waiting"]) == (0, 0)
        assert stats["size"] <= 2
        assert made.open <= 2


async def test_a_close_that_is_cancelled_cuts_what_is_in_use() -> None:
    async with service(gives({}), keeps_silent) as made:
        backend = await opened(made).open()
        made.arrived.clear()
        busy = asyncio.create_task(backend.get(Thing, 1))
        await made.arrived.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await backend.close()
        async with asyncio.timeout(1):
            with pytest.raises((PoolClosed, ConnectionLost)):
                await busy


# -- opening ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["own", "aioboto3"])
async def test_who_waits_for_an_opening_that_is_closed_is_told_so(client: str) -> None:
    """Nobody has cancelled them."""
    async with service(usual=FOUND) as made:
        backend = opened(made, client=client)
        waiting = [asyncio.create_task(backend.get(Thing, number)) for number in range(3)]
        for _ in range(3):
            await asyncio.sleep(0)
        await backend.close()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, PoolClosed | Thing | ConnectionLost) for each in found), found


async def test_an_opening_whose_caller_is_gone_serves_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    openings = 0
    real = open_transport

    async def counted(settings: Any) -> Any:
        nonlocal openings
        openings += 1
        return await real(settings)

    monkeypatch.setattr("holdall.stores.dynamodb.store.open_transport", counted)
    async with service(usual=FOUND) as made:
        backend = opened(made, client="aioboto3")
        first = asyncio.create_task(backend.get(Thing, 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        assert (await backend.get(Thing, 1)).name == "x"
        assert openings == 1
        await backend.close()
