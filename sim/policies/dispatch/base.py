"""The dispatch: where a missing expert runs, and where a layer runs that is not resident."""

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
    """Where the prices come from that the rule weighs; by default they are the machine's own."""

    foretells: bool = False
    """Whether a run asks ``foretell`` before each pass. Such a policy is lossy."""

    foretells_in_parts: bool = False
    """Whether ``foretell`` says the same of a pass when ``foresight`` is of a part of the run,
    which ``foresight.part_of`` places. If not, a long run is kept whole.
    """

    def foretell(
        self,
        foresight: Foresight,
        index: int,
        held: NDArray[np.bool_],
        can_precede: NDArray[np.bool_],
    ) -> Foretold | None:
        """Return what pass ``index`` runs by prediction; None: it follows its gates.

        ``held`` [layer, expert] are the experts that the GPU holds before the pass. Only layers
        marked in ``can_precede`` [layer] may be predicted. Every expert that such a pass does not
        find on the GPU goes to the CPU.
        """
        return None

    @property
    @abstractmethod
    def rule(self) -> Rule:
        """The compiled rule that decides over misses."""

    @property
    def spills_residents(self) -> bool:
        """Whether the CPU may run experts that the GPU holds."""
        return False

    def layer_modes(self, residency: Residency, num_tokens: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Return a LayerMode for each layer of each pass [pass, layer], given the tokens of each
        pass. By default a layer that is not resident runs on the CPU.
        """
        modes = np.where(residency.dense, LayerMode.GPU, LayerMode.CPU).astype(np.uint8)
        return np.broadcast_to(modes, (len(num_tokens), len(modes)))

    def head_modes(self, residency: Residency, num_tokens: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Return a LayerMode for the vocabulary projection of each pass [pass]; by default it runs
        where it lies.
        """
        return np.full(
            len(num_tokens), LayerMode.GPU if residency.has_head else LayerMode.CPU, np.uint8
        )
