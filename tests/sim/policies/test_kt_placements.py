"""KTransformers' placements by share, its re-placement after a prompt, and experts that run as one
call.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError
from sim.costs.cost_model import CostModel
from sim.costs.memory import Infeasible, Residency
from sim.costs.roofline import FUSED_KERNELS
from sim.engine.task import TaskKind
from sim.policies import Action, find_policy, with_settings
from sim.policies.placement.prompt import PromptPlacement
from sim.routing import GeneratedRouting
from sim.routing.generated import UNIFORM
from sim.step.simulate import Run, Scenario, problem_of, simulate
from sim.testing import check_policy
from sim.workload.batch import Batch
from tests.sim.small import MODELS, small_machine, small_model

BATCH = Batch(prompt_tokens=24, output_tokens=6)
WEIGHTS = tuple(
    tuple(float(1 + (expert * 5 + layer) % 8) for expert in range(8)) for layer in range(3)
)
SKEWED = GeneratedRouting(label="skewed", stated_provenance=UNIFORM, weights=WEIGHTS)


def _scenario(name: str, **settings: str) -> Scenario:
    policy = with_settings(find_policy(name), settings)
    return Scenario(
        machine=small_machine(latency_ns=500),
        model=MODELS["plain"],
        batch=BATCH,
        policy=policy,
        routing=SKEWED,
        seed=2,
    )


def _held(name: str, share: float) -> np.ndarray:  # type: ignore[type-arg]
    scenario = _scenario(name, gpu_experts_fraction=str(share))
    found = scenario.policy.placement.place(problem_of(scenario))
    assert isinstance(found, Residency)
    return found.experts


def test_a_share_that_does_not_fit() -> None:
    """A share that memory cannot hold says by how many bytes; one beyond 1 is an input error."""
    scenario = replace(
        _scenario("kt-frequency", gpu_experts_fraction="1"), machine=small_machine(900_000)
    )
    found = scenario.policy.placement.place(problem_of(scenario))
    assert (
        isinstance(found, Infeasible)
        and found.missing_bytes > 0
        and "100% of the experts" in found.reason
    )
    with pytest.raises(InputError, match=r"gpu_experts_fraction must be between 0 and 1, got 1\.5"):
        with_settings(find_policy("kt-frequency"), {"gpu_experts_fraction": "1.5"})


def test_a_prompt_moves_experts() -> None:
    """While it decodes, every layer holds as many as before: those that the prompt selected most,
    ties to the lower number.
    """
    run = simulate(_scenario("kt-dynamic", gpu_experts_fraction="0.5", min_prompt_tokens="24"))
    assert isinstance(run, Run)
    prompt = run.tokens[run.passes.is_prefill].sum(axis=0)
    decoded = run.decisions.actions[~run.passes.is_prefill]
    for layer in range(3):
        best = np.argsort(-prompt[layer], kind="stable")[: run.residency.experts[layer].sum()]
        resident, on_cpu = (
            np.unique(np.nonzero(decoded[:, layer] == action)[1])
            for action in (Action.RESIDENT, Action.CPU)
        )
        assert set(resident) <= set(best) and not set(on_cpu) & set(best)
    assert not (run.decisions.actions[run.passes.is_prefill] == Action.CPU).any(), (
        "the prompt runs on the GPU"
    )
    assert (
        not find_policy("kt-dynamic").keeps_residency
        and find_policy("kt-frequency").keeps_residency
    )


def test_a_short_prompt_moves_nothing() -> None:
    """One token below the threshold, the row is kt-frequency."""
    short = simulate(_scenario("kt-dynamic", gpu_experts_fraction="0.5", min_prompt_tokens="25"))
    usual = simulate(_scenario("kt-frequency", gpu_experts_fraction="0.5"))
    assert isinstance(short, Run) and isinstance(usual, Run)
    assert (short.decisions.actions == usual.decisions.actions).all()


def test_unselected_experts_fill_by_number() -> None:
    """Where a prompt selects fewer than a layer holds, the lowest numbers make up the rest, popular
    or not.
    """
    scenario = _scenario("kt-dynamic", gpu_experts_fraction="0.5", min_prompt_tokens="1")
    problem, tokens = problem_of(scenario), np.zeros((3, 8), np.int64)
    tokens[:, 6] = 48
    held = np.zeros((3, 8), bool)
    held[:, 4:] = True
    residency = Residency(experts=held, dense=np.ones(3, bool), has_head=True)
    moved = PromptPlacement(min_prompt_tokens=1).after_prompt(problem, residency, tokens)
    assert [np.flatnonzero(row).tolist() for row in moved] == [[0, 1, 2, 6]] * 3


@pytest.mark.parametrize("model", ["plain", "dense-first-and-shared"])
@pytest.mark.parametrize("name", ["kt-uniform", "kt-dynamic", "fiddler", "lru", "llama.cpp"])
def test_grouped_experts_conform(name: str, model: str) -> None:
    """With a layer's experts in one call, every check of the kit holds, on both engines."""
    settings = {"groups_experts": "true"} | (
        {"min_prompt_tokens": "8"} if name == "kt-dynamic" else {}
    )
    policy = with_settings(find_policy(name), settings)
    slots = None if name == "llama.cpp" else 3
    run = check_policy(
        policy,
        MODELS[model],
        small_machine(overhead_ns=500, latency_ns=1000),
        BATCH,
        slots_per_layer=slots,
    )
    assert isinstance(run, Run)


