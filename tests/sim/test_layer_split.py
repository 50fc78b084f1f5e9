"""Whole layers on several cards, alike and unlike: memory, prices, crossings."""

from dataclasses import replace

import numpy as np
import pytest

from hwprofiles import InputError, Machine, load_machine
from sim.costs.cards import CardSplit, cards_of, laid_out, layer_split
from sim.engine.task import TaskKind
from sim.model.library import load_model
from sim.policies import POLICIES
from sim.routing.generated import uniform
from sim.step.simulate import Run, Scenario, problem_of, simulate
from sim.workload.batch import Batch

MODEL = load_model("mixtral-8x7b", "8bit")
BATCH = Batch(prompt_tokens=4, output_tokens=4)
TWO = load_machine("desktop-rtx-4090-ddr5", ("gpu.count=2",))
UNLIKE = load_machine("RTX 4090 + RTX 3060 12GB + Ryzen 9 7950X + 2x48GB DDR5-5600")


def _scenario(machine: Machine, layers: tuple[int, ...], policy: str = "fiddler") -> Scenario:
    split = layer_split(machine, MODEL, layers)
    return Scenario(
        machine=split.machines[0],
        model=laid_out(MODEL, split),
        batch=BATCH,
        policy=POLICIES[policy],
        routing=uniform(),
        split=split,
    )


def _run(scenario: Scenario) -> Run:
    found = simulate(scenario)
    assert isinstance(found, Run), found
    return found


@pytest.mark.parametrize("machine", [TWO, UNLIKE])
def test_one_card_alone_is_the_machine_with_that_card(machine: Machine) -> None:
    """All layers on one card run as on a machine that has no other, to the nanosecond."""
    for number, card in enumerate(cards_of(machine)):
        layers = tuple(32 * (place == number) for place in range(2))
        alone = replace(_scenario(machine, layers), split=None, model=MODEL, machine=card)
        assert _run(_scenario(machine, layers)).timeline.digest == _run(alone).timeline.digest


@pytest.mark.parametrize("machine", [TWO, UNLIKE])
@pytest.mark.parametrize("policy", ["fiddler", "lru", "kt-uniform"])
def test_engines_agree(machine: Machine, policy: str) -> None:
    """Both engines run layers on two cards alike."""
    scenario = _scenario(machine, (20, 12), policy)
    fast, slow = (_run(replace(scenario, engine=engine)) for engine in ("fast", "reference"))
    assert fast.timeline.digest == slow.timeline.digest


def test_hidden_states_cross_once_a_pass() -> None:
    """Each border costs a copy down and one up in every pass, of the tokens of that pass."""
    run = _run(_scenario(TWO, (20, 12)))
    tasks = run.timeline.tasks
    is_crossing = (tasks.kind == TaskKind.ACTIVATION_COPY) & (tasks.layer == 20)
    crossing = np.flatnonzero(is_crossing)
    attention = np.flatnonzero((tasks.kind == TaskKind.ATTENTION) & (tasks.layer == 20))
    assert len(attention) == len(run.passes)
    before = [crossing[crossing < at][-2:] for at in attention]
    assert [tasks.resource[pair].tolist() for pair in before] == [[2, 1]] * len(run.passes)
    each = run.passes.num_tokens * MODEL.hidden * MODEL.activation_bytes
    assert [tasks.num_bytes[pair].tolist() for pair in before] == [[size] * 2 for size in each]


@pytest.mark.parametrize(("machine", "layers"), [(TWO, (16, 16)), (UNLIKE, (23, 9))])
def test_each_card_holds_its_own(machine: Machine, layers: tuple[int, ...]) -> None:
    """What lies on a card fits it, and two cards hold more experts than the larger alone."""
    scenario = _scenario(machine, layers)
    run = _run(scenario)
    split = problem_of(scenario).split
    assert isinstance(split, CardSplit)
    together = sum(card.gpu.memory_bytes.effective for card in split.machines)
    assert run.metrics.peak_gpu_memory_bytes <= together
    one = _run(_scenario(machine, (32, 0)))
    assert run.residency.num_experts > one.residency.num_experts
    for card, own in enumerate(split.machines):
        held = run.residency.experts[split.card_of_layer == card].sum() * MODEL.expert_bytes
        assert held < own.gpu.memory_bytes.effective


def test_layers_cost_what_their_card_takes() -> None:
    """The attention of the same layer takes longer on the slower card."""
    tasks = _run(_scenario(UNLIKE, (16, 16))).timeline.tasks
    is_attention = (tasks.kind == TaskKind.ATTENTION) & (tasks.step == 2)
    ns = tasks.duration_ns[is_attention]
    assert len(set(ns[:16])) == 1 and len(set(ns[16:])) == 1
    assert ns[0] > ns[16]  # the slower card comes first


@pytest.mark.parametrize(
    ("layers", "fragment"),
    [((20, 13), "all 32 layers"), ((16, 8, 8), "names 3 cards"), ((33, -1), "all 32 layers")],
)
def test_wrong_layouts(layers: tuple[int, ...], fragment: str) -> None:
    """Layers that there are not, and cards that there are not, are refused."""
    with pytest.raises(InputError, match=fragment):
        layer_split(TWO, MODEL, layers)


@pytest.mark.parametrize(("machine", "layers"), [(TWO, (16, 16)), (UNLIKE, (21, 11))])
def test_the_last_layers_of_every_card(machine: Machine, layers: tuple[int, ...]) -> None:
    """Whole layers fill each card from its last layer on: one more would fit none."""
    scenario = _scenario(machine, layers, "llama.cpp")
    split = scenario.split
    assert split is not None
    held = _run(scenario).residency.dense
    for card in range(2):
        own = held[split.card_of_layer == card]
        assert 0 < own.sum() < len(own) and own.argmax() == len(own) - own.sum()
        # Each card has as many as it would have alone.
        number = cards_of(machine).index(split.machines[card])
        alone = tuple(32 * (place == number) for place in range(2))
        assert own.sum() == _run(_scenario(machine, alone, "llama.cpp")).residency.dense.sum()


def test_policies_of_one_gpu_are_refused() -> None:
    """What carries experts into the next layer, or pipelines layers, has one GPU."""
    with pytest.raises(InputError, match="one GPU only"):
        simulate(_scenario(TWO, (16, 16), "moe-lightning"))
