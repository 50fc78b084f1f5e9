"""The costs that a dispatch assumes when it decides. They may differ from the costs that are
simulated.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwprofiles.units import NS_PER_MS
from sim.policies.problem import Problem

Source = Literal["priced", "measured", "code", "cpp"]

RELEASED_CPU_NS_PER_TOKEN = 7 * NS_PER_MS
RELEASED_GPU_NS = 70 * NS_PER_MS
"""Constants of the released Fiddler: github.com/efeslab/fiddler, branch main,
src/fiddler/mixtral.py (latency_cpu, latency_gpu).
"""

CPP_COPY_NS = 40 * NS_PER_MS
CPP_GPU_NS = round(0.6 * NS_PER_MS)
"""The example in Fiddler's branch cppExpert (copy_latency, gpu_latency); its cpu_latency is 7 ms
too.
"""


class Belief(NamedTuple):
    """Believed ns of one expert over 0, 1, … tokens: its run on the CPU, the copy of its weights,
    its run on the GPU.
    """

    on_cpu: NDArray[np.int64]
    copies: NDArray[np.int64]
    on_gpu: NDArray[np.int64]


def belief(source: Source, layer: int, max_tokens: int, problem: Problem) -> Belief:
    """Return what a source of costs believes of one expert of a layer.

    ``priced``: the machine's own prices. ``measured``: Fiddler's line, made of prices of one token.
    The CPU's price grows with the tokens; the copy and the GPU keep theirs. ``code``: the same line
    with the constants of the released code. ``cpp``: with those of its branch cppExpert. Each array
    has max_tokens + 1 entries.
    """
    count = np.arange(max_tokens + 1)
    if source in ("code", "cpp"):
        # The released code has one time for a fetched expert, its copy and run together.
        copy, on_gpu = (RELEASED_GPU_NS, 0) if source == "code" else (CPP_COPY_NS, CPP_GPU_NS)
        return Belief(
            on_cpu=count * RELEASED_CPU_NS_PER_TOKEN,
            copies=np.full(len(count), copy),
            on_gpu=np.full(len(count), on_gpu),
        )
    costs = problem.expert_costs
    copy_ns = int(
        costs.at(layer)
        .copy("h2d", problem.model.layers[layer].expert_bytes, is_pinned=problem.overlap.is_pinned)
        .ns
    )
    copies = np.full(len(count), copy_ns)
    if source == "measured":
        # Fiddler measures one token: its line scales with tokens on the CPU alone.
        one_on_cpu, one_on_gpu = (
            int(costs.expert(device, layer, 1).ns) for device in ("cpu", "gpu")
        )
        return Belief(
            on_cpu=count * one_on_cpu, copies=copies, on_gpu=np.full(len(count), one_on_gpu)
        )
    tables = [costs.expert_table(device, layer, max_tokens) for device in ("cpu", "gpu")]
    return Belief(on_cpu=tables[0], copies=copies, on_gpu=tables[1])
