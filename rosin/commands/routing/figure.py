"""Routing statistics as a figure: reuse by lag, experts of a batch, cache hits, and reuse by layer."""

import io
from collections.abc import Mapping

import numpy as np

from sim.routing.statistics import RoutingStatistics

SIZE_INCHES = (9.0, 6.5)


def draw_routing(statistics: Mapping[str, RoutingStatistics], suffix: str) -> bytes:
    """The figure in the format of that suffix."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    reuse, batch, cache, layers = figure.subplots(2, 2).ravel()
    for number, (name, found) in enumerate(statistics.items()):
        style = {"color": f"C{number}", "label": name, "marker": "."}
        reuse.semilogx(
            list(found.reuse_by_layer),
            [np.mean(row) for row in found.reuse_by_layer.values()],
            base=2,
            **style,
        )
        batch.semilogx(
            list(found.distinct_experts), list(found.distinct_experts.values()), base=2, **style
        )
        layers.plot(found.reuse_by_layer[1], **style)
        for policy, line in (("lru", "-"), ("belady", "--")):
            hits = [np.mean(getattr(each, f"{policy}_fraction")) for each in found.cache_hits]
            label = f"{name}, {policy.upper()}"
            cache.plot(
                [each.resident_fraction for each in found.cache_hits],
                hits,
                line,
                color=f"C{number}",
                marker=".",
                label=label,
            )
    for axes, across, up in (
        (reuse, "lag (tokens)", "experts used again (fraction)"),
        (batch, "batch (tokens)", "distinct experts in a layer"),
        (cache, "resident experts (fraction)", "cache hits (fraction)"),
        (layers, "MoE layer", "experts used again 1 token later (fraction)"),
    ):
        axes.set(xlabel=across, ylabel=up)
        axes.legend(frameon=False, fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix.lower().removeprefix("."))
    return buffer.getvalue()
