"""A study of cache policies as a picture: the misses of each policy over the optimum's misses."""

from typing import Any

from rosin.commands.caches.result import CacheStudyResult
from rosin.report.figure_style import BLUE, Picture

INCHES_PER_POLICY = 0.38
INCHES_PER_SHARE = 3.2
INCHES_OF_NAMES = 2.0
ROOM_FOR_NUMBERS = 1.2
"""The width of the axes, as a multiple of the longest bar; a number stands behind each bar."""


def draw(result: CacheStudyResult, suffix: str) -> bytes:
    """The picture in the format of that suffix; the same result gives the same bytes."""
    num_shares = len({item.share for item in result.medians})
    num_policies = len({item.policy for item in result.medians})
    num_models = len({row.model for row in result.rows})
    return Picture(
        title=f"Misses over the optimum's, median over {num_models} models",
        size_inches=(
            INCHES_OF_NAMES + INCHES_PER_SHARE * num_shares,
            1.6 + INCHES_PER_POLICY * num_policies,
        ),
        draw=lambda figure: _draw(figure, result),
    ).render(suffix)


def _draw(figure: Any, result: CacheStudyResult) -> None:
    shares = list(dict.fromkeys(item.share for item in result.medians))
    parts = figure.subplots(1, len(shares), sharex=True, sharey=True, squeeze=False)[0]
    longest = max(item.over_optimum for item in result.medians)
    for axes, share in zip(parts, shares, strict=True):
        own = [item for item in result.medians if item.share == share]
        bars = axes.barh(
            [item.policy for item in own], [item.over_optimum for item in own], color=BLUE
        )
        numbers = [f"{item.over_optimum:.2f}" for item in own]
        axes.bar_label(bars, labels=numbers, padding=3, fontsize="small")
        axes.set_xlim(0, ROOM_FOR_NUMBERS * longest)
        axes.set_ylim(len(own) - 0.5, -0.5)
        axes.set_xlabel("times the optimum's")
        axes.set_title(f"{100 * share:g} % of experts cached")
    # All parts share the names, which stand at the left of the first.
    for axes in parts[1:]:
        axes.tick_params(axis="y", labelleft=False, length=0)
