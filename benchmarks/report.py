"""What a run prints, and the page of the documentation."""

from collections.abc import Iterable, Sequence

from benchmarks.harness import Result
from benchmarks.run import Run, Verdict

_WIDTH = 34
LONG_ENOUGH = 1.0  # seconds of a sample from which on figures are worth keeping


def heading() -> str:
    """Return the first line of what is printed."""
    return f"{'':{_WIDTH}} {'per second':>10} {'(range)':>17} {'x raw':>7} {'cpu µs':>9} {'trips':>6}"


def table(results: Sequence[Result]) -> str:
    """Return a line's results, to be printed."""
    return "\n".join([results[0].line, *(_printed(result, results[0]) for result in results)])


def _printed(result: Result, baseline: Result) -> str:
    cells = f"{short(result.rate):>10} {_range(result):>17} {_times(result, baseline):>7} {_processor(result):>9} {_trips(result):>6}"
    peak = "" if result.peak_kib is None else f"  peak {result.peak_kib:,.0f} KiB"
    return f"  {result.contender:{_WIDTH - 2}} {cells}{peak}".rstrip()


def short(number: float) -> str:
    """Return a number with three digits or more."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _range(result: Result) -> str:
    return f"({short(min(result.rates))}–{short(max(result.rates))})"


def _times(result: Result, baseline: Result) -> str:
    return f"{result.fastest / baseline.fastest:.2f}"


def _processor(result: Result) -> str:
    return short(min(result.processor) * 1e6)


def _trips(result: Result) -> str:
    return "" if result.round_trips is None else f"{result.round_trips:.3g}"


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return how many targets were met, and which were not."""
    missed = [verdict for verdict in verdicts if not verdict.is_met]
    texts = (f"  missed: {_said(verdict)}" for verdict in missed)
    return "\n".join([f"{len(verdicts) - len(missed)} of {len(verdicts)} targets met", *texts])


def _said(verdict: Verdict) -> str:
    target = verdict.target
    return f"{target.line}: {target.contender} {verdict.times:.2f} × {target.than}, wanted {target.times:g}"


# -- the page --------------------------------------------------------------------------------------------------------------------------

_INTRODUCTION = """\
# Benchmarks

This page and its charts are made by `make bench` of what it measured; do not edit them. What is measured and how, and why a target is
missed where one is, is written in `benchmarks/README.md` in the repository.

The charts show calls per second, grey for raw drivers, green for holdall; a bar's length is its share of the line's best.
Trust the ratios: **× raw** is the fastest sample beside the fastest of the raw driver, which is the first of each line. *CPU* is the
processor time of the client for a call, *trips* the round trips to the server. Every answer was checked before it was timed.
"""


def page(sections: Iterable[tuple[str, Run, Sequence[Verdict]]]) -> str:
    """Return the page, of runs with the titles of their engines."""
    return "\n".join([_INTRODUCTION, *(_section(*section) for section in sections)])


def _section(title: str, run: Run, verdicts: Sequence[Verdict]) -> str:
    about = ", ".join(f"{name} {value}" for name, value in run.about.items())
    samples = f"{run.effort.people:,} people, {run.effort.samples} samples of {run.effort.seconds:g} s in shuffled order"
    parts = [f"## {title}\n"]
    if run.effort.seconds < LONG_ENOUGH:
        parts.append("**These samples are too short to trust; `make bench` replaces them.**\n")
    parts += [f"![Calls per second on {title}](benchmarks/{run.engine}.svg)\n", f"{about}; {samples}.\n", _rows(run)]
    return "\n".join([*parts, _targets(verdicts)])


def _rows(run: Run) -> str:
    has_trips = any(result.round_trips is not None for result in run.results)
    names = ["line", "contender", "per second (range)", "× raw", "CPU µs", *(["trips"] if has_trips else [])]
    rows = [names, ["---", "---", *["---:"] * (len(names) - 2)]]
    for line, results in run.lines():
        for result in results:
            rate = f"{short(result.rate)} {_range(result)}"
            cells = [rate, _times(result, results[0]), _processor(result), *([_trips(result)] if has_trips else [])]
            rows.append(["" if result is not results[0] else line, result.contender, *cells])
    peaks = [f"{result.contender} {result.peak_kib:,.0f}" for result in run.results if result.peak_kib is not None]
    return _table(rows) + f"\nPeak memory of the streams in KiB: {', '.join(peaks)}.\n"


def _targets(verdicts: Sequence[Verdict]) -> str:
    met = sum(verdict.is_met for verdict in verdicts)
    rows = [["line", "contender", "beside", "wanted", "measured", ""], ["---", "---", "---", "---:", "---:", "---"]]
    for verdict in verdicts:
        target = verdict.target
        measured = [f"{target.times:g}", f"{verdict.times:.2f}", "" if verdict.is_met else "**missed**"]
        rows.append([target.line, target.contender, target.than, *measured])
    return f"{met} of {len(verdicts)} targets are met.\n\n{_table(rows)}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
