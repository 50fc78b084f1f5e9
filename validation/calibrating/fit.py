"""Fit a factor to each operation on each lane, and a time that a layer takes beside its
operations.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from validation.calibrating.observed_run import CostPart, Group, ObservedRun

NUM_PASSES = 4
"""How often the factors are found anew.

Under interference, the duration of a task depends on the other tasks' factors.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Factors on prices, and delays in ns that are then added to every copy of a lane."""

    factors: Mapping[Group, float]
    copy_delays_ns: Mapping[str, float]

    def durations_ns(self, run: ObservedRun) -> NDArray[np.float64]:
        """Return the run's scaled prices in ns [task]."""
        scaled_ns = run.tasks.duration_ns.astype(np.float64)
        for (lane, part), chosen in run.groups.items():
            # Activations travel at the rate of other copies, with a delay beside.
            of_part = CostPart.COPY if part is CostPart.ACTIVATION_COPY else part
            scaled_ns[chosen] *= self.factors.get((lane, of_part), 1.0)
            if of_part is CostPart.COPY:
                scaled_ns[chosen] += self.copy_delays_ns.get(lane, 0.0)
        # A fitted delay may be negative, a duration may not.
        return np.maximum(scaled_ns, 0.0)


NO_SCALES = Scales(factors=MappingProxyType({}), copy_delays_ns=MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fit: scales, and ``layer_overhead_ns``, which each layer of each pass takes beside its
    operations.

    ``num_tasks`` counts the tasks that each group's scale rests on.
    """

    scales: Scales
    num_tasks: Mapping[Group, int]
    layer_overhead_ns: float


def fit(runs: Sequence[ObservedRun]) -> Fit:
    """Fit scales and overhead to all runs by least squares.

    A factor f minimises sum((measured - f * predicted)^2 / predicted). The variance of a duration
    grows with the duration, and both sums come out equal. The predicted duration is the
    simulator's, beside the tasks that run at the same time. The delay of a lane's copies minimises
    sum((measured - predicted - delay)^2) over copies of activations, which are too small for a rate
    to matter. The overhead h >= 0 of a layer then minimises sum((measured - predicted - h *
    layers)^2) over whole runs.
    """
    scales = NO_SCALES
    counts = dict[Group, int]()
    for _ in range(NUM_PASSES):
        scales = _improved(runs, scales, counts)
    unexplained_ns = np.array(
        [run.makespan_ns - run.timed(scales.durations_ns(run)).makespan_ns for run in runs],
        np.float64,
    )
    layers = np.array([run.num_layer_passes for run in runs], np.float64)
    # No layer takes less than nothing, whatever noise says.
    overhead_ns = max(0.0, float(unexplained_ns @ layers / (layers @ layers)))
    return Fit(scales=scales, num_tasks=counts, layer_overhead_ns=overhead_ns)


def error_fraction(run: ObservedRun, scales: Scales, layer_overhead_ns: float) -> float:
    """Return predicted / measured - 1 of the whole run's time."""
    predicted_ns = (
        run.timed(scales.durations_ns(run)).makespan_ns + run.num_layer_passes * layer_overhead_ns
    )
    return predicted_ns / run.makespan_ns - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """A plan's error on held-out runs: signed, the median over the runs.

    ``before_fraction`` is the machine file's error, ``after_fraction`` that of the fit.
    """

    plan: str
    before_fraction: float
    after_fraction: float
    fitted_to: str


def hold_out(runs: Sequence[ObservedRun], layer_overhead_ns: float) -> list[HeldOut]:
    """Predict each plan by a fit to the runs of the other plans.

    Of a single plan, predict the later half of its runs by a fit to the earlier half.
    """
    plans = list(dict.fromkeys(run.plan for run in runs))
    if len(plans) > 1:
        parts = [
            (
                [run for run in runs if run.plan != plan],
                [run for run in runs if run.plan == plan],
                "the other plans",
            )
            for plan in plans
        ]
    # Of one plan alone, later runs at least were no part of the fit.
    elif len(runs) > 1:
        parts = [(list(runs[: len(runs) // 2]), list(runs[len(runs) // 2 :]), "its earlier runs")]
    else:
        parts = []
    return [_held_out(own, left, words, layer_overhead_ns) for own, left, words in parts]


def _held_out(
    own: Sequence[ObservedRun], left: Sequence[ObservedRun], words: str, layer_overhead_ns: float
) -> HeldOut:
    found = fit(own)
    return HeldOut(
        plan=left[0].plan,
        before_fraction=_median(
            left, lambda run: error_fraction(run, NO_SCALES, layer_overhead_ns)
        ),
        after_fraction=_median(
            left, lambda run: error_fraction(run, found.scales, found.layer_overhead_ns)
        ),
        fitted_to=words,
    )


def _median(runs: Sequence[ObservedRun], error: Callable[[ObservedRun], float]) -> float:
    return float(np.median([error(run) for run in runs]))


def _improved(runs: Sequence[ObservedRun], scales: Scales, counts: dict[Group, int]) -> Scales:
    """Return the scales after one more pass, and note in ``counts`` how many tasks each rests
    on.
    """
    factors = dict(scales.factors)
    delays_ns = dict(scales.copy_delays_ns)
    for (lane, part), (lasted_ns, expected_ns) in _sorted_out(runs, scales).items():
        counts[lane, part] = len(lasted_ns)
        if part is CostPart.ACTIVATION_COPY:
            # Activations are so small that only a delay shows.
            delays_ns[lane] = delays_ns.get(lane, 0.0) + float((lasted_ns - expected_ns).mean())
        else:
            factors[lane, part] = factors.get((lane, part), 1.0) * float(
                lasted_ns.sum() / expected_ns.sum()
            )
    return Scales(factors=factors, copy_delays_ns=delays_ns)


def _sorted_out(
    runs: Sequence[ObservedRun], scales: Scales
) -> dict[Group, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return by group how long tasks lasted, and how long they should have with those scales.

    Both are in ns, one value a task.
    """
    found: dict[Group, list[NDArray[np.float64]]] = {}
    for run in runs:
        line = run.timed(scales.durations_ns(run))
        both = np.stack([run.lasted_ns, line.end_ns - line.start_ns]).astype(np.float64)
        for group, chosen in run.groups.items():
            # Tasks that take no time have no factor.
            found.setdefault(group, []).append(both[:, chosen & (both[1] > 0)])
    joined = {group: np.concatenate(parts, axis=1) for group, parts in found.items()}
    return {group: (both[0], both[1]) for group, both in joined.items() if both.shape[1]}
