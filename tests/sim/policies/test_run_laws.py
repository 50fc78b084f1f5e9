"""Laws of single-batch runs that hold for any policy, model and batch."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.policies import POLICIES
from sim.routing import uniform
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch
from tests.sim.small import MODELS, ODD_MODELS, small_machine

SHAPES = {**MODELS, **ODD_MODELS}
STATIC = ("fiddler", "ktransformers", "kt-frequency", "kt-uniform", "on-demand")
"""Policies whose residents stay for the whole run."""
CACHES = ("lru", "lfu", "mixtral-offloading", "belady", "random")


@st.composite
def scenarios(draw: st.DrawFn, names: tuple[str, ...] = tuple(sorted(POLICIES))) -> Scenario:
    """A small scenario of one of these policies."""
    return Scenario(
        machine=small_machine(
            link_bytes_per_s=draw(st.sampled_from((1e8, 1e9, 3e10))),
            overhead_ns=draw(st.integers(0, 2000)),
            latency_ns=draw(st.integers(0, 2000)),
        ),
        model=draw(st.sampled_from(sorted(SHAPES)).map(SHAPES.get)),
        batch=Batch(
            prompt_tokens=draw(st.integers(1, 30)),
            output_tokens=draw(st.integers(1, 6)),
            batch_size=draw(st.integers(1, 3)),
        ),
        policy=POLICIES[draw(st.sampled_from(names))],
        routing=uniform(),
        seed=draw(st.integers(0, 10**6)),
        slots_per_layer=draw(st.none() | st.integers(0, 4)),
    )


def _ran(scenario: Scenario) -> Run | None:
    """The run; None where the policy has no room for it, which it says."""
    found = simulate(scenario)
    if isinstance(found, Run):
        return found
    assert found.missing_bytes > 0
    return None


@given(scenarios())
@settings(max_examples=40)
def test_figures_of_a_run_fit_together(scenario: Scenario) -> None:
    """First token, further tokens, end and speed are one clock's; a resource is busy for its share."""
    run = _ran(scenario)
    if run is None:
        return
    found, batch = run.metrics, scenario.batch
    further = batch.output_tokens - 1
    assert found.end_to_end_s == pytest.approx(found.ttft_s + further * found.tpot_s)
    tokens = batch.output_tokens * batch.batch_size
    assert found.output_tokens_per_s == pytest.approx(tokens / found.end_to_end_s)
    whole_s = run.timeline.makespan_ns / 1e9
    assert found.end_to_end_s <= whole_s * (1 + 1e-9)
    for name, busy_s in found.busy_s.items():
        assert busy_s == pytest.approx(found.utilization[name] * whole_s)
    assert found.num_resident_experts == int(run.residency.experts.sum())


@given(scenarios())
@settings(max_examples=30)
def test_a_seed_is_a_run(scenario: Scenario) -> None:
    """The same question twice is the same timeline, task by task."""
    one, two = _ran(scenario), _ran(scenario)
    if one is None or two is None:
        assert one is two
        return
    assert one.timeline.digest == two.timeline.digest
    assert one.metrics == two.metrics


@given(scenarios(STATIC), st.integers(1, 4))
@settings(max_examples=30)
def test_a_longer_answer_begins_as_the_shorter(scenario: Scenario, more: int) -> None:
    """Residents that stay know nothing of what comes: the first token is as early, each further one
    comes behind.
    """
    longer = replace(scenario.batch, output_tokens=scenario.batch.output_tokens + more)
    one = _ran(replace(scenario, slots_per_layer=2))
    two = _ran(replace(scenario, slots_per_layer=2, batch=longer))
    if one is None or two is None:
        return
    assert two.metrics.ttft_s == one.metrics.ttft_s
    assert two.metrics.end_to_end_s > one.metrics.end_to_end_s
    passes = len(one.tokens)
    assert np.array_equal(two.tokens[:passes], one.tokens)


