"""Timed runs of a runtime, and their summary."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_QUIET = 3
"""Fewest undisturbed samples for which disturbed ones are left out."""

QUIET_FRACTION = 0.95
"""Least CPU time over wall-clock time and threads of a sample that counts as undisturbed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run: its tokens, the CPU seconds of all its processes, and its seconds by the clock."""

    tokens: int
    cpu_s: float
    wall_s: float
    threads: int = 1
    has_gpu: bool = False

    @property
    def is_by_cpu_time(self) -> bool:
        """Whether CPU time tells what the run takes: one thread, which never waits for a GPU."""
        return self.threads == 1 and not self.has_gpu

    @property
    def is_quiet(self) -> bool:
        """Whether no other process took the cores meanwhile. Beside a GPU this is not known, so
        True.
        """
        return self.has_gpu or self.cpu_s >= QUIET_FRACTION * self.threads * self.wall_s

    @property
    def token_s(self) -> float:
        """Seconds a token: CPU time for one thread without a GPU, else the clock's.

        The CPU time of one thread leaves out the time in which other processes had the core.
        Several threads wait for each other by spinning, so that their CPU time says little.
        """
        return (self.cpu_s if self.is_by_cpu_time else self.wall_s) / self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Summary of the samples of one run: the median, and how far repeated runs differ.

    ``noise_fraction`` compares the medians of odd and of even samples; ``spread_fraction`` is their
    interquartile range over the median.
    """

    token_s: float
    noise_fraction: float
    spread_fraction: float
    num_samples: int
    num_disturbed: int

    @property
    def tokens_per_s(self) -> float:
        """Median tokens a second."""
        return 1.0 / self.token_s


def timed(samples: Sequence[Sample]) -> Timed:
    """Summarise samples.

    If CPU time does not count, disturbed samples are left out if enough others remain.
    """
    kept = _kept(samples)
    seconds = np.array([sample.token_s for sample in kept])
    low, middle, high = np.percentile(seconds, [25, 50, 75])
    return Timed(
        token_s=float(middle),
        noise_fraction=_noise(seconds),
        spread_fraction=float((high - low) / middle),
        num_samples=len(kept),
        num_disturbed=len(samples) - len(kept),
    )


def _kept(samples: Sequence[Sample]) -> Sequence[Sample]:
    # CPU time leaves out by itself what others took.
    if all(sample.is_by_cpu_time for sample in samples):
        return samples
    quiet = [sample for sample in samples if sample.is_quiet]
    return quiet if len(quiet) >= LEAST_QUIET else samples


def _noise(seconds: np.ndarray) -> float:
    """Return how far the median of every other sample is from that of the rest, relative to it."""
    if len(seconds) < 2:
        return 0.0
    return float(abs(np.median(seconds[::2]) / np.median(seconds[1::2]) - 1))
