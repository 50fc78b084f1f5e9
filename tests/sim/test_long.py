"""Long decodes part by part: the figures of the whole run, to the nanosecond."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.search.plan import Setting
from rosin.report.occupancy import occupancy
from sim.costs.memory import Infeasible
from sim.policies import POLICIES
from sim.policies.dispatch.streaming import LayerStreamingDispatch
from sim.policies.overlap import Overlap
from sim.policies.placement.layers import LastLayersPlacement
from sim.policies.policy import Policy, with_settings
from sim.policies.prefetch.early import EarlyPrefetch
from sim.policies.prefetch.next_gate import NextGatePrefetch
from sim.step.long import LongRun, comes_apart, reason_to_keep, simulate_long
from sim.step.parts import Part
from sim.step.simulate import Run, Scenario, simulate

APART = [name for name, policy in POLICIES.items() if comes_apart(policy)]


def _scenario(policy: str | Policy, **changes: int) -> Scenario:
    setting = Setting(
        model="granite-3-1b-a400m",
        machine="desktop-rtx-3060-ddr4",
        prompt_tokens=9,
        output_tokens=12,
        expert_slots_per_layer=6,
    )
    return setting.model_copy(update=changes).scenario(
        POLICIES[policy] if isinstance(policy, str) else policy
    )


def _kept(part: Part) -> None:
    """Keep nothing."""


@pytest.mark.parametrize("policy", APART)
@pytest.mark.parametrize("changes", [{}, {"batch_size": 2, "beams": 2, "seed": 3}])
def test_parts_add_up(policy: str, changes: dict[str, int]) -> None:
    """Metrics, digest and memory of the parts are those of the whole."""
    scenario = _scenario(policy, **changes)
    whole, parts = simulate(scenario), simulate_long(scenario, _kept, part_passes=3)
    assert isinstance(whole, Run)
    if parts is None:
        # Draws of a predictor for one sequence depend on those for the others.
        assert changes and POLICIES[policy].prefetch.is_active
        return
    assert isinstance(parts, LongRun)
    assert parts.metrics == whole.metrics
    assert parts.timeline_digest == whole.timeline.digest
    assert parts.memory_items == whole.memory_items
    assert parts.warnings == whole.warnings


GOES_ON = [name for name in APART if POLICIES[name].prefetch.is_active]


def test_these_come_apart() -> None:
    """All named systems: Belady's cache is told across borders when an expert is next used; predictors
    go on from what they have learnt; what is streamed or paged ahead is carried over.
    """
    assert set(APART) == set(POLICIES)


IN_PARTS = dict(POLICIES) | {
    "kt-dynamic": with_settings(POLICIES["kt-dynamic"], {"min_prompt_tokens": "8"})
}


@given(
    policy=st.sampled_from(sorted(IN_PARTS)),
    output_tokens=st.integers(2, 40),
    prompt_tokens=st.integers(1, 20),
    slots=st.integers(1, 14),
    seed=st.integers(0, 99),
    part_passes=st.integers(1, 20),
)
@settings(max_examples=40)
def test_what_is_under_way_goes_on(
    policy: str, output_tokens: int, prompt_tokens: int, slots: int, seed: int, part_passes: int
) -> None:
    """Copies in flight, queued prefetches, draws, and what prompts and caches have moved cross every
    border: the figures and the digest are those of the whole run.
    """
    scenario = _scenario(
        IN_PARTS[policy],
        output_tokens=output_tokens,
        prompt_tokens=prompt_tokens,
        expert_slots_per_layer=slots,
        seed=seed,
    )
    whole, parts = simulate(scenario), simulate_long(scenario, _kept, part_passes=part_passes)
    assert isinstance(whole, Run)
    assert isinstance(parts, LongRun)
    assert parts.timeline_digest == whole.timeline.digest
    assert parts.metrics == whole.metrics


@pytest.mark.parametrize(
    "policy", ["adapmoe", "hybrimoe", "fiddler", "fmoe", "moe-lightning", "zero-streaming"]
)
def test_parts_show_who_was_busy(policy: str) -> None:
    """The shares of the run in which lanes worked at once are those of the whole, though tasks reach
    over borders; every pass and every task is shown once.
    """
    scenario = _scenario(policy, output_tokens=30)
    whole = simulate(scenario)
    assert isinstance(whole, Run)
    shown: list[Part] = []
    simulate_long(scenario, shown.append, part_passes=4)
    assert [step for part in shown for step in part.passes.step] == whole.passes.step.tolist()
    assert sum(len(part.timeline.tasks) for part in shown) == len(whole.timeline.tasks)
    assert sum(part.busy.makespan_ns for part in shown) == whole.timeline.makespan_ns
    together: Counter[frozenset[str]] = Counter()
    for part in shown:
        for names, share in occupancy(part.busy).items():
            together[names] += share * part.busy.makespan_ns
    total = whole.timeline.makespan_ns
    expected = occupancy(whole.timeline)
    assert set(together) == set(expected)
    for names, share in expected.items():
        assert together[names] / total == pytest.approx(share)


@given(
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 7)),
    staging_layers=st.integers(1, 4),
    resident_experts=st.integers(0, 24 * 32),
    output_tokens=st.integers(2, 30),
    part_passes=st.integers(1, 20),
)
@settings(max_examples=40)
def test_pages_go_on(
    sizes: tuple[int, int, int],
    staging_layers: int,
    resident_experts: int,
    output_tokens: int,
    part_passes: int,
) -> None:
    """Micro-batches of any size, with any number of buffers and of experts to be paged: pages cross
    every border, and the most that is staged at once is that of the whole run.
    """
    batch_size, prompts, sequences = sizes
    policy = with_settings(
        POLICIES["moe-lightning"],
        {
            "staging_layers": str(staging_layers),
            "resident_experts": str(resident_experts),
            "prefill_micro_batch_sequences": str(prompts),
            "micro_batch_sequences": str(sequences),
        },
    )
    scenario = _scenario(policy, output_tokens=output_tokens, batch_size=batch_size)
    scenario = replace(scenario, slots_per_layer=None)
    whole, parts = simulate(scenario), simulate_long(scenario, _kept, part_passes=part_passes)
    if isinstance(whole, Infeasible):
        assert isinstance(parts, Infeasible)
        return
    assert isinstance(parts, LongRun)
    assert parts.timeline_digest == whole.timeline.digest
    assert parts.metrics == whole.metrics


@given(
    staging_layers=st.integers(1, 5),
    num_gpu_layers=st.integers(0, 24),
    min_tokens=st.sampled_from([0, 2, 32]),
    output_tokens=st.integers(2, 30),
    batch_size=st.integers(1, 4),
    part_passes=st.integers(1, 20),
)
@settings(max_examples=40)
def test_streamed_layers_go_on(
    staging_layers: int,
    num_gpu_layers: int,
    min_tokens: int,
    output_tokens: int,
    batch_size: int,
    part_passes: int,
) -> None:
    """Any number of layers, of every pass or of prompts alone, into any number of buffers."""
    streaming = POLICIES["zero-streaming"]
    policy = replace(
        streaming,
        placement=LastLayersPlacement(num_gpu_layers=num_gpu_layers),
        dispatch=LayerStreamingDispatch(min_tokens=min_tokens, streams_head=min_tokens == 0),
        overlap=replace(streaming.overlap, staging_layers=staging_layers),
    )
    scenario = _scenario(policy, output_tokens=output_tokens, batch_size=batch_size)
    scenario = replace(scenario, slots_per_layer=None)
    whole, parts = simulate(scenario), simulate_long(scenario, _kept, part_passes=part_passes)
    assert isinstance(whole, Run)
    assert isinstance(parts, LongRun)
    assert parts.timeline_digest == whole.timeline.digest
    assert parts.metrics == whole.metrics


class _OfTheWhole(NextGatePrefetch):
    """A predictor that says nothing of parts."""

    comes_in_parts = False


def test_what_depends_on_the_whole_does_not_come_apart() -> None:
    """A predictor of the whole run, one that draws for several sequences, and copies that begin
    with their layer.
    """
    whole = replace(POLICIES["adapmoe"], prefetch=_OfTheWhole())
    assert reason_to_keep(whole) is not None
    assert simulate_long(_scenario(whole), _kept) is None
    assert simulate_long(_scenario("adapmoe", batch_size=2), _kept) is None
    early = replace(
        POLICIES["on-demand"], prefetch=EarlyPrefetch(experts=1), overlap=Overlap(staging_experts=2)
    )
    assert simulate_long(_scenario(early), _kept) is None


def test_reference_engine_comes_apart_too() -> None:
    """The parts are run by the engine that the scenario names."""
    scenario = replace(_scenario("fiddler"), engine="reference")
    whole, parts = simulate(scenario), simulate_long(scenario, _kept, part_passes=5)
    assert isinstance(whole, Run)
    assert isinstance(parts, LongRun)
    assert parts.timeline_digest == whole.timeline.digest
