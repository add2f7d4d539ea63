"""The service as a process of its own, for as long as a block runs."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

PATIENCE = 30.0


class ServiceFailed(Exception):
    """The service did not start; it said why on its standard error."""


@asynccontextmanager
async def running_service(environment: Mapping[str, str]) -> AsyncGenerator[str]:
    """Start the service on a free port, give its address, and stop it at the end of the block.

    Raises:
        ServiceFailed: the process ended before it listened.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "examples.atlas", "serve", "--port", "0", stdout=asyncio.subprocess.PIPE, env=environment
    )
    try:
        yield await _address(process)
    finally:
        await _stop(process)


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        line = (await process.stdout.readline()).decode()
    if "http://" not in line:
        raise ServiceFailed(f"the service ended with {await process.wait()} before it listened")
    return "http://" + line.partition("http://")[2].partition("/")[0]


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
