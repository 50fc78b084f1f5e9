"""Named systems against what their papers' formulas give, worked out here by other means than the
simulator's.
"""

from collections import OrderedDict

import numpy as np
import pytest

from hwprofiles import Machine
from sim.costs.cost_model import CostModel
from sim.engine.task import TaskKind
from sim.model.model import Model, TensorClass
from sim.policies import Action, find_policy, with_settings
from sim.policies.actions import LayerMode
from sim.routing import uniform
from sim.step.simulate import Run, Scenario, simulate
from sim.workload.batch import Batch
from tests.sim.small import MODELS, quantity, small_machine, small_model

DECODE = Batch(prompt_tokens=4, output_tokens=9)


def _run(
    policy: str,
    machine: Machine,
    batch: Batch = DECODE,
    model: Model | None = None,
    slots: int | None = None,
    **settings: str,
) -> Run:
    run = simulate(
        Scenario(
            machine=machine,
            model=model or small_model(),
            batch=batch,
            policy=with_settings(find_policy(policy), settings),
            routing=uniform(),
            seed=7,
            slots_per_layer=slots,
        )
    )
    assert isinstance(run, Run)
    return run


def _gpu_without_cost() -> dict[str, object]:
    return {
        "name": "gpu",
        "memory_bytes": quantity(1e9),
        "memory_bytes_per_s": quantity(1e18),
        "flops_per_s": {"bf16": quantity(1e21)},
        "launch_overhead_ns": quantity(0),
        "kernel_ns": quantity(0),
        "serial_fraction": quantity(0),
    }


@pytest.mark.parametrize("latency_ns", [0, 700])
def test_streaming_takes_the_bytes_over_the_link(latency_ns: int) -> None:
    """ZeRO-3: with a GPU that costs nothing, every pass is all bytes over the rate and one latency
    a copy, to a nanosecond a copy.
    """
    model = MODELS["dense-first-and-shared"]
    run = _run(
        "zero-streaming",
        small_machine(link_bytes_per_s=1e9, latency_ns=latency_ns, gpu=_gpu_without_cost()),
        model=model,
    )
    copies = model.num_layers + 1
    per_pass_ns = model.total_bytes + copies * latency_ns
    assert run.metrics.tpot_s * 1e9 == pytest.approx(per_pass_ns, abs=copies)
    assert run.metrics.ttft_s * 1e9 == pytest.approx(per_pass_ns, abs=copies)
    assert (
        run.metrics.h2d_bytes == DECODE.output_tokens * model.total_bytes
        and run.metrics.expert_hit_rate == 0
    )


def test_fiddlers_decode_step_is_the_sum_of_its_operations() -> None:
    """Serial decode: attention, gate and overheads of every layer; an expert on the GPU, or the CPU
    with activations both ways.
    """
    model, machine = small_model(), small_machine(overhead_ns=300, latency_ns=900)
    run = _run("fiddler", machine, slots=3)
    costs = CostModel(machine=machine, model=model)
    hidden = model.hidden * model.activation_bytes
    misses = 0
    for step in range(1, DECODE.output_tokens):
        position = DECODE.prompt_tokens + step - 1
        total = int(costs.head("gpu", 1).ns) + 300
        for layer in range(3):
            total += 300 + int(costs.attention("gpu", layer, 1, 1, position, position + 1).ns)
            total += int(costs.weights("gpu", layer, TensorClass.ROUTER, 1).ns)
            selected = np.flatnonzero(run.tokens[step, layer])
            missing = [expert for expert in selected if not run.residency.experts[layer, expert]]
            fetch = int(costs.copy("h2d", model.expert_bytes, is_pinned=False).ns) + int(
                costs.expert("gpu", layer, 1).ns
            )
            assert int(costs.expert("cpu", layer, 1).ns) < fetch, (
                "the rule sends single tokens to the CPU here"
            )
            total += (len(selected) - len(missing)) * int(costs.expert("gpu", layer, 1).ns)
            total += len(missing) * int(costs.expert("cpu", layer, 1).ns)
            if missing:
                sent = min(len(missing), 1) * hidden
                total += sum(
                    int(costs.copy(way, sent, is_pinned=False).ns) for way in ("d2h", "h2d")
                )  # type: ignore[arg-type]
            misses += len(missing)
        assert _step_ns(run, step) == total
    assert 0 < misses < 2 * 3 * 8, "some experts hit and some miss"


