"""Long decodes part by part: the figures of the whole run, to the nanosecond."""

from dataclasses import replace

import pytest

from planner.search.plan import Setting
from sim.policies import POLICIES
from sim.policies.actions import LayerMode
from sim.step.long import LongRun, Part, comes_apart, reason_to_keep, simulate_long
from sim.step.simulate import Run, Scenario, simulate

APART = [name for name, policy in POLICIES.items() if comes_apart(policy)]


def _scenario(policy: str, **changes: int) -> Scenario:
    setting = Setting(
        model="granite-3-1b-a400m",
        machine="desktop-rtx-3060-ddr4",
        prompt_tokens=9,
        output_tokens=12,
        expert_slots_per_layer=6,
    )
    return setting.model_copy(update=changes).scenario(POLICIES[policy])


def _kept(part: Part) -> None:
    """Keep nothing."""


def test_who_knows_the_future_comes_apart() -> None:
    """Belady's cache is told across borders when an expert is next used."""
    assert "belady" in APART


@pytest.mark.parametrize("policy", APART)
@pytest.mark.parametrize("changes", [{}, {"batch_size": 2, "beams": 2, "seed": 3}])
def test_parts_add_up(policy: str, changes: dict[str, int]) -> None:
    """Metrics, digest and memory of the parts are those of the whole."""
    scenario = _scenario(policy, **changes)
    whole, parts = simulate(scenario), simulate_long(scenario, _kept, part_passes=3)
    assert isinstance(whole, Run)
    if parts is None:
        modes = (whole.decisions.modes, whole.decisions.head_modes)
        assert any((mode != LayerMode.GPU).any() for mode in modes)
        return
    assert isinstance(parts, LongRun)
    assert parts.metrics == whole.metrics
    assert parts.timeline_digest == whole.timeline.digest
    assert parts.memory_items == whole.memory_items
    assert parts.warnings == whole.warnings


def test_layers_that_are_copied_ahead_do_not_come_apart() -> None:
    """A streamed layer's copy may begin before the pass before has ended."""
    assert simulate_long(_scenario("zero-streaming"), _kept, part_passes=3) is None


@pytest.mark.parametrize("policy", ["fmoe", "hybrimoe", "daop", "moe-lightning"])
def test_what_lives_on_does_not_come_apart(policy: str) -> None:
    """Copies ahead, a forecast and micro-batches go on from one pass to the next."""
    assert reason_to_keep(POLICIES[policy]) is not None
    assert simulate_long(_scenario(policy), _kept) is None


def test_reference_engine_comes_apart_too() -> None:
    """The parts are run by the engine that the scenario names."""
    scenario = replace(_scenario("fiddler"), engine="reference")
    whole, parts = simulate(scenario), simulate_long(scenario, _kept, part_passes=5)
    assert isinstance(whole, Run)
    assert isinstance(parts, LongRun)
    assert parts.timeline_digest == whole.timeline.digest
