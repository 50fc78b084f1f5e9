"""Generated routing: draws from a popularity, with some of the previous token's choices kept."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, Kind, Provenance
from sim.model.model import Model
from sim.routing.stated import StatedRouting
from sim.routing.successive import choose

UNIFORM = Provenance(
    kind=Kind.ASSUMED,
    source="no statistics given: every expert equally likely, tokens independent",
    date="2026-11",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedRouting(StatedRouting):
    """A routing whose choices are kept from the token before, or drawn afresh.

    With probability ``kept``, a choice is the choice of the same rank of the token before. Fresh
    draws are without replacement, in proportion to the popularity (successive sampling).
    ``weights`` is [MoE layer, expert] on any positive scale; None stands for uniform. ``kept`` is
    (layer position, fraction) points with straight lines in between. A position is 0 at the first
    MoE layer and 1 at the last; a single point holds for all layers.
    """

    weights: tuple[tuple[float, ...], ...] | None = None
    kept: tuple[tuple[float, float], ...] = ((0.0, 0.0),)

    def popularity(self, model: Model) -> NDArray[np.float64]:
        """Return each expert's share of its layer's weights [MoE layer, expert].

        It is the probability of a token's first fresh draw. Raises InputError when the weights are
        of another shape than the model.
        """
        shape = (len(model.moe_layers), model.num_experts)
        if self.weights is None:
            return np.full(shape, 1.0 / model.num_experts)
        weights = np.array(self.weights, np.float64)
        if weights.shape != shape:
            found = f"{weights.shape[0]} layers x {weights.shape[1]} experts"
            raise InputError(
                f"{self.label}: counts are {found}, {model.name} has {shape[0]} x {shape[1]}"
            )
        shares: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
        return shares

    def experts(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.int16]:
        """Expert ids [sequence, token, MoE layer, rank], drawn sequence by sequence."""
        generator = np.random.default_rng(seed)
        popularity = self.popularity(model)
        shape = (num_sequences, num_tokens, len(model.moe_layers), model.top_k)
        chosen = np.empty(shape, np.int16)
        kept = self._kept_by_layer(len(model.moe_layers))
        draws = np.empty(shape[1:], np.float32)
        # Nothing is drawn for what is never kept: it would shift all later numbers of the
        # generator.
        keeps = np.empty_like(draws) if kept.any() else draws[:, :, :0]
        # Sequence by sequence: random numbers of all at once would take as much memory as the
        # choices.
        for sequence in range(num_sequences):
            generator.random(out=draws, dtype=np.float32)
            if keeps.size:
                generator.random(out=keeps, dtype=np.float32)
            choose(popularity, kept, draws, keeps, chosen[sequence])
        return chosen

    @property
    def treats_experts_alike(self) -> bool:
        """Whether every expert of a layer is equally likely; kept choices do not change that."""
        return self.weights is None or all(len(set(row)) == 1 for row in self.weights)

    def _kept_by_layer(self, num_layers: int) -> NDArray[np.float64]:
        positions, fractions = np.array(self.kept).T
        return np.asarray(np.interp(np.linspace(0, 1, num_layers), positions, fractions))


def draw(
    popularity: NDArray[np.float64], num_tokens: int, top_k: int, generator: np.random.Generator
) -> NDArray[np.int16]:
    """Return choices [token, layer, rank] of independent tokens.

    ``popularity`` is [layer, expert], its rows sum to 1. All layers use the same random numbers, so
    equal rows give equal choices.
    """
    shape = (num_tokens, popularity.shape[0], top_k)
    chosen = np.empty(shape, np.int16)
    draws = np.repeat(
        generator.random((num_tokens, 1, top_k), dtype=np.float32), popularity.shape[0], axis=1
    )
    choose(popularity, np.zeros(popularity.shape[0]), draws, draws[:, :, :0], chosen)
    return chosen


def uniform() -> GeneratedRouting:
    """Return the routing in which every expert is equally likely and tokens are independent."""
    return GeneratedRouting(label="uniform", stated_provenance=UNIFORM)
