"""Latent routing: each token has a score for every expert, and part of it persists.

The experts of the largest scores are selected. The softmax of all scores is the gate, so the
weights of unselected experts are known too.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from hwprofiles import InputError
from hwprofiles.file_part import FilePart, file_part
from hwprofiles.limits import MAX_QUANTITY
from sim.model.model import Model
from sim.routing.base import Draw
from sim.routing.compiled import sequence_key
from sim.routing.latent_scores import fill_popularity, fill_scores, select
from sim.routing.stated import StatedRouting

Array = NDArray[np.float64]
Share = Annotated[float, Field(ge=0, le=1)]
SharePoints = Annotated[tuple[tuple[Share, Share], ...], Field(min_length=1)]
"""Points (position, share), with straight lines in between; at least one.

A position is 0 at the first MoE layer and 1 at the last.
"""
MAX_SPREAD = 1e6
"""The largest spread of scores, in natural logarithms."""
SUM_TOLERANCE = 0.01
"""How far a sum of shares in a file may be off, because a file states rounded numbers."""


class Fading(FilePart):
    """A part of the scores that is drawn anew at random tokens, in all layers at once.

    Its correlation over tokens falls by a factor of e every ``memory_tokens``. ``share`` is its
    share of the scores' variance.
    """

    memory_tokens: Annotated[float, Field(gt=0, le=MAX_QUANTITY)]
    share: SharePoints


@file_part
class LatentNumbers:
    """The numbers that LatentRouting makes scores of, as a file states them.

    The gate is the softmax of ``score_spread`` · score. A score has variance 1.
    ``popularity_share`` of it is the expert's own in all requests, and ``request_share`` lasts
    through one request. Each of the ``fading`` parts lasts for a while; the rest is new with every
    token. All parts are normal if ``skew`` is 0. With a ``skew`` k, the request's and the fading
    parts are exp(k · normal), shifted to mean 0 and scaled to their shares. Such parts favour few
    experts strongly.
    """

    score_spread: Annotated[float, Field(gt=0, le=MAX_SPREAD)]
    popularity_share: SharePoints
    request_share: SharePoints
    fading: tuple[Fading, ...] = ()
    skew: Annotated[float, Field(ge=0, le=3)] = 0.0

    @property
    def lasting_shares(self) -> tuple[SharePoints, ...]:
        """Return the shares of the variance that last: popularity, request, each fading part."""
        return self.popularity_share, self.request_share, *(part.share for part in self.fading)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for points in self.lasting_shares:
            positions = [position for position, _ in points]
            if any(later <= earlier for earlier, later in pairwise(positions)):
                raise ValueError(f"positions of a share must rise strictly, got {positions}")
        # Shares are straight between points, so their sum is largest at one of them.
        positions = sorted({position for points in self.lasting_shares for position, _ in points})
        rows = [np.interp(positions, *np.array(points).T) for points in self.lasting_shares]
        most = np.sum(rows, axis=0).max()
        if most > 1.0 + SUM_TOLERANCE:
            raise ValueError(f"shares must sum to at most 1 at every position, got {most:.3f}")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentRouting(StatedRouting):
    """A routing in which each token selects the top-k experts by a score that persists in part.

    All layers draw their fading parts anew at the same tokens, and are independent otherwise. A
    longer sequence, or a larger batch, begins with the same choices for the same seed.
    """

    num_experts: int
    numbers: LatentNumbers

    def popularity(self, model: Model) -> Array:
        """Return the share of selections [MoE layer, expert].

        It is an approximation: a layer is taken to select every expert whose score passes a fixed
        threshold. It is close for many experts, and a few percent off for eight.
        """
        # Imported here: with the next line it takes 0.4 s, which no other command should pay.
        from scipy.optimize import brentq
        from scipy.special import ndtr

        own = self._own_scores(model)
        left = np.sqrt(1.0 - np.minimum(self._shares(model)[0], 1.0))
        shares = np.empty_like(own)
        for layer, scores in enumerate(own):

            def _excess(
                threshold: float, scores: Array = scores, spread: float = float(left[layer])
            ) -> float:
                return float(ndtr((scores - threshold) / max(spread, 1e-9)).sum()) - model.top_k

            # The threshold beyond which top_k are expected; scores have variance 1, so it lies
            # within ten.
            selected = ndtr((scores - brentq(_excess, -10.0, 10.0)) / max(float(left[layer]), 1e-9))
            shares[layer] = selected / selected.sum()
        return shares

    def experts(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.int16]:
        """Return the ids [sequence, token, MoE layer, rank] of the experts that score highest."""
        chosen = np.empty((num_sequences, num_tokens, len(model.moe_layers), model.top_k), np.int16)
        for sequence in range(num_sequences):
            select(self._scores(model, sequence, num_tokens, seed), chosen[sequence])
        return chosen

    def gate_weights(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32] | None:
        """Return the selected experts' shares of the softmax [sequence, token, MoE layer, rank]."""
        return self.draw(model, num_sequences, num_tokens, seed).weights

    def gate_distribution(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32] | None:
        """Return the softmax over all experts [sequence, token, MoE layer, expert]."""
        return self.draw(model, num_sequences, num_tokens, seed).full

    def draw(
        self,
        model: Model,
        num_sequences: int,
        num_tokens: int,
        seed: int,
        ids: NDArray[np.int16] | None = None,
    ) -> Draw:
        """Draw expert ids and the gates' shares of all experts. ``ids``, if given, are taken as the
        selected ones.
        """
        shape = (num_sequences, num_tokens, len(model.moe_layers))
        is_drawn = ids is not None
        ids = np.empty((*shape, model.top_k), np.int16) if ids is None else ids
        full = np.empty((*shape, self.num_experts), np.float32)
        for sequence in range(num_sequences):
            scores = self._scores(model, sequence, num_tokens, seed)
            if not is_drawn:
                select(scores, ids[sequence])
            # Less the largest, so that no exponential overflows; the softmax stays as it is.
            gates = np.exp(self.numbers.score_spread * (scores - scores.max(axis=2, keepdims=True)))
            full[sequence] = gates / gates.sum(axis=2, keepdims=True)
        return Draw(
            ids=ids, weights=np.take_along_axis(full, ids.astype(np.int64), axis=3), full=full
        )

    def _scores(
        self, model: Model, sequence: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32]:
        """Scores [token, MoE layer, expert] of one sequence."""
        own = self._own_scores(model)
        shares = self._shares(model)
        out = np.empty((num_tokens, *own.shape), np.float32)
        # Kept that often from token to token, a part lasts memory_tokens in the mean.
        kept = np.exp(
            -1.0 / np.array([part.memory_tokens for part in self.numbers.fading], np.float64)
        )
        fill_scores(
            own,
            np.sqrt(shares[1:]),
            kept,
            float(self.numbers.skew),
            np.uint64(sequence_key(seed, sequence)),
            out,
        )
        return out

    def _own_scores(self, model: Model) -> Array:
        """Return the part of each expert's score that all requests share [MoE layer, expert].

        It does not depend on the seed. Raises InputError where the model has another number of
        experts.
        """
        if model.num_experts != self.num_experts:
            raise InputError(
                f"{self.label}: statistics of {self.num_experts} experts do not fit {model.name}, which has {model.num_experts}"
            )
        own = np.empty((len(model.moe_layers), self.num_experts))
        fill_popularity(np.sqrt(self._shares(model)[0]), own)
        return own

    def _shares(self, model: Model) -> Array:
        """Return the shares of the variance [part, MoE layer].

        The parts are popularity, request, each fading part, and what is new with every token.
        """
        depth = np.linspace(0, 1, len(model.moe_layers))
        lasting = self.numbers.lasting_shares
        shares = np.array([np.interp(depth, *np.array(points).T) for points in lasting])
        return np.vstack([shares, np.maximum(1.0 - shares.sum(axis=0), 0.0)])
