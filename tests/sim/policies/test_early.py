"""Copies that begin with their layer, ahead of its gate: which ones, what they save, and how the
other misses are split beside them.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from hwprofiles import InputError, Machine
from sim.costs.cards import shared
from sim.costs.memory import Residency
from sim.engine import engine
from sim.engine.task import TaskKind
from sim.model.model import Model
from sim.policies import POLICIES, Action, Policy, Problem
from sim.policies.dispatch.balanced import BalancedDispatch
from sim.policies.dispatch.cheapest import CheapestDispatch
from sim.policies.dispatch.constant import CpuDispatch, FetchDispatch
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.dispatch.three_lanes import ThreeLanesDispatch
from sim.policies.overlap import Overlap
from sim.policies.placement.uniform import UniformPlacement
from sim.policies.prefetch.early import EarlyPrefetch
from sim.policies.prefetch.none import NoPrefetch
from sim.routing import uniform
from sim.step.lowering.decisions import Decisions, decide
from sim.step.lowering.early import early_of
from sim.step.lowering.lower import lower
from sim.step.simulate import Run, Scenario, problem_of, simulate
from sim.testing import check_policy
from sim.workload.batch import Batch, Feeding, Passes, forward_passes
from tests.sim.policies.test_conformance import INTERFERENCE
from tests.sim.policies.test_several_gpus import machine_of
from tests.sim.small import MODELS, small_machine, small_model

DISPATCHES = {
    "cpu": CpuDispatch(),
    "fetch": FetchDispatch(),
    "cheapest": CheapestDispatch(),
    "balanced": BalancedDispatch(),
    "three-lanes": ThreeLanesDispatch(),
    "spill": SpillDispatch(),
}
EARLY = replace(
    POLICIES["on-demand"],
    placement=UniformPlacement(),
    prefetch=EarlyPrefetch(),
    dispatch=SpillDispatch(),
)
TWO_BUFFERS = replace(EARLY, overlap=Overlap(staging_experts=2))
PROMPT = Batch(prompt_tokens=1100, output_tokens=3)
SLOTS = 3


def _machine(**changes: object) -> Machine:
    """A link so slow that a prompt attends for longer than one expert's copy, but not much."""
    given = {"overhead_ns": 500, "latency_ns": 1000, "link_bytes_per_s": 0.5e9} | changes
    return small_machine(1e9, **given)  # type: ignore[arg-type]


def _run(
    policy: Policy, machine: Machine, batch: Batch = PROMPT, model: Model | None = None
) -> Run:
    scenario = Scenario(
        machine=machine,
        model=model or MODELS["plain"],
        batch=batch,
        policy=policy,
        routing=uniform(),
        slots_per_layer=SLOTS,
        seed=5,
    )
    run = simulate(scenario)
    assert isinstance(run, Run)
    return run


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("dispatch", DISPATCHES.values(), ids=DISPATCHES)
def test_early_copies_conform(dispatch: SpillDispatch, model: Model) -> None:
    """With every rule for the other misses: decisions, tasks, bytes, buffers, memory and both
    engines; chunks of a prompt too.
    """
    for buffers, machine in product((1, 2, 5), (_machine(), _machine(interference=INTERFERENCE))):
        policy = replace(EARLY, dispatch=dispatch, overlap=Overlap(staging_experts=buffers))
        run = check_policy(policy, model, machine, PROMPT, slots_per_layer=SLOTS, seed=3)
        assert (
            isinstance(run, Run) and run.decisions.early is not None and run.decisions.early.any()
        )
        assert run.decisions.early.sum(axis=2).max() <= buffers
        chunked = replace(policy, feeding=Feeding(prefill_chunk_tokens=512))
        check_policy(chunked, model, machine, PROMPT, slots_per_layer=SLOTS, seed=3)


def test_what_is_not_selected_was_copied_in_vain() -> None:
    """Where any probability is enough, prompts of few tokens copy what their gates do not ask for:
    it is counted, and frees its buffer.
    """
    policy = replace(
        EARLY,
        prefetch=EarlyPrefetch(least_probability=1e-9),
        overlap=Overlap(staging_experts=2),
    )
    run = check_policy(
        policy,
        MODELS["plain"],
        _machine(),
        Batch(prompt_tokens=3, output_tokens=2),
        slots_per_layer=1,
        seed=3,
    )
    assert isinstance(run, Run) and run.decisions.early is not None
    in_vain = int((run.decisions.early & (run.tokens == 0)).sum())
    assert in_vain > 0
    assert run.metrics.wasted_prefetch_bytes == in_vain * MODELS["plain"].layers[0].expert_bytes


def test_early_copies_fill_the_link_while_a_prompt_attends() -> None:
    """Fetching every miss, a prompt is shorter by what attention hid, and no step of the answer is
    changed.
    """
    fetching = replace(TWO_BUFFERS, dispatch=FetchDispatch())
    early, plain = (
        _run(policy, _machine()) for policy in (fetching, replace(fetching, prefetch=NoPrefetch()))
    )
    attending_s = (
        plain.timeline.busy_ns[
            (plain.timeline.tasks.kind == TaskKind.ATTENTION) & (plain.timeline.tasks.step == 0)
        ].sum()
        / 1e9
    )
    assert 0.5 * attending_s < plain.metrics.ttft_s - early.metrics.ttft_s < 1.5 * attending_s
    assert early.metrics.tpot_s == pytest.approx(plain.metrics.tpot_s, rel=1e-9)
    assert early.metrics.h2d_bytes == plain.metrics.h2d_bytes and early.metrics.prefetched_bytes > 0


