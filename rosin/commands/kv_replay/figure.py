"""Hit rate by the size of the pool, a line a policy."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwprofiles.units import GIB
from rosin.commands.kv_replay.document import KvReplayResult, ReplayedPool
from sim.serving.kv import LruCurve

SIZE_INCHES = (7.5, 4.5)
DOTS_PER_INCH = 150
# The colours of Okabe and Ito, which stay apart for the colour-blind.
STYLES = {
    "lru": ("#0072B2", "o"),
    "lfu": ("#E69F00", "s"),
    "fifo": ("#009E73", "^"),
    "mru": ("#CC79A7", "v"),
    "arc": ("#D55E00", "D"),
}
CURVE_POINTS = 200
UNDATED: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""By format, what keeps the hour out of the file."""


def draw_kv(result: KvReplayResult, curve: LruCurve | None, suffix: str) -> bytes:
    """The picture in the format of that suffix; ``curve`` fills in what lies between the sizes of
    the LRU pools.
    """
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "rosin"
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    limited = [row for row in result.rows if row.capacity_bytes]
    for policy in dict.fromkeys(row.policy for row in limited):
        _draw_policy(
            axes,
            policy,
            [row for row in limited if row.policy == policy],
            curve if policy == "lru" else None,
        )
    _draw_limit(axes, result.rows)
    _label(axes, result)
    buffer = io.BytesIO()
    kind = suffix.lower().removeprefix(".")
    figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, metadata=UNDATED.get(kind))
    return buffer.getvalue()


def _draw_policy(
    axes: Any, policy: str, rows: Sequence[ReplayedPool], curve: LruCurve | None
) -> None:
    color, marker = STYLES[policy]
    points = sorted((row.capacity_bytes or 0, 100 * row.token_hit_rate) for row in rows)
    style: dict[str, Any] = {"marker": marker, "color": color, "markersize": 5}
    has_curve = curve is not None and len(points) > 1
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
            color="#666666",
            linestyle="--",
            linewidth=1,
            label=label,
        )


def _label(axes: Any, result: KvReplayResult) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("size of the pool (GiB)")
    axes.set_ylabel("prompt tokens found (%)")
    trace = result.trace
    axes.set_title(
        f"{trace.name}: {trace.num_requests:,} requests, blocks of {result.block_tokens} tokens",
        loc="left",
        fontsize="medium",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
