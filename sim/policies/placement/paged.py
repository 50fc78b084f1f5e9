"""As many experts as fit beside page buffers, and the KV cache of some layers: MoE-Lightning's
shares of weights and KV cache.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwprofiles.ranges import check_at_least
from hwprofiles.units import format_bytes
from sim.costs.memory import (
    DenseShare,
    Infeasible,
    MemoryRule,
    Residency,
    fixed_items,
    machine_bytes,
    weight_bytes,
)
from sim.policies.placement.base import Placement
from sim.policies.placement.fitting import expert_sizes, spelt
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class PagedPlacement(Placement):
    """Keeps all dense parts, ``resident_experts`` experts spread evenly over the layers, and the KV
    cache of the first ``kv_layers`` layers.

    Of each layer the most popular experts are kept. Where the number does not divide, the first
    layers hold one expert more. The KV cache of the other layers lies in host memory, except for
    recurrent states. None stands for as many experts as fit beside the buffers, and for the KV
    cache of all layers. ``staging_layers`` page buffers (overlap) each hold what the GPU lacks of a
    layer.
    """

    resident_experts: int | None = None
    kv_layers: int | None = None
    memory: MemoryRule = field(default_factory=MemoryRule)

    def __post_init__(self) -> None:
        check_at_least(self, resident_experts=0, kv_layers=0)

    def place(self, problem: Problem) -> Residency | Infeasible:
        """Place as many experts as are stated, or as fit, evenly over the layers."""
        model = problem.model
        layers = (
            model.num_layers if self.kv_layers is None else min(self.kv_layers, model.num_layers)
        )
        items = fixed_bytes(problem, self.memory, layers)
        left = machine_bytes(problem.machine) - sum(items.values())
        counts = resident_counts(problem, imposed_experts(problem, self.resident_experts), left)
        missing = held_bytes(problem, counts) - left
        if missing > 0:
            found = f"{counts.sum()} experts with the page buffers for the others do not fit GPU memory beside {spelt(items)}"
            return Infeasible(reason=found, missing_bytes=missing)
        rank = np.argsort(
            np.argsort(-problem.popularity, axis=1, kind="stable"), axis=1, kind="stable"
        )
        dense = np.ones(model.num_layers, bool)
        kv = kv_on_gpu(problem, layers)
        experts = rank < counts[:, None]
        residency = Residency(
            experts=experts, dense=dense, has_head=True, has_embedding=self.memory.is_eager, kv=kv
        )
        return _host_checked(problem, residency)


def fixed_bytes(problem: Problem, rule: MemoryRule, kv_layers: int) -> dict[str, int]:
    """Return the bytes that GPU memory holds besides experts and page buffers, by item."""
    model = problem.model
    held = DenseShare(
        dense=np.ones(model.num_layers, bool),
        staging_bytes=problem.overlap.staging_experts * model.expert_bytes,
        kv=kv_on_gpu(problem, kv_layers),
    )
    return dict(fixed_items(problem.machine, model, problem.batch, problem.feeding, rule, held))


def kv_on_gpu(problem: Problem, kv_layers: int) -> NDArray[np.bool_]:
    """Return the layers whose KV cache lies on the GPU [layer]: the first ``kv_layers``, those with
    a state, of constant size, and those without KV.
    """
    stays = np.array(
        [layer.attention is None or layer.state is not None for layer in problem.model.layers]
    )
    return np.asarray((np.arange(problem.model.num_layers) < kv_layers) | stays)


def imposed_experts(problem: Problem, resident_experts: int | None) -> int | None:
    """Return how many experts the GPU is to hold in all, or None if nobody says so.
    ``slots_per_layer`` goes before ``resident_experts``.
    """
    if problem.slots_per_layer is None:
        return resident_experts
    return problem.slots_per_layer * len(problem.model.moe_layers)


def resident_counts(problem: Problem, total: int | None, left: int) -> NDArray[np.int64]:
    """Return how many experts to hold of each layer [layer]: ``total`` in all, spread evenly.

    Without a total, it is as many as ``left`` bytes are enough for, page buffers for the rest
    included. Where they never are, it is the number that needs the fewest bytes.
    """
    num_experts = _experts_by_layer(problem)
    moe_layers = problem.model.moe_layers
    if total is None:
        # More residents may need less memory, as the buffers for the rest shrink. So all numbers are
        # tried, and the largest that fits is taken.
        even = np.minimum(np.arange(problem.model.num_experts + 1)[:, None], num_experts)
        needed = np.array([held_bytes(problem, counts) for counts in even])
        fits = np.flatnonzero(needed <= left)
        if not fits.size:
            return np.asarray(even[int(needed.argmin())])
        counts = even[int(fits[-1])]
        # What an equal number leaves over goes to the first layers, one expert each.
        more = np.cumsum(expert_sizes(problem)[list(moe_layers)]) <= left - needed[int(fits[-1])]
        total = int(counts.sum() + more.sum())
    held = np.zeros(len(num_experts), np.int64)
    if not moe_layers:
        return held
    each, over = divmod(min(total, int(num_experts.sum())), len(moe_layers))
    held[list(moe_layers)] = each + (np.arange(len(moe_layers)) < over)
    return np.minimum(held, num_experts)


def held_bytes(problem: Problem, counts: NDArray[np.int64]) -> int:
    """Bytes of that many experts [layer] and of the page buffers for the rest."""
    sizes = expert_sizes(problem)
    missing = (_experts_by_layer(problem) - counts) * sizes
    return int((counts * sizes).sum() + problem.overlap.staging_layers * missing.max())


def _experts_by_layer(problem: Problem) -> NDArray[np.int64]:
    return np.array([layer.num_experts for layer in problem.model.layers])


def _host_checked(problem: Problem, residency: Residency) -> Residency | Infeasible:
    """Return the residency; Infeasible if stated host memory cannot hold the weights and the KV
    cache that the GPU does not hold.
    """
    stated = problem.machine.cpu.memory_bytes
    model = problem.model
    batch = problem.batch
    assert residency.kv is not None
    cache = sum(
        model.layer_kv_bytes(layer, batch.context_tokens)
        for layer in np.flatnonzero(~residency.kv).tolist()
    )
    behind = model.total_bytes - weight_bytes(model, residency) + batch.num_sequences * cache
    if stated is not None and behind > stated.effective:
        reason = f"host memory would hold {format_bytes(behind)} of weights and KV cache, has {format_bytes(stated.effective)}"
        return Infeasible(reason=reason, missing_bytes=behind - int(stated.effective))
    return residency
