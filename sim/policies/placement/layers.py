"""Whole layers: the last ones that fit on the GPU, as llama.cpp's ``-ngl`` puts them; or none; or
all.
"""

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwprofiles.ranges import check_at_least
from sim.costs.memory import Infeasible, MemoryRule, Residency
from sim.policies.placement.base import Placement
from sim.policies.placement.fitting import (
    bytes_by_gpu,
    host_checked,
    room_by_card,
)
from sim.policies.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLayersPlacement(Placement):
    """Keeps the last layers on the GPU, experts and KV cache included; embedding and head stay with
    the CPU.

    ``num_gpu_layers`` imposes their number (llama.cpp's ``-ngl``). By default as many as fit are
    kept: on several cards, the last of each card's own layers.
    """

    num_gpu_layers: int | None = None
    memory: MemoryRule = field(default_factory=MemoryRule)

    def __post_init__(self) -> None:
        check_at_least(self, num_gpu_layers=0)

    def place(self, problem: Problem) -> Residency | Infeasible:
        """Place the largest number of last layers that fits, or the number that is imposed."""
        layers = problem.model.num_layers
        count = min(self.num_gpu_layers, layers) if self.num_gpu_layers is not None else 0
        dense = np.arange(layers) >= layers - count
        missing = self._missing_bytes(problem, dense)
        if missing > 0:
            return Infeasible(
                reason=f"the last {count} layers do not fit GPU memory", missing_bytes=missing
            )
        if self.num_gpu_layers is None:
            split = problem.layer_split
            cards = np.zeros(layers, int) if split is None else split.card_of_layer
            for card in np.unique(cards):
                dense = self._filled(problem, dense, np.flatnonzero(cards == card))
        return host_checked(
            problem,
            Residency(experts=all_experts(problem, dense), dense=dense, has_head=False),
        )

    def _filled(
        self, problem: Problem, dense: NDArray[np.bool_], own: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return the marked layers, and of ``own``, one card's layers, as many of the
        last as fit.
        """

        def with_last(count: int) -> NDArray[np.bool_]:
            """Return the marked layers, and that many of the card's last ones."""
            return dense | np.isin(np.arange(len(dense)), own[len(own) - count :])

        # Each further layer needs more memory, so where they stop to fit is found by halving.
        count = bisect_right(
            range(1, len(own) + 1),
            0,
            key=lambda tried: self._missing_bytes(problem, with_last(tried)),
        )
        return with_last(count)

    def _missing_bytes(self, problem: Problem, dense: NDArray[np.bool_]) -> int:
        return missing_bytes(problem, self.memory, dense, has_head=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoLayersPlacement(Placement):
    """Keeps no weight on the GPU: all wait in host memory (ZeRO-3 offload).

    The KV cache of every layer stays on the GPU, which runs the attention.
    """

    memory: MemoryRule = field(default_factory=MemoryRule)

    def place(self, problem: Problem) -> Residency | Infeasible:
        """Place no weight, but the KV cache of every layer."""
        model = problem.model
        dense = np.zeros(model.num_layers, bool)
        kv = np.ones(model.num_layers, bool)
        held = problem.gpu_model
        largest = max(
            layer.dense_bytes + layer.num_experts * layer.expert_bytes for layer in held.layers
        )
        # One of the layer buffers holds embedding and head in their turn, which may be larger than any
        # layer.
        missing = missing_bytes(problem, self.memory, dense, has_head=False, kv=kv) + max(
            0, held.head_bytes - largest
        )
        if missing > 0:
            return Infeasible(
                reason="KV cache, working memory and the buffers of whole layers do not fit GPU memory",
                missing_bytes=missing,
            )
        return host_checked(
            problem,
            Residency(experts=all_experts(problem, dense), dense=dense, has_head=False, kv=kv),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AllLayersPlacement(Placement):
    """Keeps everything on the GPU, where it fits."""

    memory: MemoryRule = field(default_factory=MemoryRule)

    def place(self, problem: Problem) -> Residency | Infeasible:
        """Place all weights."""
        dense = np.ones(problem.model.num_layers, bool)
        missing = missing_bytes(problem, self.memory, dense, has_head=True)
        if missing > 0:
            return Infeasible(
                reason="all weights, KV cache and working memory do not fit one GPU",
                missing_bytes=missing,
            )
        experts = all_experts(problem, dense)
        return Residency(
            experts=experts, dense=dense, has_head=True, has_embedding=self.memory.is_eager
        )


def all_experts(problem: Problem, dense: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return every expert of the marked layers [layer, expert]."""
    counts = np.array([layer.num_experts for layer in problem.model.layers])
    return dense[:, None] & (np.arange(problem.model.num_experts) < counts[:, None])


def missing_bytes(
    problem: Problem,
    rule: MemoryRule,
    dense: NDArray[np.bool_],
    *,
    has_head: bool,
    kv: NDArray[np.bool_] | None = None,
) -> int:
    """Return by how many bytes the marked layers, whole, exceed the memory of the GPU that lacks
    most (negative: they fit).
    """
    room = room_by_card(problem, rule, dense, has_head=has_head, kv=kv)
    needed = bytes_by_gpu(problem, all_experts(problem, dense))
    return max(bytes_there - left for bytes_there, left in zip(needed, room, strict=True))
