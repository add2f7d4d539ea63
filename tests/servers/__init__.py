"""Private servers for the tests: free ports, temporary folders, direct children that are waited on, nothing left behind."""

from holdall.testing.proxy import Proxy
from tests.servers.mariadb import MariadbServer
from tests.servers.pgbouncer import PgbouncerServer
from tests.servers.postgres import PostgresServer
from tests.servers.process import ServerFailed, ServerMissing

__all__ = ("MariadbServer", "PgbouncerServer", "PostgresServer", "Proxy", "ServerFailed", "ServerMissing")
