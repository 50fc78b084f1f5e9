"""Each miss on the side that is believed cheaper, the CPU or a copy: Fiddler's algorithm 1 (arXiv
2402.07033).
"""

from dataclasses import dataclass

from sim.policies.belief import Source
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class CheapestDispatch(Dispatch):
    """Fetches a missing expert if its tokens are believed to take longer on the CPU than its copy
    and its run on the GPU together.

    ``believed_cost``: ``measured`` (the paper), or ``priced`` (the machine's own prices). ``code``:
    the released constants, by which up to 9 tokens stay on the CPU. ``cpp``: the example constants
    of Fiddler's branch cppExpert, by which up to 5 do. On a tie the expert stays on the CPU, as in
    the paper's rule. With ``code`` it is fetched: the released code's enumeration finds that
    assignment first.
    """

    believed_cost: Source = "measured"

    @property
    def rule(self) -> Rule:
        """The rule of the cheaper side; with the released constants, a tie is fetched."""
        # Its enumeration finds the assignment that fetches first, and keeps it unless another is cheaper.
        return Rule.CHEAPEST_OR_TIE if self.believed_cost == "code" else Rule.CHEAPEST
