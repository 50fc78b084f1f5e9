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
    once, and join at the end of a layer. ``is_pinned``: copies start from page-locked memory.

    ``staging_experts`` buffers of one expert each receive copies of experts. ``staging_layers``
    buffers receive whole layers. Each of these holds the share ``staging_layer_share`` of the
    largest layer: 1, unless a layer is copied and computed matrix by matrix.

    ``groups_experts``: the GPU runs fused kernels, and each device runs the experts of a layer as
    one call. So a call's kernels, or the hand-over to the CPU pool, are paid once. Without it,
    kernels are those of an eager decoder, one expert after another. ``captures_graphs``: the GPU's
    kernels are replayed as a captured graph, so that launches take no time; it needs
    ``groups_experts``.

    ``deferred`` is how many of a token's selected experts, the least weighted, the next layer does
    not wait for where the CPU computes them. That is lossy, as KTransformers' expert deferral is.

    ``in_turn``: the experts of a layer run one after another by number, on whichever GPU, and each
    is copied only when its turn has come. A loop over experts that waits for every copy does the
    same. ``in_turn`` needs a cache with a score. ``loads_all``: that loop asks for every expert of
    the layer, selected or not.

    ``hand_over_ns`` is what the host takes to hand a layer's tokens to the CPU pool and back,
    besides copies and experts. If it is not 0, every MoE layer on the GPU pays it, even with
    nothing to run on the pool. KTransformers' wrapper of SGLang does so.
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
        """A word or two for what may run at once, such as ``serial decode``."""
        if self.prefill == self.decode:
            return self.prefill
        return "serial decode" if self.decode == "serial" else "serial prefill"

    def is_serial(self, is_prefill: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return for each pass [pass] whether one thing runs at a time, given which passes are
        prefill.
        """
        return np.where(is_prefill, self.prefill == "serial", self.decode == "serial")
