"""A private MariaDB server."""

import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from tests.servers.process import Child, Folder, find_program, free_port, run_program

BINARIES = ("/usr/sbin", "/usr/bin", "/usr/local/mysql/bin", "/opt/homebrew/opt/mariadb/bin")


@dataclass
class MariadbServer:
    """A server in a folder of its own; ``start`` after ``stop`` brings back the same data on the same port.

    Its defaults are what a user would meet: a collation that ignores case and accents, and REPEATABLE READ. Without ``durable`` nothing is
    synced to the disk.
    """

    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    durable: bool = False
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    version: str = field(init=False)
    _folder: Folder | None = field(default=None, init=False, repr=False)
    _child: Child | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._program("mariadb-install-db")
        self.version = _version(self._program("mariadbd"))

    @property
    def url(self) -> str:
        return f"mysql://root@{self.host}:{self.port}/test"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def start(self) -> Self:
        if self._folder is None:
            self._folder = Folder("mariadb")
            self._initialise()
        folder = self._folder.path
        log = folder / "log"
        self._child = Child([self._program("mariadbd"), *self._options()], folder=folder, log=log, death_signal=signal.SIGKILL)
        self._child.wait_ready(lambda _: _greets(self.host, self.port))
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server, not the data: SIGTERM ends its sessions first, SIGKILL ends it as a crash would."""
        if self._child is not None:
            self._child.stop(how)
            self._child = None

    def delete(self) -> None:
        """Stop the server and remove its data."""
        self.stop(signal.SIGKILL)
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.delete()

    def _initialise(self) -> None:
        assert self._folder is not None
        folder = self._folder.path
        # Two that run at once would remove each other's tables in a common folder.
        temporary = f"--tmpdir={folder}"
        arguments = (
            temporary,
            "--auth-root-authentication-method=normal",
            "--skip-name-resolve",
            "--innodb-log-file-size=16M",
            "--cross-bootstrap",
        )
        run_program([self._program("mariadb-install-db"), "--no-defaults", f"--datadir={folder / 'data'}", *arguments], folder=folder)

    def _options(self) -> list[str]:
        assert self._folder is not None
        folder = self._folder.path
        settings = {
            "datadir": str(folder / "data"),
            "tmpdir": str(folder),
            "socket": str(folder / "socket"),
            "pid-file": str(folder / "pid"),
            "bind-address": self.host,
            "port": str(self.port),
            "character-set-server": "utf8mb4",
            "collation-server": "utf8mb4_unicode_ci",
            "innodb-buffer-pool-size": "64M",
            "innodb-log-file-size": "16M",
            "innodb-flush-log-at-trx-commit": "1" if self.durable else "0",
            "max-connections": "300",
            "performance-schema": "OFF",
            **self.settings,
        }
        # --no-defaults comes first, or the machine's own settings count.
        return ["--no-defaults", "--skip-name-resolve", *(f"--{name}={value}" for name, value in settings.items())]

    @staticmethod
    def _program(name: str) -> str:
        return find_program(name, *BINARIES, package="mariadb-server")


async def connect(url: str, **options: Any) -> Any:
    """Connect to the database of a URL without our library; autocommit is on."""
    aiomysql: Any = import_module("aiomysql")  # a run without MySQL needs no driver; it has no types
    parts = urlsplit(url)
    place = {"host": parts.hostname, "port": parts.port or 3306, "db": parts.path.strip("/") or None}
    user = {"user": unquote(parts.username or "root"), "password": unquote(parts.password or "")}
    return await aiomysql.connect(**place, **user, autocommit=True, **options)


def _version(program: str) -> str:
    text = subprocess.run([program, "--no-defaults", "--version"], check=True, capture_output=True, text=True).stdout
    return next(word for word in text.split() if word[0].isdigit()).partition("-")[0]


def _greets(host: str, port: int) -> bool:
    """Tell whether the server sends its greeting, which it does before anybody logs in."""
    try:
        with socket.create_connection((host, port), timeout=1) as probe:
            probe.settimeout(1)
            return len(probe.recv(4)) > 0
    except OSError:
        return False
