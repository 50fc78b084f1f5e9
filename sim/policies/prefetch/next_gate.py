"""The experts that a coming layer is predicted to select, with a stated accuracy."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from hwprofiles.ranges import check_at_least, check_shares
from sim.policies.foresight import Foresight, Predictions
from sim.policies.prefetch.base import Prefetch
from sim.policies.prefetch.naming import asking_layer, by_load, expected_tokens, gathered, named

AccuracySource = Literal["stated", "mixtral", "routing"]

MIXTRAL_NEXT_GATE_ACCURACY = (
    *(0.57, 0.72, 0.79, 0.87, 0.86, 0.83, 0.84, 0.85, 0.80, 0.90, 0.90),
    *(0.89, 0.91, 0.93, 0.88, 0.91, 0.94, 0.90, 0.88, 0.88, 0.89, 0.88),
    *(0.88, 0.89, 0.88, 0.92, 0.91, 0.89, 0.90, 0.90, 0.85),
)
"""The accuracy in layers 1 to 31 of Mixtral-8x7B, as AdapMoE reports it (arXiv 2408.10284)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextGatePrefetch(Prefetch):
    """Names, at every gate, the experts of the next ``distance`` layers, as their own gates would
    name them on this layer's hidden state.

    Each selected expert of a layer is named with a probability that ``accuracy_source`` gives.
    ``stated``: ``accuracy`` to the power of the distance (0.87: AdapMoE's mean for Mixtral at
    distance 1, arXiv 2408.10284). ``mixtral``: AdapMoE's figure for each layer, by depth, to the
    power of the distance. ``routing``: what the routing knows for layer and distance, else as
    ``stated``. For each expert missed, another is named, drawn in proportion to popularity. Nearer
    layers go first, then heavier experts.

    ``is_copy_awaited``: the next layer begins when all that is fetched ahead has arrived.
    ``copies_in_turn``: prefetches come one by one over all links. ``by_token``: a prompt's tokens
    are predicted one by one, and the experts that any of them is predicted to select are fetched.
    ``names_top_k``: in a prompt too, no more than top_k experts of a layer are named.
    """

    accuracy: float = 0.87
    accuracy_source: AccuracySource = "stated"
    distance: int = 1
    num_chunks: int = 1
    drops_stale: bool = True
    is_copy_awaited: bool = False
    copies_in_turn: bool = False
    by_token: bool = False
    names_top_k: bool = False

    def __post_init__(self) -> None:
        check_shares(self, "accuracy")
        check_at_least(self, distance=1, num_chunks=1)
        if self.by_token and self.names_top_k:
            raise InputError(
                "by_token and names_top_k are two ways of reading a prompt: choose one"
            )

    is_of_draw = True
    comes_in_parts = True

    def predict(self, foresight: Foresight) -> Predictions:
        """Name at every gate the experts that the next layers are predicted to select, each
        distance by itself.
        """
        shape = foresight.tokens.shape
        generator = np.random.default_rng(foresight.seed + 1)
        manner = {"by_token": self.by_token, "names_top_k": self.names_top_k}
        accuracy = [
            self.accuracy_at(foresight, step)
            for step in range(1, min(self.distance, shape[1] - 1) + 1)
        ]
        rows = []
        for step, expected in enumerate(
            expected_tokens(foresight, accuracy, generator, **manner), start=1
        ):
            names, load = named(expected)
            asking = asking_layer(foresight, names[:, 1], step)
            gate = names[:, 0] * shape[1] + asking
            # A layer that no gate precedes by that distance is named by none.
            rows.append(
                np.stack(
                    [gate, by_load(foresight, step, load, names[:, 2]), names[:, 1], names[:, 2]],
                    axis=1,
                )[asking >= 0]
            )
        return gathered(rows, shape)

    def accuracy_at(self, foresight: Foresight, step: int) -> NDArray[np.float64]:
        """Return the probability [layer] that a selected expert is named ``step`` layers before its
        gate.
        """
        model = foresight.problem.model
        if self.accuracy_source == "mixtral":
            return np.asarray(mixtral_accuracy(model.num_layers) ** step)
        found = np.full(model.num_layers, self.accuracy**step)
        if self.accuracy_source == "routing":
            for place, layer in enumerate(model.moe_layers):
                known = foresight.routing.prediction_accuracy(place, step)
                found[layer] = found[layer] if known is None else known
        return found


def mixtral_accuracy(num_layers: int) -> NDArray[np.float64]:
    """Return AdapMoE's accuracies [layer] for a model of ``num_layers`` layers, by depth. The first
    layer, which no gate precedes, has the first of these figures.
    """
    published = np.array(MIXTRAL_NEXT_GATE_ACCURACY)
    return np.asarray(
        np.interp(np.linspace(0, 1, num_layers), np.linspace(1 / 31, 1, len(published)), published)
    )
