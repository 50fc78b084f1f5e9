"""What real lanes add to the simulator's tasks, fitted to calibration runs.

Lanes add hand-overs between threads, decisions, and work that does not take its price.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim.engine.task import TaskKind, TaskTable
from sim.engine.timeline import Timeline
from validation.backend.executed import ExecutedRun

KEPT_FRACTION = 0.95
"""Share of each kind's delays between paced tasks that counts, the shortest first.

Between real operations all delays count, because all recur.
"""

WEIGHT_COPIES = (
    *(TaskKind.FETCH, TaskKind.EARLY_FETCH, TaskKind.SLOT_FETCH, TaskKind.PREFETCH),
    *(TaskKind.LAYER_FETCH, TaskKind.EVICT),
)
"""Copies of weights. On an emulated link they are spread evenly over their price.

If such a copy lasts longer, the rest is interference, which the engine adds.
"""

_NUM_RESOURCES = 6
"""Number of lanes of a live run, one more than of a static run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneCosts:
    """Costs of lanes, fitted to runs of the calibration plan; the machine file has none of them.

    ``hand_over_ns`` [resource] passes between a task's end (or submission) and the start of a task
    on that other lane that waited for it. ``same_lane_ns`` passes between a task and the next of
    its lane. ``decision_ns`` passes between the end of a gate and the first submission after it,
    and ``submission_ns`` between one submission and the next.

    Where ``is_paced`` [resource], a task ends ``late_ns`` after its time, and its real work takes
    ``work_ns`` [resource, kind]. Work that the calibration did not run is NaN. On other lanes a
    task takes its price times ``scale`` [resource, kind].
    """

    hand_over_ns: NDArray[np.float64]
    same_lane_ns: float
    decision_ns: float
    submission_ns: float
    late_ns: float
    is_paced: NDArray[np.bool_]
    work_ns: NDArray[np.float64]
    scale: NDArray[np.float64]

    def durations_ns(self, tasks: TaskTable) -> NDArray[np.int64]:
        """Return how long tasks really last, in ns [task].

        On a paced lane this is the task's time plus lateness, or its work if that is longer. On
        other lanes it is the scaled price.
        """
        # Work that the calibration did not run counts as 0, so the task's own time decides.
        work_ns = np.nan_to_num(self.work_ns[tasks.resource, tasks.kind])
        paced_ns = np.maximum(
            np.where(tasks.duration_ns > 0, tasks.duration_ns + self.late_ns, 0.0), work_ns
        )
        real_ns = tasks.duration_ns * self.scale[tasks.resource, tasks.kind]
        return np.rint(np.where(self.is_paced[tasks.resource], paced_ns, real_ns)).astype(np.int64)


def fit_lane_costs(*runs: ExecutedRun) -> LaneCosts:
    """Fit the costs to some runs of one plan, as trimmed means over tasks; all scales are 1."""
    delays = [_delays(executed) for executed in runs]
    pooled = {name: np.concatenate([delay[name] for delay in delays]) for name in delays[0]}
    kept = KEPT_FRACTION if runs[0].is_paced.all() else 1.0
    return LaneCosts(
        hand_over_ns=_hand_overs_ns(pooled["hand_over"], pooled["receiver"], kept),
        same_lane_ns=_typical(pooled["same_lane"], kept),
        decision_ns=_typical(pooled["decision"], kept),
        submission_ns=_typical(pooled["submission"], kept),
        late_ns=_typical(pooled["late"], kept),
        is_paced=_padded(runs[0].is_paced, False),
        work_ns=_work_ns(runs),
        scale=np.ones((_NUM_RESOURCES, len(TaskKind))),
    )


def fit_scale(
    costs: LaneCosts, runs: tuple[ExecutedRun, ...], predicted: tuple[Timeline, ...]
) -> LaneCosts:
    """Return these costs with scales that give each lane and kind its measured total.

    The predictions are those of the runs with these costs. A kind that the calibration did not run
    on a lane gets the scale of all tasks of the lane.
    """
    scale = costs.scale.copy()
    for resource in np.flatnonzero(~costs.is_paced).tolist():
        all_of = [
            _totals_ns(run, line, resource, None, costs)
            for run, line in zip(runs, predicted, strict=True)
        ]
        scale[resource] *= _ratio(all_of)
        for kind in TaskKind:
            own = [
                _totals_ns(run, line, resource, kind, costs)
                for run, line in zip(runs, predicted, strict=True)
            ]
            if sum(total for _, total in own) > 0:
                scale[resource, kind] = costs.scale[resource, kind] * _ratio(own)
    return replace(costs, scale=scale)


