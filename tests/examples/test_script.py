"""The plain job, on every store, as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import holdall
from examples.script import Reading, run

ROOT = Path(__file__).parents[2]
LINES = "2024-05-01T12:00Z,roof,21.5\n2024-05-01T12:00Z,cellar,12\n2024-05-01T14:00+02:00,roof,21.5\n"  # the last is the first again


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "readings.csv"
    path.write_text(LINES)
    return path


async def test_a_file_that_is_read_twice_is_stored_once(backend_url: str, file: Path) -> None:
    if backend_url.startswith("memory"):
        assert await run(backend_url, file) == "2 new of 3, 2 in all; the warmest was 21.50 at roof, 01 May 2024"
        return
    try:
        assert await run(backend_url, file) == "2 new of 3, 2 in all; the warmest was 21.50 at roof, 01 May 2024"
        assert (await run(backend_url, file)).startswith("0 new of 3, 2 in all")
    finally:
        async with holdall.open(backend_url) as backend:
            await backend.drop(Reading)


@pytest.mark.engine("sqlite")
def test_the_job_runs_from_the_command_line(tmp_path: Path, file: Path) -> None:
    good = job(tmp_path, file)
    file.write_text(LINES.replace("21.5", "hot"))
    bad = job(tmp_path, file)

    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("2 new of 3")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert "degrees" in bad.stderr


def job(folder: Path, file: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{folder}/readings.db", "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [sys.executable, "-m", "examples.script", file], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
