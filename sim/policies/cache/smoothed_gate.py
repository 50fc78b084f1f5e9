"""HybriMoE's score: a smoothed gate."""

from dataclasses import dataclass

from sim.policies.base import Cache
from sim.policies.cache.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothedGateCache(Cache):
    """The least S leaves, where each gate sets S to alpha · TopP(s) + (1 - alpha) · S (HybriMoE, arXiv 2504.05897).

    s is the gate's distribution, of which TopP keeps the largest ``kept_per_choice`` · top-k shares (the paper's p = 2K). Where the
    routing gives no gate weights, s is the shares of the choices. The paper's alpha is not known here: 0.3 is assumed.
    """

    alpha: float = 0.3
    kept_per_choice: int = 2

    @property
    def score(self) -> Score:
        """See Cache."""
        return Score.SMOOTHED_GATE

    @property
    def smoothing(self) -> tuple[float, int]:
        """See Cache."""
        return self.alpha, self.kept_per_choice
