"""What a dispatch believes that things cost, which may differ from what they do cost."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hwprofiles.units import NS_PER_MS
from sim.policies.base import Problem

Source = Literal["priced", "measured", "code"]

RELEASED_CPU_NS_PER_TOKEN = 7 * NS_PER_MS
RELEASED_GPU_NS = 70 * NS_PER_MS
"""Constants of the released Fiddler: github.com/efeslab/fiddler, branch main, src/fiddler/mixtral.py (latency_cpu, latency_gpu)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Belief:
    """Believed ns of a missing expert on the CPU, and copied to the GPU and run there; shaped like the tokens asked about."""

    on_cpu: NDArray[np.int64]
    on_gpu: NDArray[np.int64]


def belief(source: Source, layer: int, tokens: NDArray[np.int32], problem: Problem) -> Belief:
    """``priced``: the machine's own prices. ``measured``: Fiddler's line, prices of one token scaled (CPU) or kept (copy, GPU).

    ``code``: the same line with the released code's constants.
    """
    count = tokens.astype(np.int64)
    if source == "code":
        return Belief(on_cpu=count * RELEASED_CPU_NS_PER_TOKEN, on_gpu=np.full(count.shape, RELEASED_GPU_NS))
    costs = problem.costs
    copy_ns = int(costs.copy("h2d", problem.model.layers[layer].expert_bytes, is_pinned=problem.overlap.is_pinned).ns)
    if source == "measured":
        on_gpu = np.full(count.shape, copy_ns + int(costs.expert("gpu", layer, 1).ns))
        return Belief(on_cpu=count * int(costs.expert("cpu", layer, 1).ns), on_gpu=on_gpu)
    known, place = np.unique(np.maximum(count, 1), return_inverse=True)
    gpu, cpu = (costs.expert(device, layer, known).ns[place].reshape(count.shape) for device in ("gpu", "cpu"))
    return Belief(on_cpu=np.where(count > 0, cpu, 0), on_gpu=copy_ns + gpu)
