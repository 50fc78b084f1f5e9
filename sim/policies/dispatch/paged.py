"""Layers pipelined over micro-batches, whose missing experts are paged in or computed on the CPU:
MoE-Lightning (arXiv 2411.11217).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.policies.actions import LayerMode
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class PagedDispatch(Dispatch):
    """Pipelines every layer of every pass, with all experts on the GPU (``ffn_on_gpu``) or the
    missing ones on the CPU.

    Weights are paged in whether the router selects them or not, as a large batch selects all.
    Attention runs where its KV cache lies. ``ffn_on_gpu`` None leaves the choice to the policy's
    tuning; without a tuning it stands for true. Layers are pipelined only if the GPU holds all of
    the model but experts. If not, each layer runs where it lies, and its misses are fetched, or run
    on the CPU with ``ffn_on_gpu`` false.
    """

    ffn_on_gpu: bool | None = None

    @property
    def rule(self) -> Rule:
        """The rule for misses: they run on the CPU with ``ffn_on_gpu`` false, else on the GPU."""
        return Rule.CPU if self.ffn_on_gpu is False else Rule.FETCH

    def layer_modes(self, residency: Residency, num_tokens: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Return PIPELINE for every layer [pass, layer] if the GPU holds all of the model but
        experts, else the default.
        """
        # A pipeline takes turns on the GPU: a layer elsewhere would break it.
        if residency.dense.all() and residency.has_head:
            return np.full((len(num_tokens), len(residency.dense)), LayerMode.PIPELINE, np.uint8)
        return Dispatch.layer_modes(self, residency, num_tokens)
