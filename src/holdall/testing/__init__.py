"""Tests for applications: records made up, a database that is clean for every test, calls recorded, faults of the network.

The pytest plugin, which is there once holdall is installed, gives the fixture ``backend``.
"""

from holdall.testing.calls import Call as Call
from holdall.testing.calls import Calls as Calls
from holdall.testing.calls import Repeated as Repeated
from holdall.testing.factory import build as build
from holdall.testing.factory import create as create
from holdall.testing.factory import restart_numbers as restart_numbers
from holdall.testing.isolation import fresh as fresh
from holdall.testing.pinned import PinnedStore as PinnedStore
from holdall.testing.pinned import pinned as pinned
from holdall.testing.proxy import Proxy as Proxy
from holdall.testing.recorder import record as record
from holdall.testing.sites import Site as Site

__all__ = (
    "Call",
    "Calls",
    "PinnedStore",
    "Proxy",
    "Repeated",
    "Site",
    "build",
    "create",
    "fresh",
    "pinned",
    "record",
    "restart_numbers",
)
