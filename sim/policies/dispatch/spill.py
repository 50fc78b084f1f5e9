"""Experts split over GPU, link and CPU, residents too: an idle CPU computes some that the GPU
holds.
"""

from dataclasses import dataclass

from sim.policies.belief import Source
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class SpillDispatch(Dispatch):
    """Splits experts as ThreeLanesDispatch does. Where the GPU would end last, residents go to the
    idle CPU too: host memory has their weights as well.

    The CPU takes the misses and the residents of fewest tokens, so many of each that the layer ends
    first. The end counts shared experts, copies through the buffers, and activations to the CPU and
    back. The rule finds the best of all splits into such groups, as one GPU without interference
    and with residents that stay would run them. A resident that spills keeps its place and counts
    as a hit.

    Without ``takes_residents``, residents stay on the GPU. They also stay if stated host memory
    does not hold the whole model, or if a cache moves experts rather than copies them. Then only
    misses are split, counted as exactly.
    """

    believed_cost: Source = "priced"
    takes_residents: bool = True

    rule = Rule.SPILL

    @property
    def spills_residents(self) -> bool:
        """Whether residents may go to the CPU: as ``takes_residents`` says."""
        return self.takes_residents
