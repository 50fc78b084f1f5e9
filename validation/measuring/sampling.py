"""Sample every probe once a round, in another order each round.

A drift of the computer thus affects all probes alike.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hwprofiles.units import NS_PER_S, NS_PER_US
from validation.measuring.bench import Work
from validation.measuring.probe import CurveKey, Probe
from validation.measuring.timing import MeanTime

LEAST_SAMPLE_NS = 300 * NS_PER_US
MOST_REPEATS = 64
"""Most runs of one sample. A run shorter than LEAST_SAMPLE_NS is repeated within a sample."""

LEAST_ROUNDS = 5
"""Samples of each point that the time must allow; else points are left out, the slowest first."""

LEAST_QUIET = 3
"""Fewest undisturbed samples; with fewer, the disturbed ones count, too."""

HOPELESS_FACTOR = 4
"""A first run that takes this many times too long is not repeated.

A first run may be longer than others because it loads what it runs.
"""


class Timer(Protocol):
    """The part of a bench that sampling uses."""

    def time(self, works: Sequence[Work]) -> MeanTime:
        """Run the works one after another, and return their mean time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPoint:
    """A measured size: median of its samples in ns, interquartile range over it, fastest, and
    number.

    ``num_disturbed`` further samples were left out, because another process had the core. None are
    left out if too few would remain.
    """

    probe: Probe
    ns: float
    spread_fraction: float
    best_ns: float
    num_samples: int
    num_disturbed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The time that sampling may take.

    A point whose run takes longer than ``most_point_s`` is left out, with all larger points of its
    curve; a curve's smallest always stays.
    """

    total_s: float
    most_point_s: float
    most_rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Points by curve, sizes rising, and the number of rounds.

    ``left_out`` has the curves for which time was too short, each with the first size that was left
    out.
    """

    points: Mapping[CurveKey, tuple[MeasuredPoint, ...]]
    num_rounds: int
    left_out: Mapping[CurveKey, int]


Progress = Callable[[float], None]
"""Function called with the share of the work that is done."""


def sample(
    probes: Sequence[Probe],
    benches: Mapping[str, Timer],
    budget: Budget,
    *,
    seed: int = 0,
    now_s: Callable[[], float] = time.monotonic,
    on_progress: Progress = lambda share: None,
) -> Sampled:
    """Warm up, then sample round after round until the time is used up.

    Every point that is kept has at least LEAST_QUIET samples.
    """
    deadline_s = now_s() + budget.total_s
    estimates_ns, left_out = _warmed_up(
        # Half of the time is left for samples, whatever warming up takes.
        probes,
        benches,
        budget,
        lambda: now_s() > deadline_s - budget.total_s / 2,
    )
    kept = _affordable(
        [probe for probe in probes if probe in estimates_ns],
        estimates_ns,
        (deadline_s - now_s()) * NS_PER_S,
        left_out,
    )
    samples: dict[Probe, list[MeanTime]] = {probe: [] for probe in kept}
    order = list(kept)
    generator = random.Random(seed)
    begun_s = now_s()
    num_rounds = 0
    while (
        kept
        and num_rounds < budget.most_rounds
        and (num_rounds < LEAST_QUIET or now_s() < deadline_s)
    ):
        # A probe that always ran behind the same one would meet its traces in caches and clocks.
        generator.shuffle(order)
        for probe in order:
            # Once every point has enough, a round under way is not seen through.
            if num_rounds >= LEAST_QUIET and now_s() >= deadline_s:
                break
            samples[probe].append(_sampled(probe, benches, estimates_ns[probe]))
            done = max(
                num_rounds / budget.most_rounds,
                (now_s() - begun_s) / max(1e-9, deadline_s - begun_s),
            )
            on_progress(min(1.0, done))
        num_rounds += 1
    on_progress(1.0)
    return Sampled(
        points=_by_curve({probe: _point(probe, found) for probe, found in samples.items()}),
        num_rounds=num_rounds,
        left_out=left_out,
    )


