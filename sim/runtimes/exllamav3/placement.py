"""Placements of exllamav3: experts of its first layers, or some of every layer, in host memory.

A layer's experts in host memory are freed on the GPU (tabbyAPI issue 473). With ``-mcs`` the
program moves experts between the two by how often they were chosen. The CPU thus computes a smaller
share of choices than its share of experts. The misses are those of a cache by decayed frequency.
"""

from dataclasses import replace

import numpy as np

from sim.model.model import Model
from sim.runtimes.caching.locality import locality_of
from sim.runtimes.exllamav3.arguments import Exl3Arguments
from sim.runtimes.gpu_placement import placed_beside_gpu
from sim.runtimes.placement import DevicePlacement, FloatArray

PLACED_BY = "decayed"


def place(model: Model, arguments: Exl3Arguments, num_gpus: int) -> DevicePlacement:
    """Return the placement of the arguments.

    Work goes to the CPU and back once in each layer with experts there.
    """
    shares = _host_shares(model, arguments)
    visits = int(np.count_nonzero(shares)) if num_gpus else 0
    return placed_beside_gpu(
        model,
        num_gpus=num_gpus,
        expert_on_host=shares,
        num_crossings=2 * visits,
        is_embedding_on_host=True,
    )


def computed(model: Model, arguments: Exl3Arguments, placement: DevicePlacement) -> DevicePlacement:
    """Return the placement with the share of a token's choices that the CPU computes.

    It is less than the share of the experts that the host keeps.
    """
    if not arguments.split_experts or not placement.num_gpus:
        return placement
    locality = locality_of(model.name)
    chosen = placement.expert_fraction.copy()
    for index in model.moe_layers[arguments.cpu_layers :]:
        misses = locality.misses(PLACED_BY, 1 - chosen[index, 0])
        chosen[index, 1] += chosen[index, 0] - misses
        chosen[index, 0] = misses
    return replace(placement, expert_fraction=chosen)


def _host_shares(model: Model, arguments: Exl3Arguments) -> FloatArray:
    shares = np.zeros(model.num_layers)
    for order, index in enumerate(model.moe_layers):
        num_experts = model.layers[index].num_experts
        is_whole = order < arguments.cpu_layers
        shares[index] = 1.0 if is_whole else min(1.0, arguments.split_experts / num_experts)
    return shares