@given(scenarios(STATIC), st.integers(0, 3), st.integers(1, 4))
@settings(max_examples=30)
def test_more_residents_hit_no_less(scenario: Scenario, slots: int, more: int) -> None:
    """Placements by popularity are nested, so hits and residents grow with the slots."""
    most = scenario.model.num_experts
    few, many = (
        _ran(replace(scenario, slots_per_layer=min(each, most))) for each in (slots, slots + more)
    )
    if few is None or many is None:
        return
    assert few.metrics.num_resident_experts <= many.metrics.num_resident_experts
    assert few.metrics.expert_hit_rate <= many.metrics.expert_hit_rate
    assert many.metrics.cpu_expert_calls <= few.metrics.cpu_expert_calls or (
        scenario.policy.name == "fiddler"  # it copies some, by price
    )


@given(scenarios(("lru",)), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=30)
def test_a_cache_of_all_misses_nothing_twice(scenario: Scenario, slots: int, more: int) -> None:
    """With room for every expert, each is copied once at most; no cache copies less than one that
    keeps all.
    """
    few = _ran(replace(scenario, slots_per_layer=min(slots, scenario.model.num_experts)))
    whole = _ran(replace(scenario, slots_per_layer=scenario.model.num_experts))
    if few is None or whole is None:
        return
    experts = sum(layer.num_experts * layer.expert_bytes for layer in scenario.model.layers)
    assert whole.metrics.h2d_bytes <= experts + more
    assert few.metrics.expert_hit_rate <= whole.metrics.expert_hit_rate


@given(scenarios(CACHES), st.integers(1, 4))
@settings(max_examples=40)
def test_no_cache_beats_foresight(scenario: Scenario, slots: int) -> None:
    """For one token at a time Belady's misses are the fewest of all caches with as many slots."""
    single = replace(
        scenario,
        model=MODELS["plain"],
        batch=Batch(prompt_tokens=1, output_tokens=8),
        slots_per_layer=max(slots, 2),
    )
    run = _ran(single)
    best = _ran(replace(single, policy=POLICIES["belady"]))
    if run is None or best is None:
        return
    assert best.metrics.expert_hit_rate >= run.metrics.expert_hit_rate - 1e-12


@given(scenarios(("all-on-gpu",)), st.integers(1, 30))
@settings(max_examples=30)
def test_more_prompt_is_never_faster_on_the_gpu_alone(scenario: Scenario, more: int) -> None:
    """Nor is a larger batch; each sequence's answer is as long."""
    plain = replace(scenario, slots_per_layer=None)
    batch = plain.batch
    for larger in (
        replace(batch, prompt_tokens=batch.prompt_tokens + more),
        replace(batch, batch_size=batch.batch_size + 1),
    ):
        few, many = _ran(plain), _ran(replace(plain, batch=larger))
        assert few is not None
        assert many is not None
        assert many.metrics.ttft_s >= few.metrics.ttft_s * (1 - 1e-9)


@given(scenarios())
@settings(max_examples=40)
def test_peak_memory_holds_what_is_resident(scenario: Scenario) -> None:
    """At least the experts that begin on the GPU and the working room; at most what the GPU has."""
    run = _ran(scenario)
    if run is None:
        return
    sizes = np.array([layer.expert_bytes for layer in scenario.model.layers])
    held = int(run.residency.experts.sum(axis=1) @ sizes)
    assert held <= run.metrics.peak_gpu_memory_bytes <= scenario.machine.gpu.memory_bytes.effective


@given(scenarios(), st.sampled_from(("h2d", "d2h")))
@settings(max_examples=40)
def test_a_lane_carries_no_more_than_its_rate(scenario: Scenario, way: str) -> None:
    """Bytes over the time that a direction of the link was busy never exceed its rate."""
    run = _ran(scenario)
    if run is None:
        return
    moved = run.metrics.h2d_bytes if way == "h2d" else run.metrics.d2h_bytes
    direction = getattr(scenario.machine.link, way)
    rate = direction.bytes_per_s.effective
    # Each task is rounded to a nanosecond.
    slack_s = len(run.timeline.tasks) * 1e-9
    busy_s = run.metrics.busy_s.get(way, 0.0)
    assert moved <= rate * (busy_s + slack_s) * (1 + 1e-9)
