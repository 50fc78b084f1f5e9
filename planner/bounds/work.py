"""What a run has to do, whatever the plan: the price of every piece of work on every device, never
above what any plan pays.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.policies.actions import LayerMode
from sim.policies.overlap import Overlap
from sim.policies.problem import Problem
from sim.step.lowering.draft import FROM_GPU, TO_GPU
from sim.step.lowering.prices import Prices, price
from sim.workload.batch import Passes

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SelectedExperts:
    """The (pass, layer, expert) triples that receive tokens, in order.

    [triple]: ``cell`` is pass · layers + layer, ``item`` layer · experts + expert; ``gpu_ns`` and
    ``cpu_ns`` are the times of its ``tokens``. ``offsets`` [cells of experts + 1] bounds the
    triples of each cell that has any. ``cell_of`` [cells of experts] is the number of each such
    cell.
    """

    cell: NDArray[np.int64]
    item: NDArray[np.int64]
    tokens: NDArray[np.int64]
    gpu_ns: Floats
    cpu_ns: Floats
    offsets: NDArray[np.int64]
    cell_of: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """The least durations of a run's work, in ns.

    [pass, layer]: ``serial_gpu`` and ``serial_cpu`` are host overhead, attention and gate.
    ``ffn_gpu`` is the dense part or the shared experts. ``beside_gpu`` is the GPU's work except for
    single routed experts: ``ffn_gpu``, and what a call for routed experts takes besides. That call
    counts only as far as leaving the GPU without any routed expert would take as long.

    ``whole_cpu`` and ``experts_gpu`` [pass, layer] are all of a layer on the CPU, and its experts
    on the GPU; ``head_*`` [pass]. ``fetch``, ``layer_fetch`` [layer] and ``head_fetch`` are copies
    to the GPU; ``activations_*`` [tokens]. ``step_overhead`` is one pass's.
    """

    serial_gpu: Floats
    serial_cpu: Floats
    ffn_gpu: Floats
    beside_gpu: Floats
    whole_cpu: Floats
    experts_gpu: Floats
    head_gpu: Floats
    head_cpu: Floats
    step_overhead: float
    layer_overhead: float
    fetch: Floats
    layer_fetch: Floats
    head_fetch: float
    activations_h2d: Floats
    activations_d2h: Floats
    num_tokens: NDArray[np.int64]
    is_prefill: NDArray[np.bool_]
    experts: SelectedExperts

    @property
    def num_layers(self) -> int:
        """Layers of the model."""
        return int(self.serial_gpu.shape[1])


def work_of(
    problem: Problem,
    passes: Passes,
    tokens: NDArray[np.int32],
    selected: NDArray[np.int64] | None = None,
) -> Work:
    """Return the work of those passes with those tokens per expert [pass, layer, expert].

    ``selected`` are the places in ``tokens``, flattened, of experts that have any, if the caller
    has found them. Copies are priced from pinned or pageable memory, whichever is faster, so that
    the bound holds for both. Raises InputError for several GPUs that share layers.
    """
    gpu = prices_on(problem, passes, tokens, LayerMode.GPU, is_pinned=True)
    cpu = prices_on(problem, passes, tokens, LayerMode.CPU, is_pinned=False)
    experts = _experts(tokens, np.flatnonzero(tokens) if selected is None else selected, gpu)
    cells = tokens.shape[0] * tokens.shape[1]

    def per_cell(values: Floats) -> Floats:
        """Return the sums [pass, layer] over the experts of each cell."""
        return (
            np.bincount(experts.cell, values, minlength=cells)
            .astype(np.float64)
            .reshape(tokens.shape[:2])
        )

    copies = _copies(gpu, cpu)
    on_cpu = per_cell(experts.cpu_ns)
    is_used = per_cell(np.ones(len(experts.cell))) > 0
    copies["activations_d2h"] = copies["activations_d2h"] + float(
        gpu.group_cpu
    )  # what is sent down is handed over, too
    ffn_gpu = gpu.ffn.astype(np.float64)
    least_away = copies["activations_d2h"][1] + on_cpu + copies["activations_h2d"][1]
    # A plan may leave the GPU without any expert and be spared the call. That costs it at least the
    # longest wait for the CPU.
    call_ns = np.clip(least_away - ffn_gpu, 0.0, float(gpu.group_gpu)) * is_used
    serial_cpu = (cpu.attention + cpu.gate + float(cpu.layer_overhead)).astype(np.float64)
    return Work(
        serial_gpu=(gpu.attention + gpu.gate + float(gpu.layer_overhead)).astype(np.float64),
        serial_cpu=serial_cpu,
        ffn_gpu=ffn_gpu,
        beside_gpu=ffn_gpu + call_ns,
        whole_cpu=serial_cpu + cpu.ffn + on_cpu + float(gpu.group_cpu) * is_used,
        experts_gpu=per_cell(experts.gpu_ns) + float(gpu.group_gpu) * is_used,
        head_gpu=np.maximum(gpu.head, 0).astype(np.float64),
        head_cpu=np.maximum(cpu.head, 0).astype(np.float64),
        step_overhead=float(gpu.step_overhead),
        layer_overhead=float(gpu.layer_overhead),
        num_tokens=passes.num_tokens.astype(np.int64),
        is_prefill=passes.is_prefill,
        experts=experts,
        **copies,
    )


def prices_on(
    problem: Problem, passes: Passes, tokens: NDArray[np.int32], mode: LayerMode, *, is_pinned: bool
) -> Prices:
    """Return prices with every layer on the device of ``mode``.

    The GPU's kernels are fused and captured: no kernels are cheaper. Raises InputError for several
    GPUs that share layers.
    """
    split = problem.split
    if split is not None and split.layers is None and split.num_cards > 1:
        raise InputError(f"bounds are proven for one GPU, got {split.num_cards} (`gpus`)")
    # Fused and captured kernels are the cheapest, so no plan's way of launching beats them.
    overlap = Overlap(is_pinned=is_pinned, groups_experts=True, captures_graphs=True)
    either = replace(problem, overlap=overlap, common_costs=problem.costs)
    modes = np.full(tokens.shape[:2], mode, np.uint8)
    return price(either, passes, modes, modes[:, 0], int(tokens.max(initial=0)))


def _copies(pinned: Prices, pageable: Prices) -> dict[str, Any]:
    """Return the copies in ns at the faster of the two kinds of memory.

    Activations are priced so that more tokens never cost less.
    """

    def least(name: str) -> Floats:
        """Return the faster copies of both kinds of memory."""
        return np.asarray(np.minimum(getattr(pinned, name), getattr(pageable, name)), np.float64)

    # Over layers on unlike cards, the least of all.
    hidden = least("activations").min(axis=0)
    hidden = np.minimum.accumulate(hidden[:, ::-1], axis=1)[:, ::-1].copy()
    return {
        "activations_h2d": hidden[TO_GPU],
        "activations_d2h": hidden[FROM_GPU],
        "fetch": least("fetch"),
        "layer_fetch": least("layer_fetch"),
        "head_fetch": float(least("head_fetch")),
    }


def _experts(
    tokens: NDArray[np.int32], selected: NDArray[np.int64], prices: Prices
) -> SelectedExperts:
    num_layers, num_experts = tokens.shape[1:]
    cell = selected // num_experts
    count = tokens.ravel()[selected].astype(np.int64)
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    shape = prices.shape_of[cell % num_layers]
    return SelectedExperts(
        cell=cell,
        item=selected % (num_layers * num_experts),
        tokens=count,
        gpu_ns=prices.expert_gpu[shape, count].astype(np.float64),
        cpu_ns=prices.expert_cpu[shape, count].astype(np.float64),
        offsets=np.append(starts, len(cell)).astype(np.int64),
        cell_of=cell[starts],
    )
