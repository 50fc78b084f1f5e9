"""HybriMoE's score: a smoothed gate."""

from dataclasses import dataclass

from hwprofiles.ranges import check_at_least, check_shares
from sim.policies.cache.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothedGateCache(Cache):
    """Evicts the expert of the smallest S. Each gate sets S to alpha · TopP(s) + (1 - alpha) · S
    (HybriMoE, arXiv 2504.05897).

    s is the gate's distribution. TopP keeps its ``kept_per_choice`` · top-k largest shares (the
    paper's p = 2K). Where the routing gives no gate weights, s is the shares of the choices. The
    paper states no alpha; the released code has 0.5. In that code every fetched expert is kept in
    place of another. ``is_selective``: a fetched expert is kept only if its S is above the smallest
    S held.
    """

    alpha: float = 0.5
    kept_per_choice: int = 2
    is_selective: bool = False

    def __post_init__(self) -> None:
        check_shares(self, "alpha")
        check_at_least(self, kept_per_choice=1)

    @property
    def score(self) -> Score:
        """SMOOTHED_GATE, or with ``is_selective`` SELECTIVE_GATE."""
        return Score.SELECTIVE_GATE if self.is_selective else Score.SMOOTHED_GATE
