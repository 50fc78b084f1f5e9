"""The split of misses over CPU and link that is believed to end first when both work at once."""

from dataclasses import dataclass

from sim.policies.belief import Source
from sim.policies.dispatch.base import Dispatch
from sim.policies.dispatch.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancedDispatch(Dispatch):
    """Minimises max(sum on the CPU, sum of copies and GPU work), the aim stated in Fiddler's
    released code.

    The m missing experts of fewest tokens go to the CPU, and m grows as long as the end comes
    earlier. That is optimal where every expert takes as long over the link and the GPU, since the
    CPU's cost grows with tokens. Ties: the smaller m; of experts of as many tokens, the one of the
    longer copy goes to the CPU first, then the lower expert.
    """

    believed_cost: Source = "priced"

    rule = Rule.BALANCED
