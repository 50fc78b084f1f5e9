"""Predicted against measured: by operation kind, by layer, by step and end to end."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.program import Program
from sim.task import TaskKind, TaskTable
from validation.backend.executed import Executed
from validation.comparison.prediction import Predicted


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSummary:
    """Relative errors, |predicted / measured − 1|, of a number of things."""

    median_fraction: float
    p90_fraction: float
    num_compared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One run against one prediction of it. ``error_fraction`` is signed: predicted / measured − 1, end to end."""

    predicted_ns: int
    measured_ns: int
    error_fraction: float
    by_kind: Mapping[str, ErrorSummary]
    by_layer: ErrorSummary
    by_step: ErrorSummary


def compare(executed: Executed, program: Program, predicted: Predicted) -> Comparison:
    """Errors of a prediction; task for task, so the program must be that of the run."""
    tasks, line = program.tasks, executed.timeline
    assert len(tasks) == len(line.tasks), "the program is not that of the run"
    lasted_ns, expected_ns = line.end_ns - line.start_ns, predicted.end_ns - predicted.start_ns
    by_kind = {kind.name.lower(): summary(expected_ns[tasks.kind == kind], lasted_ns[tasks.kind == kind]) for kind in _kinds(tasks)}
    layers, steps = _segments(tasks, by_layer=True), _segments(tasks, by_layer=False)
    return Comparison(
        predicted_ns=predicted.makespan_ns,
        measured_ns=line.makespan_ns,
        error_fraction=predicted.makespan_ns / line.makespan_ns - 1,
        by_kind=by_kind,
        by_layer=summary(_elapsed(predicted.end_ns, tasks, layers), _elapsed(line.end_ns, tasks, layers)),
        by_step=summary(_elapsed(predicted.end_ns, tasks, steps), _elapsed(line.end_ns, tasks, steps)),
    )


def summary(predicted_ns: NDArray[np.int64], measured_ns: NDArray[np.int64]) -> ErrorSummary:
    """The errors of durations, those that measured nothing left out."""
    is_some = measured_ns > 0
    return summary_of(predicted_ns[is_some] / measured_ns[is_some] - 1)


def summary_of(errors_fraction: NDArray[np.float64]) -> ErrorSummary:
    """Median and 90th percentile of signed errors, by size; zero of none."""
    sizes = np.abs(errors_fraction)
    if not len(sizes):
        return ErrorSummary(median_fraction=0.0, p90_fraction=0.0, num_compared=0)
    return ErrorSummary(median_fraction=float(np.median(sizes)), p90_fraction=float(np.percentile(sizes, 90)), num_compared=len(sizes))


def _kinds(tasks: TaskTable) -> list[TaskKind]:
    return [TaskKind(kind) for kind in np.unique(tasks.kind).tolist()]


def _segments(tasks: TaskTable, *, by_layer: bool) -> NDArray[np.int64]:
    """The first task of each layer of each pass, or of each step; the head and what follows it count as a layer."""
    changes = np.diff(tasks.step) != 0
    if by_layer:
        changes |= np.diff(tasks.layer) != 0
    return np.append(0, np.flatnonzero(changes) + 1)


def _elapsed(end_ns: NDArray[np.int64], tasks: TaskTable, segments: NDArray[np.int64]) -> NDArray[np.int64]:
    """Time from the end of one segment to the end of the next; copies ahead of their layer do not hold a segment open."""
    counted_ns = np.where(tasks.kind == TaskKind.LAYER_FETCH, 0, end_ns)
    ends_ns = np.maximum.accumulate(np.maximum.reduceat(counted_ns, segments))
    return np.diff(ends_ns, prepend=0)
