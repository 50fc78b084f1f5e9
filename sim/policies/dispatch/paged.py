"""Layers pipelined over micro-batches, experts that are not resident paged in or computed on the
CPU: MoE-Lightning (arXiv 2411.11217).
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
    """Every layer of every pass is pipelined, with all experts on the GPU (``ffn_on_gpu``) or the
    missing ones on the CPU.

    Weights are paged in whether the router selects them or not, as a large batch selects all.
    Attention runs where its KV cache lies. ``ffn_on_gpu`` None leaves the choice to the policy's
    tuning, and stands for true without one. Where not all else of the model is on the GPU, layers
    run as under ``fetch``.
    """

    ffn_on_gpu: bool | None = None

    @property
    def rule(self) -> Rule:
        """Missing experts run on the CPU, or are paged in, whichever side runs the experts."""
        return Rule.CPU if self.ffn_on_gpu is False else Rule.FETCH

    def layer_modes(self, residency: Residency, num_tokens: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Every layer is pipelined, where all else of the model is on the GPU."""
        # A pipeline takes turns on the GPU: a layer elsewhere would break it.
        if residency.dense.all() and residency.has_head:
            return np.full((len(num_tokens), len(residency.dense)), LayerMode.PIPELINE, np.uint8)
        return Dispatch.layer_modes(self, residency, num_tokens)
