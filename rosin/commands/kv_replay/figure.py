"""The hit rate by the size of the pool, with a line for each policy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwprofiles.units import GIB
from rosin.commands.kv_replay.document import KvReplayResult, ReplayedPool
from rosin.report.figure_style import (
    MARKERS,
    MUTED,
    SERIES,
    Picture,
    begin_at_zero,
    legend_below,
    tick_plainly,
)
from sim.serving.kv import LruCurve

SIZE_INCHES = (7.5, 4.5)
STYLES = {
    policy: (color, marker)
    for policy, color, marker in zip(
        ("lru", "lfu", "fifo", "mru", "arc"), SERIES, MARKERS, strict=False
    )
}
CURVE_POINTS = 200


def draw_kv(result: KvReplayResult, curve: LruCurve | None, suffix: str) -> bytes:
    """Return the picture in the format of the suffix.

    ``curve`` gives the hit rates of LRU between the sizes of the pools.
    """
    trace = result.trace
    title = f"{trace.name}: {trace.num_requests:,} requests, blocks of {result.block_tokens} tokens"
    picture = Picture(
        title=title, size_inches=SIZE_INCHES, draw=lambda figure: _draw(figure, result, curve)
    )
    return picture.render(suffix)


def _draw(figure: Any, result: KvReplayResult, curve: LruCurve | None) -> None:
    axes = figure.subplots()
    # A pool without limit has no place on an axis of sizes: it is drawn as a level.
    limited = [row for row in result.rows if row.capacity_bytes]
    for policy in dict.fromkeys(row.policy for row in limited):
        _draw_policy(
            axes,
            policy,
            [row for row in limited if row.policy == policy],
            curve if policy == "lru" else None,
        )
    _draw_limit(axes, result.rows)
    _label(axes, [row.capacity_bytes / GIB for row in limited if row.capacity_bytes])
    legend_below(figure, *axes.get_legend_handles_labels())


def _draw_policy(
    axes: Any, policy: str, rows: Sequence[ReplayedPool], curve: LruCurve | None
) -> None:
    color, marker = STYLES[policy]
    points = sorted((row.capacity_bytes or 0, 100 * row.token_hit_rate) for row in rows)
    style: dict[str, Any] = {"marker": marker, "color": color, "markersize": 5}
    has_curve = curve is not None and len(points) > 1
    # With a curve, the points need no line and no entry of their own in the legend.
    line, label = ("", None) if has_curve else ("-", policy.upper())
    axes.plot(
        [size / GIB for size, _ in points],
        [rate for _, rate in points],
        linestyle=line,
        label=label,
        **style,
    )
    if curve is not None and has_curve:
        between = np.geomspace(points[0][0], points[-1][0], CURVE_POINTS)
        rates = [100 * curve.result(int(size)).token_hit_rate for size in between]
        axes.plot(between / GIB, rates, label=policy.upper(), markevery=[], **style)


def _draw_limit(axes: Any, rows: Sequence[ReplayedPool]) -> None:
    unlimited = next((row for row in rows if row.capacity_bytes is None), None)
    if unlimited is not None:
        label = f"unlimited ({unlimited.held_bytes / GIB:,.0f} GiB)"
        axes.axhline(
            100 * unlimited.token_hit_rate,
            color=MUTED,
            linestyle="--",
            linewidth=1,
            label=label,
        )


def _label(axes: Any, sizes_gib: Sequence[float]) -> None:
    # Memory is bought in doublings, so a doubling is one step of the axis.
    axes.set_xscale("log", base=2)
    tick_plainly(axes.xaxis, sizes_gib)
    begin_at_zero(axes)
    axes.grid()
    axes.set_xlabel("size of the pool (GiB)")
    axes.set_ylabel("prompt tokens found (%)")
