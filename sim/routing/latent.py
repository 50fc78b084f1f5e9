"""Latent routing: scores that persist in part select the experts, and their softmax is the gate, of
the unselected too.
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
"""(position in depth from 0 first MoE layer to 1 last, share), straight between them; at least one."""
MAX_SPREAD = 1e6
"""The largest spread of scores, in natural logarithms."""
SUM_TOLERANCE = 0.01
"""What rounding in a file may take from a sum."""


class Fading(FilePart):
    """A part of the scores that is drawn anew at random tokens, in all layers at once: correlation
    falls by e every ``memory_tokens``.
    """

    memory_tokens: Annotated[float, Field(gt=0, le=MAX_QUANTITY)]
    share: SharePoints


@file_part
class LatentNumbers:
    """What the scores of LatentRouting are made of, as a file states it.

    The softmax of ``score_spread`` · score is the gate. Of the score's variance,
    ``popularity_share`` is an expert's own in all requests, ``request_share`` lasts through one
    request, ``fading`` parts last for a while, and what is left is new with every token. All are
    normal, but that what lasts is skewed by ``skew``: the logarithm of a few experts' favour is
    normal with that standard deviation (0: favour is normal itself).
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
    """Each token selects the top-k experts by a score that persists in part.

    Layers share the tokens at which parts of it are drawn anew, else they are independent. The same
    seed gives the same choices to a longer sequence, or more of them.
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
        """Expert ids [sequence, token, MoE layer, rank] of the largest scores."""
        chosen = np.empty((num_sequences, num_tokens, len(model.moe_layers), model.top_k), np.int16)
        for sequence in range(num_sequences):
            select(self._scores(model, sequence, num_tokens, seed), chosen[sequence])
        return chosen

    def gate_weights(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32] | None:
        """The selected experts' shares of the softmax."""
        return self.draw(model, num_sequences, num_tokens, seed).weights

    def gate_distribution(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32] | None:
        """The softmax over all experts."""
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
        """What each expert has in all requests [MoE layer, expert]: the same whatever the seed."""
        if model.num_experts != self.num_experts:
            raise InputError(
                f"{self.label}: statistics of {self.num_experts} experts do not fit {model.name}, which has {model.num_experts}"
            )
        own = np.empty((len(model.moe_layers), self.num_experts))
        fill_popularity(np.sqrt(self._shares(model)[0]), own)
        return own

    def _shares(self, model: Model) -> Array:
        """Return the shares of the variance [popularity, request, each fading part, new; MoE
        layer].
        """
        depth = np.linspace(0, 1, len(model.moe_layers))
        lasting = self.numbers.lasting_shares
        shares = np.array([np.interp(depth, *np.array(points).T) for points in lasting])
        return np.vstack([shares, np.maximum(1.0 - shares.sum(axis=0), 0.0)])
