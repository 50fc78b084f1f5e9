"""Cache replay against an independent one, and what must hold of any trace."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

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
    last: dict[int, tuple[int, bool, int]] = {}
    hits = 0
    for time, chosen in enumerate(events):
        missing = sorted(set(chosen) - resident)
        hits += len(chosen) - len(missing)
        for expert in chosen:
            used[expert] += 1
            last[expert] = (time, expert in missing, expert)
            future[expert].pop()
        for expert in missing:
            if len(resident) == capacity:
                following = {
                    each: future[each][-1] if future[each] else len(events)
                    for each in resident | {expert}
                }
                key = {
                    "LRU": lambda each: last[each],
                    "LFU": lambda each: (used[each], last[each]),
                    "BELADY": lambda each: (-following[each], each),  # noqa: B023
                }[policy]
                others = resident if policy == "BELADY" else resident - set(chosen) or resident
                leaver = min(others, key=key)
                if policy == "BELADY" and following[leaver] <= following[expert]:
                    continue
                resident = resident - {leaver}
            resident = resident | {expert}
    return hits


def _independent_in_all_layers(
    ids_TLK: NDArray[np.int64], capacities: list[int], policy: str
) -> NDArray[np.int64]:
    """The same [capacity, layer], all abreast, for at least as many slots as a token selects
    experts.

    Who may stay is who has one of the ``capacity`` largest keys, whole numbers. LRU and LFU look at
    hits before misses, which differ by capacity: so do their keys.
    """
    num_tokens, num_layers, _ = ids_TLK.shape
    chosen = np.zeros((num_tokens, num_layers, 64), bool)
    np.put_along_axis(chosen, ids_TLK, True, axis=2)
    used, shape = np.zeros((num_layers, 64), np.int64), (len(capacities), num_layers, 64)
    next_use, following = (
        np.empty(chosen.shape, np.int16),
        np.full((num_layers, 64), num_tokens, np.int16),
    )
    for time in range(num_tokens - 1, -1, -1):
        next_use[time] = following
        following[chosen[time]] = time
    expert, last, resident = np.arange(64), np.zeros(shape, np.int64), np.zeros(shape, bool)
    hits = np.zeros((len(capacities), num_layers), np.int64)
    for time, now in enumerate(chosen):
        hits += np.count_nonzero(resident & now, axis=2)
        last = np.where(now, 2 * time + ~resident, last)
        resident |= now
        used += now
        for place, capacity in enumerate(capacities):
            if policy == "BELADY":
                worth = (num_tokens - next_use[time]).astype(np.int64)
            else:
                worth = (now * num_tokens + used * (policy == "LFU")) * 2 * num_tokens + last[place]
            key = np.where(resident[place], worth * 64 + expert, -1)
            least = np.partition(key, 64 - capacity, axis=1)[:, 64 - capacity, None]
            resident[place] = key >= np.maximum(least, 0)
    return hits


@pytest.mark.parametrize("task", TASKS)
def test_recorded_traces_replay_as_independent_code_does(task: str) -> None:
    """In every layer, every policy, at 12.5, 25 and 50 % of the experts, the whole trace: equal
    hits; in one by sets and lists too.
    """
    trace = load_trace(shared_data(f"routing/deepseek-v2-lite-{task}.npz"))
    ids, capacities = (
        trace.expert_ids.astype(np.int64),
        [round(64 * fraction) for fraction in CACHE_FRACTIONS],
    )
    found = [cache_hits(trace, fraction) for fraction in CACHE_FRACTIONS]
    for policy in CachePolicy:
        hits = _independent_in_all_layers(ids, capacities, policy.name)
        rates = [getattr(rate, f"{policy.name.lower()}_fraction") for rate in found]
        assert (
            (np.array(rates) == hits / (6 * len(ids))).all()
            and hits.shape == (3, 26)
            and capacities == [8, 16, 32]
        )
        layer = 9 + TASKS.index(task)
        assert hits[1, layer] == _independent(ids[:, layer].tolist(), 16, policy.name)


@given(st.data())
def test_small_traces_replay_as_plain_python_does(data: st.DataObject) -> None:
    """Ties, capacities below the experts of a token and above those of a layer included."""
    experts = data.draw(st.integers(2, 8))
    top_k = data.draw(st.integers(1, experts))
    events = data.draw(
        st.lists(
            st.permutations(range(experts)).map(lambda order: order[:top_k]),
            min_size=1,
            max_size=30,
        )
    )
    capacity = data.draw(st.integers(1, experts + 1))
    ids = np.array(events, np.int16)[:, None]
    rates = {policy: hit_rates(ids, experts, capacity, policy)[0] for policy in CachePolicy}
    for policy, rate in rates.items():
        assert rate == _independent(events, capacity, policy.name) / (top_k * len(events))
    assert rates[CachePolicy.BELADY] >= max(rates.values())
