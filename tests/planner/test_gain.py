"""Placement by gain: the hull, the expected layer times against the simulator, and the memory it
keeps within.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwprofiles import Kind, Provenance
from hwprofiles.units import NS_PER_S
from sim.costs.memory import Infeasible, usable_bytes, weight_bytes
from sim.policies import POLICIES, Policy
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.constant import CpuDispatch, FetchDispatch
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.overlap import Overlap
from sim.policies.placement.explicit import ExplicitPlacement
from sim.policies.placement.gain import GainPlacement, hull_slopes
from sim.policies.placement.layer_times import Misses, layer_times_ns
from sim.routing.generated import GeneratedRouting, uniform
from sim.step.simulate import Run, Scenario, problem_of, simulate
from sim.workload.batch import Batch
from tests.sim.small import MODELS, small_machine, small_model

MADE_UP = Provenance(kind=Kind.ASSUMED, source="made up for tests", date="undated")
FOUR_EXPERTS = small_model(num_layers=1, num_experts=4, top_k=2)
TWO_WANTED = GeneratedRouting(
    label="experts 0 and 1", stated_provenance=MADE_UP, weights=((1.0, 1.0, 1e-12, 1e-12),)
)
"""Every token selects experts 0 and 1, so that expected and simulated times are the same thing."""


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=12))
def test_hull_slopes(times: list[int]) -> None:
    """Slopes never rise, add up to the whole decrease, and their line lies on or below every point."""
    values = np.array(times, float)
    slopes = hull_slopes(values)
    assert len(slopes) == len(times) - 1
    assert (np.diff(slopes) <= 1e-6).all()
    assert slopes.sum() == pytest.approx(values[0] - values[-1], abs=1e-6)
    assert (values[0] - np.cumsum(slopes) <= values[1:] + 1e-6).all()


def _scenario(dispatch: Dispatch, overlap: Overlap, num_held: int, batch: Batch) -> Scenario:
    policy = replace(
        POLICIES["on-demand"],
        dispatch=dispatch,
        overlap=overlap,
        placement=ExplicitPlacement(experts=(tuple(range(num_held)),)),
    )
    return Scenario(
        machine=small_machine(), model=FOUR_EXPERTS, batch=batch, policy=policy, routing=TWO_WANTED
    )


@pytest.mark.parametrize("mode", ["serial", "lanes"])
@pytest.mark.parametrize(
    ("misses", "dispatch"), [("cpu", CpuDispatch()), ("fetch", FetchDispatch())]
)
def test_layer_times_are_those_of_the_simulator(
    misses: Misses, dispatch: Dispatch, mode: str
) -> None:
    """With 0, 1 and 2 of the two experts held, serially: the times differ as those of whole runs
    do, up to copies of activations.

    With lanes they may differ by the GPU's work on experts: the expectation takes it to follow
    every copy, the run overlaps what it can.
    """
    batch = Batch(prompt_tokens=3, output_tokens=4)
    overlap = Overlap(prefill=mode, decode=mode, staging_experts=2)  # type: ignore[arg-type]  # a literal
    expected = layer_times_ns(problem_of(_scenario(dispatch, overlap, 0, batch)), misses)[0]
    runs = [simulate(_scenario(dispatch, overlap, count, batch)) for count in range(3)]
    assert all(isinstance(run, Run) for run in runs)
    ends_ns = [round(run.metrics.end_to_end_s * NS_PER_S) for run in runs if isinstance(run, Run)]
    copies_ns = sum(
        run.timeline.busy_by_resource_ns()["d2h"] * 2 for run in runs[:1] if isinstance(run, Run)
    )
    gpu_ns = expected[2]
    for count in range(2):
        simulated, planned = ends_ns[count] - ends_ns[2], expected[count] - expected[2]
        slack = gpu_ns if mode == "lanes" else 0
        assert planned - slack - 1 <= simulated <= planned + slack + copies_ns + 1


@pytest.mark.parametrize("overhead_ns", [0, 5000])
def test_times_with_spilling_are_those_of_the_simulator(overhead_ns: float) -> None:
    """Few experts are split as the run splits them, copies, buffers and activations included: times
    differ to the nanosecond as runs do.
    """
    machine, overlap, batch = (
        small_machine(overhead_ns=overhead_ns, latency_ns=1000),
        Overlap(),
        Batch(prompt_tokens=3, output_tokens=4),
    )
    scenarios = [
        replace(_scenario(SpillDispatch(), overlap, count, batch), machine=machine)
        for count in range(3)
    ]
    expected = layer_times_ns(problem_of(scenarios[0]), "spill")[0]
    runs = [simulate(scenario) for scenario in scenarios]
    ends_ns = [round(run.metrics.end_to_end_s * NS_PER_S) for run in runs if isinstance(run, Run)]
    assert [end - ends_ns[2] for end in ends_ns] == pytest.approx(
        (expected[:3] - expected[2]).tolist(), abs=2
    )
    assert overhead_ns or expected[0] > expected[1] > expected[2]


@pytest.mark.parametrize("overhead_ns", [0, 2000, 20000])
def test_many_experts_are_taken_as_divisible(
    monkeypatch: pytest.MonkeyPatch, overhead_ns: float
) -> None:
    """What can be divided ends no later than whole experts, but for the activations of all tokens;
    residents hardly ever lengthen it.
    """
    model = small_model(num_layers=1, num_experts=16, top_k=4, has_shared=True)
    machine, batch = (
        small_machine(overhead_ns=overhead_ns, latency_ns=500),
        Batch(prompt_tokens=8, output_tokens=3),
    )
    policy = replace(POLICIES["on-demand"], dispatch=SpillDispatch())
    problem = problem_of(
        Scenario(machine=machine, model=model, batch=batch, policy=policy, routing=uniform())
    )
    whole = layer_times_ns(problem, "spill")[0]
    monkeypatch.setattr("sim.policies.placement.layer_times.MAX_SPLIT_EXPERTS", 0)
    divided = layer_times_ns(problem, "spill")[0]
    activations = 2 * int(
        problem.costs.copy("h2d", 8 * model.hidden * model.activation_bytes, is_pinned=True).ns
    )
    passes = batch.output_tokens
    assert (divided <= whole + passes * activations + 1).all() and (divided >= 0.5 * whole).all()
    assert (np.diff(divided) <= 1e-4 * divided[:-1]).all() and (
        np.diff(whole) <= 1e-2 * whole[:-1]
    ).all()


@pytest.mark.parametrize("misses", ["cpu", "fetch", "cheapest", "balanced"])
def test_layer_times_fall(misses: Misses) -> None:
    """On a slow link and a slow CPU, each more resident shortens the expected time; with all held,
    all rules agree.
    """
    policy = POLICIES["on-demand"]
    scenario = Scenario(
        machine=small_machine(link_bytes_per_s=1e9),
        model=MODELS["plain"],
        batch=Batch(prompt_tokens=20, output_tokens=3),
        policy=policy,
        routing=uniform(),
    )
    times = layer_times_ns(problem_of(scenario), misses)
    assert (np.diff(times, axis=1) < 0).all()
    assert times[:, -1] == pytest.approx(layer_times_ns(problem_of(scenario), "cpu")[:, -1])
    assert (layer_times_ns(problem_of(scenario), "balanced") <= times + 1e-6).all()


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_placement_within_memory(model: object, share: float) -> None:
    """Weights, and what the rule sets aside, stay within what may be used; no expert that would
    still fit is left out.
    """
    shape = MODELS[model.name]  # type: ignore[attr-defined]
    placement = GainPlacement(misses="balanced")
    policy: Policy = replace(POLICIES["on-demand"], placement=placement)
    machine = small_machine(share * shape.total_bytes)
    scenario = Scenario(
        machine=machine,
        model=shape,
        batch=Batch(prompt_tokens=4, output_tokens=2),
        policy=policy,
        routing=uniform(),
    )
    problem = problem_of(scenario)
    residency = placement.place(problem)
    if isinstance(residency, Infeasible):
        assert residency.missing_bytes > 0
        return
    run = simulate(scenario)
    assert isinstance(run, Run)
    left = usable_bytes(machine, placement.memory) - weight_bytes(shape, residency)
    aside = (
        problem.staging_bytes + run.memory_items["KV cache"] + run.memory_items["compute buffers"]
    )
    assert left >= aside
    fitting = [
        layer
        for layer in shape.moe_layers
        if not residency.experts[layer].all() and shape.layers[layer].expert_bytes <= left - aside
    ]
    assert fitting == []


def test_the_most_popular_are_held() -> None:
    """Within a layer no expert is held before a more popular one; skewed layers give more than flat
    ones cost.
    """
    weights = tuple(
        tuple(float(1 + (expert * (layer + 3)) % 8) for expert in range(8)) for layer in range(3)
    )
    routing = GeneratedRouting(label="skewed", stated_provenance=MADE_UP, weights=weights)
    model = MODELS["plain"]
    policy = replace(POLICIES["on-demand"], placement=GainPlacement())
    batch = Batch(prompt_tokens=4, output_tokens=2)
    scenario = Scenario(
        machine=small_machine(0.6 * model.total_bytes),
        model=model,
        batch=batch,
        policy=policy,
        routing=routing,
    )
    residency = policy.placement.place(problem_of(scenario))
    assert not isinstance(residency, Infeasible)
    popularity = routing.popularity(model)
    for row, layer in enumerate(model.moe_layers):
        held = residency.experts[layer]
        if held.any() and not held.all():
            assert popularity[row][held].min() >= popularity[row][~held].max()
