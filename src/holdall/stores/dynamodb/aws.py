"""aioboto3: where credentials, region, endpoint and retries come from, and its client as a carrier of requests."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# aioboto3 and botocore make their classes at run time.

from __future__ import annotations

import asyncio
import re
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any, NamedTuple

from holdall.errors import BackendError, ConfigurationError
from holdall.stores.dynamodb.http import HttpPool
from holdall.stores.dynamodb.settings import DynamoSettings, check_endpoint
from holdall.stores.dynamodb.signing import Credentials
from holdall.stores.dynamodb.transport import ServiceError, SignedCarrier, Transport

_ATTEMPTS = 5


class Resolved(NamedTuple):
    """What the AWS configuration says."""

    session: Any
    region: str
    endpoint: str
    attempts: int


async def open_transport(settings: DynamoSettings) -> Transport:
    """Return a transport for the running event loop.

    Raises:
        ConfigurationError: no region or no credentials are found.
    """
    if settings.client == "own" and _says_all(settings):
        assert settings.region is not None
        assert settings.endpoint_url is not None
        carrier = _signed(settings, settings.endpoint_url, settings.region, _stated(settings))
        return Transport(carrier, settings.max_attempts or _ATTEMPTS, read_only=settings.read_only)
    # Loading botocore's models would stall the loop for a tenth of a second.
    resolved = await asyncio.to_thread(_resolve, settings)
    attempts = settings.max_attempts or resolved.attempts
    check_endpoint(resolved.endpoint)  # a variable or a profile may have stated it
    if settings.client == "aioboto3":
        return Transport(await _open_client(settings, resolved), attempts, read_only=settings.read_only)
    with _explained():
        found = await resolved.session.get_credentials()
    if found is None:
        raise ConfigurationError(
            "no AWS credentials are found; state access_key_id and secret_access_key, a profile, or what the AWS tools take"
        )

    async def credentials() -> Credentials:
        with _explained():
            frozen = await found.get_frozen_credentials()  # refreshes when it is due, under a lock of its own
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    return Transport(_signed(settings, resolved.endpoint, resolved.region, credentials), attempts, read_only=settings.read_only)


@contextmanager
def _explained() -> Generator[None]:
    """Say what failed when credentials cannot be had: an expired login, a process or metadata service that does not answer."""
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]  # noqa: PLC0415

    try:
        yield
    except (BotoCoreError, RuntimeError, OSError) as exc:  # botocore raises them for what is expired, and for a process that is not there
        msg = f"the AWS credentials cannot be had: {exc}; log in again, or state access_key_id and secret_access_key"
        raise BackendError(msg) from exc


def _says_all(settings: DynamoSettings) -> bool:
    return None not in (settings.region, settings.endpoint_url, settings.access_key_id)


def _stated(settings: DynamoSettings) -> Callable[[], Awaitable[Credentials]]:
    found = Credentials(settings.access_key_id or "", settings.secret_access_key or "", settings.session_token)

    async def credentials() -> Credentials:
        return found

    return credentials


def _signed(settings: DynamoSettings, endpoint: str, region: str, credentials: Callable[[], Awaitable[Credentials]]) -> SignedCarrier:
    def pool(host: str, port: int, tls: Any) -> HttpPool:
        return HttpPool(
            host,
            port,
            tls,
            most=settings.pool_max_size,
            connect_timeout=settings.connect_timeout,
            acquire_timeout=settings.acquire_timeout,
        )

    return SignedCarrier(endpoint, region, credentials, read_timeout=settings.read_timeout, pool=pool)


def _make_session(settings: DynamoSettings) -> Any:
    import aioboto3  # type: ignore[import-untyped]  # noqa: PLC0415  - takes a third of a second, in a thread

    return aioboto3.Session(
        profile_name=settings.profile,
        region_name=settings.region,
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        aws_session_token=settings.session_token,
    )


def _resolve(settings: DynamoSettings) -> Resolved:
    """Ask botocore, by its public interface, in an event loop of this thread's own.

    Its own rules decide: arguments, both variables of endpoints, profiles, FIPS, dual stack, partitions.
    """
    from botocore.exceptions import BotoCoreError, NoRegionError  # noqa: PLC0415

    async def ask() -> Resolved:
        session = _make_session(settings)
        async with session.client("dynamodb", endpoint_url=settings.endpoint_url) as client:
            retries: Mapping[str, Any] = client.meta.config.retries or {}
            attempts = retries.get("total_max_attempts", _ATTEMPTS)
            return Resolved(session, client.meta.region_name, client.meta.endpoint_url, attempts)

    try:
        return asyncio.run(ask())
    except NoRegionError as exc:
        msg = f"the AWS configuration does not say where DynamoDB is: {exc}; state the region, as in dynamodb://eu-central-1"
        raise ConfigurationError(msg) from exc
    except BotoCoreError as exc:
        msg = f"the AWS configuration cannot be used: {exc}; correct it, or state region, access_key_id and secret_access_key"
        raise ConfigurationError(msg) from exc


# -- the client as a carrier -----------------------------------------------------------------------------------------------------------


async def _open_client(settings: DynamoSettings, resolved: Resolved) -> ClientCarrier:
    from botocore.config import Config  # type: ignore[import-untyped]  # noqa: PLC0415

    # What is sent again is decided here: the client repeats writes blindly.
    config = Config(
        retries={"total_max_attempts": 1},
        max_pool_connections=settings.pool_max_size,
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
    )
    stack = AsyncExitStack()
    made = resolved.session.client("dynamodb", region_name=resolved.region, endpoint_url=resolved.endpoint, config=config)
    return ClientCarrier(await stack.enter_async_context(made), stack)


class ClientCarrier:
    """aioboto3's low-level client."""

    def __init__(self, client: Any, stack: AsyncExitStack) -> None:
        self._client = client
        self._stack = stack

    async def send(self, target: str, body: dict[str, Any]) -> Any:
        """Return the decoded answer; errors as ``Carrier.send``."""
        from botocore.exceptions import (  # noqa: PLC0415  - imported already, by whoever made the client
            BotoCoreError,
            ClientError,
            ConnectTimeoutError,
            EndpointConnectionError,
            HTTPClientError,
            ProxyConnectionError,
            SSLError,
        )

        method = getattr(self._client, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", target).lower())
        try:
            answer = await method(**_with_bytes(body, b64decode))
        except ClientError as exc:
            response: Any = exc.response
            error = response.get("Error", {})
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
            raise ServiceError(error.get("Code", ""), error.get("Message", ""), status, _with_bytes(response, _text)) from exc
        except (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError) as exc:
            raise ConnectionRefusedError(str(exc)) from exc
        except (HTTPClientError, SSLError) as exc:
            raise ConnectionError(str(exc)) from exc
        except BotoCoreError as exc:
            msg = f"aioboto3 cannot send {target}: {exc}"
            raise BackendError(msg) from exc
        return _with_bytes(answer, _text)

    def stats(self) -> Mapping[str, Any]:
        """Return nothing: the client does not tell."""
        return {}

    async def close(self, timeout: float) -> None:
        """Close the client."""
        async with asyncio.timeout(timeout):
            await self._stack.aclose()

    def terminate(self) -> None:
        """Close the client as far as that goes without waiting: its first step closes the connections."""
        closing = self._stack.aclose()
        try:
            closing.send(None)
        except StopIteration:
            return
        closing.close()


def _text(value: bytes) -> str:
    return b64encode(value).decode()


def _with_bytes(value: Any, convert: Callable[[Any], Any]) -> Any:
    """Return a request or answer with its binary values converted: the client wants and gives bytes."""
    if isinstance(value, dict):
        return {
            name: convert(item) if name == "B" and not isinstance(item, dict) else _with_bytes(item, convert)
            for name, item in value.items()
        }
    return [_with_bytes(item, convert) for item in value] if isinstance(value, list) else value
