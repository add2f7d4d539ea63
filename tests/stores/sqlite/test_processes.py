"""Processes that share one file through the library: nothing is lost, nobody fails."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import holdall
from holdall import Backend, F, Field, Model

ROOT = Path(__file__).parents[3]
INCREMENTS = int(os.environ.get("HOLDALL_PROCESS_INCREMENTS", "1000"))
PROCESSES = 2


class Tally(Model):
    id: int = Field(primary_key=True)
    value: int = 0
    version: int = Field(default=1, version=True)


HEAD = """
    import asyncio, sys
    import holdall
    from holdall import ConflictError, F, Field, Model

    class Tally(Model):
        id: int = Field(primary_key=True)
        value: int = 0
        version: int = Field(default=1, version=True)
"""

BY_QUERY = """
    async def add(backend):
        await backend.query(Tally).filter(id=1).update(value=F("value") + 1)
"""
IN_SESSIONS = """
    async def add(backend):
        async with backend.session() as session:
            tally = await session.get(Tally, 1, lock=True)
            tally.value += 1
            await session.save(tally)
"""
BY_VERSION = """
    async def add(backend):
        while True:
            tally = await backend.get(Tally, 1)
            tally.value += 1
            try:
                await backend.save(tally)
                return
            except ConflictError:
                pass
"""
BY_RETRY = """
    async def add(backend):
        async def work(session):
            tally = await session.get(Tally, 1)
            await session.query(Tally).filter(id=1).update(value=tally.value + 1)

        await backend.run(work, isolation="repeatable read", retries=1000)
"""

TAIL = """
    async def main(url, count, at_once):
        async with holdall.open(url, synchronous="off", busy_timeout=60) as backend:
            async def client(times):
                for _ in range(times):
                    await add(backend)

            await asyncio.gather(*(client(count // at_once) for _ in range(at_once)))

    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def _run_together(code: str, *arguments: str) -> list[str]:
    """Return what each process wrote to its standard error."""
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments, cwd=ROOT, stderr=subprocess.PIPE
        )
        for _ in range(PROCESSES)
    ]
    errors = await asyncio.gather(*(process.communicate() for process in running))
    assert [process.returncode for process in running] == [0] * PROCESSES, errors
    return [error.decode() for _, error in errors]


@pytest.mark.parametrize(
    ("way", "count", "at_once"),
    [
        pytest.param(BY_QUERY, INCREMENTS, 10, id="updates by query"),
        pytest.param(BY_QUERY, INCREMENTS, 1, id="one after another"),
        pytest.param(IN_SESSIONS, INCREMENTS // 2, 4, id="locked sessions"),
        pytest.param(BY_VERSION, INCREMENTS // 5, 2, id="versions"),
        pytest.param(BY_RETRY, INCREMENTS // 5, 2, id="snapshots with retries"),
    ],
)
async def test_two_processes_count_together(sqlite_url: str, way: str, count: int, at_once: int) -> None:
    async with holdall.open(sqlite_url) as backend:
        await backend.initialize(Tally)
        await backend.create(Tally(id=1))

        errors = await _run_together(HEAD + way + TAIL, sqlite_url, str(count), str(at_once))

        assert errors == ["", ""]
        assert (await backend.get(Tally, 1)).value == PROCESSES * count


async def test_two_processes_initialize_at_once(sqlite_url: str) -> None:
    code = (
        HEAD
        + """
    async def main():
        async with holdall.open(sys.argv[1]) as backend:
            for _ in range(5):
                await backend.initialize(Tally)
            await backend.upsert(Tally(id=1))

    asyncio.run(main())
"""
    )
    assert await _run_together(code, sqlite_url) == ["", ""]


async def test_a_process_that_is_killed_holds_nobody_up(sqlite_url: str) -> None:
    code = textwrap.dedent(
        HEAD
        + """
    async def main():
        async with holdall.open(sys.argv[1]) as backend:
            async with backend.session() as session:
                await session.query(Tally).update(value=5)
                print("written", flush=True)
                await asyncio.Event().wait()

    asyncio.run(main())
"""
    )
    async with holdall.open(sqlite_url) as backend:
        await backend.initialize(Tally)
        await backend.create(Tally(id=1))
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, sqlite_url, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"written\n"
        waiting = asyncio.create_task(backend.query(Tally).filter(id=1).update(value=F("value") + 1))
        await _some_turns(backend)
        assert not waiting.done()
        process.kill()
        await process.wait()

        assert await waiting == 1
        assert (await backend.get(Tally, 1)).value == 1


async def _some_turns(backend: Backend) -> None:
    for _ in range(5):
        await backend.query(Tally).count()
