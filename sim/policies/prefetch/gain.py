"""The experts of the next layers whose being there saves most, as HybriMoE prefetches (arXiv 2504.05897)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.policies.base import Foresight, Predictions, Prefetch
from sim.policies.dispatch.belief import belief
from sim.policies.prefetch.naming import PRIORITY_SCALE, asking_layer, gathered, named


@dataclass(frozen=True, slots=True, kw_only=True)
class GainPrefetch(Prefetch):
    """At every gate, the predicted experts of the next ``distance`` layers, by what holding each is believed to save.

    The saving is the cheaper of the CPU and a fetch, less the run on the GPU, for the tokens expected; it counts for accuracy to the power
    of the distance, the probability of being right. HybriMoE simulates the layer with and without the expert instead. 0.87: AdapMoE's
    mean for Mixtral (arXiv 2408.10284).
    """

    accuracy: float = 0.87
    distance: int = 3
    num_chunks: int = 1
    drops_stale: bool = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.accuracy <= 1.0:
            raise InputError(f"accuracy must be between 0 and 1, got {self.accuracy}")
        if self.distance < 1:
            raise InputError(f"distance must be at least 1, got {self.distance}")

    def predict(self, foresight: Foresight) -> Predictions:
        """See Prefetch."""
        num_passes, num_layers, _ = foresight.tokens.shape
        generator, rows = np.random.default_rng(foresight.seed + 1), []
        saved = _saved_ns(foresight)
        most = max(1.0, float(saved.max()))
        for step in range(1, min(self.distance, num_layers - 1) + 1):
            names, load = named(foresight, np.full(num_layers, self.accuracy**step), step, generator)
            gain = saved[names[:, 1], load] * self.accuracy**step / most
            asking = asking_layer(foresight, names[:, 1], step)
            priority = np.rint((1.0 - gain) * PRIORITY_SCALE).astype(np.int64)
            gate = names[:, 0] * num_layers + asking
            rows.append(np.stack([gate, priority, names[:, 1], names[:, 2]], axis=1)[(gain > 0) & (asking >= 0)])
        return gathered(rows, (num_passes, num_layers))


def _saved_ns(foresight: Foresight) -> NDArray[np.float64]:
    """What holding an expert saves [layer, tokens]."""
    problem, most = foresight.problem, int(foresight.tokens.max(initial=0))
    saved = np.zeros((problem.model.num_layers, most + 1))
    for layer in problem.model.moe_layers:
        believed = belief("priced", layer, most, problem)
        saved[layer] = np.minimum(believed.on_cpu, believed.copies + believed.on_gpu) - believed.on_gpu
    return np.maximum(saved, 0.0)
