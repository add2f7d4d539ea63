"""The way back from worker threads to the event loop: finished jobs in a deque, one wake-up per batch."""

from __future__ import annotations

import contextlib
import os
import socket
import weakref
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio


class Delivery(Protocol):
    """What a thread has finished."""

    def deliver(self) -> None:
        """Tell those who wait; runs on the event loop."""
        ...


class Signal(Protocol):
    """Something that a thread sets and that a selector sees."""

    def fileno(self) -> int:
        """Give the descriptor that becomes readable."""
        ...

    def set(self) -> None:
        """Make it readable; called in threads."""
        ...

    def clear(self) -> None:
        """Make it unreadable again."""
        ...


class EventSignal:
    """A signal over an eventfd, the cheapest that Linux has."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # Closed by the last who knows it, loop or thread: a thread that wrote to a closed number could hit somebody else's file.
        weakref.finalize(self, os.close, self._fd).atexit = False

    def fileno(self) -> int:
        """Give the descriptor that becomes readable."""
        return self._fd

    def set(self) -> None:
        """Make it readable; called in threads."""
        os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        """Make it unreadable again."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)


class SocketSignal:
    """A signal over a pair of sockets, where there is no eventfd."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
            weakref.finalize(self, end.close).atexit = False

    def fileno(self) -> int:
        """Give the descriptor that becomes readable."""
        return self._reader.fileno()

    def set(self) -> None:
        """Make it readable; called in threads."""
        with contextlib.suppress(BlockingIOError):  # full: the loop has been told often enough
            self._writer.send(b"\0")

    def clear(self) -> None:
        """Make it unreadable again."""
        with contextlib.suppress(BlockingIOError):
            while len(self._reader.recv(4096)) == 4096:
                pass


def make_signal() -> Signal:
    """Make the cheapest signal that this system has."""
    return EventSignal() if hasattr(os, "eventfd") else SocketSignal()


class Mailbox:
    """Where worker threads leave what they have finished. ``put`` and ``wake`` are for threads, the rest for the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, signal: Signal | None = None) -> None:
        self._finished: deque[Delivery] = deque()
        self._signal = signal or make_signal()
        self.loop = loop
        self.put = self._finished.append
        self.wake = self._signal.set
        loop.add_reader(self._signal.fileno(), self._deliver)

    def detach(self) -> None:
        """Stop listening."""
        if not self.loop.is_closed():
            self.loop.remove_reader(self._signal.fileno())

    def _deliver(self) -> None:
        self._signal.clear()  # before the deque is read: what is put after this sets it again
        finished = self._finished
        while finished:
            finished.popleft().deliver()
