"""A private OpenSearch node."""

import json
import os
import shutil
import signal
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.servers.java import JavaProgram, JavaServer, java_version

VERSION = "2.19.1"

# Searches see a write after 20 ms, so that waiting for the refresh is cheap; a test of a crash makes its own index settings.
TEMPLATE = {
    "index_patterns": ["*"],
    "template": {"settings": {"refresh_interval": "20ms", "number_of_replicas": 0, "translog.durability": "async"}},
}


@dataclass
class OpenSearchServer(JavaServer):
    """A real node on the class path, without a distribution. ``start`` after ``stop`` brings back the same data on the same port.

    A run that ends in order leaves a class-data archive beside the jars, with which later ones start in a fraction of the time.
    """

    program = JavaProgram("opensearch", ("OpenSearchServer.java",))
    version = VERSION

    def url(self, prefix: str = "") -> str:
        """Return the URL of the indexes whose names begin with the prefix."""
        return f"opensearch://{self.host}:{self.port}" + (f"?prefix={prefix}" if prefix else "")

    def arguments(self) -> list[str]:
        archive = self._archive()
        use = f"-XX:SharedArchiveFile={archive}" if archive.exists() else f"-XX:ArchiveClassesAtExit={self._new_archive()}"
        quiet = ["-Xlog:disable", "-Xlog:all=error:stderr", "-Dlog.level=error"]
        return [*quiet, use, "OpenSearchServer", str(self.home / "node"), str(self.port)]

    def is_ready(self) -> bool:
        try:
            # It answers before it has recovered its indexes, for example with 503.
            return bool(request(f"{self.http}/_cluster/health")["status"] != "red")
        except OSError:
            return False

    def wait_ready(self) -> Self:
        super().wait_ready()
        request(f"{self.http}/_index_template/holdall-tests", "PUT", TEMPLATE)
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        super().stop(how)
        if self._folder is not None and self._new_archive().exists():
            # The name is this process's own until the archive is whole: two runs may end at once.
            whole = self._archive().with_suffix(f".{os.getpid()}")
            shutil.move(self._new_archive(), whole)
            whole.replace(self._archive())

    def _archive(self) -> Path:
        return self.program.folder() / f"classes-{java_version()}.jsa"

    def _new_archive(self) -> Path:
        return self.home / "classes.jsa"


def request(url: str, method: str = "GET", body: Any = None) -> Any:
    """Send one request to a server of the tests; return its JSON."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)
