"""The DynamoDB store: one transport per event loop, opened when it is first needed."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from holdall.capabilities import WRITING, Capability
from holdall.errors import ConfigurationError, HoldallError, PoolClosed
from holdall.pool import PerLoop
from holdall.query.operations import Batch, DeleteWhere, Operation, Select
from holdall.query.predicates import TRUE
from holdall.record.metadata import ModelInfo
from holdall.store import BeginOptions, Difference, Transaction
from holdall.stores.dynamodb import schema
from holdall.stores.dynamodb.aws import open_transport
from holdall.stores.dynamodb.capabilities import CAPABILITIES, LIMITS
from holdall.stores.dynamodb.errors import fail
from holdall.stores.dynamodb.explaining import explain
from holdall.stores.dynamodb.layout import Layout, layout_of
from holdall.stores.dynamodb.operations import RUN, Context
from holdall.stores.dynamodb.reading import Reads
from holdall.stores.dynamodb.sending import Sender
from holdall.stores.dynamodb.settings import DynamoSettings
from holdall.stores.dynamodb.streams import ItemStream
from holdall.stores.dynamodb.transport import ServiceError, Transport
from holdall.stores.dynamodb.values import decode

_CLOSED = "the backend is closed"


class DynamoStore:
    """The tables of one account and region."""

    limits = LIMITS
    values = staticmethod(decode)

    def __init__(self, settings: DynamoSettings) -> None:
        self.settings = settings
        self.capabilities: frozenset[Capability] = CAPABILITIES - WRITING if settings.read_only else CAPABILITIES
        self._layouts: dict[ModelInfo, Layout] = {}
        self._reads = Reads(self.layout, scan=settings.allow_scan, consistent=settings.consistent_reads)
        self._links: PerLoop[_Link] = PerLoop(lambda: _Link(settings), _Link.terminate)

    def layout(self, info: ModelInfo) -> Layout:
        """Return where a model's records are."""
        found = self._layouts.get(info)
        if found is None:
            found = self._layouts[info] = layout_of(info, self.settings.table_prefix)
        return found

    async def open(self) -> None:
        """Find out where the service is, and make one round trip."""
        self._links.reopen()
        await self.ping()

    async def close(self, timeout: float) -> None:
        """Close the connections of the running event loop, and cut those of others."""
        self._links.shut()
        link = self._links.pop()
        try:
            if link is not None:
                await link.close(timeout)
        finally:
            self._links.terminate_all()

    async def ping(self) -> None:
        """Make one round trip."""
        await self._guarded("the tables", _ask)

    async def _guarded(self, label: str, work: Callable[[Transport], Awaitable[Any]]) -> Any:
        link = self._links.get()
        transport = link.transport or await link.open()
        try:
            return await work(transport)
        except HoldallError:
            raise
        except Exception as error:  # noqa: BLE001  - what is not the transport's own is raised as it is
            fail(error, label)

    # -- tables ------------------------------------------------------------------------------------------------------------------------

    async def prepare(self, models: Sequence[ModelInfo]) -> None:
        """Create the tables that are missing, and wait for them."""
        layouts = list(map(self.layout, models))
        await self._guarded(_labels(models), lambda transport: schema.prepare(transport, layouts, self.settings.capacity_timeout))

    async def drop(self, models: Sequence[ModelInfo]) -> None:
        """Remove the tables of the models; of those in a shared table, their records."""
        layouts = list(map(self.layout, models))
        await self._guarded(_labels(models), lambda transport: schema.drop(transport, layouts, self.settings.capacity_timeout))
        for layout in layouts:
            if layout.entity is not None:
                await self._empty(layout)

    async def _empty(self, layout: Layout) -> None:
        there = await self._guarded(layout.info.label, lambda transport: schema.describe(transport, layout.table))
        if there is not None:
            await self.execute(DeleteWhere(layout.info, TRUE, scan=True))

    async def drop_all(self) -> None:
        """Delete every table of the prefix, which must not be empty; for tests."""
        prefix = self.settings.table_prefix
        if not prefix:
            raise ConfigurationError("drop_all() needs a table_prefix")

        async def work(transport: Transport) -> None:
            await schema.delete_tables(transport, await schema.names_of(transport, prefix), self.settings.capacity_timeout)

        await self._guarded("the tables", work)

    async def compare(self, models: Sequence[ModelInfo]) -> list[Difference]:
        """Return how the tables differ from what ``prepare`` makes of the models."""
        layouts = list(map(self.layout, models))
        found: list[Difference] = await self._guarded(_labels(models), lambda transport: schema.compare(transport, layouts))
        return found

    # -- operations --------------------------------------------------------------------------------------------------------------------

    def _context(self, transport: Transport) -> Context:
        settings = self.settings
        sender = Sender(
            transport,
            self._reads,
            page_size=settings.page_size,
            budget=settings.request_budget,
        )
        return Context(sender, self._reads, self.layout, settings.consistent_reads)

    async def execute(self, operation: Operation) -> Any:
        """Carry out one operation."""
        run = RUN[type(operation)]
        link = self._links.get()
        if link.transport is None:
            self.explain(operation)  # what is refused is refused before any I/O, that of opening included
            await link.open()
        if link.context is None:
            assert link.transport is not None
            link.context = self._context(link.transport)
        try:
            return await run(link.context, operation)
        except HoldallError:
            raise
        except Exception as error:  # noqa: BLE001  - as above
            fail(error, _label(operation))

    async def stream(self, operation: Select, batch: int) -> ItemStream:
        """Start a query; a table that is read as a whole is read in parts side by side."""
        plan = self._reads.plan(operation)

        async def start(transport: Transport) -> ItemStream:
            return ItemStream(self._context(transport).sender, plan, operation, batch, self.settings.scan_segments)

        found: ItemStream = await self._guarded(operation.info.label, start)
        return found

    def begin(self, options: BeginOptions) -> Transaction:
        """Refuse: never called, because no sessions are declared."""
        raise NotImplementedError

    def explain(self, operation: Operation) -> str:
        """Say which requests the operation makes."""
        return explain(self._reads, self.layout, operation, self.settings.request_budget)

    def stats(self) -> Mapping[str, Any]:
        """Return figures of the connections of the running event loop, and how many requests were sent."""
        link = self._links.peek()
        if link is None or link.transport is None:
            return {}
        return {**link.transport.carrier.stats(), "requests": link.transport.requests}


