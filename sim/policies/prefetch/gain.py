"""The experts of the next layers whose presence would end those layers sooner, as HybriMoE
prefetches (arXiv 2504.05897).
"""

from dataclasses import dataclass

import numpy as np

from hwprofiles.ranges import check_at_least, check_shares
from sim.policies.foresight import CANDIDATE, Foresight, Predictions
from sim.policies.prefetch.base import Prefetch
from sim.policies.prefetch.naming import expected_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class GainPrefetch(Prefetch):
    """Names, at every gate, the experts of the next ``distance`` layers that a simulation says are
    worth fetching, the most gainful first.

    Each of these layers is simulated as the dispatch would run it, on the experts and tokens
    predicted for it, with and without the expert. (See ``sim/step/lowering/live_gain.py``.) An
    expert that gains nothing is not fetched: the CPU or a copy on demand is as quick. A gain counts
    for accuracy to the power of the distance, the probability that the prediction is right. The
    accuracy of 0.87 is AdapMoE's mean for Mixtral (arXiv 2408.10284).
    """

    accuracy: float = 0.87
    distance: int = 3
    num_chunks: int = 1
    drops_stale: bool = True

    def __post_init__(self) -> None:
        check_shares(self, "accuracy")
        check_at_least(self, distance=1, num_chunks=1)

    is_of_draw = True
    comes_in_parts = True

    def predict(self, foresight: Foresight) -> Predictions:
        """Return the tokens that the next layers are expected to get. No candidates are named: each
        gate weighs by itself.
        """
        num_passes, num_layers, _ = foresight.tokens.shape
        generator = np.random.default_rng(foresight.seed + 1)
        steps = range(1, min(self.distance, num_layers - 1) + 1)
        accuracy = [np.full(num_layers, self.accuracy**step) for step in steps]
        return Predictions(
            first=np.zeros(num_passes * num_layers + 1, np.int64),
            candidates=np.empty(0, CANDIDATE),
            # What is fetched is settled at each gate, which knows what the link has to do: here is only
            # what it may expect.
            expected=expected_tokens(foresight, accuracy, generator, by_token=True),
            chances=self.accuracy ** np.arange(1.0, len(steps) + 1.0),
        )
