"""Errors by group: all points, each machine, runtime, format, depth, and kinds known to be hard."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from sim.runtimes.formats import format_family
from sim.runtimes.sockets import SocketUse
from validation.accuracy.baselines import baselines_of
from validation.accuracy.errors import (
    bias,
    mean_over_rigs,
    median,
    median_over_rigs,
    order,
    relative_errors,
    tail,
)
from validation.accuracy.points import PricedRow
from validation.accuracy.prediction import PhasePrediction
from validation.accuracy.result import BaselineAccuracy, GroupAccuracy

DEPTHS = (
    (0, "to 2,047"),
    (2048, "2,048 to 8,191"),
    (8192, "8,192 to 16,383"),
    (16384, "from 16,384"),
)
DEEPEST_TOKENS = 16384
SERVER_CHANNELS_WORDS = {True: "probe, server", False: "probe, desktop"}


def group_summaries(rows: Sequence[PricedRow], prediction: PhasePrediction) -> list[GroupAccuracy]:
    """Return the errors of every group that has points. The group of all points comes first."""
    found = []
    for by, grouping in GROUPINGS.items():
        names = [grouping(row, prediction.points.phase) for row in rows]
        for name in _ordered(names):
            which = np.array([name in own for own in names])
            found.append(_group(prediction, which, by, name))
    return found


def baseline_summaries(prediction: PhasePrediction) -> list[BaselineAccuracy]:
    """Errors of the simple rules on the same points."""
    points = prediction.points
    found = []
    for name, predicted in baselines_of(points).items():
        sizes = relative_errors(predicted, points.tokens_per_s)
        found.append(
            BaselineAccuracy(
                phase=points.phase,
                baseline=name,
                median_error_fraction=median(sizes),
                p90_error_fraction=tail(sizes),
                order_fraction=order(predicted, points.tokens_per_s, points.rigs),
            )
        )
    return found


def _group(prediction: PhasePrediction, which: np.ndarray, by: str, name: str) -> GroupAccuracy:
    measured = prediction.points.tokens_per_s[which]
    predicted = prediction.predicted[which]
    rigs = [rig for rig, is_in in zip(prediction.points.rigs, which, strict=True) if is_in]
    sizes = relative_errors(predicted, measured)
    return GroupAccuracy(
        phase=prediction.points.phase,
        by=by,
        group=name,
        num_points=len(rigs),
        num_rigs=len(set(rigs)),
        median_error_fraction=median(sizes),
        p90_error_fraction=tail(sizes),
        median_over_rigs_error_fraction=median_over_rigs(sizes, rigs),
        bias_fraction=bias(predicted, measured),
        coverage_fraction=float(np.mean(prediction.is_covered[which])),
        coverage_over_rigs_fraction=mean_over_rigs(prediction.is_covered[which], rigs),
        order_fraction=order(predicted, measured, rigs),
    )


def _ordered(names: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for own in names for name in own))


def _everything(row: PricedRow, phase: str) -> Iterator[str]:
    yield "all rows"
    # Where flags are not stated, an error may be of the guessed flags instead of the prices.
    if not row.asked.is_incomplete:
        yield "rows with all flags stated"


def _depth_tokens(row: PricedRow, phase: str) -> float:
    measured = row.asked.row
    stated = measured.decode_context_tokens if phase == "decode" else measured.context_tokens
    return stated or 0


def _depth(row: PricedRow, phase: str) -> list[str]:
    return [[name for start, name in DEPTHS if _depth_tokens(row, phase) >= start][-1]]


def _kinds(row: PricedRow, phase: str) -> Iterator[str]:
    """Yield the kinds that a row belongs to and that are reported apart."""
    assert row.steps is not None
    features = row.steps.decode if phase == "decode" else row.steps.prefill
    if features.socket_use != SocketUse.ONE:
        yield "two sockets"
    if not features.has_gpu:
        yield "CPU only"
    if _depth_tokens(row, phase) >= DEEPEST_TOKENS:
        yield "deepest"
    if features.probe_bytes_per_s > 0:
        yield SERVER_CHANNELS_WORDS[bool(features.is_server)]
    if row.asked.is_incomplete:
        yield "flags left out"
    if phase == "prefill":
        yield "experts uploaded" if row.steps.uploads else "experts where they are"


GROUPINGS: Mapping[str, Callable[[PricedRow, str], Sequence[str]]] = {
    "all": lambda row, phase: list(_everything(row, phase)),
    "rig": lambda row, phase: [row.asked.row.rig],
    "runtime": lambda row, phase: [row.asked.row.runtime],
    "format": lambda row, phase: [format_family(row.asked.row.quantization).value],
    "depth": _depth,
    "kind": lambda row, phase: list(_kinds(row, phase)),
}
"""Functions by grouping: each returns the groups that a row belongs to in a phase."""
