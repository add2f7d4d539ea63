"""``Stream``: rows of a query, batch by batch. An object and not a generator, so that nothing of it lives in the consumer's frame."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

T_co = TypeVar("T_co", covariant=True)


class RowStream(Protocol):
    """A running query that is read batch by batch."""

    async def fetch(self) -> list[Any]:
        """Return the next batch of objects; an empty list at the end."""
        ...

    async def aclose(self) -> None:
        """End the query and give its connection back."""
        ...

    def abandon(self) -> None:
        """Do what ``aclose`` does without waiting, from a cancelled task or a finaliser."""
        ...


class Stream(Generic[T_co]):
    """An async iterator over a query, and an async context manager that closes it.

    The query starts with the first item. After ``break`` the connection is back at once when nothing else holds the stream, else at
    ``aclose()``.
    """

    __slots__ = ("__weakref__", "_batch", "_closed", "_next", "_open", "_source")

    def __init__(self, open_source: Callable[[], Awaitable[RowStream]] | None) -> None:
        self._open = open_source
        self._source: RowStream | None = None
        self._batch: list[Any] = []
        self._next = 0
        self._closed = False

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> T_co:
        """Return the next object."""
        position = self._next
        if position == len(self._batch):
            await self._fetch()
            position = 0
        self._next = position + 1
        return self._batch[position]  # type: ignore[no-any-return]

    async def _fetch(self) -> None:
        self._batch, self._next = [], 0
        if self._closed or self._open is None:
            raise StopAsyncIteration
        if self._source is None:
            self._source = await self._open()
        try:
            self._batch = await self._source.fetch()
        except CancelledError:
            self._abandon()
            raise
        except BaseException:  # whatever ends the query, its connection goes back
            await self.aclose()
            raise
        if not self._batch:
            await self.aclose()
            raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the query and give its connection back; does nothing the second time."""
        self._closed = True
        source, self._source = self._source, None
        self._batch, self._next = [], 0
        if source is not None:
            try:
                await source.aclose()
            except CancelledError:
                source.abandon()
                raise

    def _abandon(self) -> None:
        self._closed = True
        source, self._source = self._source, None
        if source is not None:
            source.abandon()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close, without waiting when cancelled."""
        if isinstance(error, CancelledError):
            self._abandon()
        else:
            await self.aclose()

    def __del__(self) -> None:
        """Give the connection back: what ``break`` out of the loop comes to."""
        if self._source is not None:
            self._abandon()