def test_fiddler_fetches_from_the_tokens_where_it_believes_the_cpu_slower() -> None:
    """Algorithm 1:

    CPU for n tokens while n times the cost of one is at most copy and GPU; released constants:
    fewer than 10.
    """
    machine = small_machine(link_bytes_per_s=0.9e9)
    batch = Batch(prompt_tokens=60, output_tokens=2)
    costs = CostModel(machine=machine, model=small_model())
    one = int(costs.expert("cpu", 0, 1).ns)
    other = int(costs.copy("h2d", small_model().expert_bytes, is_pinned=False).ns) + int(
        costs.expert("gpu", 0, 1).ns
    )
    for believed, most in (("measured", other // one), ("code", 9)):
        run = _run("fiddler", machine, batch, slots=0, believed_cost=believed)
        on_cpu, fetched = (
            run.tokens[run.decisions.actions == action] for action in (Action.CPU, Action.FETCH)
        )
        assert on_cpu.max() <= most < fetched.min()


def test_a_ktransformers_layer_is_the_longer_of_its_lanes() -> None:
    """GPU experts, or activations down, CPU experts and activations back: whichever ends later."""
    model, machine = small_model(has_shared=True), small_machine(latency_ns=500)
    run = _run("ktransformers", machine, model=model, slots=4)
    costs = CostModel(machine=machine, model=model)
    hidden = model.hidden * model.activation_bytes
    copies = sum(int(costs.copy(way, hidden, is_pinned=True).ns) for way in ("d2h", "h2d"))  # type: ignore[arg-type]
    for step in range(1, DECODE.output_tokens):
        position = DECODE.prompt_tokens + step - 1
        total = int(costs.head("gpu", 1).ns)
        for layer in range(3):
            actions = run.decisions.actions[step, layer]
            gpu = int((actions == Action.RESIDENT).sum()) * int(costs.expert("gpu", layer, 1).ns)
            gpu += int(costs.weights("gpu", layer, TensorClass.SHARED_EXPERT, 1).ns)
            num_on_cpu = int((actions == Action.CPU).sum())
            cpu = copies + num_on_cpu * int(costs.expert("cpu", layer, 1).ns) if num_on_cpu else 0
            total += int(costs.attention("gpu", layer, 1, 1, position, position + 1).ns)
            total += int(costs.weights("gpu", layer, TensorClass.ROUTER, 1).ns) + max(gpu, cpu)
        assert _step_ns(run, step) == total
    assert run.metrics.h2d_bytes == run.metrics.d2h_bytes > 0


@pytest.mark.parametrize(
    ("prompt_tokens", "num_streamed"), [(512, 1), (513, 1), (544, 2), (1024, 2), (1500, 3), (20, 0)]
)
def test_llama_cpp_streams_its_host_layers_once_a_micro_batch(
    prompt_tokens: int, num_streamed: int
) -> None:
    """Prefill copies each layer that is not on the GPU once per micro-batch of 512; a last one
    below 32 tokens runs on the CPU.
    """
    model = small_model(num_layers=4)
    run = _run(
        "llama.cpp",
        small_machine(),
        Batch(prompt_tokens=prompt_tokens, output_tokens=2),
        model,
        num_gpu_layers="1",
    )
    tasks = run.timeline.tasks
    layer_bytes = model.layers[0].dense_bytes + 8 * model.expert_bytes
    assert run.residency.dense.tolist() == [False, False, False, True]
    assert (
        int(tasks.num_bytes[tasks.kind == TaskKind.LAYER_FETCH].sum())
        == num_streamed * 3 * layer_bytes
    )
    decode = run.decisions.modes[~run.passes.is_prefill]
    assert (decode[:, :3] == LayerMode.CPU).all() and (decode[:, 3] == LayerMode.GPU).all()


def test_a_swap_moves_two_experts() -> None:
    """Mixtral-Offloading: each miss of a decode step adds two copies of an expert over the link to
    the step.
    """
    model, machine = small_model(), small_machine(link_bytes_per_s=1e9, gpu=_gpu_without_cost())
    run = _run("mixtral-offloading", machine, slots=2)
    swap_ns = 2 * model.expert_bytes
    for step in range(1, DECODE.output_tokens):
        misses = int((run.decisions.actions[step] == Action.FETCH).sum())
        assert _step_ns(run, step) == pytest.approx(misses * swap_ns, abs=20)
    swaps = int((run.decisions.actions == Action.FETCH).sum())
    assert run.metrics.h2d_bytes == run.metrics.d2h_bytes == swaps * model.expert_bytes > 0


@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("batch", [DECODE, Batch(prompt_tokens=30, output_tokens=20, batch_size=2)])
def test_lru_hits_are_those_of_a_plain_replay(slots: int, batch: Batch) -> None:
    """All experts of a layer's event are looked up before any is admitted; hits and admissions
    count as uses, by expert number.
    """
    run = _run("mixtral-offloading", small_machine(), batch, slots=slots)
    hits = 0
    caches = [OrderedDict.fromkeys(np.flatnonzero(row).tolist()) for row in run.residency.experts]
    for counts in run.tokens:
        for cache, row in zip(caches, counts, strict=True):
            event = np.flatnonzero(row).tolist()
            found = [expert for expert in event if expert in cache]
            hits += sum(int(row[expert]) for expert in found)
            for expert in found + [expert for expert in event if expert not in found]:
                cache[expert] = None
                cache.move_to_end(expert)
                while len(cache) > slots:
                    cache.popitem(last=False)
    assert run.metrics.expert_hit_rate == hits / run.tokens.sum()


def test_a_static_hit_rate_approaches_the_share_of_experts_held() -> None:
    """Uniform routing, 3 of 8 experts in every layer: 3/8 of selections hit, within five standard
    deviations.
    """
    run = _run("on-demand", small_machine(), Batch(prompt_tokens=1000, output_tokens=1), slots=3)
    spread = np.sqrt(0.375 * 0.625 / (1000 * 3 * 2))
    assert run.metrics.expert_hit_rate == pytest.approx(0.375, abs=5 * spread)


def test_all_on_gpu_is_the_sum_of_its_operations() -> None:
    """One lane: nothing is copied and the run is as long as its tasks together."""
    run = _run("all-on-gpu", small_machine(overhead_ns=100))
    assert run.timeline.makespan_ns == int(run.timeline.tasks.duration_ns.sum())
    assert run.metrics.h2d_bytes == run.metrics.d2h_bytes == 0 and run.metrics.expert_hit_rate == 1


def test_overlap_hides_copies_behind_compute_and_nothing_else() -> None:
    """The same decisions with lanes are never slower than serial, and never faster than the busiest
    lane.
    """
    for policy in ("on-demand", "fiddler-v1", "ktransformers"):
        lanes = _run(policy, small_machine(), slots=3)
        serial = _run(policy, small_machine(), slots=3, prefill="serial", decode="serial")
        assert (
            max(lanes.timeline.busy_by_resource_ns().values())
            <= lanes.timeline.makespan_ns
            < serial.timeline.makespan_ns
        )
        assert serial.timeline.makespan_ns == int(serial.timeline.tasks.duration_ns.sum())


def _step_ns(run: Run, step: int) -> int:
    """From the end of the step before to the end of this one."""
    ends = [
        int(run.timeline.end_ns[run.timeline.tasks.step == number].max())
        for number in (step - 1, step)
    ]
    return ends[1] - ends[0]
