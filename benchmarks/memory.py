"""What a stream holds: the peak of traced memory while rows pass by. Tracing is slow, so that it is no part of the timed lines."""

import gc
import tracemalloc
from collections.abc import Awaitable, Callable


async def peak_kib(work: Callable[[], Awaitable[object]]) -> float:
    """Return the most KiB that the work held at once, above what there was before."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        await work()
        return (tracemalloc.get_traced_memory()[1] - before) / 1024
    finally:
        tracemalloc.stop()
