"""Routing: which experts each token selects in each layer."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Provenance
from sim.model import Model
from sim.workload import Passes


class Routing(ABC):
    """A source of expert choices. A subclass is configuration only: the same arguments give the same choices."""

    @abstractmethod
    def experts(self, model: Model, num_sequences: int, num_tokens: int, seed: int) -> NDArray[np.int16]:
        """Expert ids [sequence, token, MoE layer, rank], ``num_tokens`` per sequence, distinct along rank."""

    @abstractmethod
    def popularity(self, model: Model) -> NDArray[np.float64]:
        """Share of selections [MoE layer, expert], rows summing to 1: what profiling offline would have shown."""

    @property
    @abstractmethod
    def provenance(self) -> Provenance:
        """Where the statistics come from."""

    @property
    @abstractmethod
    def description(self) -> str:
        """A few words for a report."""


def tokens_per_expert(model: Model, expert_ids: NDArray[np.int16], passes: Passes) -> NDArray[np.int32]:
    """Tokens that each expert gets [pass, layer, expert]; dense layers are all zero.

    ``expert_ids`` is [sequence, token, MoE layer, rank] as ``Routing.experts`` gives it.
    """
    num_experts = model.num_experts
    counts = np.zeros((len(passes), model.num_layers, num_experts), np.int32)
    moe_layers = np.array(model.moe_layers)
    layer_offsets = (np.arange(len(moe_layers)) * num_experts)[:, None]
    for index in range(len(passes)):
        first, sequences = passes.first_sequence[index], passes.num_sequences[index]
        rows = slice(passes.first_position[index], passes.context_tokens[index])
        chosen = expert_ids[first : first + sequences, rows]
        flat = (chosen.reshape(-1, *chosen.shape[2:]) + layer_offsets).ravel()
        totals = np.bincount(flat, minlength=len(moe_layers) * num_experts)
        counts[index, moe_layers] = totals.reshape(len(moe_layers), num_experts)
    return counts
