"""A policy of your own: a prefetch that fetches the next layer's most popular experts ahead."""

from dataclasses import dataclass, replace

import numpy as np

import rosin
from sim.policies import Foresight, Predictions, Prefetch, find_policy
from sim.policies.foresight import CANDIDATE


@dataclass(frozen=True, slots=True, kw_only=True)
class PopularPrefetch(Prefetch):
    """Fetch the ``count`` most popular experts of the next layer at every gate."""

    count: int = 2

    def predict(self, foresight: Foresight) -> Predictions:
        """Name the most popular experts of the next layer, at every gate but the last of a pass."""
        num_passes, num_layers, _ = foresight.tokens.shape
        layers = np.array(foresight.problem.model.moe_layers)
        best = np.argsort(-foresight.problem.popularity[layers[1:]], axis=1)[:, : self.count]
        asked = np.zeros((num_passes, num_layers), int)
        asked[:, layers[:-1]] = best.shape[1]
        candidates = np.zeros(asked.sum(), CANDIDATE)
        candidates["layer"] = np.tile(np.repeat(layers[1:], best.shape[1]), num_passes)
        candidates["expert"] = np.tile(best.ravel(), num_passes)
        candidates["priority"] = np.tile(np.arange(best.shape[1]), num_passes * len(best))
        return Predictions(first=np.append(0, np.cumsum(asked)), candidates=candidates)


popular = replace(find_policy("lru"), name="popular", prefetch=PopularPrefetch())
found = rosin.compare(
    "mixtral-8x7b",
    "desktop-rtx-4090-ddr5",
    ["lru", popular],
    prompt_tokens=32,
    output_tokens=8,
)
print(found.to_frame()[["policy", "output_tokens_per_s", "wasted_prefetch_bytes"]].to_string())
