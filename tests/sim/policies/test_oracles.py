"""Named systems against what their papers' formulas give, worked out here by other means than the
simulator's.
"""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwprofiles import InputError, Machine
from sim.costs.cost_model import CostModel
from sim.engine.task import TaskKind
from sim.model.model import Model, TensorClass
from sim.policies import POLICIES, Action, find_policy, with_settings
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


def test_a_static_hit_rate_approaches_the_share_of_experts_held() -> None:
    """Uniform routing, 3 of 8 experts in every layer: 3/8 of selections hit, within five standard
    deviations.
    """
    run = _run("on-demand", small_machine(), Batch(prompt_tokens=1000, output_tokens=1), slots=3)
    spread = np.sqrt(0.375 * 0.625 / (1000 * 3 * 2))
    assert run.metrics.expert_hit_rate == pytest.approx(0.375, abs=5 * spread)


def _step_ns(run: Run, step: int) -> int:
    """From the end of the step before to the end of this one."""
    ends = [
        int(run.timeline.end_ns[run.timeline.tasks.step == number].max())
        for number in (step - 1, step)
    ]
    return ends[1] - ends[0]


BATCHES = st.builds(
    Batch,
    prompt_tokens=st.integers(1, 20),
    output_tokens=st.integers(2, 8),
    batch_size=st.integers(1, 2),
)
SHAPES = st.sampled_from(sorted(MODELS))
SLOTS = st.integers(0, 4)


@given(
    batch=BATCHES, shape=SHAPES, latency_ns=st.integers(0, 10_000), bytes_per_ns=st.integers(1, 64)
)
@settings(max_examples=25)
def test_streaming_takes_the_bytes_over_the_link(
    batch: Batch, shape: str, latency_ns: int, bytes_per_ns: int
) -> None:
    """ZeRO-3: with a GPU that costs nothing, every pass is all bytes over the rate and one latency
    a copy, to a nanosecond a copy.
    """
    model = MODELS[shape]
    link = {"link_bytes_per_s": bytes_per_ns * 1e9, "latency_ns": latency_ns}
    run = _run("zero-streaming", small_machine(**link, gpu=_gpu_without_cost()), batch, model=model)
    copies = model.num_layers + 1
    per_pass_ns = model.total_bytes / bytes_per_ns + copies * latency_ns
    assert run.metrics.tpot_s * 1e9 == pytest.approx(per_pass_ns, abs=copies)
    assert run.metrics.ttft_s * 1e9 == pytest.approx(per_pass_ns, abs=copies)
    assert run.metrics.h2d_bytes == batch.output_tokens * model.total_bytes
    assert run.metrics.expert_hit_rate == 0


@given(batch=BATCHES, shape=SHAPES, slots=st.integers(1, 3))
@settings(max_examples=25)
def test_a_swap_moves_two_experts(batch: Batch, shape: str, slots: int) -> None:
    """Mixtral-Offloading: each miss of a decode step adds two copies of an expert over the link to
    the step, and all bytes are those of its swaps; hits are those of a plain replay, in which all
    experts of a layer's event are looked up before any is admitted, and hits and admissions count as
    uses, by expert number.
    """
    model = MODELS[shape]
    machine = small_machine(link_bytes_per_s=1e9, gpu=_gpu_without_cost())
    run = _run("mixtral-offloading", machine, batch, model, slots)
    layer_bytes = np.array([layer.expert_bytes for layer in model.layers])
    swapped = (run.decisions.actions == Action.FETCH).sum(axis=2) @ layer_bytes
    for step in range(1, batch.output_tokens):
        assert _step_ns(run, step) == pytest.approx(2 * int(swapped[step]), abs=20)
    assert run.metrics.h2d_bytes == run.metrics.d2h_bytes == swapped.sum()
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


def test_a_run_that_takes_no_time_is_refused() -> None:
    """Where every operation rounds to 0 ns there is no speed to state: one line, not a division."""
    machine = small_machine(link_bytes_per_s=1e9, gpu=_gpu_without_cost())
    with pytest.raises(InputError, match="less than a nanosecond"):
        _run("all-on-gpu", machine)


@given(batch=BATCHES, shape=SHAPES, overhead_ns=st.integers(0, 10_000))
@settings(max_examples=25)
def test_all_on_gpu_is_the_sum_of_its_operations(
    batch: Batch, shape: str, overhead_ns: int
) -> None:
    """One lane: nothing is copied and the run is as long as its tasks together."""
    run = _run("all-on-gpu", small_machine(overhead_ns=overhead_ns), batch, MODELS[shape])
    assert run.timeline.makespan_ns == int(run.timeline.tasks.duration_ns.sum())
    assert run.metrics.h2d_bytes == run.metrics.d2h_bytes == 0
    assert run.metrics.expert_hit_rate == 1


@given(
    batch=BATCHES,
    shape=SHAPES,
    slots=SLOTS,
    policy=st.sampled_from(["on-demand", "fiddler-v1", "ktransformers"]),
)
@settings(max_examples=25)
def test_overlap_hides_copies_behind_compute_and_nothing_else(
    batch: Batch, shape: str, slots: int, policy: str
) -> None:
    """The same decisions with lanes are never slower than serial, and never faster than the busiest
    lane.
    """
    model = MODELS[shape]
    lanes = _run(policy, small_machine(), batch, model, slots)
    serial = _run(policy, small_machine(), batch, model, slots, prefill="serial", decode="serial")
    busiest_ns = max(lanes.timeline.busy_by_resource_ns().values())
    assert busiest_ns <= lanes.timeline.makespan_ns <= serial.timeline.makespan_ns
    assert serial.timeline.makespan_ns == int(serial.timeline.tasks.duration_ns.sum())
    assert serial.metrics.h2d_bytes == lanes.metrics.h2d_bytes


@given(batch=BATCHES, shape=SHAPES, slots=SLOTS, policy=st.sampled_from(sorted(POLICIES)))
@settings(max_examples=60)
def test_bytes_and_experts_are_conserved(batch: Batch, shape: str, slots: int, policy: str) -> None:
    """Whatever the policy: as many selections as tokens and layers make, each hit or not; the bytes
    of all copies are those of the tasks; no lane is busy for longer than the run.
    """
    model = MODELS[shape]
    found = simulate(
        Scenario(
            machine=small_machine(),
            model=model,
            batch=batch,
            policy=POLICIES[policy],
            routing=uniform(),
            slots_per_layer=slots,
        )
    )
    if not isinstance(found, Run):
        assert found.missing_bytes > 0
        return
    top_k = sum(layer.top_k for layer in model.layers)
    if not POLICIES[policy].dispatch.foretells:  # what is predicted may run instead
        assert (found.tokens.sum(axis=(1, 2)) == found.passes.num_tokens * top_k).all()
    tasks = found.timeline.tasks
    is_moved = ~found.timeline.is_dropped  # copies ahead that were taken back move nothing
    names = [resource.name for resource in found.timeline.platform.resources]
    for name, moved in (("h2d", found.metrics.h2d_bytes), ("d2h", found.metrics.d2h_bytes)):
        is_here = tasks.resource == names.index(name)
        assert tasks.num_bytes[is_here & is_moved].sum() == moved
    assert 0 <= found.metrics.expert_hit_rate <= 1
    assert all(0 <= share <= 1 + 1e-12 for share in found.metrics.utilization.values())
    assert (found.timeline.end_ns >= found.timeline.start_ns).all()
    assert 0 <= found.metrics.wasted_prefetch_bytes <= found.metrics.prefetched_bytes
