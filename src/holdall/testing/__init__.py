"""Tests for applications: records made up, a database that is clean for every test, calls recorded, faults of the network.

The pytest plugin, which is there once holdall is installed, gives the fixture ``backend``. For authors of stores there is ``StoreSuite``.
"""

from typing import TYPE_CHECKING, Any

from holdall.testing.calls import Call as Call
from holdall.testing.calls import Calls as Calls
from holdall.testing.calls import Repeated as Repeated
from holdall.testing.factory import build as build
from holdall.testing.factory import create as create
from holdall.testing.factory import restart_numbers as restart_numbers
from holdall.testing.gaps import Never as Never
from holdall.testing.gaps import NotImpl as NotImpl
from holdall.testing.gaps import NotYet as NotYet
from holdall.testing.isolation import fresh as fresh
from holdall.testing.pinned import PinnedStore as PinnedStore
from holdall.testing.pinned import pinned as pinned
from holdall.testing.proxy import Proxy as Proxy
from holdall.testing.recorder import record as record
from holdall.testing.sites import Site as Site

if TYPE_CHECKING:
    from holdall.testing.suite import StoreSuite as StoreSuite

__all__ = (
    "Call",
    "Calls",
    "Never",
    "NotImpl",
    "NotYet",
    "PinnedStore",
    "Proxy",
    "Repeated",
    "Site",
    "StoreSuite",
    "build",
    "create",
    "fresh",
    "pinned",
    "record",
    "restart_numbers",
)


def __getattr__(name: str) -> Any:
    """Import the suite when it is asked for, because it needs pytest."""
    if name == "StoreSuite":
        from holdall.testing.suite import StoreSuite  # noqa: PLC0415

        return StoreSuite
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
