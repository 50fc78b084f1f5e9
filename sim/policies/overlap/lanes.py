"""Which lanes may work at once, and the buffers that copies go through."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.policies.problem import Overlap

Concurrency = Literal["serial", "lanes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LanesOverlap(Overlap):
    """``serial``: one thing at a time. ``lanes``: GPU, CPU and each direction of the link work at
    once, and join at the end of a layer.

    Prefill and decode are set apart. ``is_pinned`` says whether copies start from page-locked
    memory. ``groups_experts`` and ``captures_graphs``: as in Overlap. ``deferred`` (lossy if not 0)
    joins the CPU's least weighted experts of a decode step one layer later, as KTransformers'
    expert deferral does. ``hand_over_ns``: as in Overlap. ``in_turn``: as in Overlap; for caches
    with a score. ``loads_all``: as in Overlap, only in turn.
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
        for name in ("staging_experts", "staging_layers", "deferred", "hand_over_ns"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.captures_graphs and not self.groups_experts:
            raise InputError("captures_graphs is of fused kernels: it needs groups_experts")
        if self.in_turn and self.groups_experts:
            raise InputError(
                "in_turn runs experts one after another: it cannot group them (groups_experts)"
            )
        if self.loads_all and not self.in_turn:
            raise InputError("loads_all asks for experts one after another: it needs in_turn")
        if not 0 < self.staging_layer_share <= 1:
            raise InputError(
                f"staging_layer_share must be above 0 and at most 1, got {self.staging_layer_share}"
            )

    @property
    def manner(self) -> str:
        """See Overlap."""
        if self.prefill == self.decode:
            return self.prefill
        return "serial decode" if self.decode == "serial" else "serial prefill"

    def is_serial(self, is_prefill: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """See Overlap."""
        return np.where(is_prefill, self.prefill == "serial", self.decode == "serial")
