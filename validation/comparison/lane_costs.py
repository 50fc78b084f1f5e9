"""What real lanes add to the simulator's tasks: hand-overs between threads, decisions, and work that does not fit its duration."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.task import TaskKind, TaskTable
from validation.backend.executed import Executed

KEPT_FRACTION = 0.95
"""Of the delays of a kind, from the shortest on, those that count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneCosts:
    """Fitted from one run, the calibration; none of them is in the machine file.

    ``hand_over_ns`` passes between a task's end (or its submission) and the start of one on another lane that waited for it;
    ``same_lane_ns`` between a task and the next of its lane; ``decision_ns`` between the end of a gate and the first submission after it;
    ``submission_ns`` between one submission and the next. A task ends ``late_ns`` after its time, and its real work takes ``work_ns``
    [resource, kind]; NaN for what the calibration did not run.
    """

    hand_over_ns: float
    same_lane_ns: float
    decision_ns: float
    submission_ns: float
    late_ns: float
    work_ns: NDArray[np.float64]

    def durations_ns(self, tasks: TaskTable) -> NDArray[np.int64]:
        """How long tasks really last: their time and the lateness of its end, or their work where that is longer."""
        work_ns = np.nan_to_num(self.work_ns[tasks.resource, tasks.kind])
        paced_ns = np.where(tasks.duration_ns > 0, tasks.duration_ns + self.late_ns, 0.0)
        return np.rint(np.maximum(paced_ns, work_ns)).astype(np.int64)


def fit_lane_costs(executed: Executed) -> LaneCosts:
    """Trimmed means over the tasks of one paced run."""
    tasks, line = executed.timeline.tasks, executed.timeline
    before_ns, others_ns = ready_times(executed)
    gap_ns = line.start_ns - np.maximum.reduce([before_ns, others_ns, executed.submitted_ns])
    is_handed = np.maximum(others_ns, executed.submitted_ns) > before_ns
    lasted_ns = line.end_ns - line.start_ns
    is_in_time = (executed.work_ns < tasks.duration_ns) & (tasks.duration_ns > 0)
    is_after_gate = np.append(False, tasks.kind[:-1] == TaskKind.GATE)
    is_next = np.append(False, ~is_after_gate[1:]) & (executed.submitted_ns >= np.append(0, executed.submitted_ns[:-1]))
    since_ns = np.diff(executed.submitted_ns, prepend=0)
    since_gate_ns = executed.submitted_ns - np.append(0, line.end_ns[:-1])
    return LaneCosts(
        hand_over_ns=_typical(gap_ns[is_handed]),
        same_lane_ns=_typical(gap_ns[~is_handed]),
        decision_ns=_typical(since_gate_ns[is_after_gate & (since_gate_ns > 0)]),
        submission_ns=_typical(since_ns[is_next]),
        late_ns=_typical((lasted_ns - tasks.duration_ns)[is_in_time]),
        work_ns=_work_ns(executed),
    )


def ready_times(executed: Executed) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For every task, when the one before it on its lane ended, and when the last it waits for on other lanes did; 0 for none."""
    tasks, end_ns = executed.timeline.tasks, executed.timeline.end_ns
    before_ns, others_ns = np.zeros(len(tasks), np.int64), np.zeros(len(tasks), np.int64)
    last_end_ns: dict[int, int] = {}
    for number in np.lexsort((executed.lane_order, tasks.resource)).tolist():
        lane = int(tasks.resource[number])
        before_ns[number] = last_end_ns.get(lane, 0)
        last_end_ns[lane] = int(end_ns[number])
        waits = tasks.dependencies[tasks.dependency_offsets[number] : tasks.dependency_offsets[number + 1]]
        others_ns[number] = end_ns[waits[tasks.resource[waits] != lane]].max(initial=0)
    return before_ns, others_ns


def _work_ns(executed: Executed) -> NDArray[np.float64]:
    tasks = executed.timeline.tasks
    work_ns = np.full((len(executed.timeline.platform.resources), len(TaskKind)), np.nan)
    for resource, kind in set(zip(tasks.resource.tolist(), tasks.kind.tolist(), strict=True)):
        work_ns[resource, kind] = _typical(executed.work_ns[(tasks.resource == resource) & (tasks.kind == kind)])
    return work_ns


def _typical(values: NDArray[np.int64]) -> float:
    """The mean, as delays add up; the slowest twentieth, when something else had the processor, left out. 0 of none."""
    if not len(values):
        return 0.0
    return float(np.mean(np.sort(values)[: max(1, round(len(values) * KEPT_FRACTION))]))
