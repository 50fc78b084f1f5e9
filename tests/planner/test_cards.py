"""Plans and bounds for layers on several cards, and for experts read from a disk."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from hwprofiles import InputError
from planner.bounds.cards import bounds_over_cards
from planner.search.layouts import layouts, planned_cards
from planner.search.make import Planned, make_plan
from planner.search.objectives import Goal
from planner.search.setting import Setting
from sim.costs.cards import cards_of, laid_out, layer_split
from sim.engine.task import TaskKind
from sim.policies import POLICIES, find_policy
from sim.step.simulate import Run, draw, fits_cards, problem_of, simulate

UNLIKE = "RTX 4090 + RTX 3060 12GB + Ryzen 9 7950X + 2x48GB DDR5-5600"
ALIKE = "2x RTX 3090 + Ryzen 9 5950X + 4x32GB DDR4-3200"


def _setting(machine: str, **changes: object) -> Setting:
    setting = Setting(
        model="mixtral-8x7b",
        quantization="8bit",
        machine=machine,
        prompt_tokens=16,
        output_tokens=16,
        draws=4,
    )
    return setting.model_copy(update=changes)


@cache
def _planned(machine: str, gpus: int) -> Planned:
    found = make_plan(_setting(machine, gpus=gpus), Goal(objective="latency"), "test")
    assert isinstance(found, Planned), found
    return found


@pytest.mark.parametrize("machine", [ALIKE, UNLIKE])
def test_two_cards_are_never_slower_than_one(machine: str) -> None:
    """One card is among what a plan for two may choose, and here two are faster."""
    one, two = (_planned(machine, gpus).plan.predicted["end_to_end_s"] for gpus in (1, 2))
    assert two < one
    assert all(_planned(machine, 2).plan.setting.layers_by_card)


@pytest.mark.parametrize("machine", [ALIKE, UNLIKE])
def test_a_plan_runs_again(machine: str) -> None:
    """The plan's own setting gives its timeline."""
    plan = _planned(machine, 2).plan
    again = simulate(plan.setting.scenario(plan.policy))
    assert isinstance(again, Run)
    assert again.timeline.digest == plan.predicted["timeline_digest"]


@pytest.mark.parametrize("machine", [ALIKE, UNLIKE])
def test_a_plan_is_above_its_bounds(machine: str) -> None:
    """Both bounds lie below the plan, the static one above the clairvoyant one."""
    plan = _planned(machine, 2).plan
    end_s = plan.predicted["end_to_end_s"]
    bounds = plan.bounds
    assert 0 < bounds["clairvoyant_bound_s"] <= bounds["static_bound_s"]
    assert bounds["static_bound_s"] <= end_s * 1.005  # renamed experts: chance may go either way


@pytest.mark.parametrize("machine", [ALIKE, UNLIKE])
@pytest.mark.parametrize("policy", ["fiddler", "ktransformers", "llama.cpp", "zero-streaming"])
def test_no_layout_is_below_the_bound(machine: str, policy: str) -> None:
    """Whatever layers lie where: fixed plans of named systems stay above the static bound."""
    base = _setting(machine, gpus=2)
    first = base.model_copy(update={"layers_by_card": (16, 16)}).scenario(find_policy("fiddler"))
    drawn = [draw(first, POLICIES[policy].feeding)]
    cards = planned_cards(base.loaded_machine(), 2)
    problem = problem_of(replace(first, policy=POLICIES[policy]))
    bounds = bounds_over_cards(problem, cards, drawn, are_alike=False)
    for layers in ((32, 0), (0, 32), (16, 16), (24, 8), (8, 24), (31, 1)):
        setting = base.model_copy(update={"layers_by_card": layers})
        scenario = setting.scenario(POLICIES[policy])
        run = simulate(scenario) if fits_cards(scenario) else None
        if isinstance(run, Run):
            assert run.metrics.end_to_end_s >= bounds.static_s


NARROW = ("link.h2d.bytes_per_s=2e9", "link.d2h.bytes_per_s=2e9", "link.d2h.latency_ns=80e3")
THREE_ALIKE = "3x RTX 3090 + Threadripper 7960X + 4x32GB DDR5-5200"
TWO_OF_TWO = "2x RTX 3090 + 2x RTX 3060 12GB + Threadripper 7960X + 4x32GB DDR5-5200"


