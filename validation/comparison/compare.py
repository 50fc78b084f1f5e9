"""Compare a predicted with a measured timeline: by kind of operation, layer and step, and as a
whole.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.engine.task import TaskKind
from sim.engine.timeline import Timeline

ASIDE = (TaskKind.LAYER_FETCH, TaskKind.PREFETCH, TaskKind.EARLY_FETCH, TaskKind.LOOKUP)
"""Kinds of tasks that run ahead of the layer that they are for."""

BEGINNINGS = (TaskKind.ATTENTION, TaskKind.HEAD)

Key = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSummary:
    """Relative errors |predicted / measured − 1| of ``num_compared`` durations."""

    median_fraction: float
    p90_fraction: float
    num_compared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """One run against one prediction of it.

    ``error_fraction`` is signed: predicted / measured − 1, end to end. ``unmatched_fraction`` is
    the share of the run's tasks that the prediction does not have, such as copies decided by
    another clock.
    """

    predicted_ns: int
    measured_ns: int
    error_fraction: float
    by_kind: Mapping[str, ErrorSummary]
    by_layer: ErrorSummary
    by_step: ErrorSummary
    unmatched_fraction: float = 0.0


def compare(measured: Timeline, predicted: Timeline) -> RunComparison:
    """Return the errors of a prediction, task by task where both timelines have the task."""
    pairs = _matched(measured, predicted)
    lasted_ns = (measured.end_ns - measured.start_ns)[pairs[:, 0]]
    expected_ns = (predicted.end_ns - predicted.start_ns)[pairs[:, 1]]
    kinds = measured.tasks.kind[pairs[:, 0]]
    by_kind = {
        TaskKind(kind).name.lower(): summary(expected_ns[kinds == kind], lasted_ns[kinds == kind])
        for kind in np.unique(kinds).tolist()
    }
    return RunComparison(
        predicted_ns=predicted.makespan_ns,
        measured_ns=measured.makespan_ns,
        error_fraction=predicted.makespan_ns / measured.makespan_ns - 1,
        by_kind=by_kind,
        by_layer=summary(_elapsed(predicted, by_layer=True), _elapsed(measured, by_layer=True)),
        by_step=summary(_elapsed(predicted, by_layer=False), _elapsed(measured, by_layer=False)),
        unmatched_fraction=1 - len(pairs) / len(measured.tasks),
    )


def summary(predicted_ns: NDArray[np.int64], measured_ns: NDArray[np.int64]) -> ErrorSummary:
    """Return the errors of predicted durations; durations that were measured as 0 are left out."""
    is_some = measured_ns > 0
    return summary_of(predicted_ns[is_some] / measured_ns[is_some] - 1)


def summary_of(errors_fraction: NDArray[np.float64]) -> ErrorSummary:
    """Return median and 90th percentile of the absolute errors; both are 0 without errors."""
    sizes = np.abs(errors_fraction)
    if not len(sizes):
        return ErrorSummary(median_fraction=0.0, p90_fraction=0.0, num_compared=0)
    return ErrorSummary(
        median_fraction=float(np.median(sizes)),
        p90_fraction=float(np.percentile(sizes, 90)),
        num_compared=len(sizes),
    )


def _matched(measured: Timeline, predicted: Timeline) -> NDArray[np.int64]:
    """Return pairs of equal tasks: [pair, (task of the run, task of the prediction)]."""
    places = {key: number for number, key in enumerate(_keys(predicted))}
    pairs = [(number, places[key]) for number, key in enumerate(_keys(measured)) if key in places]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _keys(line: Timeline) -> list[Key]:
    """Return each task's key: step, lane, kind, layer, expert, and how many like it came before."""
    tasks = line.tasks
    seen = Counter[Key]()
    found = []
    columns = (tasks.step, tasks.resource, tasks.kind, tasks.layer, tasks.expert)
    for key in zip(*(column.tolist() for column in columns), strict=True):
        # Equal tasks of a step are told apart by their order, which both timelines keep.
        found.append((*key, seen[key]))
        seen[key] += 1
    return found


def _elapsed(line: Timeline, *, by_layer: bool) -> NDArray[np.int64]:
    """Return the times from the end of one layer of a pass (or of one step) to the end of the next.

    The head and what follows it count as a layer.
    """
    tasks = line.tasks
    begins = (
        np.isin(tasks.kind, BEGINNINGS) if by_layer else np.append(True, np.diff(tasks.step) != 0)
    )
    segments = np.unique(np.append(0, np.flatnonzero(begins)))
    # A copy that runs ahead may end long before its layer begins.
    counted_ns = np.where(np.isin(tasks.kind, ASIDE), 0, line.end_ns)
    # No segment ends before the one ahead of it, so no layer lasts less than 0.
    ends_ns = np.maximum.accumulate(np.maximum.reduceat(counted_ns, segments))
    return np.diff(ends_ns, prepend=0)
