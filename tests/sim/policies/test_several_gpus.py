"""Experts spread over several GPUs: both engines alike, each GPU its own lanes and memory, and what
more links gain.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, Machine
from planner.bounds import mean_bounds
from planner.search.objectives import Goal
from planner.search.search import search
from sim.costs.cards import shared
from sim.costs.memory import Infeasible, MemoryRule, usable_bytes
from sim.engine.task import TaskKind
from sim.policies import POLICIES, find_policy, with_settings
from sim.policies.placement.fitting import bytes_by_gpu
from sim.routing import uniform
from sim.routing.recorded import RecordedRouting
from sim.step.metrics import staged_bytes
from sim.step.simulate import Run, Scenario, draw, problem_of, simulate
from sim.workload.batch import Batch
from tests.sim.small import MODELS, direction, small_machine, small_model

INTERFERENCE = [
    {
        "busy": "h2d",
        "slows": "cpu",
        "rate_fraction": {"value": 0.7, "kind": "assumed", "source": "made up", "date": "undated"},
    }
]


def machine_of(num_gpus: int, memory_bytes: float = 1e9, **others: object) -> Machine:
    """A small machine with that many GPUs."""
    machine = small_machine(memory_bytes, overhead_ns=500, latency_ns=1000, **others)  # type: ignore[arg-type]
    return machine.model_copy(update={"gpu": machine.gpu.model_copy(update={"count": num_gpus})})


def scenario_of(name: str, num_gpus: int, **others: object) -> Scenario:
    """A policy on the GPUs of a small machine, half the experts of each layer on them."""
    machine = others.get("machine", machine_of(num_gpus))
    assert isinstance(machine, Machine)
    plain = Scenario(
        machine=machine,
        model=MODELS["plain"],
        batch=Batch(prompt_tokens=9, output_tokens=6),
        policy=find_policy(name),
        routing=uniform(),
        seed=11,
        slots_per_layer=4,
        split=shared(machine, num_gpus),
    )
    return replace(plain, **others)  # type: ignore[arg-type]


def run_of(scenario: Scenario) -> Run:
    """The run, which must fit."""
    found = simulate(scenario)
    assert isinstance(found, Run), found
    return found


def accepted(scenario: Scenario) -> Run | None:
    """The run; None where the policy does not fit, or knows one GPU only, and says so."""
    try:
        found = simulate(scenario)
    except InputError as error:
        assert "runs on one GPU only" in str(error)
        return None
    return None if isinstance(found, Infeasible) else found


@pytest.mark.parametrize("model", ["plain", "dense-first-and-shared"])
@pytest.mark.parametrize("name", POLICIES)
def test_engines_agree(name: str, model: str) -> None:
    """To the nanosecond, with interference too, where experts are on three GPUs; every selected
    expert runs once.
    """
    for interference in ([], INTERFERENCE):
        slots = None if name == "zero-streaming" else 4
        scenario = scenario_of(
            name,
            3,
            model=MODELS[model],
            machine=machine_of(3, interference=interference),
            slots_per_layer=slots,
        )
        fast, reference = accepted(scenario), accepted(replace(scenario, engine="reference"))
        assert (fast is None) == (reference is None)
        if fast is None or reference is None:
            return
        assert fast.timeline.digest == reference.timeline.digest
        assert fast.metrics == reference.metrics
        assert int((fast.timeline.tasks.kind == TaskKind.EXPERT).sum()) == int(
            (fast.tokens > 0).sum()
        )


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(
        [
            "lru",
            "fmoe",
            "promoe",
            "moe-infinity",
            "mixtral-next-gate",
            "on-demand",
            "zero-streaming",
        ]
    ),
    st.integers(1, 5),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_engines_agree_on_any_seed(name: str, num_gpus: int, seed: int, is_awaited: bool) -> None:
    """Also where the next layer waits for what was fetched ahead."""
    policy = find_policy(name)
    if name == "mixtral-next-gate":
        policy = with_settings(
            policy, {"is_copy_awaited": str(is_awaited).lower(), "overlap.decode": "lanes"}
        )
    scenario = scenario_of(
        name,
        num_gpus,
        policy=policy,
        seed=seed,
        slots_per_layer=None if name == "zero-streaming" else 3,
    )
    assert (
        run_of(scenario).timeline.digest
        == run_of(replace(scenario, engine="reference")).timeline.digest
    )


@pytest.mark.parametrize("name", ["on-demand", "lru", "fmoe", "zero-streaming", "fiddler"])
def test_one_gpu_of_many_is_one_gpu(name: str) -> None:
    """A machine with more GPUs than are used runs as a machine with one does."""
    slots = None if name == "zero-streaming" else 4
    many, one = (
        run_of(scenario_of(name, 1, machine=machine_of(count), slots_per_layer=slots))
        for count in (4, 1)
    )
    assert many.timeline.digest == one.timeline.digest
    assert (
        any("one of them is used (`gpus`)" in warning for warning in many.warnings)
        and not one.warnings
    )


def test_an_expert_runs_on_its_gpu_and_comes_over_its_link() -> None:
    """Dealt out in turn, layer after layer: expert e of layer l is on GPU (8 l + e) mod 3;
    attention is on GPU 0.
    """
    for name in ("lru", "on-demand", "fmoe"):
        timeline = run_of(scenario_of(name, 3)).timeline
        tasks, names = timeline.tasks, [resource.name for resource in timeline.platform.resources]
        owner = (8 * tasks.layer.astype(int) + tasks.expert) % 3
        for kind, lane in (
            (TaskKind.EXPERT, "gpu"),
            (TaskKind.FETCH, "h2d"),
            (TaskKind.SLOT_FETCH, "h2d"),
            (TaskKind.PREFETCH, "h2d"),
        ):
            for task in np.flatnonzero(tasks.kind == kind).tolist():
                assert names[tasks.resource[task]] == lane + (
                    str(owner[task]) if owner[task] else ""
                )
        assert {names[number] for number in tasks.resource[tasks.kind == TaskKind.ATTENTION]} == {
            "gpu"
        }


@pytest.mark.parametrize("num_gpus", [2, 4])
def test_links_of_evenly_spread_experts_add_up(num_gpus: int) -> None:
    """Closed form: where every layer needs as many missing experts from each GPU and only copying
    takes time, G GPUs are G times faster; hidden states go straight, in hardly any time.
    """
    model = small_model(num_layers=4, num_experts=8, top_k=4)
    ids = np.broadcast_to(np.arange(4, dtype=np.int16), (200, 4, 4))
    routing = RecordedRouting(name="constant", expert_ids=np.ascontiguousarray(ids), num_experts=8)
    # A millionth of what anything else takes.
    machine = small_machine(1e9, link_bytes_per_s=1e6, gpu_link=direction(1e15, 0))
    machine = machine.model_copy(update={"gpu": machine.gpu.model_copy(update={"count": num_gpus})})

    def decode_s(gpus: int) -> float:
        scenario = scenario_of(
            "on-demand", gpus, machine=machine, model=model, routing=routing, slots_per_layer=0
        )
        return run_of(
            replace(scenario, batch=Batch(prompt_tokens=1, output_tokens=8))
        ).metrics.tpot_s

    assert decode_s(1) / decode_s(num_gpus) == pytest.approx(num_gpus, rel=1e-2)


def test_each_gpu_has_its_own_memory() -> None:
    """With memory for the dense parts and little more on each, further GPUs hold what GPU 0 cannot;
    none holds more than fits.
    """
    model = MODELS["plain"]
    machine = machine_of(3, memory_bytes=(model.non_expert_bytes + 9 * model.expert_bytes) / 0.95)
    held = []
    for num_gpus in (1, 2, 3):
        run = run_of(scenario_of("fmoe", num_gpus, machine=machine, slots_per_layer=None))
        problem = problem_of(run.scenario)
        on_gpu = bytes_by_gpu(problem, run.residency.experts)
        assert max(on_gpu) <= usable_bytes(machine, MemoryRule())
        assert run.metrics.peak_gpu_memory_bytes <= usable_bytes(machine, MemoryRule())
        held.append(run.metrics.num_resident_experts)
    assert held[0] < held[1] < held[2] or held[2] == 24


def test_the_expert_cache_has_a_limit() -> None:
    """Over all GPUs, each an equal part; more memory never holds fewer experts, and too little
    holds none.
    """
    model = MODELS["plain"]
    counts = []
    for num_experts in (0, 3, 6, 12, 24, 100):
        scenario = scenario_of(
            "lru", 3, slots_per_layer=None, expert_cache_bytes=num_experts * model.expert_bytes
        )
        counts.append(run_of(scenario).metrics.num_resident_experts)
    assert counts == [0, 3, 6, 12, 24, 24]


def test_a_cache_stays_within_its_gpu() -> None:
    """What leaves is of the same GPU as what comes in: no GPU ever holds more experts than it
    started with.
    """
    run = run_of(scenario_of("fmoe", 3, batch=Batch(prompt_tokens=1, output_tokens=40)))
    instants, staged = staged_bytes(run.timeline, 1.0, 1)
    assert len(instants) == len(staged)
    moved = run.timeline.tasks.kind == TaskKind.SLOT_FETCH
    assert moved.any() and run.metrics.expert_hit_rate > 0


def test_a_miss_pauses_prefetching_on_every_link() -> None:
    """While a missing expert of fMoE's is copied to one GPU, no prefetch for a later layer begins
    on the link of another.
    """
    run = run_of(
        scenario_of(
            "fmoe",
            3,
            model=small_model(num_layers=6),
            batch=Batch(prompt_tokens=2, output_tokens=60),
            slots_per_layer=2,
        )
    )
    line, tasks = run.timeline, run.timeline.tasks
    ahead = (tasks.kind == TaskKind.PREFETCH) & ~line.is_dropped
    assert ahead.sum() > 20
    for task in np.flatnonzero(np.isin(tasks.kind, (TaskKind.SLOT_FETCH, TaskKind.FETCH))).tolist():
        began = line.start_ns[
            ahead & (tasks.layer != tasks.layer[task])
        ]  # what that layer itself needs is late, and needed now
        assert not ((began > line.start_ns[task]) & (began < line.end_ns[task])).any()
    free = replace(
        run.scenario, policy=with_settings(run.scenario.policy, {"pauses_on_miss": "false"})
    )
    assert run_of(free).timeline.digest != line.digest


def test_wanting_more_gpus_than_there_are() -> None:
    """Is refused, as are plans and bounds for several: they are proven for one."""
    with pytest.raises(InputError, match="`gpus` must be between 1 and the 2 of"):
        simulate(scenario_of("lru", 3, machine=machine_of(2)))
    with pytest.raises(
        InputError,
        match="plans and their bounds lay whole layers out over several GPUs, got `split_mode` experts",
    ):
        search(scenario_of("lru", 2), Goal(), 1)
    scenario = scenario_of("lru", 2)
    drawn = draw(scenario, scenario.policy.feeding)
    with pytest.raises(InputError, match="bounds are proven for one GPU, got 2"):
        mean_bounds(problem_of(scenario), [drawn])
