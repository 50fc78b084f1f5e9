"""What single rows of the table promise: placements of KTransformers and AdapMoE, HybriMoE's score,
lossy rows and bounds.
"""

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from hwprofiles import load_machine
from sim.model.library import load_model
from sim.policies import POLICIES, Policy, find_policy
from sim.policies.cache.smoothed_gate import SmoothedGateCache
from sim.policies.prefetch.next_gate import mixtral_accuracy
from sim.routing.base import Routing
from sim.routing.generated import UNIFORM, GeneratedRouting
from sim.routing.library import load_routing
from sim.step.simulate import Run, Scenario, problem_of, simulate
from sim.workload.batch import Batch
from tests.shared_data import shared_data
from tests.sim.policies.reference_table import PAGE, with_table
from tests.sim.small import small_machine, small_model

SKEWED = GeneratedRouting(
    label="skewed",
    stated_provenance=UNIFORM,
    weights=tuple(
        tuple(float(x) for x in np.roll([40, 20, 10, 5, 3, 2, 1, 1], layer)) for layer in range(3)
    ),
)


def _run(policy: Policy, routing: Routing = SKEWED, share: float = 0.5) -> Run:
    """On a GPU with room for that share of the experts and everything else."""
    model = small_model()
    batch = Batch(prompt_tokens=4, output_tokens=30)
    room = (
        model.non_expert_bytes
        + 2 * model.expert_bytes
        + share * 24 * model.expert_bytes
        + 3 * 34 * 512
        + 40_000
    )
    run = simulate(
        Scenario(
            machine=small_machine(room / 0.95),
            model=model,
            batch=batch,
            policy=policy,
            routing=routing,
            seed=3,
        )
    )
    assert isinstance(run, Run)
    return run


def test_front_loading_fills_layer_after_layer() -> None:
    """At most one layer holds some of its experts: those before hold all, those after none."""
    held = _run(find_policy("kt-front-loading")).residency.experts.sum(axis=1).tolist()
    assert (
        held[0] == 8
        and held == sorted(held, reverse=True)
        and sum(0 < count < 8 for count in held) <= 1
    )


def test_placements_differ_in_hits_as_they_should() -> None:
    """With skewed popularity, the most popular experts hit most, drawn ones about as often as their
    share.
    """
    rates = {
        name: _run(find_policy(name)).metrics
        for name in ("ktransformers", "kt-frequency", "kt-random", "kt-front-loading")
    }
    assert rates["kt-frequency"].expert_hit_rate > max(
        rates[name].expert_hit_rate for name in ("kt-random", "kt-front-loading")
    )
    assert rates["ktransformers"].expert_hit_rate > rates["kt-random"].expert_hit_rate
    assert (
        len(
            {
                metrics.num_resident_experts
                for name, metrics in rates.items()
                if name != "ktransformers"
            }
        )
        == 1
    )


def test_adapmoe_splits_its_slots_best() -> None:
    """No other split of as many slots over three layers has fewer expected experts that are neither
    held nor predicted.
    """
    run = _run(find_policy("adapmoe"), share=0.6)
    popularity = np.sort(problem_of(run.scenario).popularity, axis=1)[:, ::-1]
    missed = 1.0 - mixtral_accuracy(3)
    missed[0] = 1.0
    left = missed[:, None] * (
        1.0 - np.concatenate([np.zeros((3, 1)), np.cumsum(popularity, axis=1)], axis=1)
    )
    held = run.residency.experts.sum(axis=1)
    best = min(
        sum(left[np.arange(3), list(split)])
        for split in product(range(9), repeat=3)
        if sum(split) == held.sum()
    )
    assert left[np.arange(3), held].sum() == pytest.approx(best)
    assert held[0] == held.max() and 0 < held.sum() < 24


@pytest.mark.parametrize("name", ["intent", "summary"])
def test_a_smoothed_gate_beats_lru_on_real_routing(name: str) -> None:
    """HybriMoE's claim, on DeepSeek-V2-Lite with a quarter of the experts: points more than LRU,
    and more for keeping 2K than K shares.
    """
    model = load_model("deepseek-v2-lite")
    routing = load_routing(str(shared_data(f"routing/deepseek-v2-lite-{name}.npz")), model)
    caches = {
        "lru": find_policy("lru").cache,
        "kept K": SmoothedGateCache(kept_per_choice=1),
        "kept 2K": SmoothedGateCache(),
    }
    rates = {}
    for label, cache in caches.items():
        scenario = Scenario(
            machine=load_machine("h100"),
            model=model,
            batch=Batch(prompt_tokens=1, output_tokens=400),
            policy=replace(find_policy("lru"), cache=cache),
            routing=routing,
            slots_per_layer=16,
        )
        run = simulate(scenario)
        assert isinstance(run, Run)
        rates[label] = run.metrics.expert_hit_rate
    assert rates["kept 2K"] > rates["lru"] + 0.015 and rates["kept 2K"] > rates["kept K"]


def test_lossy_rows_and_bounds_say_so() -> None:
    """A run of each warns; no other row does."""
    marked = {
        name: policy
        for name, policy in POLICIES.items()
        if not policy.is_lossless or policy.knows_future
    }
    assert {name for name, policy in marked.items() if policy.knows_future} == {
        "belady"
    } and "pre-gated" in marked
    for name, policy in POLICIES.items():
        if name == "all-on-gpu":
            continue
        warnings = " ".join(_run(policy, share=1.5).warnings)
        assert ("is lossy" in warnings) == (not policy.is_lossless)
        assert ("knows the future" in warnings) == policy.knows_future
    assert (
        "bound" in find_policy("belady").summary and "retrained" in find_policy("pre-gated").summary
    )


def test_the_reference_has_the_rows_as_they_are() -> None:
    """The table of docs/reference/policies.md is made of the rows: `python -m
    tests.sim.policies.reference_table` writes it anew.
    """
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page)


def test_the_reference_simplifies_rows_that_there_are() -> None:
    """What is simplified is said of names in the table."""
    page = PAGE.read_text(encoding="utf-8")
    [section] = re.findall("## What is simplified or assumed\n.*?(?=\n## )", page, re.DOTALL)
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    names = [name for cell in cells for name in re.findall("`(.+?)`", cell)]
    assert len(names) > len(cells) > 10 and set(names) <= set(POLICIES)