@pytest.mark.parametrize("is_straight", [False, True])
@pytest.mark.parametrize(
    ("machine", "layouts_of"),
    [
        (THREE_ALIKE, ((32, 0, 0), (16, 16, 0), (11, 11, 10))),
        (TWO_OF_TWO, ((8, 8, 8, 8), (12, 12, 4, 4), (0, 0, 16, 16), (30, 0, 0, 2))),
    ],
)
def test_bounds_hold_over_narrow_links(
    machine: str, layouts_of: tuple[tuple[int, ...], ...], is_straight: bool
) -> None:
    """Three and four cards, alike and unlike, on links of 2 GB/s or with one from card to card: no
    layout is below the bound, and every pass crosses each border.
    """
    setting = _setting(machine, machine_overrides=NARROW)
    model = setting.loaded_model()
    own = setting.loaded_machine()
    if is_straight:
        own = own.model_copy(update={"gpu_link": own.link.h2d})
    policy = find_policy("fiddler")
    base = setting.scenario(policy)
    drawn = [draw(base, policy.feeding)]
    cards = cards_of(own)
    bounds = bounds_over_cards(problem_of(base), cards, drawn, are_alike=False)
    num_runs = 0
    for layers in layouts_of:
        split = layer_split(own, model, layers)
        scenario = replace(
            base, machine=split.machines[0], model=laid_out(model, split), split=split
        )
        run = simulate(scenario)
        if isinstance(run, Run):
            assert run.metrics.end_to_end_s >= bounds.static_s
            hidden = run.timeline.tasks.kind == TaskKind.ACTIVATION_COPY
            assert hidden.sum() >= (split.num_cards - 1) * len(run.passes) * (2 - is_straight)
            num_runs += 1
    assert num_runs >= 2


def test_layouts_lay_every_layer_out() -> None:
    """Each layout has all layers; each kind of card stands alone in one."""
    setting = _setting(UNLIKE)
    found = layouts(setting.loaded_machine(), setting.loaded_model(), 2)
    assert {(32, 0), (0, 32)} < set(found)
    assert np.unique([sum(layout) for layout in found]).tolist() == [32]
    equal = _setting(ALIKE)
    assert layouts(equal.loaded_machine(), equal.loaded_model(), 2) == ((32, 0), (16, 16))


@pytest.mark.parametrize(("machine", "layers"), [(ALIKE, (16, 16)), (UNLIKE, (21, 11))])
def test_several_gpus_hold_layers_by_their_memory(machine: str, layers: tuple[int, ...]) -> None:
    """What ``gpus`` means by default is the layout that a plan for them has, by memory."""
    asked = _setting(machine, gpus=2)
    stated = _setting(machine, layers_by_card=layers)
    policy = find_policy("kt-uniform")
    runs = [simulate(setting.scenario(policy)) for setting in (asked, stated)]
    assert all(isinstance(run, Run) for run in runs)
    assert len({run.timeline.digest for run in runs if isinstance(run, Run)}) == 1
    assert layers in layouts(asked.loaded_machine(), asked.loaded_model(), 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpus": 3}, "`gpus` must be between 1 and the 2 of"),
        ({"gpus": 2, "split_mode": "experts"}, "got `split_mode` experts; simulate and compare"),
        ({"gpus": 2, "split_mode": "row"}, "got `split_mode` row; simulate and compare"),
        ({"gpus": 1, "split_mode": "row"}, "`split_mode` row needs `gpus` of at least 2"),
    ],
)
def test_what_no_plan_is_for_is_refused(changes: dict[str, object], message: str) -> None:
    """Cards that there are not, and cards that share layers."""
    with pytest.raises(InputError, match=message):
        make_plan(_setting(ALIKE, **changes), Goal(objective="latency"), "test")


def test_more_gpus_than_layers_are_refused() -> None:
    """Each card has a layer at least."""
    with pytest.raises(InputError, match="`gpus` must be at most the 32 layers of mixtral"):
        _setting(
            "8x RTX 3090 + EPYC 7763 + 8x64GB DDR4-3200",
            gpus=33,
            machine_overrides=("gpu.count=64",),
        ).question()


def test_a_model_that_fits_fills_the_faster_card() -> None:
    """Where both cards hold all of it together, the plan leaves no layer's room on the faster one."""
    machine = "RTX 5090 + RTX 3090 + Threadripper 7960X + 4x64GB DDR5-5200"
    setting = _setting(machine, gpus=2, prompt_tokens=64, output_tokens=64)
    found = make_plan(setting, Goal(objective="latency"), "test")
    assert isinstance(found, Planned), found
    assert found.plan.policy.name == "all-on-gpu"
    # The bound may lay part of a layer on each card, a plan may not.
    assert found.plan.bounds["gap_to_static_bound_fraction"] < 0.03
    fast, slow = found.plan.setting.layers_by_card
    moved = found.plan.setting.model_copy(update={"layers_by_card": (fast + 1, slow - 1)})
    run = simulate(moved.scenario(found.plan.policy))
    assert not isinstance(run, Run)


def test_a_plan_that_reads_is_above_its_bounds() -> None:
    """Host memory too small for the experts: a plan is found, the disk binds it, and it is no
    faster than its reads.
    """
    setting = _setting("desktop-rtx-4090-ddr5", machine_overrides=("cpu.memory_bytes=12GB",))
    found = make_plan(setting, Goal(objective="latency"), "test")
    assert isinstance(found, Planned), found
    bounds = found.plan.bounds
    end_s = found.plan.predicted["end_to_end_s"]
    assert found.plan.binding_resource == "disk"
    assert 0 < bounds["clairvoyant_bound_s"] <= end_s
    assert bounds["clairvoyant_bound_s"] <= bounds["static_bound_s"] <= end_s
    busy_s = found.plan.predicted["busy_s"]["disk"]
    assert bounds["static_bound_s"] > 0.8 * busy_s  # the reads of the best fixed set
