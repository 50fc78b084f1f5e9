"""A cache written in Python, without a compiled score: the way that is open to third parties."""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.policies import POLICIES
from sim.policies.cache.base import Cache
from sim.policies.cache.state import CacheState
from sim.step.long import LongRun, simulate_long
from sim.step.simulate import Run
from sim.testing import check_policy
from sim.workload.batch import Batch
from tests.sim.small import small_machine, small_model


@dataclass(frozen=True, slots=True, kw_only=True)
class FifoCache(Cache):
    """First in, first out, per layer."""

    writes_back: bool = False

    def start(self, residency: Residency) -> CacheState:
        """See Cache."""
        return Fifo(residency)


class Fifo(CacheState):
    """Residents of every layer in the order in which they came."""

    def __init__(self, residency: Residency) -> None:
        """Those at time 0 by number."""
        self.queues = [deque(np.flatnonzero(row).tolist()) for row in residency.experts]
        self.capacity = [len(queue) for queue in self.queues]

    def classify(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """See CacheState."""
        return np.isin(experts, list(self.queues[layer]))

    def admit(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.int64]:
        """See CacheState."""
        queue = self.queues[layer]
        queue.extend(experts.tolist())
        return np.array(
            [queue.popleft() for _ in range(len(queue) - self.capacity[layer])], np.int64
        )


@pytest.mark.parametrize("writes_back", [False, True])
def test_a_cache_in_python_conforms(writes_back: bool) -> None:
    """It passes the kit, its hits are those of a plain replay of the queue, and a run in parts goes on
    with what the queue has come to.
    """
    policy = replace(
        POLICIES["mixtral-offloading"],
        name="fifo",
        cache=FifoCache(writes_back=writes_back),
    )
    run = check_policy(
        policy,
        small_model(),
        small_machine(),
        Batch(prompt_tokens=6, output_tokens=12),
        slots_per_layer=3,
    )
    assert isinstance(run, Run)
    parts = simulate_long(run.scenario, lambda part: None, part_passes=3)
    assert isinstance(parts, LongRun)
    assert parts.timeline_digest == run.timeline.digest
    replay, hits = Fifo(run.residency), 0
    for counts in run.tokens:
        for layer, row in enumerate(counts):
            selected = np.flatnonzero(row)
            is_hit = replay.classify(layer, selected)
            hits += int(row[selected[is_hit]].sum())
            replay.admit(layer, selected[~is_hit])
    assert 0 < hits == round(run.metrics.expert_hit_rate * run.tokens.sum())
