"""``python -m examples.atlas.demo``: start the service, import the world, use it as a client would, say how it went."""

import asyncio
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import TextIOWrapper
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

import httpx
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

import holdall
from examples.atlas import importer, tour
from examples.atlas.client import Client, Refused, WrongAnswer
from examples.atlas.database import DEFAULT_URL
from examples.atlas.models import MODELS
from examples.atlas.serving import ServiceFailed, running_service
from holdall import Capability

ALL = frozenset(Capability)


@dataclass
class Report:
    """What was done, part by part: title, requests, seconds."""

    rows: list[tuple[str, int, float]] = field(default_factory=list[tuple[str, int, float]])
    refused: int = 0

    @contextmanager
    def part(self, title: str, client: Client | None = None) -> Generator[None]:
        """Note how long the block took and how many requests were made in it."""
        before, begin = client.requests if client else 0, perf_counter()
        yield
        self.rows.append((title, client.requests - before if client else 0, perf_counter() - begin))

    def table(self) -> Table:
        """Return the table for the end."""
        table = Table(box=box.SIMPLE, show_footer=True, pad_edge=False)
        table.add_column("part", "all")
        table.add_column("requests", f"{sum(requests for _, requests, _ in self.rows):,}", justify="right")
        table.add_column("time", as_time(sum(seconds for _, _, seconds in self.rows)), justify="right")
        for title, requests, seconds in self.rows:
            table.add_row(title, f"{requests:,}" if requests else "", as_time(seconds))
        return table


def as_time(seconds: float) -> str:
    """Return a time as one reads it."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def without_password(url: str) -> str:
    """Return the URL as it may be shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


async def forget(url: str) -> None:
    """Remove what an earlier run left: Atlas's own tables, and no others."""
    async with holdall.open(url) as backend:
        await backend.drop(*MODELS)


async def import_the_world(client: Client, report: Report, console: Console) -> None:
    """Send all records of pycountry, and show how far it is."""
    columns = (TextColumn("  {task.description:<13}"), BarColumn(30), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        for kind, source in importer.SOURCES.items():
            records = source()
            task = progress.add_task(kind, total=len(records))
            with report.part(f"import {len(records):,} {kind}", client):
                async for count in importer.send(client, kind, records):
                    progress.advance(task, count)


async def take(part: tour.Part, client: Client, report: Report, console: Console, promised: frozenset[Capability] = ALL) -> None:
    """Take one part of the tour, and say what it did, or why the database refuses it."""
    missing = ", ".join(repr(item.value) for item in part.needs - promised)
    try:
        if missing:
            raise Refused(f"this database does not promise that {missing}")  # noqa: TRY301
        with report.part(part.title, client):
            said = await part.run(client)
    except Refused as refusal:
        report.refused += 1
        console.print(f"  [yellow]–[/] [bold]{part.title}[/] refused: {escape(str(refusal))}")
    else:
        console.print(f"  [green]✓[/] [bold]{part.title}[/]: {escape(said)}")


async def run(url: str, console: Console) -> Report:
    """Do everything, and return how it went."""
    report = Report()
    console.print(f"[bold]Atlas[/], the example service of holdall, on {without_password(url)}")
    with report.part("remove what the last run left"):
        await forget(url)
    begin = perf_counter()
    async with running_service({**os.environ, "DATABASE_URL": url}) as address, httpx.AsyncClient(base_url=address, timeout=60) as http:
        client = Client(http)
        with console.status("the service starts"):
            await client.get("/health")
        report.rows.append(("start the service", 1, perf_counter() - begin))
        console.print(f"\nThe service answers at {address}/docs while this runs. It gets the records of pycountry:")
        await import_the_world(client, report, console)
        console.print("\nNow it is used, and every answer is compared with what it should be:")
        for part in tour.PARTS:
            await take(part, client, report, console, holdall.open(url).capabilities)
    return report


async def run_until_told(url: str, console: Console) -> Report:
    """Do everything; a SIGTERM ends it as Ctrl-C does, so that the service does not outlive it."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(url, console)


def main() -> int:
    """Return 0 when every answer was right."""
    # A terminal with few letters shall not end the demo.
    cast("TextIOWrapper", sys.stdout).reconfigure(errors="replace")
    console = Console(highlight=False, soft_wrap=True)
    try:
        report = asyncio.run(run_until_told(os.environ.get("DATABASE_URL") or DEFAULT_URL, console))
    except (WrongAnswer, ServiceFailed, holdall.HoldallError, httpx.TransportError) as error:
        console.print(f"\n[bold red]failed[/] {type(error).__name__}: {escape(str(error))}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("\nstopped")
        return 130
    console.print(report.table())
    refused = f" [yellow]{report.refused} parts were refused by this database.[/]" if report.refused else ""
    console.print(f"[green]Every answer was right.[/]{refused} [dim]make serve[/] leaves the service running, with these records.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
