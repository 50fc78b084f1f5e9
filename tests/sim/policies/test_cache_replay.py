"""Hit rates of the caches against a plain replay that shares no code with them, on drawn and on recorded routing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hwprofiles import load_machine
from sim.model_library import load_model
from sim.policies import POLICIES, find_policy, with_settings
from sim.routing import uniform
from sim.routing.base import Routing
from sim.routing.generated import UNIFORM, GeneratedRouting
from sim.routing.library import load_routing
from sim.simulate import Run, Scenario, simulate
from sim.workload import Batch
from tests.shared_data import shared_data
from tests.sim.small import small_machine, small_model

KINDS = ("lru", "lfu", "belady")
SKEWED = GeneratedRouting(
    label="skewed", stated_provenance=UNIFORM, weights=tuple((8.0, 5.0, 3.0, 2.0, 1.0, 1.0, 0.5, 0.1) for _ in range(3)), kept=((0.0, 0.3),)
)


def _replayed_hits(kind: str, selected: NDArray[np.bool_], held: set[int], slots: int) -> int:
    """Hits of one layer; ``selected`` [pass, expert]. All experts of an event are looked up before any is taken in.

    Hits are used before misses, each by number; a miss takes the place of the least worthy. Belady keeps the best of all it has seen.
    """
    hits, visits, used, clock = 0, np.zeros(selected.shape[1]), np.zeros(selected.shape[1]), 0
    for index, row in enumerate(selected):
        event = np.flatnonzero(row).tolist()
        found, missing = [e for e in event if e in held], [e for e in event if e not in held]
        hits += len(found)
        for expert in found + missing:
            clock += 1
            visits[expert] += 1
            used[expert] = clock
        if kind == "belady":
            following = {e: next(iter(np.flatnonzero(selected[index + 1 :, e])), len(selected)) for e in held | set(event)}
            held = set(sorted(following, key=lambda e: (following[e], e not in held))[:slots])
            continue
        for expert in missing if slots else []:
            held = held - {min(held, key=lambda e: (visits[e] * (kind == "lfu"), used[e], e))} | {expert}
    return hits


def _check(kind: str, run: Run, slots: int) -> None:
    """The run's hits are those of the replay in every layer."""
    selected = run.tokens > 0
    assert run.tokens.max() == 1, "decode only: a selection is an expert"
    hits = sum(
        _replayed_hits(kind, selected[:, layer], set(np.flatnonzero(run.residency.experts[layer]).tolist()), slots)
        for layer in run.scenario.model.moe_layers
    )
    assert run.metrics.expert_hit_rate == hits / selected.sum()


@pytest.mark.parametrize("routing", [uniform(), SKEWED], ids=["uniform", "skewed"])
@pytest.mark.parametrize("slots", [0, 1, 2, 3, 6, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_hits_are_those_of_a_plain_replay(kind: str, slots: int, routing: Routing) -> None:
    """Even with fewer slots than a token selects experts."""
    _check(kind, _run(kind, routing, slots), slots)


@pytest.mark.parametrize("share", [0.125, 0.25, 0.5])
@pytest.mark.parametrize("name", ["intent", "summary", "translation"])
def test_hits_on_recorded_routing(name: str, share: float) -> None:
    """DeepSeek-V2-Lite, 150 tokens of a real trace: the same, and Belady, LRU, LFU and random in a plausible order."""
    model = load_model("deepseek-v2-lite")
    routing = load_routing(str(shared_data(f"routing/deepseek-v2-lite-{name}.npz")), model)
    slots = round(share * model.num_experts)
    rates = {}
    for kind in (*KINDS, "random"):
        scenario = Scenario(
            machine=load_machine("h100"),
            model=model,
            batch=Batch(prompt_tokens=1, output_tokens=150),
            policy=find_policy(kind),
            routing=routing,
            slots_per_layer=slots,
        )
        run = simulate(scenario)
        assert isinstance(run, Run)
        rates[kind] = run.metrics.expert_hit_rate
        if kind != "random":
            _check(kind, run, slots)
    assert rates["belady"] > max(rates["lru"], rates["lfu"]) and min(rates["lru"], rates["lfu"]) > rates["random"] - 0.02


@pytest.mark.parametrize("slots", [1, 2, 4, 6])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_policy_without_prefetch_hits_more_than_belady(slots: int, seed: int) -> None:
    """At as many slots in every layer, decode only."""
    best = _run("belady", SKEWED, slots, seed).metrics.expert_hit_rate
    rivals = [
        name
        for name, policy in POLICIES.items()
        if policy.is_lossless
        and not policy.prefetch.is_active
        and not policy.cache.is_global
        and name not in {"zero-streaming", "llama.cpp", "all-on-gpu"}
    ]
    assert {"lru", "lfu", "random", "fiddler", "ktransformers", "on-demand", "mixtral-offloading"} <= set(rivals)
    for name in rivals:
        assert _run(name, SKEWED, slots, seed).metrics.expert_hit_rate <= best, name


@pytest.mark.parametrize("kind", ["lru", "lfu", "random", "belady"])
def test_one_budget_over_all_layers(kind: str) -> None:
    """With is_global, layers trade slots: the number held stays, and Belady still hits at least as often as with quotas."""
    apart, common = _run(kind, SKEWED, 3), _run(kind, SKEWED, 3, is_global="true")
    assert common.metrics.num_resident_experts == apart.metrics.num_resident_experts
    assert common.timeline.digest != apart.timeline.digest
    if kind == "belady":
        assert common.metrics.expert_hit_rate >= apart.metrics.expert_hit_rate


def _run(name: str, routing: Routing, slots: int, seed: int = 5, **settings: str) -> Run:
    run = simulate(
        Scenario(
            machine=small_machine(),
            model=small_model(),
            batch=Batch(prompt_tokens=1, output_tokens=60),
            policy=with_settings(find_policy(name), settings),
            routing=routing,
            seed=seed,
            slots_per_layer=slots,
        )
    )
    assert isinstance(run, Run)
    return run
