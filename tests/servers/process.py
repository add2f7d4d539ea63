"""Start a server as a direct child in a folder of its own, wait until it answers, stop it, and leave nothing behind."""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

# Below the range that Linux gives to outgoing connections, so that nobody takes the port between the choice and the use.
PORTS = range(20_000, 30_000)

# The folder goes when the last holder of the pipe does: the tests when they end, however they end.
SWEEPER = 'cat >/dev/null; n=0; until rm -rf "$1" || [ $n -ge 50 ]; do n=$((n+1)); sleep 0.1; done'


class ServerMissing(Exception):
    """The machine has no such server; the text says what to install."""


class ServerFailed(Exception):
    """A server did not start; the text has the end of its log."""


class Account(NamedTuple):
    """The user that servers run as, since most refuse root; Nones are whoever runs the tests."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None


def unprivileged_account() -> Account:
    """Return the account to drop to when the tests run as root."""
    if os.geteuid() != 0:
        return Account()
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, ())
    raise ServerMissing("servers refuse to run as root, and there is neither a user postgres nor nobody")


def find_program(name: str, *patterns: str, package: str) -> str:
    """Return the path of a program from ``patterns`` (the highest version wins) or PATH; raise ``ServerMissing``."""
    found = sorted((path for pattern in patterns for path in Path("/").glob(f"{pattern.lstrip('/')}/{name}")), key=_version_in_path)
    program = str(found[-1]) if found else shutil.which(name)
    if program is None:
        raise ServerMissing(f"there is no {name} in {', '.join((*patterns, 'PATH'))}; apt-get install {package}")
    return program


def _version_in_path(path: Path) -> list[int]:
    return [int(part) for part in path.parts if part.isdigit()]


def program_version(program: str) -> str:
    """Return the version from ``program --version``: the first word that begins with a digit."""
    text = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    return next(word for word in text.split() if word[0].isdigit())


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerFailed(f"no free port in {PORTS}")


class Folder:
    """A temporary folder of the servers' account, removed by ``remove`` or when this process dies, whatever killed it."""

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"holdall-{prefix}-"))
        account = unprivileged_account()
        if account.uid is not None:
            shutil.chown(self.path, account.uid, account.gid)
        self._sweeper = subprocess.Popen(
            ["sh", "-c", SWEEPER, "sh", str(self.path)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the tests; the sweeper acts when they have ended
        )

    def remove(self) -> None:
        assert self._sweeper.stdin is not None
        self._sweeper.stdin.close()
        self._sweeper.wait()


class Child:
    """One run of a server program; its output goes to ``log``.

    Start it from a thread that lives as long as the server (the main one): Linux sends the parent-death signal when that *thread* ends.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        log: Path,
        death_signal: signal.Signals,
        account: Account | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = Path(arguments[0]).name
        self._log = log
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", death_signal.name.removeprefix("SIG"), "--"] if setpriv else []
        account = unprivileged_account() if account is None else account
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*guard, *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C goes to the tests, which then stop the server in order
                env={**server_environment(), **(environment or {})},
                user=account.uid,
                group=account.gid,
                extra_groups=account.groups,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self, is_ready: Callable[[int], bool], *, timeout: float = 30) -> None:
        """Poll ``is_ready(pid)`` until it is true; raise ``ServerFailed`` when the server ends first or the time is over."""
        deadline = time.monotonic() + timeout
        while not is_ready(self.pid):
            if self._process.poll() is not None:
                raise ServerFailed(f"{self._name} ended with status {self._process.returncode}: {self._log_tail()}")
            if time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                raise ServerFailed(f"{self._name} did not answer within {timeout} s: {self._log_tail()}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals, *, timeout: float = 20) -> None:
        """Send the signal and wait for the end; kill what does not end in time."""
        self._process.send_signal(how)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


def run_program(arguments: Sequence[str], *, folder: Path) -> None:
    """Run a program of the server to its end, as the servers' account; raise ``ServerFailed`` with its output."""
    account = unprivileged_account()
    done = subprocess.run(
        arguments,
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env=server_environment(),
        user=account.uid,
        group=account.gid,
        extra_groups=account.groups,
    )
    if done.returncode:
        raise ServerFailed(f"{arguments[0]} ended with status {done.returncode}: {done.stderr or done.stdout}")


def server_environment() -> Mapping[str, str]:
    """Return the whole environment of a server: nothing of the tests' own, such as PGDATA, reaches it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
