"""``python -m tests.soak --seconds 60 --engines postgres,sqlite``: the exit status is 1 when an invariant was broken."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

from tests.soak.run import soak
from tests.stress.engines import ENGINES


def main() -> int:
    """Run on each engine, and print what each run saw."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="mix operations and faults, and check what must always hold")
    parser.add_argument("--seconds", type=float, default=30, help="on each engine (default: %(default)g)")
    parser.add_argument("--engines", default=",".join(ENGINES), help="some of %(default)s, with commas between")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(2**32), help="of the choices; the order of events is never quite the same"
    )
    arguments = parser.parse_args()
    engines = [name for name in str(arguments.engines).split(",") if name]
    if unknown := set(engines) - set(ENGINES):
        parser.error(f"unknown engines {', '.join(sorted(unknown))}; there are {', '.join(ENGINES)}")
    broken = 0
    for engine in engines:
        report = asyncio.run(soak(engine, arguments.seconds, arguments.seed))
        sys.stdout.write(f"{report.text()}\n\n")
        broken += len(report.violations)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
