"""Hand-overs to the CPU pool in every MoE layer."""

import numpy as np
import pytest

from hwprofiles import InputError
from sim.engine.task import TaskKind
from sim.policies import Action, find_policy, with_settings
from sim.policies.overlap import Overlap
from sim.routing.generated import uniform
from sim.step.simulate import Run, Scenario, simulate
from sim.testing import check_policy
from sim.workload.batch import Batch
from tests.sim.small import MODELS, small_machine, small_model

BATCH = Batch(prompt_tokens=24, output_tokens=6)
HAND_OVER_NS = 7000


@pytest.mark.parametrize("model", ["plain", "dense-first-and-shared"])
@pytest.mark.parametrize("name", ["kt-uniform", "kt-deferral", "daop", "lru", "llama.cpp"])
def test_hand_overs_conform(name: str, model: str) -> None:
    """With a hand-over in every layer, every check of the kit holds, on both engines, and bytes are
    those of all tokens.
    """
    policy = with_settings(
        find_policy(name), {"hand_over_ns": str(HAND_OVER_NS), "groups_experts": "true"}
    )
    slots = None if name == "llama.cpp" else 3
    run = check_policy(
        policy,
        MODELS[model],
        small_machine(overhead_ns=500, latency_ns=1000),
        BATCH,
        slots_per_layer=slots,
    )
    assert isinstance(run, Run)


@pytest.mark.parametrize("slots", [8, 0])
def test_every_layer_pays_for_it(slots: int) -> None:
    """One hand-over and two copies a layer and pass, with all experts on the GPU as with none; the
    pool's call only with experts.
    """
    model = small_model(num_layers=3, num_experts=8, top_k=2)
    policy = with_settings(
        find_policy("kt-uniform"), {"hand_over_ns": str(HAND_OVER_NS), "groups_experts": "true"}
    )
    machine = small_machine(overhead_ns=500, latency_ns=1000)
    batch = Batch(prompt_tokens=2, output_tokens=4)
    run = simulate(
        Scenario(
            machine=machine,
            model=model,
            batch=batch,
            policy=policy,
            routing=uniform(),
            seed=0,
            slots_per_layer=slots,
        )
    )
    assert isinstance(run, Run)
    tasks, cells = run.timeline.tasks, len(run.passes) * 3
    on_cpu = tasks.resource == run.timeline.platform.index("cpu")
    spent = tasks.duration_ns[on_cpu & (tasks.kind == TaskKind.OVERHEAD)]
    calls = 0 if slots == 8 else cells
    assert sorted(spent.tolist()) == sorted(
        [HAND_OVER_NS] * cells + [int(machine.cpu.call_overhead_ns.effective)] * calls
    )
    assert np.count_nonzero(tasks.kind == TaskKind.ACTIVATION_COPY) == 2 * cells
    assert (
        run.decisions.actions[run.tokens > 0] == (Action.RESIDENT if slots == 8 else Action.CPU)
    ).all()


def test_it_costs_time() -> None:
    """A layer ends no sooner than its hand-over, even where the CPU has nothing to do."""
    model, machine = small_model(num_layers=3, num_experts=8, top_k=2), small_machine()
    batch = Batch(prompt_tokens=2, output_tokens=4)
    tpot_s = []
    for hand_over_ns in (0, 2_000_000, 4_000_000):
        policy = with_settings(find_policy("kt-uniform"), {"hand_over_ns": str(hand_over_ns)})
        run = simulate(
            Scenario(
                machine=machine,
                model=model,
                batch=batch,
                policy=policy,
                routing=uniform(),
                seed=0,
                slots_per_layer=8,
            )
        )
        assert isinstance(run, Run)
        tpot_s.append(run.metrics.tpot_s)
    assert tpot_s[1] > tpot_s[0] and tpot_s[2] - tpot_s[1] == pytest.approx(3 * 0.002)


def test_it_is_not_negative() -> None:
    """An error names what was given."""
    with pytest.raises(InputError, match="hand_over_ns must be at least 0, got -1"):
        Overlap(hand_over_ns=-1)
