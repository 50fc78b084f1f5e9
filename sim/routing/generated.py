"""Generated routing: draws from a popularity, with some of the previous token's choices kept."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, Kind, Provenance
from sim.engine.compilation import allocating_kernel, inner
from sim.model import Model
from sim.routing.base import Accuracy, Routing, stated_accuracy

Floats = NDArray[np.float64]
UNIFORM = Provenance(kind=Kind.ASSUMED, source="no statistics given: every expert equally likely, tokens independent", date="2026-11")
ROUNDING = 2.0**-50
"""More than a sum of numbers up to 1 may be off by rounding, for each of them: half of 2⁻⁵² a term, in two sums that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedRouting(Routing):
    """Each of a token's choices is, with probability ``kept``, the previous token's of the same rank; else a fresh draw.

    Fresh draws are without replacement, in proportion to the popularity (successive sampling). ``weights`` is
    [MoE layer, expert], any positive scale; None stands for uniform. ``kept`` is one fraction for all layers, or
    (layer position from 0 first to 1 last, fraction) points, straight between them.
    """

    label: str
    stated_provenance: Provenance
    weights: tuple[tuple[float, ...], ...] | None = None
    kept: tuple[tuple[float, float], ...] = ((0.0, 0.0),)
    accuracy: Accuracy = ()

    def popularity(self, model: Model) -> NDArray[np.float64]:
        """See Routing. Raises InputError when the weights are of another shape than the model."""
        shape = (len(model.moe_layers), model.num_experts)
        if self.weights is None:
            return np.full(shape, 1.0 / model.num_experts)
        weights = np.array(self.weights, np.float64)
        if weights.shape != shape:
            found = f"{weights.shape[0]} layers x {weights.shape[1]} experts"
            raise InputError(f"{self.label}: counts are {found}, {model.name} has {shape[0]} x {shape[1]}")
        shares: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
        return shares

    def experts(self, model: Model, num_sequences: int, num_tokens: int, seed: int) -> NDArray[np.int16]:
        """See Routing."""
        generator = np.random.default_rng(seed)
        popularity = self.popularity(model)
        shape = (num_sequences, num_tokens, len(model.moe_layers), model.top_k)
        chosen = np.empty(shape, np.int16)
        kept = self._kept_by_layer(len(model.moe_layers))
        for sequence in range(num_sequences):
            draws = generator.random(shape[1:], dtype=np.float32)
            keeps = generator.random(shape[1:], dtype=np.float32) if kept.any() else draws[:, :, :0]
            _choose(popularity, kept, draws, keeps, chosen[sequence])
        return chosen

    def prediction_accuracy(self, layer: int, distance: int) -> float | None:
        """See Routing."""
        return stated_accuracy(self.accuracy, layer, distance)

    @property
    def treats_experts_alike(self) -> bool:
        """See Routing: whatever is kept of the token before, where every expert is equally likely."""
        return self.weights is None or all(len(set(row)) == 1 for row in self.weights)

    def _kept_by_layer(self, num_layers: int) -> NDArray[np.float64]:
        positions, fractions = np.array(self.kept).T
        return np.asarray(np.interp(np.linspace(0, 1, num_layers), positions, fractions))

    @property
    def provenance(self) -> Provenance:
        """See Routing."""
        return self.stated_provenance

    @property
    def description(self) -> str:
        """See Routing."""
        return self.label


def draw(popularity: NDArray[np.float64], num_tokens: int, top_k: int, generator: np.random.Generator) -> NDArray[np.int16]:
    """Choices [token, layer, rank] of independent tokens; ``popularity`` is [layer, expert], rows summing to 1.

    All layers share their random numbers: equal rows give equal choices.
    """
    shape = (num_tokens, popularity.shape[0], top_k)
    chosen = np.empty(shape, np.int16)
    draws = np.ascontiguousarray(np.broadcast_to(generator.random((num_tokens, 1, top_k), dtype=np.float32), shape))
    _choose(popularity, np.zeros(popularity.shape[0]), draws, draws[:, :, :0], chosen)
    return chosen


