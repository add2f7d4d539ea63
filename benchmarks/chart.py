"""The chart of a run: a panel for each line, a bar for each contender, as long as its share of the line's best."""

from collections.abc import Sequence
from html import escape

from benchmarks.harness import Result
from benchmarks.report import short
from benchmarks.run import Run

_COLUMNS = 2
_WIDTH, _GAP, _NAMES, _FIGURES = 480, 30, 206, 96  # of a panel, between panels, of the names and figures beside the bars
_BAR, _STEP, _HEAD, _FOOT = 13, 18, 24, 16
# Both sets of colours keep a contrast of 4.5 to the theme's backgrounds, white and the grey of "slate".
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 }
.line { font-weight: 600 }
.ours { fill: #00796b } .raw { fill: #757575 } .library { fill: #b26a00 }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd }
  .ours { fill: #4db6ac } .raw { fill: #9e9e9e } .library { fill: #ffb74d }
}"""


def chart(run: Run, title: str) -> str:
    """Return the SVG: grey are raw drivers, green is holdall; the fastest samples count."""
    panels = list(run.lines())
    parts: list[str] = []
    top = 0
    for first in range(0, len(panels), _COLUMNS):
        row = panels[first : first + _COLUMNS]
        for column, (line, results) in enumerate(row):
            parts.append(f'<g transform="translate({column * (_WIDTH + _GAP)} {top})">{_panel(line, results)}</g>')
        top += _HEAD + max(len(results) for _, results in row) * _STEP + _FOOT
    width, text = _COLUMNS * _WIDTH + (_COLUMNS - 1) * _GAP, escape(f"Calls per second on {title}")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" role="img" aria-label="{text}">'
    return "\n".join([head, f"<title>{text}</title><style>{_STYLE}\n</style>", *parts, "</svg>\n"])


def _panel(line: str, results: Sequence[Result]) -> str:
    best = max(result.fastest for result in results)
    parts = [f'<text class="line" y="14">{escape(line)}</text>']
    for position, result in enumerate(results):
        top = _HEAD + position * _STEP
        length = max(1.0, result.fastest / best * (_WIDTH - _NAMES - _FIGURES))
        times = f"{short(result.fastest)} ({result.fastest / results[0].fastest:.2g}×)"
        parts += [
            f'<text x="{_NAMES - 6}" y="{top + 11}" text-anchor="end">{escape(result.contender)}</text>',
            f'<rect class="{result.role}" x="{_NAMES}" y="{top}" width="{length:.1f}" height="{_BAR}" rx="2"/>',
            f'<text x="{_NAMES + length + 5:.1f}" y="{top + 11}">{times}</text>',
        ]
    return "".join(parts)
