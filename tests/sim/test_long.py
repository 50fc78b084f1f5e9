"""Long decodes part by part: the figures of the whole run, to the nanosecond."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.search.plan import Setting
from rosin.report.occupancy import occupancy
from sim.policies import POLICIES
from sim.policies.actions import LayerMode
from sim.policies.policy import Policy, with_settings
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
        modes = (whole.decisions.modes, whole.decisions.head_modes)
        is_on_gpu = all((mode == LayerMode.GPU).all() for mode in modes)
        assert not is_on_gpu or (changes and POLICIES[policy].prefetch.is_active)
        return
    assert isinstance(parts, LongRun)
    assert parts.metrics == whole.metrics
    assert parts.timeline_digest == whole.timeline.digest
    assert parts.memory_items == whole.memory_items
    assert parts.warnings == whole.warnings


GOES_ON = [name for name in APART if POLICIES[name].prefetch.is_active]


def test_these_come_apart() -> None:
    """Belady's cache is told across borders when an expert is next used; predictors draw for each
    pass by itself; what the CPU carries is joined within its pass; prompts move experts once.
    """
    assert {"adapmoe", "promoe", "pre-gated", "mixtral-next-gate", "hybrimoe"} <= set(GOES_ON)
    assert {"belady", "daop", "kt-deferral", "kt-dynamic"} <= set(APART)


IN_PARTS = {
    name: POLICIES[name]
    for name in APART
    if name not in ("zero-streaming", "llama.cpp")  # whose layers are streamed
} | {"kt-dynamic": with_settings(POLICIES["kt-dynamic"], {"min_prompt_tokens": "8"})}


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


@pytest.mark.parametrize("policy", ["adapmoe", "hybrimoe", "fiddler"])
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


def test_layers_that_are_copied_ahead_do_not_come_apart() -> None:
    """A streamed layer's copy may begin before the pass before has ended."""
    assert simulate_long(_scenario("zero-streaming"), _kept, part_passes=3) is None


@pytest.mark.parametrize("policy", ["fmoe", "moe-infinity", "moe-lightning"])
def test_what_lives_on_does_not_come_apart(policy: str) -> None:
    """Forecasts of the whole run, and micro-batches that go on from one pass to the next."""
    assert reason_to_keep(POLICIES[policy]) is not None
    assert simulate_long(_scenario(policy), _kept) is None


def test_reference_engine_comes_apart_too() -> None:
    """The parts are run by the engine that the scenario names."""
    scenario = replace(_scenario("fiddler"), engine="reference")
    whole, parts = simulate(scenario), simulate_long(scenario, _kept, part_passes=5)
    assert isinstance(whole, Run)
    assert isinstance(parts, LongRun)
    assert parts.timeline_digest == whole.timeline.digest
