"""A plain job, without a web framework: keep what sensors measured, then say how warm it was.

``python -m examples.script readings.csv`` reads lines such as ``2024-05-01T12:00Z,roof,21.5``. A file may be read twice: what is there
already is not stored again. A file with a broken line stores nothing. ``DATABASE_URL`` chooses the database.
"""

import asyncio
import csv
import os
import sys
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pydantic

import holdall
from holdall import Field, Model, Session


class Reading(Model):
    """What one sensor measured at one moment."""

    at: datetime = Field(primary_key=True)
    sensor: str = Field(primary_key=True, max_length=60)
    degrees: Decimal = Field(max_digits=5, decimal_places=2)

    class Meta:
        """A name of its own, because the database may hold other things."""

        name = "script_readings"


def parse(lines: Iterable[str]) -> list[Reading]:
    """Return the readings of a file; raises ``ValueError`` (pydantic's) for a line that is none."""
    return [Reading.model_validate(dict(zip(("at", "sensor", "degrees"), row, strict=True))) for row in csv.reader(lines) if row]


async def keep(session: Session, readings: list[Reading]) -> int:
    """Store the readings that are new; return how many these were."""
    found = await session.get_many(Reading, [(reading.at, reading.sensor) for reading in readings])
    new = {(reading.at, reading.sensor): reading for reading, known in zip(readings, found, strict=True) if known is None}
    await session.create_many(new.values())
    return len(new)


async def run(url: str, path: Path) -> str:
    """Read the file into the database; return what to print."""
    with path.open(newline="") as file:
        readings = parse(file)
    async with holdall.open(url) as backend:
        await backend.initialize(Reading)
        stored = await backend.run(keep, readings, isolation="serializable")  # again, when another job was faster
        warmest = await backend.query(Reading).order_by("-degrees", "at").first()
        count = await backend.query(Reading).count()
    summit = "" if warmest is None else f"; the warmest was {warmest.degrees:.2f} at {warmest.sensor}, {warmest.at:%d %B %Y}"
    return f"{stored} new of {len(readings)}, {count} in all{summit}"


def main() -> int:
    """Run the job; return the exit status."""
    if len(sys.argv) != 2:
        print("usage: python -m examples.script FILE", file=sys.stderr)
        return 2
    try:
        print(asyncio.run(run(os.environ.get("DATABASE_URL") or "sqlite:///readings.db", Path(sys.argv[1]))))
    except (OSError, ValueError, pydantic.ValidationError, holdall.HoldallError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
