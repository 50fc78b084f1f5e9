"""The dispatch: where a missing expert is computed, and a layer that is not resident."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from sim.costs.memory import Residency
from sim.policies.actions import LayerMode
from sim.policies.belief import Source
from sim.policies.dispatch.rule import Rule
from sim.policies.foresight import Foresight, Foretold


class Dispatch(ABC):
    """Decides what happens to a missing expert, and where a layer that is not resident runs."""

    believed_cost: Source = "priced"
    """Whose prices the rule weighs; by default those of the machine."""

    foretells: bool = False
    """Whether ``foretell`` is asked; such a policy is lossy."""

    foretells_in_parts: bool = False
    """Whether what it says of a pass is the same where ``foresight`` is of a part of the run, whose
    ``part_of`` says where it stands; else a long run is kept whole.
    """

    def foretell(
        self,
        foresight: Foresight,
        index: int,
        held: NDArray[np.bool_],
        can_precede: NDArray[np.bool_],
    ) -> Foretold | None:
        """What pass ``index`` runs by prediction, given what the GPU holds [layer, expert] before
        it; None: it follows its gates.

        Only layers of ``can_precede`` [layer] may be predicted. Every expert that such a pass does
        not find on the GPU goes to the CPU.
        """
        return None

    @property
    @abstractmethod
    def rule(self) -> Rule:
        """Which compiled rule decides over misses."""

    @property
    def spills_residents(self) -> bool:
        """Whether the CPU may run experts that the GPU holds."""
        return False

    def layer_modes(self, residency: Residency, num_tokens: NDArray[np.int32]) -> NDArray[np.uint8]:
        """A LayerMode [pass, layer], given the tokens of each pass; by default a layer that is not
        resident runs on the CPU.
        """
        modes = np.where(residency.dense, LayerMode.GPU, LayerMode.CPU).astype(np.uint8)
        return np.broadcast_to(modes, (len(num_tokens), len(modes)))

    def head_modes(self, residency: Residency, num_tokens: NDArray[np.int32]) -> NDArray[np.uint8]:
        """A LayerMode [pass] for the vocabulary projection; by default it runs where it lies."""
        return np.full(
            len(num_tokens), LayerMode.GPU if residency.has_head else LayerMode.CPU, np.uint8
        )
