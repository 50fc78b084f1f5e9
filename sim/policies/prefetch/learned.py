"""A predictor for each layer that looks a stride of layers ahead, as ProMoE has it (arXiv
2410.22134).
"""

from dataclasses import dataclass

import numpy as np

from hwprofiles import InputError
from hwprofiles.ranges import check_at_least, check_shares
from sim.policies.foresight import Foresight, Predictions
from sim.policies.prefetch.base import Prefetch
from sim.policies.prefetch.naming import asking_layer, by_load, expected_tokens, gathered, named


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedPrefetch(Prefetch):
    """Names, at every gate, the experts of the layer ``stride`` further on, heaviest first. The
    first gate of a pass also names those of the layers in between.

    A selected expert is named with probability ``accuracy`` (0.847: ProMoE's mean of its learned
    predictors), whatever the stride. For each one missed, another is named, drawn in proportion to
    popularity. A copy goes in ``num_chunks`` pieces; between two of them a copy on demand goes
    first. The stride that the paper uses is not known here: 2 is assumed.

    ``by_token``: a prompt's tokens are predicted one by one, and the experts that any of them is
    predicted to select are fetched. ``names_top_k``: in a prompt too, no more than top_k experts of
    a layer are named.
    """

    accuracy: float = 0.847
    stride: int = 2
    num_chunks: int = 3
    drops_stale: bool = True
    by_token: bool = False
    names_top_k: bool = False

    def __post_init__(self) -> None:
        check_shares(self, "accuracy")
        check_at_least(self, stride=1, num_chunks=1)
        if self.by_token and self.names_top_k:
            raise InputError(
                "by_token and names_top_k are two ways of reading a prompt: choose one"
            )

    is_of_draw = True
    comes_in_parts = True

    def predict(self, foresight: Foresight) -> Predictions:
        """Name at every gate what its predictor says of the layer a stride further on."""
        num_passes, num_layers, _ = foresight.tokens.shape
        first = foresight.problem.model.moe_layers[0]
        accuracy = np.full(num_layers, self.accuracy)
        generator = np.random.default_rng(foresight.seed + 1)
        manner = {"by_token": self.by_token, "names_top_k": self.names_top_k}
        names, load = named(expected_tokens(foresight, [accuracy], generator, **manner)[0])
        # The first gate of a pass names what no gate could name a stride before.
        asked = np.maximum(asking_layer(foresight, names[:, 1], self.stride), first)
        is_ahead = asked < names[:, 1]
        priority = by_load(foresight, names[:, 1] - asked, load, names[:, 2])
        rows = np.stack(
            [names[:, 0] * num_layers + asked, priority, names[:, 1], names[:, 2]], axis=1
        )
        return gathered([rows[is_ahead]], (num_passes, num_layers))