def test_which_experts_come_early() -> None:
    """In a prompt that selects them all but surely: the most popular of the missing ones, as many
    as begin while the layer attends.
    """
    run = _run(replace(EARLY, overlap=Overlap(staging_experts=5)), _machine())
    early, passes = run.decisions.early, run.passes
    assert early is not None and not early[~passes.is_prefill].any()
    costs = problem_of(run.scenario).costs
    lead_ns = run.timeline.busy_ns[
        np.isin(run.timeline.tasks.kind, (TaskKind.ATTENTION, TaskKind.GATE))
        & (run.timeline.tasks.step == 0)
    ]
    copy_ns = int(costs.copy("h2d", run.scenario.model.layers[0].expert_bytes, is_pinned=True).ns)
    overhead_ns = costs.layer_overhead_ns()
    most = -(-(int(lead_ns[:2].sum()) + overhead_ns) // copy_ns)
    assert 1 <= most <= 5
    missing = [np.flatnonzero(~row)[:most].tolist() for row in run.residency.experts]
    assert [
        np.flatnonzero(row).tolist() for row in early[0]
    ] == missing  # all are as popular: the lowest numbers
    assert _run(EARLY, _machine(), Batch(prompt_tokens=4, output_tokens=2)).decisions.early is None
    assert (
        _run(replace(EARLY, prefetch=EarlyPrefetch(experts=0)), _machine()).decisions.early is None
    )
    assert (
        _run(replace(EARLY, overlap=Overlap(prefill="serial")), _machine()).decisions.early is None
    )


def _end_ns(
    problem: Problem,
    passes: Passes,
    tokens: NDArray[np.int32],
    decisions: Decisions,
    actions: NDArray[np.uint8],
) -> int:
    lowered = lower(problem, passes, tokens, replace(decisions, actions=actions))
    return int(engine("fast").run_program(lowered.program).end_ns.max())


def test_the_other_misses_are_split_beside_early_copies() -> None:
    """Of all ways to share out what does not come early over CPU, link and GPU, the rule's ends a
    few per cent after the best at most.
    """
    generator, losses, num_experts = np.random.default_rng(1), [], 6
    model = small_model(num_layers=1, num_experts=num_experts, has_shared=True)
    batch = Batch(prompt_tokens=1000, output_tokens=1)
    for _ in range(25):
        machine = _machine(link_bytes_per_s=float(generator.choice([0.2e9, 1e9, 5e9])))
        held = generator.random(num_experts) < 0.4
        policy = replace(EARLY, overlap=Overlap(staging_experts=4))
        problem = problem_of(
            Scenario(machine=machine, model=model, batch=batch, policy=policy, routing=uniform())
        )
        passes = forward_passes(batch, problem.feeding)
        tokens = generator.integers(150, 500, (1, 1, num_experts)).astype(np.int32)
        residency = Residency(experts=held[None], dense=np.ones(1, bool), has_head=True)
        found = decide(policy, problem, residency, passes, tokens)
        free = [
            expert for expert in range(num_experts) if found.actions[0, 0, expert] != Action.EARLY
        ]
        ends = []
        for sent in product((False, True), repeat=len(free)):
            actions = np.where(held, Action.RESIDENT, Action.FETCH).astype(np.uint8)[None, None]
            if found.early is not None:
                actions[found.early] = Action.EARLY
            actions[
                0, 0, [expert for expert, is_sent in zip(free, sent, strict=True) if is_sent]
            ] = Action.CPU
            ends.append(_end_ns(problem, passes, tokens, found, actions))
        losses.append(_end_ns(problem, passes, tokens, found, found.actions) / min(ends) - 1)
    assert min(losses) >= 0 and max(losses) < 0.05 and np.mean(losses) < 0.005


def test_what_early_copies_do_not_go_with() -> None:
    """A cache, experts that are placed anew or carried on, several GPUs: one line that says so."""
    scenario = Scenario(
        machine=_machine(),
        model=MODELS["plain"],
        batch=PROMPT,
        policy=EARLY,
        routing=uniform(),
        slots_per_layer=SLOTS,
    )
    for policy in (
        replace(POLICIES["lru"], prefetch=EarlyPrefetch()),
        replace(POLICIES["kt-dynamic"], prefetch=EarlyPrefetch()),
        replace(POLICIES["kt-deferral"], prefetch=EarlyPrefetch()),
        replace(POLICIES["daop"], prefetch=EarlyPrefetch()),
    ):
        with pytest.raises(InputError, match=policy.name) as error:
            simulate(replace(scenario, policy=policy))
        assert "\n" not in str(error.value)
    problem = replace(problem_of(scenario), split=shared(machine_of(2), 2))
    residency = Residency(experts=np.zeros((3, 8), bool), dense=np.ones(3, bool), has_head=True)
    passes = forward_passes(PROMPT, problem.feeding)
    with pytest.raises(InputError, match="one GPU"):
        early_of(EARLY, problem, residency, passes, np.zeros((len(passes), 3), np.uint8))
    for wrong in ({"experts": -1}, {"least_probability": 0.0}, {"least_probability": 1.5}):
        with pytest.raises(InputError, match="must be"):
            EarlyPrefetch(**wrong)  # type: ignore[arg-type]
