"""Cache replay against an independent one, and what must hold of any trace."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.routing import load_trace
from sim.routing.replay import CachePolicy, hit_rates
from sim.routing.statistics import CACHE_FRACTIONS, cache_hits
from tests.shared_data import shared_data

TASKS = ("intent", "summary", "translation")


def _independent(events: list[list[int]], capacity: int, policy: str) -> int:
    """Hits of one layer in plain Python: sets, a counter, and the list of future uses."""
    future: dict[int, list[int]] = {}
    for time in range(len(events) - 1, -1, -1):
        for expert in events[time]:
            future.setdefault(expert, []).append(time)
    resident: set[int] = set()
    used: Counter[int] = Counter()
    last: dict[int, int] = {}
    hits = 0
    for time, chosen in enumerate(events):
        hits += len(resident & set(chosen))
        for expert in chosen:
            used[expert] += 1
            last[expert] = time
            future[expert].pop()
        resident |= set(chosen)
        if len(resident) > capacity:
            key = {
                "LRU": lambda expert: (last[expert], expert),
                "LFU": lambda expert: (last[expert] == time, used[expert], last[expert], expert),  # noqa: B023
                "BELADY": lambda expert: (-(future[expert][-1] if future[expert] else len(events)), expert),
            }[policy]
            resident -= set(sorted(resident, key=key)[: len(resident) - capacity])
    return hits


@pytest.mark.parametrize("task", TASKS)
def test_recorded_traces_replay_as_plain_python_does(task: str) -> None:
    """Per layer, every policy, at 12.5, 25 and 50 % of the experts, the whole trace: equal hits. Four layers spread over the depth."""
    trace = load_trace(shared_data(f"routing/deepseek-v2-lite-{task}.npz"))
    found = {fraction: cache_hits(trace, fraction) for fraction in CACHE_FRACTIONS}
    for layer in (0, 9, 17, 25):
        events = trace.expert_ids[:, layer].tolist()
        for fraction, rates in found.items():
            for policy in CachePolicy:
                expected = _independent(events, round(64 * fraction), policy.name) / (6 * len(events))
                assert getattr(rates, f"{policy.name.lower()}_fraction")[layer] == expected


@given(st.data())
def test_small_traces_replay_as_plain_python_does(data: st.DataObject) -> None:
    """Ties, capacities below the experts of a token and above those of a layer included."""
    experts = data.draw(st.integers(2, 8))
    top_k = data.draw(st.integers(1, experts))
    events = data.draw(st.lists(st.permutations(range(experts)).map(lambda order: order[:top_k]), min_size=1, max_size=30))
    capacity = data.draw(st.integers(1, experts + 1))
    ids = np.array(events, np.int16)[:, None]
    rates = {policy: hit_rates(ids, experts, capacity, policy)[0] for policy in CachePolicy}
    for policy, rate in rates.items():
        assert rate == _independent(events, capacity, policy.name) / (top_k * len(events))
    assert rates[CachePolicy.BELADY] >= max(rates.values())
