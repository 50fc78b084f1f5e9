"""The storage of a checkpoint, which says how each of its tensors is packed."""

from collections.abc import Callable
from dataclasses import dataclass

from sim.model.importers.stored.packing import Packing
from sim.model.importers.weights import Weight
from sim.model.model import TensorClass

Chooser = Callable[[Weight, str], Packing | None]
"""Maps a weight and the full name of its module to its packing; None leaves it wide."""

IN_LAYERS = frozenset(
    {
        TensorClass.ATTENTION,
        TensorClass.DENSE_FFN,
        TensorClass.SHARED_EXPERT,
        TensorClass.EXPERT,
    }
)
"""Classes whose linear layers quantisers pack unless they are told otherwise.

Routers stay wide: published checkpoints leave them out, by name or because they are no linear
layers. Routers hold less than a thousandth of the weights.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The storage of a checkpoint. ``name`` is that of its quantisation.

    ``choose`` returns the packing of a tensor; a tensor that it does not pack has the packing
    ``wide``.
    """

    name: str
    wide: Packing
    choose: Chooser

    def packing(self, weight: Weight, module: str) -> Packing:
        """Return the packing of that weight of that module."""
        # Quantisers work on linear layers: norms, biases and loose parameters stay wide.
        chosen = self.choose(weight, module) if weight.is_linear else None
        return chosen or self.wide


def nothing_packed(weight: Weight, module: str) -> Packing | None:
    """Return None, so that every tensor stays wide."""
    return None
