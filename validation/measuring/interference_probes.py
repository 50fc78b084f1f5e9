"""Interference: how much slower a lane is while another is busy."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from validation.measuring.bench import BUSY_BATCH_NS, Bench, Work
from validation.measuring.sampling import LEAST_QUIET
from validation.measuring.timing import MeanTime

MOST_TIMES = 4
"""Most rounds, as a multiple of the rounds asked for, however few of them were quiet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """The interference of one lane with another.

    While ``busy`` runs, ``slows`` progresses at ``rate_fraction`` (at most 1) of its speed alone,
    the median of ``num_samples`` rounds.
    """

    busy: str
    slows: str
    rate_fraction: float
    spread_fraction: float
    num_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Work that keeps a lane busy: ``make`` prepares one run, which takes about ``lasts_ns``
    alone.
    """

    bench: Bench
    make: Callable[[], Work]
    lasts_ns: float

    def time(self) -> MeanTime:
        """Time one run, as the mean of as many as take a few milliseconds together."""
        return self.bench.time(
            [self.make() for _ in range(max(1, round(BUSY_BATCH_NS / max(1.0, self.lasts_ns))))]
        )


def measure_interference(
    loads: Mapping[str, Load],
    num_rounds: int,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[Factor]:
    """Measure a factor for each ordered pair of lanes.

    There are ``num_rounds`` rounds, or more until half as many were quiet for every pair. A lane is
    timed alone right before it is timed beside each other lane, so that drift cancels. Pairs that
    another process disturbed do not count, if there are enough others. Between lanes of one core,
    being put off the core is what is measured; it does not count as a disturbance.
    """
    pairs: dict[tuple[str, str], list[Pair]] = {pair: [] for pair in permutations(loads, 2)}
    for number in range(MOST_TIMES * num_rounds):
        # A few quiet pairs among many disturbed ones say little of the usual.
        if number >= num_rounds and all(
            2 * _num_quiet(own) >= num_rounds for own in pairs.values()
        ):
            break
        for slows in loads:
            for busy, pair in _beside_others(loads, slows):
                pairs[busy, slows].append(pair)
        on_progress(min(1.0, (number + 1) / num_rounds))
    return [factor_of(busy, slows, found) for (busy, slows), found in pairs.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A lane's speed beside another over its speed alone, and whether another process
    disturbed it.
    """

    ratio: float
    is_disturbed: bool


def _num_quiet(pairs: list[Pair]) -> int:
    return sum(not pair.is_disturbed for pair in pairs)


def _beside_others(loads: Mapping[str, Load], slows: str) -> Iterator[tuple[str, Pair]]:
    """Yield a lane's pair with each other lane, in one round."""
    own = loads[slows]
    for busy, other in loads.items():
        if busy != slows:
            alone = own.time()
            with other.bench.kept_busy(other.make, other.lasts_ns):
                beside = own.time()
            is_shared = bool(own.bench.cores & other.bench.cores)
            is_disturbed = alone.is_disturbed or (beside.is_disturbed and not is_shared)
            yield busy, Pair(ratio=alone.ns / beside.ns, is_disturbed=is_disturbed)


def factor_of(busy: str, slows: str, pairs: list[Pair]) -> Factor:
    """Return the median of the quiet pairs; of all pairs, if fewer than three are quiet."""
    quiet = [pair.ratio for pair in pairs if not pair.is_disturbed]
    ratios = quiet if len(quiet) >= min(LEAST_QUIET, len(pairs)) else [pair.ratio for pair in pairs]
    low, middle, high = np.percentile(ratios, [25, 50, 75]).tolist()
    return Factor(
        busy=busy,
        slows=slows,
        # A lane that is faster in company owes it to noise.
        rate_fraction=min(1.0, middle),
        spread_fraction=(high - low) / middle,
        num_samples=len(ratios),
    )
