"""Small random models, machines and plans, for tests of bounds and plans."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Kind, Machine, Provenance, load_machine
from sim.costs.memory import Residency, machine_bytes, weight_bytes
from sim.engine import engine
from sim.model.model import Attention, Layer, Model, TensorClass
from sim.policies.actions import Action, LayerMode
from sim.policies.overlap import Overlap
from sim.policies.problem import Problem
from sim.policies.table import POLICIES
from sim.routing.generated import GeneratedRouting
from sim.step.lowering.decisions import Decisions
from sim.step.lowering.lower import lower
from sim.step.simulate import Scenario
from sim.workload.batch import Batch, Passes

MADE_UP = Provenance(kind=Kind.ASSUMED, source="made up for a test", date="2026-11")


def small_model(
    rng: np.random.Generator, *, num_layers: int | None = None, experts: int | None = None
) -> Model:
    """A model of a few layers, the first perhaps dense, all others with the same experts."""
    hidden, wide = int(rng.integers(1, 9)) * 64, int(rng.integers(1, 17)) * 64
    experts = experts or int(rng.integers(2, 9))
    top_k = int(rng.integers(1, min(experts, 4) + 1))
    num_layers = num_layers or int(rng.integers(2, 6))
    has_shared, is_first_dense = bool(rng.integers(2)), bool(rng.integers(2)) and num_layers > 2
    attention = Attention(
        num_heads=4, kv_elements_per_token=2 * hidden, score_elements=hidden, value_elements=hidden
    )
    common = {TensorClass.NORM: 2 * hidden, TensorClass.ATTENTION: 4 * hidden * hidden}
    routed = common | {TensorClass.ROUTER: hidden * experts, TensorClass.EXPERT: 3 * hidden * wide}
    routed |= {TensorClass.SHARED_EXPERT: 3 * hidden * wide} if has_shared else {}
    dense = _layer(attention, 0, 0, common | {TensorClass.DENSE_FFN: 6 * hidden * wide})
    top = {
        TensorClass.EMBEDDING: 1000 * hidden,
        TensorClass.HEAD: 1000 * hidden,
        TensorClass.NORM: hidden,
    }
    return Model(
        name="small",
        family="small",
        hidden=hidden,
        vocab=1000,
        expert_intermediate=wide,
        layers=(
            *([dense] * is_first_dense),
            *([_layer(attention, experts, top_k, routed)] * (num_layers - is_first_dense)),
        ),
        top_params=top,
        top_bytes={tensor_class: 2 * count for tensor_class, count in top.items()},
        dtypes=dict.fromkeys(TensorClass, "bf16"),
        quantization="16bit",
        max_context_tokens=4096,
        provenance=MADE_UP,
    )


def _layer(attention: Attention, experts: int, top_k: int, params: dict[TensorClass, int]) -> Layer:
    sizes = {tensor_class: 2 * count for tensor_class, count in params.items()}
    return Layer(attention=attention, num_experts=experts, top_k=top_k, params=params, bytes=sizes)


def small_machine(rng: np.random.Generator, model: Model, **fixed: float) -> Machine:
    """A machine whose GPU holds some part of the model, all rates and overheads drawn over orders
    of magnitude; ``fixed`` sets some.
    """
    drawn = {
        "gpu.memory_bytes": model.total_bytes * rng.uniform(0.1, 1.3),
        "gpu.memory_bytes_per_s": 10 ** rng.uniform(10, 12),
        "gpu.flops_per_s.bf16": 10 ** rng.uniform(11, 14),
        "gpu.launch_overhead_ns": rng.choice([0, 1000, 5000]),
        "gpu.context_bytes": 0,
        "gpu.kernel_ns": rng.choice([0, 500, 3000]),
        "gpu.serial_fraction": rng.uniform(0, 1),
        "cpu.memory_bytes_per_s": 10 ** rng.uniform(9, 11.5),
        "cpu.flops_per_s.bf16": 10 ** rng.uniform(9.5, 12.5),
        "cpu.call_overhead_ns": rng.choice([0, 5000, 20000]),
        "link.h2d.bytes_per_s": 10 ** rng.uniform(9, 11.5),
        "link.h2d.pageable_bytes_per_s": 10 ** rng.uniform(9, 11.5),
        "link.h2d.latency_ns": rng.choice([0, 2000, 10000]),
        "host.layer_overhead_ns": rng.choice([0, 0, 3000]),
        "host.step_overhead_ns": rng.choice([0, 0, 30000]),
    }
    settings = drawn | {name.replace("__", "."): value for name, value in fixed.items()}
    overrides = [f"{path}={value:.0f}" for path, value in settings.items()]
    if rng.integers(3) == 0:
        overrides.append(f"interference.h2d.cpu={rng.uniform(0.3, 1):.2f}")
    return load_machine("server-8ch-ddr5-rtx-4090", overrides)


def small_batch(rng: np.random.Generator) -> Batch:
    """One to three prompts, some with beams."""
    return Batch(
        prompt_tokens=int(rng.choice([1, 4, 40])),
        output_tokens=int(rng.integers(1, 9)),
        batch_size=int(rng.integers(1, 4)),
        beams=int(rng.choice([1, 1, 2])),
    )


def small_scenario(rng: np.random.Generator, policy: str) -> Scenario:
    """All of the above under a named policy, with skewed and sticky routing."""
    model = small_model(rng)
    weights = tuple(
        tuple(row)
        for row in rng.dirichlet(
            np.full(model.num_experts, rng.choice([0.3, 5.0])), len(model.moe_layers)
        )
        + 1e-3
    )
    routing = GeneratedRouting(
        label="skewed",
        stated_provenance=MADE_UP,
        weights=weights,
        kept=((0.0, float(rng.uniform(0, 0.8))),),
    )
    machine, batch = small_machine(rng, model), small_batch(rng)
    return Scenario(
        machine=machine,
        model=model,
        batch=batch,
        policy=POLICIES[policy],
        routing=routing,
        seed=int(rng.integers(1000)),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomPlan:
    """A residency within memory and what to do in every layer of every pass."""

    residency: Residency
    decisions: Decisions


def random_plan(
    rng: np.random.Generator, problem: Problem, tokens: NDArray[np.int32]
) -> RandomPlan:
    """Fixed residency, with any mixture of CPU experts, copies, layers on the CPU and layers
    streamed, the buffers within memory too.
    """
    residency, streams = random_residency(rng, problem)
    return RandomPlan(
        residency=residency, decisions=random_decisions(rng, residency, tokens, streams=streams)
    )


def random_residency(rng: np.random.Generator, problem: Problem) -> tuple[Residency, bool]:
    """Fixed residency within memory, and whether there is a buffer beside it that layers can be
    streamed through.
    """
    model = problem.model
    buffer = max(*(_whole(layer) for layer in model.layers), sum(model.top_bytes.values()))
    streams = bool(rng.integers(2)) and buffer <= machine_bytes(problem.machine)
    return _within(rng, model, machine_bytes(problem.machine) - (buffer if streams else 0)), streams


def random_decisions(
    rng: np.random.Generator,
    residency: Residency,
    tokens: NDArray[np.int32],
    *,
    streams: bool,
    early_passes: NDArray[np.bool_] | None = None,
    buffers: int = 0,
) -> Decisions:
    """Anything that such a residency allows in every layer of every pass.

    In ``early_passes`` [pass] also copies of experts ahead of their gates, through so many buffers;
    then no layer is streamed.
    """
    shape = tokens.shape
    elsewhere = (
        rng.choice([LayerMode.CPU, LayerMode.STREAM], shape[:2])
        if streams
        else np.full(shape[:2], LayerMode.CPU)
    )
    modes = np.where(
        residency.dense,
        rng.choice([LayerMode.GPU, LayerMode.CPU], shape[:2], p=[0.9, 0.1]),
        elsewhere,
    ).astype(np.uint8)
    head = (
        rng.choice([LayerMode.CPU, LayerMode.STREAM], shape[0])
        if streams
        else np.full(shape[0], LayerMode.CPU)
    )
    on_cpu = rng.uniform(size=shape) < rng.choice([0.0, 0.3, 0.7, 1.0], (shape[0], shape[1], 1))
    actions = np.where(on_cpu, Action.CPU, Action.FETCH).astype(np.uint8)
    spills = on_cpu & (rng.integers(3) == 0)
    actions[np.broadcast_to(residency.experts, shape) & ~spills] = Action.RESIDENT
    actions[np.broadcast_to(residency.experts, shape) & spills] = Action.CPU
    actions[(modes == LayerMode.CPU)] = Action.CPU
    actions[(modes == LayerMode.STREAM)] = Action.RESIDENT
    actions[tokens == 0] = Action.IDLE
    head_modes = (
        np.full(shape[0], LayerMode.GPU, np.uint8) if residency.has_head else head.astype(np.uint8)
    )
    early = None if early_passes is None else _early(rng, residency, modes, early_passes, buffers)
    if early is not None:
        actions[early & (tokens > 0)] = Action.EARLY
    return Decisions(actions=actions, modes=modes, head_modes=head_modes, early=early)


def _early(
    rng: np.random.Generator,
    residency: Residency,
    modes: NDArray[np.uint8],
    early_passes: NDArray[np.bool_],
    buffers: int,
) -> NDArray[np.bool_]:
    """Missing experts of layers that run from GPU memory in those passes, no more of a layer than
    there are buffers.
    """
    can_be = (modes == LayerMode.GPU)[:, :, None] & early_passes[:, None, None] & ~residency.experts
    rank = np.argsort(
        np.argsort(np.where(can_be, rng.uniform(size=can_be.shape), 2.0), axis=2), axis=2
    )
    return np.asarray(can_be & (rank < rng.integers(0, buffers + 1, (*modes.shape, 1))))


def _whole(layer: Layer) -> int:
    return layer.dense_bytes + layer.num_experts * layer.expert_bytes


def _within(rng: np.random.Generator, model: Model, room: int) -> Residency:
    """Dense parts, the head and experts in random order, each that still fits."""
    experts, dense, has_head = (
        np.zeros((model.num_layers, model.num_experts), bool),
        np.zeros(model.num_layers, bool),
        False,
    )
    if rng.integers(4):
        has_head = sum(model.top_bytes.values()) <= room
        for layer in rng.permutation(model.num_layers):
            dense[layer] = (
                weight_bytes(model, Residency(experts=experts, dense=dense, has_head=has_head))
                + model.layers[layer].dense_bytes
                <= room
            )
    left = room - weight_bytes(model, Residency(experts=experts, dense=dense, has_head=has_head))
    for flat in rng.permutation(experts.size):
        layer, expert = divmod(int(flat), model.num_experts)
        size = model.layers[layer].expert_bytes
        if expert < model.layers[layer].num_experts and size <= left:
            experts[layer, expert], left = True, left - size
    return Residency(experts=experts, dense=dense, has_head=has_head)


@dataclass(frozen=True, kw_only=True)
class Times:
    """When a run had its first token and its last."""

    ttft_s: float
    end_to_end_s: float


def random_overlap(rng: np.random.Generator) -> Overlap:
    """Lanes with some buffers, copies from either memory, kernels run in any of the three ways."""
    kernels = [{}, {"groups_experts": True}, {"groups_experts": True, "captures_graphs": True}][
        int(rng.integers(3))
    ]
    return Overlap(
        staging_experts=int(rng.integers(1, 4)),
        staging_layers=1,
        is_pinned=bool(rng.integers(2)),
        **kernels,
    )


def run_plan(
    problem: Problem,
    passes: Passes,
    tokens: NDArray[np.int32],
    plan: RandomPlan,
    overlap: Overlap,
) -> Times:
    """What the plan takes under that overlap."""
    lowered = lower(replace(problem, overlap=overlap), passes, tokens, plan.decisions)
    ends_s = engine("fast").run_program(lowered.program).end_ns[lowered.last_task] / 1e9
    return Times(ttft_s=float(ends_s[passes.is_prefill][-1]), end_to_end_s=float(ends_s[-1]))
