"""Experts split over GPU, link and CPU, residents too: an idle CPU takes some of what the GPU
holds.
"""

from dataclasses import dataclass

from sim.policies.belief import Source
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class SpillDispatch(Dispatch):
    """As ThreeLanesDispatch, but where the GPU would end last, resident experts spill to the idle
    CPU too, which has their weights as well.

    The CPU takes the misses and the residents of fewest tokens, so many of each that the layer ends
    first, counting shared experts, copies through the buffers, and activations to the CPU and back.
    Of all splits into such groups it finds the best, as one GPU without interference and with
    residents that stay would run it. A resident that spills keeps its place and counts as a hit.
    Residents stay on the GPU where stated host memory does not hold the whole model, or where a
    cache moves experts rather than copies them, and without ``takes_residents``: then only misses
    are split, counted as exactly.
    """

    believed_cost: Source = "priced"
    takes_residents: bool = True

    rule = Rule.SPILL

    @property
    def spills_residents(self) -> bool:
        """Whether residents may go to the CPU, as the part says."""
        return self.takes_residents
