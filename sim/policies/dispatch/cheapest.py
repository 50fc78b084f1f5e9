"""Whichever of the CPU and a copy is believed cheaper: Fiddler's algorithm 1 (arXiv 2402.07033)."""

from dataclasses import dataclass

from sim.policies.belief import Source
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class CheapestDispatch(Dispatch):
    """A missing expert is fetched if its tokens are believed to take longer on the CPU than copy
    and GPU together.

    ``believed_cost`` is ``measured`` (the paper), ``code`` (the released constants: the CPU up to 9
    tokens; a tie is fetched there, as its enumeration finds that assignment first, and stays with
    the CPU in the paper's rule), ``cpp`` (the example constants of its branch cppExpert: up to 5
    tokens) or ``priced`` (the machine's own prices).
    """

    believed_cost: Source = "measured"

    @property
    def rule(self) -> Rule:
        """The rule; the released constants decide ties the other way."""
        # Its enumeration finds the assignment that fetches first, and keeps it unless another is cheaper.
        return Rule.CHEAPEST_OR_TIE if self.believed_cost == "code" else Rule.CHEAPEST