def uniform() -> GeneratedRouting:
    """Every expert equally likely, tokens independent."""
    return GeneratedRouting(label="uniform", stated_provenance=UNIFORM)


@allocating_kernel
def _choose(popularity: Floats, kept: Floats, draws: NDArray[np.float32], keeps: NDArray[np.float32], chosen: NDArray[np.int16]) -> None:
    """Fill ``chosen`` [token, layer, rank]: a kept choice of the token before, or a draw from what is left of the popularity."""
    num_tokens, num_layers, top_k = draws.shape
    num_experts = popularity.shape[1]
    cumulative, guide = np.empty((num_layers, num_experts)), np.empty((num_layers, num_experts), np.int32)
    for layer in range(num_layers):
        _index(popularity[layer], cumulative[layer], guide[layer])
    is_taken, taken = np.zeros(num_experts, np.bool_), np.empty(top_k, np.int64)
    for token in range(num_tokens):
        for layer in range(num_layers):
            left = 1.0
            for rank in range(top_k):
                expert = np.int64(-1)
                if token > 0 and keeps.shape[2] > 0 and keeps[token, layer, rank] < kept[layer]:
                    expert = np.int64(chosen[token - 1, layer, rank])
                    if is_taken[expert]:
                        expert = np.int64(-1)
                if expert < 0:
                    target = draws[token, layer, rank] * left
                    expert = _looked_up(popularity[layer], cumulative[layer], guide[layer], taken[:rank], target)
                    if expert < 0:
                        expert = _counted(popularity[layer], is_taken, target)
                chosen[token, layer, rank] = expert
                is_taken[expert] = True
                place = rank
                while place > 0 and taken[place - 1] > expert:
                    taken[place] = taken[place - 1]
                    place -= 1
                taken[place] = expert
                left -= popularity[layer, expert]
            for rank in range(top_k):
                is_taken[chosen[token, layer, rank]] = False


@inner
def _counted(popularity: Floats, is_taken: NDArray[np.bool_], target: float) -> np.int64:
    """The first expert at which those not taken add up to more than the target; the last likely one where none does."""
    expert = np.int64(-1)
    for candidate in range(len(popularity)):
        if is_taken[candidate]:
            continue
        if popularity[candidate] > 0.0 or expert < 0:
            expert = np.int64(candidate)
        target -= popularity[candidate]
        if target < 0.0:
            break
    return expert


@inner
def _index(popularity: Floats, cumulative: Floats, guide: NDArray[np.int32]) -> None:
    """Sums of the popularity up to each expert, and of n experts the first whose sum is above 0/n, 1/n, …"""
    running, first, num_experts = 0.0, 0, len(popularity)
    for expert in range(num_experts):
        running += popularity[expert]
        cumulative[expert] = running
    for place in range(num_experts):
        while first < num_experts - 1 and cumulative[first] <= place / num_experts:
            first += 1
        guide[place] = first


@inner
def _looked_up(popularity: Floats, cumulative: Floats, guide: NDArray[np.int32], taken: NDArray[np.int64], target: float) -> np.int64:
    """What ``_counted`` gives, without counting; -1 where rounding might decide, which must not change a choice. ``taken`` ascend."""
    for expert in taken:  # the target among all experts has what the taken before it have, besides
        if cumulative[expert] - popularity[expert] > target:
            break
        target += popularity[expert]
    num_experts = len(cumulative)
    found = np.int64(guide[min(max(int(target * num_experts), 0), num_experts - 1)])
    while found < num_experts - 1 and cumulative[found] <= target:
        found += 1
    before, margin = cumulative[found - 1] if found > 0 else 0.0, num_experts * ROUNDING
    return found if before + margin < target < cumulative[found] - margin else np.int64(-1)
