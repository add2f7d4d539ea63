"""What the servers that run on Java share: jars that are fetched once, by Maven, and kept between runs."""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.process import Account, Child, Folder, ServerFailed, find_program, free_port, program_version

HERE = Path(__file__).parent
PACKAGES = "default-jdk-headless maven"
# A JVM on a loaded machine, without a class-data archive, takes its time.
READY_SECONDS = 120.0


def cache_folder() -> Path:
    """Return where jars are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "holdall-test-servers"


@dataclass(frozen=True)
class JavaProgram:
    """A server as a class path: the jars that a pom names, and what is compiled against them.

    Attributes:
        name: of the pom beside this file, without its suffix.
        sources: Java files beside this file.
    """

    name: str
    sources: tuple[str, ...] = ()

    def folder(self) -> Path:
        """Return the folder with ``lib/``, made at the first call on this machine; raise ``ServerMissing`` without Java or Maven."""
        find_program("java", package=PACKAGES)
        target = cache_folder() / f"{self.name}-{self._digest()}"
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once download once
            if not target.exists():
                self._make(target)
        return target

    def _digest(self) -> str:
        files = [HERE / f"{self.name}.xml", *(HERE / source for source in self.sources)]
        return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:12]

    def _make(self, target: Path) -> None:
        building = target.with_suffix(".part")
        shutil.rmtree(building, ignore_errors=True)
        lib = building / "lib"
        lib.mkdir(parents=True)
        maven = find_program("mvn", package=PACKAGES)
        _run([maven, "-B", "-q", "-f", str(HERE / f"{self.name}.xml"), "dependency:copy-dependencies", f"-DoutputDirectory={lib}"])
        if self.sources:
            compiler = find_program("javac", package=PACKAGES)
            _run([compiler, "-cp", f"{lib}/*", "-d", str(building / "classes"), *(str(HERE / source) for source in self.sources)])
            _run(
                [find_program("jar", package=PACKAGES), "--create", "--file", str(lib / "server.jar"), "-C", str(building / "classes"), "."]
            )
        building.rename(target)


def _run(arguments: Sequence[str]) -> None:
    # With the environment of the tests, unlike a server: Maven's settings and proxies are the user's.
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ServerFailed(f"{Path(arguments[0]).name} ended with status {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")


@dataclass
class JavaServer:
    """A server in a JVM, in a folder of its own. ``start`` is ``launch`` and ``wait_ready``, so that several can boot at once.

    It runs as whoever runs the tests, root included: its jars are in the home folder of that user.
    """

    heap: str = "512m"
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    _folder: Folder | None = field(default=None, init=False, repr=False)
    _child: Child | None = field(default=None, init=False, repr=False)

    program = JavaProgram("")

    @property
    def http(self) -> str:
        """The address of its HTTP interface."""
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def home(self) -> Path:
        """The folder of its data."""
        assert self._folder is not None
        return self._folder.path

    def arguments(self) -> list[str]:
        """Return what follows ``java`` and its memory settings."""
        raise NotImplementedError

    def launch(self) -> Self:
        """Start the program and wait for nothing."""
        if self._child is None:
            jars = self.program.folder()
            if self._folder is None:
                self._folder = Folder(self.program.name)
            memory = ["-Xms64m", f"-Xmx{self.heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
            command = [find_program("java", package=PACKAGES), *memory, "-cp", f"{jars}/lib/*", *self.arguments()]
            self._child = Child(
                command,
                folder=self.home,
                log=self.home / "log",
                death_signal=signal.SIGKILL,
                account=Account(),
                environment=self.environment(),
            )
        return self

    def environment(self) -> dict[str, str]:
        """Return the variables that the server needs."""
        return {}

    def wait_ready(self) -> Self:
        """Wait until it answers."""
        assert self._child is not None
        self._child.wait_ready(lambda _: self.is_ready(), timeout=READY_SECONDS)
        return self

    def is_ready(self) -> bool:
        """Tell whether it can be used."""
        return answers(self.http)

    def start(self) -> Self:
        return self.launch().wait_ready()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server: SIGTERM in order, SIGKILL as a crash would."""
        if self._child is not None:
            self._child.stop(how)
            self._child = None

    def delete(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.delete()


def answers(url: str) -> bool:
    """Tell whether an HTTP server answers, whatever it says."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def java_version() -> str:
    """Return the version of the JVM, which a class-data archive belongs to."""
    return program_version(find_program("java", package=PACKAGES))
