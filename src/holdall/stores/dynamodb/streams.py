"""Streams: the answer of a query, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from holdall.errors import HoldallError
from holdall.query import operations as op
from holdall.stores.dynamodb.errors import fail
from holdall.stores.dynamodb.reading import Plan, Request
from holdall.stores.dynamodb.sending import Reader, Sender, together
from holdall.stores.dynamodb.values import Item


class ItemStream:
    """Reads ahead no more than one page of the service.

    A scan is divided into segments. Their next pages are asked for side by side, each for its part of the batch.
    """

    def __init__(self, sender: Sender, plan: Plan, operation: op.Select, batch: int, segments: int) -> None:
        self._sender = sender
        self._plan = plan
        self._operation = operation
        self._batch = batch
        self._segments = segments
        self._left = operation.limit
        self._found: list[Item] = []
        self._readers: list[Reader] | None = None

    async def fetch(self) -> list[Any]:
        """Return the next batch."""
        size = self._batch if self._left is None else min(self._batch, self._left)
        try:
            if self._readers is None:
                self._readers = await self._start()
            while len(self._found) < size and self._readers:
                await self._read(size)
        except HoldallError:
            raise
        except Exception as error:  # noqa: BLE001  - what is not the transport's own is raised as it is
            fail(error, self._operation.info.label)
        batch, self._found = self._found[:size], self._found[size:]
        if self._left is not None:
            self._left -= len(batch)
        layout, decoder = self._plan.layout, self._operation.decoder
        row = layout.row if decoder.tracks else layout.row_of(decoder.fields)
        return decoder.many([row(item) for item in batch])

    async def _start(self) -> list[Reader]:
        path = self._plan.path
        if path is None:
            return []
        if path.kind == "unique" or (path.kind == "get" and path.rest is True):
            self._found = await self._sender.items(self._plan, self._operation, self._left)
            return []
        if path.kind == "scan" and self._segments > 1:
            (request,) = self._plan.requests
            return [self._reader([_segment(request, number, self._segments)]) for number in range(self._segments)]
        return [self._reader(self._plan.requests)]

    def _reader(self, requests: Sequence[Request]) -> Reader:
        return Reader(self._sender.transport, requests, self._sender.page_size)

    async def _read(self, size: int) -> None:
        assert self._readers is not None
        part = -(-(size - len(self._found)) // len(self._readers))
        for answer in await together(partial(reader.next, part) for reader in self._readers):
            self._found += answer["Items"]
        self._readers = [reader for reader in self._readers if not reader.is_done]

    async def aclose(self) -> None:
        """Forget the rest."""
        self.abandon()

    def abandon(self) -> None:
        """Forget the rest: nothing is open between two batches."""
        self._found, self._readers = [], []


def _segment(request: Request, number: int, segments: int) -> Request:
    return request._replace(body={**request.body, "Segment": number, "TotalSegments": segments})