def _warmed_up(
    probes: Sequence[Probe],
    benches: Mapping[str, Timer],
    budget: Budget,
    is_late: Callable[[], bool],
) -> tuple[dict[Probe, float], dict[CurveKey, int]]:
    """Return the ns of the faster of two runs of each probe, and where curves end.

    A curve ends at the first size that takes too long, or whose turn comes when it is late. The
    smallest size of a curve is always kept.
    """
    estimates_ns: dict[Probe, float] = {}
    begun: set[CurveKey] = set()
    left_out: dict[CurveKey, int] = {}
    for probe in sorted(probes, key=lambda one: one.x):
        if probe.key in left_out:
            continue
        if probe.key in begun and is_late():
            left_out[probe.key] = probe.x
            continue
        # The first run finds pages and code; the second says what a run takes.
        took_ns = [benches[probe.bench].time([probe.make()]).ns]
        if took_ns[0] <= HOPELESS_FACTOR * budget.most_point_s * NS_PER_S:
            took_ns.append(benches[probe.bench].time([probe.make()]).ns)
        if min(took_ns) > budget.most_point_s * NS_PER_S and probe.key in begun:
            left_out[probe.key] = probe.x
        else:
            estimates_ns[probe] = min(took_ns)
            begun.add(probe.key)
    return estimates_ns, left_out


def _affordable(
    probes: Sequence[Probe],
    estimates_ns: Mapping[Probe, float],
    left_ns: float,
    left_out: dict[CurveKey, int],
) -> list[Probe]:
    """Return the probes without the slowest, so that the rest can have LEAST_ROUNDS samples.

    A curve keeps its smallest size, whatever that takes.
    """
    costs_ns = {probe: estimates_ns[probe] * _repeats(estimates_ns[probe]) for probe in probes}
    smallest = {
        key: min(probe.x for probe in probes if probe.key == key)
        for key in {probe.key for probe in probes}
    }
    total_ns = sum(costs_ns.values()) * LEAST_ROUNDS
    kept = list(probes)
    for probe in sorted(probes, key=costs_ns.__getitem__, reverse=True):
        if total_ns <= left_ns:
            break
        if probe.x > smallest[probe.key]:
            # A curve without a middle point would hide a bend, so it ends there.
            beyond = [one for one in kept if one.key == probe.key and one.x >= probe.x]
            total_ns -= sum(costs_ns[one] for one in beyond) * LEAST_ROUNDS
            kept = [one for one in kept if one not in beyond]
            left_out[probe.key] = probe.x
    return kept


def _sampled(probe: Probe, benches: Mapping[str, Timer], estimate_ns: float) -> MeanTime:
    return benches[probe.bench].time([probe.make() for _ in range(_repeats(estimate_ns))])


def _repeats(estimate_ns: float) -> int:
    return int(np.clip(np.ceil(LEAST_SAMPLE_NS / max(1.0, estimate_ns)), 1, MOST_REPEATS))


def _point(probe: Probe, samples: Sequence[MeanTime]) -> MeasuredPoint:
    quiet_ns = [sample.ns for sample in samples if not sample.is_disturbed]
    samples_ns = (
        quiet_ns
        if len(quiet_ns) >= min(LEAST_QUIET, len(samples))
        else [sample.ns for sample in samples]
    )
    # Quartiles, since a few samples of every computer are far too long.
    low, middle, high = np.percentile(samples_ns, [25, 50, 75]).tolist()
    return MeasuredPoint(
        probe=probe,
        ns=middle,
        spread_fraction=(high - low) / middle if middle else 0.0,
        best_ns=min(samples_ns),
        num_samples=len(samples_ns),
        num_disturbed=len(samples) - len(samples_ns),
    )


def _by_curve(points: Mapping[Probe, MeasuredPoint]) -> dict[CurveKey, tuple[MeasuredPoint, ...]]:
    found: dict[CurveKey, list[MeasuredPoint]] = {}
    for probe in sorted(points, key=lambda one: one.x):
        found.setdefault(probe.key, []).append(points[probe])
    return {key: tuple(own) for key, own in found.items()}
