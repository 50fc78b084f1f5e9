"""Residents on the CPU: the split against enumeration by the simulator itself, and what becomes of
an expert that spills.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwprofiles import Machine, Quantity, load_machine
from sim.costs.memory import Residency
from sim.engine import engine
from sim.engine.compilation import by_itself
from sim.engine.task import TaskKind
from sim.model.library import load_model
from sim.model.model import Model
from sim.policies import POLICIES, Action, Policy, Problem
from sim.policies.cache.lru import LruCache
from sim.policies.dispatch.balanced import BalancedDispatch
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.spill import SpillDispatch
from sim.policies.dispatch.three_lanes import ThreeLanesDispatch
from sim.policies.overlap import Overlap
from sim.policies.placement.gain import GainPlacement
from sim.policies.placement.uniform import UniformPlacement
from sim.policies.prefetch.next_gate import NextGatePrefetch
from sim.routing import uniform
from sim.step.lowering.decisions import Decisions, decide
from sim.step.lowering.live_fast import run_live
from sim.step.lowering.live_run import live_job
from sim.step.lowering.lower import lower
from sim.step.rules.around import Beside, LayerCase
from sim.step.rules.spilling import ROOM, spill_row
from sim.step.simulate import Run, Scenario, draw, foresight_of, problem_of, simulate
from sim.testing import check_policy
from sim.workload.batch import Batch, Passes, forward_passes
from tests.sim.small import MODELS, small_machine, small_model

_spill_row = by_itself(spill_row)
NUM_EXPERTS = 6
MODEL = small_model(num_layers=1, num_experts=NUM_EXPERTS, has_shared=True)
STATIC = replace(
    POLICIES["on-demand"], placement=GainPlacement(misses="spill"), dispatch=SpillDispatch()
)
LRU = replace(
    POLICIES["lru"], placement=UniformPlacement(), cache=LruCache(), dispatch=SpillDispatch()
)
KINDS = {
    "static": STATIC,
    "in groups": replace(STATIC, overlap=Overlap(groups_experts=True)),
    "cached": LRU,
    "cached and fetched ahead": replace(LRU, prefetch=NextGatePrefetch()),
    "cached by a code of its own": replace(
        POLICIES["daop"], name="swaps", dispatch=SpillDispatch()
    ),
}
ROOMY, TIGHT = 1e9, 2.2e6


def _problem(machine: Machine, overlap: Overlap, tokens: int) -> Problem:
    batch = Batch(prompt_tokens=tokens, output_tokens=1)
    policy = replace(STATIC, overlap=overlap)
    return problem_of(
        Scenario(machine=machine, model=MODEL, batch=batch, policy=policy, routing=uniform())
    )


def _end_ns(
    problem: Problem, passes: Passes, tokens: NDArray[np.int32], actions: NDArray[np.uint8]
) -> int:
    """When the simulator ends the one pass with those actions."""
    zeros = np.zeros((1, 1), np.uint8)  # LayerMode.GPU
    lowered = lower(
        problem, passes, tokens, Decisions(actions=actions, modes=zeros, head_modes=zeros[:, 0])
    )
    return int(engine("fast").run_program(lowered.program).end_ns.max())


def _least_ns(
    problem: Problem, passes: Passes, tokens: NDArray[np.int32], held: NDArray[np.bool_]
) -> int:
    """The same over all ways to send experts, missing or resident, to the CPU."""
    selected = np.flatnonzero(tokens[0, 0]).tolist()
    ends = []
    for split in product((False, True), repeat=len(selected)):
        actions = np.where(
            tokens > 0, np.where(held, Action.RESIDENT, Action.FETCH), Action.IDLE
        ).astype(np.uint8)
        actions[
            0, 0, [expert for expert, on_cpu in zip(selected, split, strict=True) if on_cpu]
        ] = Action.CPU
        ends.append(_end_ns(problem, passes, tokens, actions))
    return min(ends)


def _actions(
    dispatch: Dispatch,
    problem: Problem,
    passes: Passes,
    tokens: NDArray[np.int32],
    held: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    residency = Residency(experts=held[None], dense=np.ones(1, bool), has_head=True)
    return decide(replace(STATIC, dispatch=dispatch), problem, residency, passes, tokens).actions


CASES = {
    "held": st.lists(st.booleans(), min_size=NUM_EXPERTS, max_size=NUM_EXPERTS),
    "link": st.sampled_from([0.1e9, 1e9, 20e9]),
    "overhead_ns": st.sampled_from([0, 500, 5000, 20000]),
    "buffers": st.sampled_from([1, 2, 4]),
    "is_grouped": st.booleans(),
}


@settings(max_examples=25, deadline=None)
@given(each=st.integers(1, 8), num_selected=st.integers(1, NUM_EXPERTS), **CASES)
def test_no_split_of_equal_experts_ends_earlier(
    each: int,
    num_selected: int,
    held: list[bool],
    link: float,
    overhead_ns: float,
    buffers: int,
    is_grouped: bool,
) -> None:
    """Where experts get as many tokens each, as in a decode step of one sequence: the simulator's
    own end is the least of all splits.
    """
    machine = small_machine(ROOMY, link_bytes_per_s=link, overhead_ns=overhead_ns, latency_ns=1000)
    row = [each if expert < num_selected else 0 for expert in range(NUM_EXPERTS)]
    found, least = _compared(
        machine, Overlap(staging_experts=buffers, groups_experts=is_grouped), row, held
    )
    assert found == least


@settings(max_examples=25, deadline=None)
@given(
    row=st.lists(st.integers(0, 40), min_size=NUM_EXPERTS, max_size=NUM_EXPERTS).filter(any),
    **CASES,
)
def test_no_split_of_misses_alone_ends_earlier(
    row: list[int],
    held: list[bool],
    link: float,
    overhead_ns: float,
    buffers: int,
    is_grouped: bool,
) -> None:
    """It is never worse than the rules that leave residents on the GPU, whatever tokens experts
    get, and no better than enumeration.
    """
    machine = small_machine(ROOMY, link_bytes_per_s=link, overhead_ns=overhead_ns, latency_ns=1000)
    overlap = Overlap(staging_experts=buffers, groups_experts=is_grouped)
    found, least = _compared(machine, overlap, row, held)
    assert least <= found
    problem, passes, tokens = _one_pass(machine, overlap, row)
    for dispatch in (ThreeLanesDispatch(), BalancedDispatch()):
        assert found <= _end_ns(
            problem, passes, tokens, _actions(dispatch, problem, passes, tokens, np.array(held))
        )


def test_fewest_tokens_first_loses_little() -> None:
    """Where experts get different numbers of tokens, the best split may take others than those of
    fewest: a few per cent at most here.
    """
    generator, losses = np.random.default_rng(0), []
    for _ in range(30):
        row = generator.integers(1, 41, NUM_EXPERTS).tolist()
        held = (generator.random(NUM_EXPERTS) < generator.random()).tolist()
        link, overhead_ns = (
            float(generator.choice([0.1e9, 1e9, 20e9])),
            float(generator.choice([0, 500, 5000])),
        )
        machine = small_machine(
            ROOMY, link_bytes_per_s=link, overhead_ns=overhead_ns, latency_ns=1000
        )
        found, least = _compared(machine, Overlap(staging_experts=2), row, held)
        losses.append(found / least - 1)
    assert max(losses) < 0.05 and np.mean(losses) < 0.005


@settings(max_examples=25, deadline=None)
@given(
    fed=st.lists(
        st.tuples(
            st.integers(1, 3),
            st.lists(st.booleans(), min_size=NUM_EXPERTS, max_size=NUM_EXPERTS).filter(any),
        ),
        min_size=12,
    ),
    held=CASES["held"],
    spread=st.integers(0, 1),
)
def test_a_pass_is_decided_whatever_was_decided_before(
    fed: list[tuple[int, list[bool]]], held: list[bool], spread: int
) -> None:
    """Spills of equal experts are noted and used again: of many passes in a row, each is decided as
    it is by itself.
    """
    machine, overlap = (
        small_machine(ROOMY, link_bytes_per_s=1e9, overhead_ns=5000, latency_ns=1000),
        Overlap(staging_experts=2),
    )
    each = np.array([each for each, _ in fed], np.int32)
    tokens = np.array([chosen for _, chosen in fed], np.int32)[:, None] * each[:, None, None]
    tokens[::3, 0, 0] += spread  # now and then one expert gets more than the others
    problem, dispatch, experts = _problem(machine, overlap, 8), SpillDispatch(), np.array(held)
    passes = forward_passes(Batch(prompt_tokens=8, output_tokens=len(fed)), problem.feeding)
    together = _actions(dispatch, problem, passes, tokens, experts)
    for index in range(len(fed)):
        kept = {name: getattr(passes, name)[[index]] for name in Passes.__dataclass_fields__}
        alone = _actions(dispatch, problem, Passes(**kept), tokens[[index]], experts)
        np.testing.assert_array_equal(together[[index]], alone)


def _one_pass(
    machine: Machine, overlap: Overlap, row: list[int]
) -> tuple[Problem, Passes, NDArray[np.int32]]:
    problem = _problem(machine, overlap, max(1, max(row), sum(row) // MODEL.top_k))
    return (
        problem,
        forward_passes(problem.batch, problem.feeding),
        np.array(row, np.int32)[None, None],
    )


def _compared(
    machine: Machine, overlap: Overlap, row: list[int], held: list[bool]
) -> tuple[int, int]:
    """The end under SpillDispatch, and the least of all."""
    problem, passes, tokens = _one_pass(machine, overlap, row)
    actions = _actions(SpillDispatch(), problem, passes, tokens, np.array(held))
    return _end_ns(problem, passes, tokens, actions), _least_ns(
        problem, passes, tokens, np.array(held)
    )


@pytest.mark.parametrize(
    "batch",
    [
        Batch(prompt_tokens=5, output_tokens=6),
        Batch(prompt_tokens=20, output_tokens=4, batch_size=6),
    ],
)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("policy", KINDS.values(), ids=KINDS)
def test_spilling_conforms(policy: Policy, model: Model, batch: Batch) -> None:
    """Decisions, tasks, bytes and both engines, to the nanosecond, where memory is short and where
    it is not.
    """
    for memory_bytes in (TIGHT, ROOMY):
        check_policy(
            policy,
            model,
            small_machine(memory_bytes, overhead_ns=5000, latency_ns=1000),
            batch,
            seed=3,
        )


def test_residents_that_spill_are_hits_and_keep_their_place() -> None:
    """All on the GPU with long launches: some run on the CPU, all count as hits, no weight moves,
    and the run is shorter.
    """
    for policy in (STATIC, LRU):
        spilt, plain = (
            _run(replace(policy, dispatch=dispatch))
            for dispatch in (SpillDispatch(), ThreeLanesDispatch())
        )
        spilled = spilt.decisions.spilled
        assert spilled is not None and 0 < spilled.sum() == spilt.metrics.cpu_expert_calls
        assert (spilt.decisions.actions[spilled] == Action.CPU).all()
        assert (
            spilt.metrics.expert_hit_rate == 1.0
            and spilt.metrics.decode_expert_misses_per_step == 0.0
        )
        moved = np.isin(
            spilt.timeline.tasks.kind, (TaskKind.FETCH, TaskKind.SLOT_FETCH, TaskKind.EVICT)
        )
        assert not moved.any()
        assert spilt.metrics.end_to_end_s < plain.metrics.end_to_end_s


def test_nothing_spills_that_the_host_does_not_hold() -> None:
    """Where stated host memory is less than the model, or a cache moves experts instead of copying
    them, residents run on the GPU.
    """
    model = MODELS["plain"]
    machine = small_machine(ROOMY, overhead_ns=5000)
    small = machine.model_copy(
        update={
            "cpu": machine.cpu.model_copy(update={"memory_bytes": _quantity(model.total_bytes - 1)})
        }
    )
    enough = machine.model_copy(
        update={
            "cpu": machine.cpu.model_copy(update={"memory_bytes": _quantity(model.total_bytes)})
        }
    )
    for policy in (STATIC, LRU):
        assert _run(policy, enough).metrics.cpu_expert_calls > 0
        assert _run(policy, small).metrics.cpu_expert_calls == 0
    assert _run(replace(LRU, cache=LruCache(writes_back=True))).metrics.cpu_expert_calls == 0


def test_deferred_experts_may_be_residents() -> None:
    """A resident that spills may be joined a layer late like any expert on the CPU, and is a hit
    still.
    """
    run = _run(replace(STATIC, overlap=Overlap(deferred=1)))
    assert (run.decisions.actions == Action.DEFERRED).any()
    assert run.metrics.expert_hit_rate == 1.0


def _quantity(value: float) -> Quantity:
    return small_machine(value).gpu.memory_bytes


def _run(policy: Policy, machine: Machine | None = None) -> Run:
    scenario = Scenario(
        machine=machine or small_machine(ROOMY, overhead_ns=5000),
        model=MODELS["plain"],
        batch=Batch(prompt_tokens=5, output_tokens=8),
        policy=policy,
        routing=uniform(),
    )
    run = simulate(scenario)
    assert isinstance(run, Run)
    return run


@given(num_experts=st.sampled_from([5, 12, 13, 40]), seed=st.integers(0, 10**6))
def test_many_misses_are_timed_as_one_after_another(num_experts: int, seed: int) -> None:
    """With a buffer for every copy: the end is the actions', added up expert by expert, and no
    split of the lightest ends earlier.
    """
    generator = np.random.default_rng(seed)
    tokens = generator.integers(1, 9, num_experts).astype(np.int32)
    is_miss = generator.random(num_experts) < 0.8
    priced = np.stack([tokens * 700, generator.integers(1, 5000, num_experts), tokens * 90]).astype(
        np.int64
    )
    beside, num_tokens, busy = (
        int(generator.integers(0, 3000)),
        int(tokens.sum()),
        int(generator.integers(0, 2000)),
    )
    activations = np.arange(num_tokens + 1) * np.array([[3], [2]])
    fixed = np.array([0, 0, 400, num_experts, 1, busy], np.int64)
    room, actions = np.empty((ROOM, num_experts), np.int64), np.zeros(num_experts, np.uint8)
    case = LayerCase(np.arange(num_experts), tokens, is_miss, ~is_miss, priced)
    end = _spill_row(case, Beside(beside, num_tokens, activations, fixed), room, actions)
    assert end == _added_up(
        tokens, is_miss, actions == Action.CPU, priced, beside, activations, busy
    )
    misses = sorted(
        np.flatnonzero(is_miss), key=lambda expert: (tokens[expert], -priced[1, expert], expert)
    )
    held = sorted(
        np.flatnonzero(~is_miss),
        key=lambda expert: (tokens[expert], -priced[1, expert], expert),
    )
    for m, r in product(range(len(misses) + 1), range(len(held) + 1)):
        on_cpu = np.isin(np.arange(num_experts), [*misses[:m], *held[:r]])
        assert end <= _added_up(tokens, is_miss, on_cpu, priced, beside, activations, busy)


def _added_up(
    tokens: NDArray[np.int32],
    is_miss: NDArray[np.bool_],
    on_cpu: NDArray[np.bool_],
    priced: NDArray[np.int64],
    beside: int,
    activations: NDArray[np.int64],
    busy: int,
) -> int:
    """When a layer ends, copies waiting for nothing but the link."""
    on_gpu, on_link = beside + int(priced[2, ~is_miss & ~on_cpu].sum()), busy
    for expert in np.flatnonzero(is_miss & ~on_cpu):
        on_link += int(priced[1, expert])
        on_gpu = max(on_gpu, on_link) + int(priced[2, expert])
    sent = int(tokens[on_cpu].sum())
    if not sent:
        return on_gpu
    back, down = (int(row[sent]) for row in activations)
    on_link = on_link if (is_miss & ~on_cpu).any() else 0
    return max(on_gpu, on_link + back, down + 400 + int(priced[0, on_cpu].sum()) + back)


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "deepseek-v2-lite"])
def test_spills_noted_at_gates_are_those_asked_for_anew(name: str) -> None:
    """HybriMoE decoding: the same timeline where no gate finds what an alike one was told.

    Residents spill here.
    """
    scenario = Scenario(
        machine=load_machine("server-12ch-ddr5-rtx-5090"),
        model=load_model(name),
        batch=Batch(prompt_tokens=12, output_tokens=6),
        policy=POLICIES["hybrimoe"],
        routing=uniform(),
    )
    problem, policy = problem_of(scenario), scenario.policy
    residency, drawn = policy.placement.place(problem), draw(scenario, policy.feeding)
    assert isinstance(residency, Residency)
    foresight, digests = foresight_of(scenario, problem, residency, drawn), []
    for most_alike in (problem.model.top_k + 1, 0):
        decisions = Decisions(
            actions=np.zeros(drawn.tokens.shape, np.uint8),
            modes=np.ascontiguousarray(
                policy.dispatch.layer_modes(residency, drawn.passes.num_tokens)
            ),
            head_modes=policy.dispatch.head_modes(residency, drawn.passes.num_tokens),
        )
        job = live_job(policy, residency, foresight, decisions)
        notes = job.live.notes
        assert notes.found.shape[1:3] == (problem.model.top_k + 1,) * 2
        fewer = np.ascontiguousarray(notes.found[:, :most_alike, :most_alike])
        job = replace(job, live=job.live._replace(notes=notes._replace(found=fewer)))
        digests.append(run_live(job).digest)
        assert (job.live.notes.cases != 0).any() == (most_alike > 0)
        assert job.live.spilled[1:].any()
    assert digests[0] == digests[1]
