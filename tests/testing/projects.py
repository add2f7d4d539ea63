"""Runs pytest over the tests of an application, as its developers do: in a process and a folder of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_tests(folder: Path, files: Mapping[str, str], *arguments: str, env: Mapping[str, str] | None = None) -> dict[str, int]:
    """Return the outcomes and how many tests had each; the output goes to ours, which pytest shows when a test fails."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:randomly", "-p", "no:cacheprovider", *arguments]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**outside, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT / 'src'}", "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    print(done.stdout, done.stderr, sep="\n")  # noqa: T201  - for pytest, which shows it
    return {outcome: int(count) for count, outcome in re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", done.stdout.splitlines()[-1])}
