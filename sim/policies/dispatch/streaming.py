"""Layers that are not resident are copied whole: always (ZeRO-3), or from a number of tokens on
(llama.cpp).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles.ranges import check_at_least
from sim.costs.memory import Residency
from sim.policies.actions import LayerMode
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStreamingDispatch(Dispatch):
    """Copies a layer outside the GPU there whole for passes of at least ``min_tokens`` tokens. For
    smaller passes the layer runs on the CPU.

    llama.cpp b2956: 32 tokens (GGML_OP_OFFLOAD_MIN_BATCH's default since), with its vocabulary
    projection always on the CPU. ZeRO-3 offload: 0 tokens, whatever the router says, and
    ``streams_head``: the projection is copied too.
    """

    min_tokens: int = 32
    streams_head: bool = False

    def __post_init__(self) -> None:
        check_at_least(self, min_tokens=0)

    # It is asked for layers on the CPU alone, whose experts are there too.
    rule = Rule.CPU

    def layer_modes(self, residency: Residency, num_tokens: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Return STREAM for layers outside the GPU in passes of enough tokens [pass, layer]."""
        elsewhere = np.where(num_tokens >= self.min_tokens, LayerMode.STREAM, LayerMode.CPU)[
            :, None
        ]
        return np.where(residency.dense, LayerMode.GPU, elsewhere).astype(np.uint8)

    def head_modes(self, residency: Residency, num_tokens: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Return STREAM for a vocabulary projection outside the GPU [pass], if the head is
        streamed.
        """
        elsewhere = LayerMode.STREAM if self.streams_head else LayerMode.CPU
        return np.full(
            len(num_tokens), LayerMode.GPU if residency.has_head else elsewhere, np.uint8
        )
