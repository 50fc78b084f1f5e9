"""Which lanes may work at once, and the buffers that copies go through."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from hwprofiles.ranges import check_above_zero, check_at_least

Concurrency = Literal["serial", "lanes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Decides what may run at once, in ``prefill`` and in ``decode``.

    ``serial``: one thing at a time. ``lanes``: GPU, CPU and each direction of the link work at
    once, and join at the end of a layer. ``is_pinned`` says whether copies start from page-locked
    memory.

    ``staging_experts`` buffers receive copies; ``staging_layers`` buffers receive whole layers, and
    each need hold only the share ``staging_layer_share`` of one at a time (1, unless a layer is
    copied and computed matrix by matrix).

    ``groups_experts``: the GPU runs fused kernels and the experts of a layer as one call on each
    device, so that a call's kernels, or the hand-over to the CPU pool, are paid once; without it,
    kernels are those of an eager decoder, an expert after another. ``captures_graphs``: the GPU's
    kernels are replayed as a captured graph, so that launches take no time; it needs
    ``groups_experts``.

    ``deferred`` is how many of a token's selected experts, the least weighted, the next layer does
    not wait for where the CPU computes them: that is lossy, as KTransformers' expert deferral is.
    ``in_turn``: the experts of a layer run one after another by number, on whichever GPU, each
    copied only when its turn has come, as a loop over experts does that waits for every copy; it
    needs a cache with a score. ``loads_all``: that loop asks for every expert of the layer,
    selected or not.

    ``hand_over_ns``, where it is not 0, is what the host takes to hand a layer's tokens to the CPU
    pool and back, copies and experts aside: every MoE layer on the GPU then does so, though the
    pool may have nothing to run, as in KTransformers' wrapper of SGLang.
    """

    prefill: Concurrency = "lanes"
    decode: Concurrency = "lanes"
    staging_experts: int = 2
    staging_layers: int = 0
    staging_layer_share: float = 1.0
    is_pinned: bool = True
    deferred: int = 0
    groups_experts: bool = False
    captures_graphs: bool = False
    in_turn: bool = False
    loads_all: bool = False
    hand_over_ns: int = 0

    def __post_init__(self) -> None:
        check_at_least(self, staging_experts=0, staging_layers=0, deferred=0, hand_over_ns=0)
        check_above_zero(self, "staging_layer_share")
        if self.captures_graphs and not self.groups_experts:
            raise InputError("captures_graphs is of fused kernels: it needs groups_experts")
        if self.in_turn and self.groups_experts:
            raise InputError(
                "in_turn runs experts one after another: it cannot group them (groups_experts)"
            )
        if self.loads_all and not self.in_turn:
            raise InputError("loads_all asks for experts one after another: it needs in_turn")

    @property
    def manner(self) -> str:
        """Say in a word or two what may run at once."""
        if self.prefill == self.decode:
            return self.prefill
        return "serial decode" if self.decode == "serial" else "serial prefill"

    def is_serial(self, is_prefill: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Per pass, whether one thing runs at a time."""
        return np.where(is_prefill, self.prefill == "serial", self.decode == "serial")