@pytest.mark.parametrize("captures_graphs", [True, False])
def test_a_group_pays_its_call_once(captures_graphs: bool) -> None:
    """CPU: one hand-over and the work of each expert.

    GPU: the call's kernels and the work, no less than its launches if there are any.
    """
    model = small_model(num_layers=1, num_experts=8, top_k=4)
    machine = small_machine(latency_ns=500)
    launch = machine.gpu.launch_overhead_ns.model_copy(update={"value": 3000.0})
    kernel = machine.gpu.kernel_ns.model_copy(update={"value": 100.0})
    call = machine.cpu.call_overhead_ns.model_copy(update={"value": 7000.0})
    parts = {
        "gpu": machine.gpu.model_copy(update={"launch_overhead_ns": launch, "kernel_ns": kernel})
    }
    machine = machine.model_copy(
        update=parts | {"cpu": machine.cpu.model_copy(update={"call_overhead_ns": call})}
    )
    policy = with_settings(
        find_policy("kt-uniform"), {"captures_graphs": str(captures_graphs).lower()}
    )
    batch = Batch(prompt_tokens=1, output_tokens=2)
    run = simulate(
        Scenario(
            machine=machine,
            model=model,
            batch=batch,
            policy=policy,
            routing=_uniform(),
            seed=0,
            slots_per_layer=4,
        )
    )
    assert isinstance(run, Run)
    work, tasks = CostModel(machine=machine, model=model).in_groups(), run.timeline.tasks
    for device, action in (("cpu", Action.CPU), ("gpu", Action.RESIDENT)):
        number = int((run.decisions.actions[0, 0] == action).sum())
        alone = number * int(work.expert(device, 0, 1).ns)  # type: ignore[arg-type]
        on_device = (tasks.resource == run.timeline.platform.index(device)) & (tasks.step == 0)
        spent = int(
            tasks.duration_ns[
                on_device & np.isin(tasks.kind, (TaskKind.EXPERT, TaskKind.OVERHEAD))
            ].sum()
        )
        least = 0 if captures_graphs else FUSED_KERNELS["expert"] * 3000
        on_gpu = max(alone + FUSED_KERNELS["expert"] * 100, least)
        expected = 7000 + alone if device == "cpu" else on_gpu
        assert spent == (expected if number else 0)


def _uniform() -> GeneratedRouting:
    return GeneratedRouting(label="uniform", stated_provenance=UNIFORM)


SHARES = st.sampled_from([0.0, 0.1, 0.45, 0.5, 1.0]) | st.floats(0, 1)


@given(SHARES)
@settings(max_examples=40)
def test_placements_follow_a_share(share: float) -> None:
    """As many of the 24 experts as the share says, rounded down. Uniform: the lowest numbers of
    every layer, what is left over in the first; front-loading: whole layers from the first on, the
    last one by number; frequency: the most popular over all layers.
    """
    number = int(24 * share)
    held = {
        name: _held(name, share)
        for name in ("kt-uniform", "kt-random", "kt-front-loading", "kt-frequency", "kt-dynamic")
    }
    assert {name: int(found.sum()) for name, found in held.items()} == dict.fromkeys(held, number)
    evenly = [number // 3 + (layer < number % 3) for layer in range(3)]
    in_front = [min(max(number - 8 * layer, 0), 8) for layer in range(3)]
    for name, counts in (("kt-uniform", evenly), ("kt-front-loading", in_front)):
        expected = [list(range(count)) for count in counts]
        assert [np.flatnonzero(row).tolist() for row in held[name]] == expected
    popularity = problem_of(_scenario("kt-frequency")).popularity
    for name in ("kt-frequency", "kt-dynamic"):
        chosen, left = popularity[held[name]], popularity[~held[name]]
        assert not (chosen.size and left.size) or chosen.min() >= left.max()
