"""Routing statistics as a figure: reuse by lag and layer, experts of a batch, and cache hits."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rosin.report.figure_style import MARKERS, SERIES, Picture, begin_at_zero, legend_below
from sim.routing.statistics import RoutingStatistics

SIZE_INCHES = (9.5, 7.0)


def draw_routing(statistics: Mapping[str, RoutingStatistics], suffix: str) -> bytes:
    """The figure in the format of that suffix."""
    picture = Picture(
        title="How experts are selected",
        size_inches=SIZE_INCHES,
        draw=lambda figure: _draw(figure, statistics),
    )
    return picture.render(suffix)


def _draw(figure: Any, statistics: Mapping[str, RoutingStatistics]) -> None:
    reuse, batch, cache, layers = figure.subplots(2, 2).ravel()
    for number, (name, found) in enumerate(statistics.items()):
        style = {
            "color": SERIES[number % len(SERIES)],
            "marker": MARKERS[number % len(MARKERS)],
            "markersize": 4,
            "label": name,
        }
        lags = list(found.reuse_by_layer)
        # Lags and batches are powers of two, which stand evenly on this axis.
        reuse.semilogx(
            lags, [np.mean(row) for row in found.reuse_by_layer.values()], base=2, **style
        )
        sizes = list(found.distinct_experts)
        batch.semilogx(sizes, list(found.distinct_experts.values()), base=2, **style)
        layers.plot(found.reuse_by_layer[1], **style)
        _draw_cache(cache, found, style)
    for axes, across, up in (
        (reuse, "lag (tokens)", "experts used again (fraction)"),
        (batch, "batch (tokens)", "distinct experts in a layer"),
        (cache, "resident experts (fraction)", "cache hits (fraction)"),
        (layers, "MoE layer", "used again a token later (fraction)"),
    ):
        axes.set(xlabel=across, ylabel=up)
        begin_at_zero(axes)
        axes.grid()
    for axes in (reuse, batch):
        # Whole numbers: an axis to base 2 would be labelled with powers.
        axes.xaxis.set_major_formatter("{x:,.0f}")
    # Layers are counted, and few of them would be labelled in halves and quarters.
    layers.xaxis.get_major_locator().set_params(integer=True)
    cache.set_title("solid: LRU; dashed: Belady, which knows the future", fontsize="small")
    # All four plots have the same lines, so one legend serves them.
    legend_below(figure, *reuse.get_legend_handles_labels())


def _draw_cache(axes: Any, found: RoutingStatistics, style: Mapping[str, Any]) -> None:
    """Draw cache hits over the share of experts in the cache, for LRU and for Belady's optimum."""
    shares = [each.resident_fraction for each in found.cache_hits]
    for policy, line in (("lru", "-"), ("belady", "--")):
        hits = [np.mean(getattr(each, f"{policy}_fraction")) for each in found.cache_hits]
        axes.plot(shares, hits, linestyle=line, **style)
