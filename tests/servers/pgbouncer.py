"""A private pgbouncer in transaction mode."""

import signal
import socket
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.servers.process import Child, Folder, find_program, free_port, program_version

# More clients than servers on purpose: only so do statements of one client meet the server connection of another.
CONFIGURATION = """\
[databases]
* = host={server.hostname} port={server.port} user=postgres

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 300
default_pool_size = {pool_size}
"""


@dataclass
class PgbouncerServer:
    """A transaction-mode pooler before the server at ``server_url``; every database of that server has the same name here."""

    server_url: str
    pool_size: int = 3
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    version: str = field(init=False)
    _folder: Folder | None = field(default=None, init=False, repr=False)
    _child: Child | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.version = program_version(self._program())

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{self.host}:{self.port}/postgres"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def start(self) -> Self:
        if self._folder is None:
            self._folder = Folder("pgbouncer")
        folder = self._folder.path
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            CONFIGURATION.format(server=urlsplit(self.server_url), host=self.host, port=self.port, pool_size=self.pool_size)
        )
        configuration.chmod(0o644)
        self._child = Child([self._program(), str(configuration)], folder=folder, log=folder / "log", death_signal=signal.SIGTERM)
        self._child.wait_ready(lambda _pid: self._listens())
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the pooler at once, with SIGINT after the transactions that run."""
        if self._child is not None:
            self._child.stop(how)
            self._child = None

    def delete(self) -> None:
        """Stop the pooler and remove its folder."""
        self.stop()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.delete()

    def _listens(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    @staticmethod
    def _program() -> str:
        return find_program("pgbouncer", "/usr/sbin", package="pgbouncer")
