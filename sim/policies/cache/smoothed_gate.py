"""HybriMoE's score: a smoothed gate."""

from dataclasses import dataclass

from hwprofiles.ranges import check_at_least, check_shares
from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothedGateCache(Cache):
    """The least S leaves, where each gate sets S to alpha · TopP(s) + (1 - alpha) · S (HybriMoE,
    arXiv 2504.05897).

    s is the gate's distribution; TopP keeps its largest ``kept_per_choice`` · top-k shares
    (the paper's p = 2K). Where the routing gives no gate weights, s is the shares of the choices.
    The paper states no alpha; the released code has 0.5. There whatever is fetched is kept in place
    of another; ``is_selective``: only if its S is not the least of all.
    """

    alpha: float = 0.5
    kept_per_choice: int = 2
    is_selective: bool = False

    def __post_init__(self) -> None:
        check_shares(self, "alpha")
        check_at_least(self, kept_per_choice=1)

    @property
    def score(self) -> Score:
        """The smoothed gate, with or without the choice not to keep what was fetched."""
        return Score.SELECTIVE_GATE if self.is_selective else Score.SMOOTHED_GATE
