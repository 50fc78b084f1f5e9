"""Routing from stated statistics: what all such routings have in common."""

from dataclasses import dataclass

from hwprofiles import Provenance
from sim.routing.base import Routing

Accuracy = tuple[tuple[int, tuple[float | None, ...]], ...]
"""Pairs of a distance in layers and the accuracy of predictions so far ahead, by MoE layer.

None: not predicted.
"""


# Not compared field by field: what a subclass states may be arrays; those that can be compared say
# so themselves.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StatedRouting(Routing):
    """A routing from stated statistics.

    ``label`` says what the statistics are of; ``accuracy`` says how well choices are predicted.
    """

    label: str
    stated_provenance: Provenance
    accuracy: Accuracy = ()

    def prediction_accuracy(self, layer: int, distance: int) -> float | None:
        """The stated accuracy; None where none is stated."""
        by_layer = dict(self.accuracy).get(distance, ())
        return by_layer[layer] if 0 <= layer < len(by_layer) else None

    @property
    def provenance(self) -> Provenance:
        """The stated provenance of the statistics."""
        return self.stated_provenance

    @property
    def description(self) -> str:
        """The label of the statistics."""
        return self.label
