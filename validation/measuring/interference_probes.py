"""Interference: how much slower a lane is while another is busy."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from validation.measuring.bench import BUSY_BATCH_NS, Bench, Work

LANES = ("gpu", "cpu", "h2d", "d2h")


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """While ``busy`` runs, ``slows`` progresses at ``rate_fraction`` of its speed (at most 1), the median of as many rounds."""

    busy: str
    slows: str
    rate_fraction: float
    spread_fraction: float
    num_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a lane is kept busy with: ``make`` prepares one run, which takes about ``lasts_ns`` alone."""

    bench: Bench
    make: Callable[[], Work]
    lasts_ns: float

    def time_ns(self) -> float:
        """One run among as many as take a few milliseconds together."""
        return self.bench.time([self.make() for _ in range(max(1, round(BUSY_BATCH_NS / max(1.0, self.lasts_ns))))]).ns


def measure_interference(
    loads: Mapping[str, Load], num_rounds: int, on_progress: Callable[[float], None] = lambda share: None
) -> list[Factor]:
    """A factor for each ordered pair of lanes. A lane is timed alone right before it is timed beside each of the others: drift cancels."""
    ratios: dict[tuple[str, str], list[float]] = {pair: [] for pair in permutations(loads, 2)}
    for number in range(num_rounds):
        for slows in loads:
            for busy, ratio in _ratios(loads, slows):
                ratios[busy, slows].append(ratio)
        on_progress((number + 1) / num_rounds)
    return [_factor(busy, slows, found) for (busy, slows), found in ratios.items()]


def _ratios(loads: Mapping[str, Load], slows: str) -> Iterator[tuple[str, float]]:
    """Speed beside each other lane by speed alone, in one round."""
    for busy, other in loads.items():
        if busy != slows:
            alone_ns = loads[slows].time_ns()
            with other.bench.kept_busy(other.make, other.lasts_ns):
                beside_ns = loads[slows].time_ns()
            yield busy, alone_ns / beside_ns


def _factor(busy: str, slows: str, ratios: list[float]) -> Factor:
    low, middle, high = np.percentile(ratios, [25, 50, 75]).tolist()
    return Factor(busy=busy, slows=slows, rate_fraction=min(1.0, middle), spread_fraction=(high - low) / middle, num_samples=len(ratios))
