"""Charts as SVG: bars, stacked bars, a heat map, lanes of a timeline. Colours are classes, so that
light, dark and print each have their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 480
CHARACTER_WIDTH = 9.0
"""The most that a character takes of a chart's width, with the larger type of a phone, too."""
LEAST_BAR_SHARE = 0.35
"""The least share of a chart's width for the bars, however long the words beside them are."""
LANE_WIDTH = 1000
ROW_HEIGHT = 26
BAR_HEIGHT = 18
NUM_COLORS = 8
"""The number of colour classes, c0 … c7: colours of Okabe and Ito, for the colour-blind, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar: a name, parts from the left (a colour's class, a length, words), and what stands
    behind it.
    """

    name: str
    parts: Sequence[tuple[str, float, str]]
    value: str

    @property
    def length(self) -> float:
        """Return the sum of the lengths of all parts."""
        return sum(length for _, length, _ in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A task on a lane: start and end (0 to 1 of the lane), a colour's class, and words."""

    start: float
    end: float
    color: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """The widths of a bar chart: the names, the longest bar, and the whole chart with values."""

    names: float
    longest: float
    whole: float


def bars(title: str, rows: Sequence[Bar], whole: float | None = None) -> str:
    """Horizontal bars, one below the other; ``whole`` is the length of the full width."""
    # All bars may have length 0, and the width is divided by the longest.
    most = whole or max((row.length for row in rows), default=1.0) or 1.0
    parts = widths(rows)
    lines = []
    for place, row in enumerate(rows):
        top = place * ROW_HEIGHT
        left = parts.names
        middle = top + BAR_HEIGHT / 2 + 5
        lines.append(
            f'<text x="{parts.names - 8:.1f}" y="{middle}" text-anchor="end">{escape(row.name)}</text>'
        )
        for color, length, words in row.parts:
            width = parts.longest * length / most
            lines.append(
                f'<rect class="{color}" x="{left:.1f}" y="{top}" width="{width:.2f}" '
                f'height="{BAR_HEIGHT}"><title>{escape(words)}</title></rect>'
            )
            left += width
        lines.append(f'<text x="{left + 6:.1f}" y="{middle}">{escape(row.value)}</text>')
    return _svg(title, parts.whole, len(rows) * ROW_HEIGHT, "".join(lines))


def widths(rows: Sequence[Bar]) -> Widths:
    """Return the widths of a chart's parts; long words widen the chart, and do not shorten bars."""
    names = 16 + CHARACTER_WIDTH * max((len(row.name) for row in rows), default=0)
    values = 12 + CHARACTER_WIDTH * max((len(row.value) for row in rows), default=0)
    longest = max(WIDTH * LEAST_BAR_SHARE, WIDTH - names - values)
    return Widths(names=names, longest=longest, whole=names + longest + values)


def heat_map(title: str, cells: Sequence[Sequence[int]], across: str, up: str) -> str:
    """A map of cells [row, column]; a cell's number is its colour's class. Cells of one colour are
    one shape, so that thousands stay small.
    """
    num_rows = len(cells)
    num_columns = max(map(len, cells), default=1)
    width = (WIDTH - 60) / num_columns
    # About 420 high: rows of many layers stay visible, those of few do not grow into blocks.
    height = max(4.0, min(12.0, 420 / max(1, num_rows)))
    paths: dict[int, list[str]] = {}
    for row, colors in enumerate(cells):
        for column, length, color in _runs(colors):
            x = 50 + column * width
            y = row * height
            # A shape is a little smaller than its cells, so that a thin line keeps neighbours
            # apart.
            step = f"M{x:.1f} {y:.1f}h{length * width - 0.3:.1f}v{height - 0.6:.1f}H{x:.1f}z"
            paths.setdefault(color, []).append(step)
    shapes = "".join(f'<path class="c{color}" d="{"".join(d)}"/>' for color, d in paths.items())
    bottom = num_rows * height
    words = (
        f'<text x="44" y="10" text-anchor="end">0</text>'
        f'<text x="44" y="{bottom:.0f}" text-anchor="end">{num_rows - 1}</text>'
        f'<text x="50" y="{bottom + 16:.0f}">{escape(across)} →</text>'
        f'<text x="14" y="{bottom / 2:.0f}" transform="rotate(-90 14 {bottom / 2:.0f})" '
        f'text-anchor="middle">{escape(up)}</text>'
    )
    return _svg(title, WIDTH, bottom + 22, shapes + words)


def lanes(title: str, rows: Sequence[tuple[str, Sequence[Slice]]]) -> str:
    """Lanes of a timeline, one below the other; the page's script stretches them."""
    height = 30
    shapes = []
    for place, (_, slices) in enumerate(rows):
        top = place * height
        shapes.append(
            f'<rect class="lane" x="0" y="{top}" width="{LANE_WIDTH}" height="{height - 6}"/>'
        )
        for each in slices:
            # A task that takes next to no time still needs a width to be seen and pointed at.
            width = max(0.05, LANE_WIDTH * (each.end - each.start))
            shapes.append(
                f'<rect class="{each.color}" x="{LANE_WIDTH * each.start:.2f}" y="{top}" '
                f'width="{width:.2f}" height="{height - 6}"><title>{escape(each.words)}</title></rect>'
            )
    names = "".join(f"<li>{escape(name)}</li>" for name, _ in rows)
    total = len(rows) * height
    return (
        f'<div class="lanes"><ul aria-hidden="true">{names}</ul>'
        f'<div class="stretch" tabindex="0" role="region" aria-label="{escape(title)}; scroll sideways">'
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {LANE_WIDTH} {total}" '
        f'preserveAspectRatio="none" height="{total}">{"".join(shapes)}</svg></div></div>'
    )


def color(number: int) -> str:
    """Return the class of a colour's number; numbers repeat after NUM_COLORS."""
    return f"c{number % NUM_COLORS}"


def _runs(colors: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return each run of one colour as (first column, length, colour)."""
    found: list[tuple[int, int, int]] = []
    for place, number in enumerate(colors):
        if found and found[-1][2] == number:
            column, length, _ = found[-1]
            found[-1] = column, length + 1, number
        else:
            found.append((place, 1, number))
    return found


def _svg(title: str, width: float, height: float, content: str) -> str:
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}, chart">'
        f'<svg class="chart" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">{content}</svg></div>'
    )
