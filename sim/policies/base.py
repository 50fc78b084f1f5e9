"""The five parts a policy is made of, and what they are told.

A part is configuration: frozen, its parameters are its fields. A run calls, in this order: ``placement.place`` once;
``cache.start`` once; then for every layer of every forward pass, when its gate is known, ``classify`` of the cache, ``assign`` of the
dispatch for the misses, ``admit`` of the cache for what is fetched. ``overlap`` says what may run at once.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Machine
from sim.costs import CostModel
from sim.memory import Infeasible, Residency
from sim.model import Model
from sim.workload import Batch, Feeding


class Action(IntEnum):
    """What happens to an expert in one layer of one pass. The numbers are shared with compiled code."""

    IDLE = 0
    RESIDENT = 1
    CPU = 2
    FETCH = 3
    SWAP = 4
    LATE = 5
    """On its way by a prefetch that has not ended when the gate asks for it: the run waits for the rest of the copy."""


class LayerMode(IntEnum):
    """Where a layer's dense part runs: from GPU memory, on the CPU, or on the GPU after the whole layer was copied there."""

    GPU = 0
    CPU = 1
    STREAM = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """What the parts may know before a run. ``popularity`` is [layer, expert], zero in dense layers."""

    machine: Machine
    model: Model
    batch: Batch
    feeding: Feeding
    popularity: NDArray[np.float64]
    overlap: "Overlap"
    slots_per_layer: int | None = None

    @property
    def costs(self) -> CostModel:
        """True prices on this machine."""
        return CostModel(machine=self.machine, model=self.model)

    @property
    def staging_bytes(self) -> int:
        """GPU memory that copies go through."""
        layers = (layer.dense_bytes + layer.num_experts * layer.expert_bytes for layer in self.model.layers)
        return self.overlap.staging_experts * self.model.expert_bytes + self.overlap.staging_layers * max(layers)


class Placement(ABC):
    """Decides what the GPU holds at time 0."""

    @abstractmethod
    def place(self, problem: Problem) -> Residency | Infeasible:
        """The residency, within GPU memory as the part accounts for it; Infeasible, with the bytes missing, when there is none."""


class CacheState(ABC):
    """A cache during one run; the only part that changes."""

    @abstractmethod
    def classify(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of a layer's selected experts are resident; all are decided together, before any of them is admitted."""

    @abstractmethod
    def admit(self, layer: int, experts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take in fetched experts, in order; returns the experts that left."""


class Cache(ABC):
    """Decides what stays and what is evicted."""

    is_static: bool
    writes_back: bool

    @abstractmethod
    def start(self, residency: Residency) -> CacheState:
        """The cache at time 0."""


class Prefetch(ABC):
    """Decides what is fetched ahead of its gate."""

    is_active: bool


class Dispatch(ABC):
    """Decides what happens to a missing expert, and where a layer that is not resident runs."""

    @abstractmethod
    def assign(self, layer: int, tokens: NDArray[np.int32], is_miss: NDArray[np.bool_], problem: Problem) -> NDArray[np.uint8]:
        """An Action per expert [..., expert], CPU or FETCH where ``is_miss``; elsewhere anything. Leading axes are independent cases."""

    def layer_modes(self, residency: Residency, num_tokens: NDArray[np.int32]) -> NDArray[np.uint8]:
        """A LayerMode [pass, layer], given the tokens of each pass; by default a layer that is not resident runs on the CPU."""
        modes = np.where(residency.dense, LayerMode.GPU, LayerMode.CPU).astype(np.uint8)
        return np.broadcast_to(modes, (len(num_tokens), len(modes)))

    def head_modes(self, residency: Residency, num_tokens: NDArray[np.int32]) -> NDArray[np.uint8]:
        """A LayerMode [pass] for the vocabulary projection; by default it runs where it lies."""
        return np.full(len(num_tokens), LayerMode.GPU if residency.has_head else LayerMode.CPU, np.uint8)


class Overlap(ABC):
    """Decides what may run at once. ``staging_experts`` buffers receive copies; ``staging_layers`` those of whole layers."""

    staging_experts: int
    staging_layers: int
    is_pinned: bool

    @abstractmethod
    def is_serial(self, is_prefill: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Per pass, whether one thing runs at a time."""
