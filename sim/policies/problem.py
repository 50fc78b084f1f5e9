"""What the parts of a policy may know before a run."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Machine
from sim.costs.cards import CardSplit, cost_model
from sim.costs.cost_model import CostModel
from sim.costs.host_room import DiskReads
from sim.costs.slices import SplitMode, slice_of
from sim.model.model import Model
from sim.policies.overlap import Overlap
from sim.workload.batch import Batch, Feeding


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """What the parts may know before a run. ``popularity`` is [layer, expert], zero in dense
    layers.

    ``split`` says how the model lies over several cards (None: one card has all). If whole layers
    lie on the cards, one card works at a time. Then the cards share the lanes of one GPU, and
    ``machine`` is the first card's. If every card holds slices, all do the same, and they share
    these lanes too.

    ``slots_per_layer`` imposes the number of experts that the GPU holds of each MoE layer (None:
    the placement decides). ``expert_cache_bytes`` is the most that experts may take on all GPUs
    together (None: as much as there is room for). ``keeps_host_copies``: host memory holds every
    expert, those on a GPU too. ``disk_reads`` says what becomes of experts read from the disk,
    where host memory has no room for all. ``common_costs`` are prices that several problems share;
    they are used if they are of this machine and model.
    """

    machine: Machine
    model: Model
    batch: Batch
    feeding: Feeding
    popularity: NDArray[np.float64]
    overlap: Overlap
    slots_per_layer: int | None = None
    expert_cache_bytes: int | None = None
    keeps_host_copies: bool = False
    common_costs: CostModel | None = None
    split: CardSplit | None = None
    disk_reads: DiskReads = DiskReads.CACHED

    @cached_property
    def costs(self) -> CostModel:
        """The prices that are simulated on this machine, with the GPU's kernels run as ``overlap``
        says.
        """
        common = self.common_costs
        # A search may vary the machine: prices of another one are not shared.
        if common is None or common.machine is not self.machine or common.model is not self.model:
            common = cost_model(self.machine, self.model, self.split)
        return common.run_as(
            is_fused=self.overlap.groups_experts, captures_graphs=self.overlap.captures_graphs
        )

    @property
    def expert_costs(self) -> CostModel:
        """Prices of one routed expert: as one of its layer's call where experts are grouped, else
        by itself.
        """
        return self.costs.in_groups() if self.overlap.groups_experts else self.costs

    @property
    def layer_split(self) -> CardSplit | None:
        """The split if whole layers lie on the cards, else None."""
        return None if self.split is None or self.split.layers is None else self.split

    @property
    def num_gpus(self) -> int:
        """The number of GPUs with lanes of their own: those that experts are dealt out to, or 1."""
        return 1 if self.split is None else self.split.num_gpus

    @cached_property
    def gpu_model(self) -> Model:
        """The model as one card holds it: whole, unless cards hold slices."""
        split = self.split
        if split is None or not split.is_sliced:
            return self.model
        return slice_of(self.model, split.num_cards, split.mode)

    @cached_property
    def gpu_of_expert(self) -> NDArray[np.int64]:
        """The GPU of each expert [layer, expert], as lanes are numbered."""
        # Going on from layer to layer, so that no GPU has more of every layer than another.
        return np.arange(self.popularity.size).reshape(self.popularity.shape) % self.num_gpus

    @property
    def staged_fraction(self) -> float:
        """The share of a copied weight that goes through the buffers of one card."""
        split = self.split
        if split is None or not split.is_sliced or split.mode is not SplitMode.TENSOR:
            return 1.0
        return 1 / split.num_cards

    @property
    def num_cards(self) -> int:
        """The number of cards whose memory holds experts of their own; cards that hold slices count
        as one.
        """
        return 1 if self.split is None or self.split.is_sliced else self.split.num_cards

    @cached_property
    def card_of_expert(self) -> NDArray[np.int64]:
        """The card whose memory may hold each expert [layer, expert]."""
        if self.layer_split is None:
            return self.gpu_of_expert
        return np.broadcast_to(self.layer_split.card_of_layer[:, None], self.popularity.shape)

    @property
    def staging_bytes(self) -> int:
        """Bytes of GPU memory in the buffers that copies go through."""
        layers = (
            layer.dense_bytes + layer.num_experts * layer.expert_bytes
            for layer in self.gpu_model.layers
        )
        of_layers = int(
            self.overlap.staging_layers * max(layers) * self.overlap.staging_layer_share
        )
        return self.overlap.staging_experts * self.gpu_model.expert_bytes + of_layers
