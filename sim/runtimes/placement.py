"""Placements: the devices of the parts of a model, which all runtimes' arguments come down to."""

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
    """Each GPU's share of the parts that all GPUs compute at once.

    Tables are [layer, GPU], ``head`` is [GPU]. A share is 1 of what every GPU holds whole. The KV
    cache is split as attention is. ``num_sums`` counts how often in a pass the GPUs add up partial
    sums.
    """

    attention: FloatArray
    dense: FloatArray
    experts: FloatArray
    head: FloatArray
    num_sums: int


@dataclass(frozen=True, kw_only=True)
class DevicePlacement:
    """The devices of the parts of each layer.

    ``attention``, ``kv`` and ``dense`` are device numbers [layer]. ``expert_fraction`` [layer,
    column] is the share of a layer's routed expert weights on each device. Column 0 is the host,
    column g + 1 is GPU g. ``is_by_matrix`` says whether whole matrices are placed (llama.cpp) or
    whole experts (KTransformers). ``num_crossings`` counts changes of device in one pass that touch
    the host; ``crossings_between_gpus`` counts those from GPU to GPU.

    ``weight_bytes`` [column] are the bytes of all weights by device. Experts on the CPU take
    ``cpu_expert_bytes_factor`` times the bytes that the model states, where a runtime keeps them in
    a format of its own. With ``slices``, what is on any GPU is on all of them, each with its share.
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
        """The number of GPUs of the machine, in use or not."""
        return int(self.expert_fraction.shape[1]) - 1


def count_crossings(sequence: list[int]) -> tuple[int, int]:
    """Return the changes of device in the order of work: those that touch the host, and the others.

    The others are between GPUs.
    """
    # Only changes cost: work that stays on a device is queued behind the work before it.
    pairs = [(first, second) for first, second in pairwise(sequence) if first != second]
    between = sum(HOST not in pair for pair in pairs)
    return len(pairs) - between, between