async def _ask(transport: Transport) -> None:
    """Ask for something small. Who may not see it has been answered all the same."""
    try:
        await transport.call("ListTables", {"Limit": 1})
    except ServiceError as error:
        if error.name != "AccessDeniedException":
            raise


class _Link:
    """The transport of one event loop; whoever needs it first opens it for all."""

    def __init__(self, settings: DynamoSettings) -> None:
        self._settings = settings
        self._opening: asyncio.Task[Transport] | None = None
        self._closed = False
        self.transport: Transport | None = None
        self.context: Context | None = None

    async def open(self) -> Transport:
        """Return the transport; a caller that is cancelled leaves the others waiting for it."""
        if self.transport is not None:
            return self.transport
        if self._closed:
            raise PoolClosed(_CLOSED)
        if self._opening is None:
            loop = asyncio.get_running_loop()
            self._opening = loop.create_task(open_transport(self._settings), context=contextvars.Context())
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        try:
            found = await asyncio.shield(opening)
        except asyncio.CancelledError:
            if opening.cancelled() and not _is_cancelled():
                raise PoolClosed(_CLOSED) from None  # by ``close``, and not the caller
            raise
        if self._closed:
            raise PoolClosed(_CLOSED)
        return found

    def _opened(self, opening: asyncio.Task[Transport]) -> None:
        """Keep what was opened, though whoever asked for it may be gone. After an error the next one tries again."""
        self._opening = None
        if opening.cancelled() or opening.exception() is not None:
            return
        self.transport = opening.result()
        if self._closed:
            self.transport.carrier.terminate()

    async def close(self, timeout: float) -> None:
        """Close the transport; cut it when that is cancelled."""
        self._closed = True
        try:
            if self._opening is not None:
                self._opening.cancel()
                await asyncio.wait([self._opening])
            if self.transport is not None:
                await self.transport.carrier.close(timeout)
        except BaseException:  # a cancelled close still closes
            self.terminate()
            raise

    def terminate(self) -> None:
        """Cut the transport."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
        if self.transport is not None:
            self.transport.carrier.terminate()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _labels(models: Sequence[ModelInfo]) -> str:
    return ", ".join(info.label for info in models)


def _label(operation: Operation) -> str:
    info: ModelInfo | None = getattr(operation, "info", None)
    if info is not None:
        return info.label
    return _labels(list(dict.fromkeys(write.info for write in operation.writes))) if isinstance(operation, Batch) else "raw SQL"
