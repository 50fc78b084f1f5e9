"""Replays of a stream against caches: the misses and copies of every policy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from hwprofiles import InputError, unknown_name
from sim.runtimes.caching import kernels
from sim.runtimes.caching.stream import ExpertStream, IntArray

HALF_LIFE_TOKENS = 16.0
"""The half-life of a decayed count: the memory of the slower fading part of the stated locality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Counts of one replay: choices, choices that missed, and experts copied in."""

    num_choices: int
    num_misses: int
    num_copies: int

    @property
    def miss_fraction(self) -> float:
        """The share of choices that missed."""
        return self.num_misses / self.num_choices

    @property
    def admitted_fraction(self) -> float:
        """Experts copied in over misses; 0 where nothing missed."""
        return self.num_copies / self.num_misses if self.num_misses else 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplayedStream:
    """A stream, with data that several policies need computed once."""

    stream: ExpertStream

    @cached_property
    def following(self) -> IntArray:
        """The token at which each choice is made again [token, rank]."""
        found: IntArray = kernels.next_uses(self.stream.ids, self.stream.num_experts)
        return found

    def replay(self, policy: str, slots: int) -> Replayed:
        """Replay one policy with ``slots`` experts cached.

        Raises InputError for an unknown policy, and unless 1 <= slots < num_experts.
        """
        if policy not in POLICIES:
            raise unknown_name("cache policy", policy, POLICIES)
        if not 1 <= slots < self.stream.num_experts:
            raise InputError(
                f"1 <= slots < num_experts must hold, got {slots} and {self.stream.num_experts}"
            )
        misses, copies = POLICIES[policy](self, slots)
        return Replayed(
            num_choices=self.stream.num_choices, num_misses=int(misses), num_copies=int(copies)
        )


Kernel = Callable[[ReplayedStream, int], tuple[int, int]]


def _scored(own: ReplayedStream, slots: int, *, rule: int, window: int = 0) -> tuple[int, int]:
    stream = own.stream
    law = kernels.ScoreLaw(rule, HALF_LIFE_TOKENS, window)
    found: tuple[int, int] = kernels.replay_scored(
        stream.ids, own.following, stream.num_experts, slots, law
    )
    return found


def _fixed(own: ReplayedStream, slots: int, *, is_hindsight: bool) -> tuple[int, int]:
    stream = own.stream
    # In hindsight the set is chosen from the very stream: the most that any fixed set can hit.
    seen = stream.ids if is_hindsight else stream.profile
    counts = np.bincount(seen.ravel(), minlength=stream.num_experts).astype(float)
    found: tuple[int, int] = kernels.replay_fixed(stream.ids, counts, slots)
    return found


def _queued(
    own: ReplayedStream, slots: int, *, kernel: Callable[..., tuple[int, int]]
) -> tuple[int, int]:
    return kernel(own.stream.ids, own.stream.num_experts, slots)


POLICIES: Mapping[str, Kernel] = {
    "optimum": partial(_scored, rule=kernels.OPTIMUM),
    "next-token": partial(_scored, rule=kernels.WINDOW, window=1),
    "four-tokens": partial(_scored, rule=kernels.WINDOW, window=4),
    "decayed": partial(_scored, rule=kernels.DECAYED),
    "lru": partial(_scored, rule=kernels.LRU),
    "second-chance": partial(_queued, kernel=kernels.replay_second_chance),
    "fifo": partial(_scored, rule=kernels.FIFO),
    "lfu": partial(_scored, rule=kernels.LFU),
    "s3-fifo": partial(_queued, kernel=kernels.replay_s3_fifo),
    "arc": partial(_queued, kernel=kernels.replay_arc),
    "static": partial(_fixed, is_hindsight=False),
    "static-hindsight": partial(_fixed, is_hindsight=True),
}
"""Every policy by name: MIN with bypass, windows of foresight, and policies without foresight.

``static-hindsight`` is the best fixed set for the very stream.
"""