def ready_times(executed: ExecutedRun) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return two instants of every task in ns [task]; 0 stands for none.

    The first is the end of the task before it on its lane. The second is the last end of the tasks
    on other lanes that it waits for.
    """
    tasks = executed.timeline.tasks
    end_ns = executed.timeline.end_ns
    before_ns = np.zeros(len(tasks), np.int64)
    others_ns = np.zeros(len(tasks), np.int64)
    last_end_ns: dict[int, int] = {}
    # Priorities change the order of a lane, so the order in which it served is followed.
    for number in np.lexsort((executed.lane_order, tasks.resource)).tolist():
        lane = int(tasks.resource[number])
        before_ns[number] = last_end_ns.get(lane, 0)
        last_end_ns[lane] = int(end_ns[number])
        waits = tasks.dependencies[
            tasks.dependency_offsets[number] : tasks.dependency_offsets[number + 1]
        ]
        others_ns[number] = end_ns[waits[tasks.resource[waits] != lane]].max(initial=0)
    return before_ns, others_ns


def _delays(executed: ExecutedRun) -> dict[str, NDArray[np.int64]]:
    """Return the delays between the tasks of one run in ns, by name."""
    tasks = executed.timeline.tasks
    line = executed.timeline
    before_ns, others_ns = ready_times(executed)
    # A task can begin once its lane is free, what it waits for has ended, and it was submitted.
    gap_ns = line.start_ns - np.maximum.reduce([before_ns, others_ns, executed.submitted_ns])
    is_handed = np.maximum(others_ns, executed.submitted_ns) > before_ns
    # How late a lane wakes shows only where the work itself was done in time.
    is_in_time = (
        (executed.work_ns < tasks.duration_ns)
        & (tasks.duration_ns > 0)
        & executed.is_paced[tasks.resource]
    )
    is_after_gate = np.append(False, tasks.kind[:-1] == TaskKind.GATE)
    # A submission behind a gate waits for the decision, which is counted apart.
    is_next = np.append(False, ~is_after_gate[1:]) & (
        executed.submitted_ns >= np.append(0, executed.submitted_ns[:-1])
    )
    since_gate_ns = executed.submitted_ns - np.append(0, line.end_ns[:-1])
    return {
        "hand_over": gap_ns[is_handed],
        "receiver": tasks.resource[is_handed].astype(np.int64),
        "same_lane": gap_ns[~is_handed],
        "decision": since_gate_ns[is_after_gate & (since_gate_ns > 0)],
        "submission": np.diff(executed.submitted_ns, prepend=0)[is_next],
        "late": (line.end_ns - line.start_ns - tasks.duration_ns)[is_in_time],
    }


def _hand_overs_ns(
    gaps_ns: NDArray[np.int64], receivers: NDArray[np.int64], kept: float
) -> NDArray[np.float64]:
    """Return hand-overs by lane; a lane that waited for no other lane gets that of all lanes
    together.
    """
    hand_overs_ns = np.full(_NUM_RESOURCES, _typical(gaps_ns, kept))
    for lane in np.unique(receivers).tolist():
        hand_overs_ns[lane] = max(0.0, _typical(gaps_ns[receivers == lane], kept))
    return hand_overs_ns


def _work_ns(runs: tuple[ExecutedRun, ...]) -> NDArray[np.float64]:
    """Return how long each kind of real work took on each lane, in ns [resource, kind]."""
    resource = np.concatenate([run.timeline.tasks.resource for run in runs])
    kind = np.concatenate([run.timeline.tasks.kind for run in runs])
    took_ns = np.concatenate([run.work_ns for run in runs])
    work_ns = np.full((_NUM_RESOURCES, len(TaskKind)), np.nan)
    for pair in set(zip(resource.tolist(), kind.tolist(), strict=True)):
        work_ns[pair] = _typical(took_ns[(resource == pair[0]) & (kind == pair[1])], KEPT_FRACTION)
    # On an emulated link a copy's work is spread over its price, so it says nothing of its own.
    if not runs[0].is_paced.all():
        work_ns[:, list(WEIGHT_COPIES)] = np.nan
    return work_ns


def _totals_ns(
    run: ExecutedRun, predicted: Timeline, resource: int, kind: TaskKind | None, costs: LaneCosts
) -> tuple[float, float]:
    """Return the measured and predicted ns of all tasks of a lane, or of one kind on it."""
    tasks = run.timeline.tasks
    is_meant = (tasks.resource == resource) & ((tasks.kind == kind) | (kind is None))
    # A predicted task includes the gap behind it, which a measured one does not.
    expected_ns = predicted.busy_ns[is_meant] - round(costs.same_lane_ns)
    return float(run.timeline.busy_ns[is_meant].sum()), float(np.maximum(expected_ns, 0).sum())


def _ratio(totals_ns: list[tuple[float, float]]) -> float:
    measured_ns, expected_ns = (sum(pair[place] for pair in totals_ns) for place in (0, 1))
    return measured_ns / expected_ns if expected_ns > 0 else 1.0


def _padded(flags: NDArray[np.bool_], value: bool) -> NDArray[np.bool_]:
    return np.append(flags, [value] * (_NUM_RESOURCES - len(flags)))


def _typical(values: NDArray[np.int64], kept_fraction: float) -> float:
    """Return the mean of the shortest ``kept_fraction`` of the values; 0 without values.

    The longest delays come from something else that had the processor. A mean is right because
    delays add up.
    """
    if not len(values):
        return 0.0
    return float(np.mean(np.sort(values)[: max(1, round(len(values) * kept_fraction))]))
