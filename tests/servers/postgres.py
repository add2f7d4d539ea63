"""A private PostgreSQL server."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.process import Child, Folder, find_program, free_port, program_version, run_program

BINARIES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
READY_LINE = 7  # of postmaster.pid, as pg_ctl reads it


@dataclass
class PostgresServer:
    """A cluster in a folder of its own; ``start`` after ``stop`` brings back the same data on the same port.

    ``settings`` are added to the command line. Without ``durable`` nothing is synced to the disk, which a test of one machine's crash needs
    and no other does.
    """

    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    durable: bool = False
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    version: str = field(init=False)
    _folder: Folder | None = field(default=None, init=False, repr=False)
    _child: Child | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.version = program_version(self._program("postgres"))

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{self.host}:{self.port}/postgres"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def start(self) -> Self:
        if self._folder is None:
            self._folder = Folder("postgres")
            self._initialise(self._folder.path)
        folder = self._folder.path
        data = folder / "data"
        self._child = Child(
            [self._program("postgres"), "-D", str(data), *self._options()],
            folder=folder,
            log=folder / "log",
            death_signal=signal.SIGQUIT,
        )
        self._child.wait_ready(lambda pid: _accepts_connections(data / "postmaster.pid", pid))
        return self

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server, not the data: SIGINT ends its sessions first, SIGQUIT ends it as a crash would."""
        if self._child is not None:
            self._child.stop(how)
            self._child = None

    def delete(self) -> None:
        """Stop the server and remove its data."""
        self.stop(signal.SIGQUIT)
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.delete()

    def _initialise(self, folder: Path) -> None:
        arguments = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
        run_program([self._program("initdb"), "-D", str(folder / "data"), *arguments], folder=folder)

    def _options(self) -> list[str]:
        safety = "on" if self.durable else "off"
        settings = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "300",
            "fsync": safety,
            "full_page_writes": safety,
            "TimeZone": "UTC",
            "log_timezone": "UTC",
            "lc_messages": "C",
            **self.settings,
        }
        return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    @staticmethod
    def _program(name: str) -> str:
        return find_program(name, *BINARIES, package="postgresql")


def _accepts_connections(pid_file: Path, pid: int) -> bool:
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > READY_LINE and lines[0] == str(pid) and lines[READY_LINE].strip() == "ready"
