"""Private servers for the tests: free ports, temporary folders, direct children that are waited on, nothing left behind."""

from holdall.testing.proxy import Proxy
from tests.servers.dynamodb import DynamoDbServer
from tests.servers.opensearch import OpenSearchServer
from tests.servers.pgbouncer import PgbouncerServer
from tests.servers.postgres import PostgresServer
from tests.servers.process import ServerFailed, ServerMissing

__all__ = ("DynamoDbServer", "OpenSearchServer", "PgbouncerServer", "PostgresServer", "Proxy", "ServerFailed", "ServerMissing")
