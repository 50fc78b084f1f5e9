"""Where a runtime puts the parts of a model: what every runtime's arguments come down to."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

HOST = -1
"""The device number of the host; GPUs count from 0."""

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CardSlices:
    """Each GPU's share of parts that all GPUs compute at once, as tables [layer, GPU]; of the head
    [GPU].

    Shares of what every GPU holds whole are 1. The cache is split as attention is. ``num_sums``
    counts how often in a pass the GPUs add up what each has of a sum.
    """

    attention: FloatArray
    dense: FloatArray
    experts: FloatArray
    head: FloatArray
    num_sums: int


@dataclass(frozen=True, kw_only=True)
class DevicePlacement:
    """Devices of the parts of each layer, as arrays over layers. Column 0 of a table by device is
    the host, column g + 1 GPU g.

    ``expert_fraction`` is the share of a layer's routed expert weights on each device;
    ``is_by_matrix`` says whether whole matrices are placed (llama.cpp) or whole experts
    (KTransformers). ``num_crossings`` counts how often work changes its device in one pass,
    ``crossings_between_gpus`` those from one GPU to another. ``weight_bytes`` holds the bytes of
    all weights by device. Experts on the CPU take ``cpu_expert_bytes_factor`` times the bytes that
    the model states, where a runtime keeps them in a format of their own. With ``slices``, what is
    on any GPU is on all of them, each with its share.
    """

    attention: IntArray
    kv: IntArray
    dense: IntArray
    expert_fraction: FloatArray
    head: int
    is_by_matrix: bool
    num_crossings: int
    crossings_between_gpus: int
    weight_bytes: FloatArray
    cpu_expert_bytes_factor: float = 1.0
    slices: CardSlices | None = None

    @property
    def num_gpus(self) -> int:
        """The GPUs that the table has columns for."""
        return int(self.expert_fraction.shape[1]) - 1


def count_crossings(sequence: list[int]) -> tuple[int, int]:
    """Changes of device along the order of work that touch the host, and those between GPUs."""
    # Only changes cost: work that stays on a device is queued behind the work before it.
    pairs = [(first, second) for first, second in pairwise(sequence) if first != second]
    between = sum(HOST not in pair for pair in pairs)
    return len(pairs) - between, between
