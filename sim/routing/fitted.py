"""Fitted routing: token classes, copies from earlier tokens and per-request preferences, with the
numbers of one task.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError
from sim.model.model import Model
from sim.routing.base import Draw
from sim.routing.compiled import (
    ChoiceLaw,
    choose_sequence,
    draw_classes,
    fill_gate_weights,
    sequence_key,
)
from sim.routing.preferences import base_weights
from sim.routing.stated import StatedRouting

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GateProfile:
    """Gate weights: natural logarithms are normal with this mean and spread [layer, rank], and one
    correlation between ranks.
    """

    log_mean: Array
    log_spread: Array
    correlation: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedRouting(StatedRouting):
    """How docs/reference/routing.md says: each token has a class; each of its choices is copied
    from an earlier token, or drawn.

    ``class_share`` [class] and ``inclusion`` [class, layer, expert]: share of tokens of a class
    that select an expert. ``class_lags`` with ``class_kept``: probability that a token has the
    class of the token so many before; else it follows the last token's by ``class_chain`` [class
    before, class]. ``copied`` [layer]: probability that a choice copies a random one of the token
    ``copy_lags`` before, the lag drawn from ``copy_kernel`` (a draw where the sequence does not
    reach back as far). ``request_spread`` and ``drift_spread`` [layer]: standard deviation of a
    request's log preference for an expert, that lasts, and of what is added to it anew every
    ``drift_tokens`` on average. ``linked_fraction``: share of choices whose random numbers are
    those of the same choice in the other layers. ``embedded_fraction``: share of tokens whose
    embedding tells their class; those of the others are of a class at random.
    """

    top_k: int
    class_share: Array
    inclusion: Array
    class_lags: NDArray[np.int64]
    class_kept: Array
    class_chain: Array
    copy_lags: NDArray[np.int64]
    copy_kernel: Array
    copied: Array
    request_spread: Array
    drift_spread: Array
    drift_tokens: float
    linked_fraction: float
    gate: GateProfile | None = None
    embedded_fraction: float = 1.0

    def popularity(self, model: Model) -> Array:
        """Share of selections [MoE layer, expert], over all classes."""
        self._check(model)
        return np.asarray(np.tensordot(self.class_share, self.inclusion, 1) / self.top_k)

    def experts(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.int16]:
        """Expert ids [sequence, token, MoE layer, rank]. A longer sequence, or more of them, begin with
        the same choices.
        """
        self._check(model)
        return self.choose(np.full(num_sequences, num_tokens), seed).reshape(
            num_sequences, num_tokens, *self._shape
        )

    def gate_weights(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32] | None:
        """Gate weights by the fitted profile; None where the trace had none."""
        self._check(model)
        flat = self.weigh(np.full(num_sequences, num_tokens), seed)
        return None if flat is None else flat.reshape(num_sequences, num_tokens, *self._shape)

    def token_embeddings(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32]:
        """Embeddings [sequence, token, class]: those of one class are alike, and at right angles to those
        of the others.
        """
        self._check(model)
        keys = [np.uint64(sequence_key(seed, sequence)) for sequence in range(num_sequences)]
        classes = np.array([draw_classes(*self._class_process, key, num_tokens) for key in keys])
        generator = np.random.default_rng(seed)
        is_other = generator.random(classes.shape) >= self.embedded_fraction
        others = generator.choice(len(self.class_share), classes.shape, p=self.class_share)
        return np.eye(len(self.class_share), dtype=np.float32)[np.where(is_other, others, classes)]

    def choose(self, lengths: NDArray[np.int64], seed: int) -> NDArray[np.int16]:
        """Choices [token, layer, rank] of sequences of these lengths, one after another."""
        borders = np.concatenate([[0], np.cumsum(lengths)])
        out = np.empty((borders[-1], *self._shape), np.int16)
        # Preferences of both kinds add up in the logarithm, so their variances do.
        weights = base_weights(self.inclusion, np.hypot(self.request_spread, self.drift_spread))
        law = ChoiceLaw(
            weights=weights,
            request_spread=self.request_spread,
            drift_spread=self.drift_spread,
            drift_tokens=self.drift_tokens,
            lags=self.copy_lags,
            kernel=np.cumsum(self.copy_kernel),
            copied=self.copied,
            linked=self.linked_fraction,
        )
        for sequence, length in enumerate(lengths):
            # A key for each sequence: how many others are drawn changes none of its choices.
            key = np.uint64(sequence_key(seed, sequence))
            classes = draw_classes(*self._class_process, key, int(length))
            rows = out[borders[sequence] : borders[sequence + 1]]
            choose_sequence(law, classes, key, rows)
        return out

    def weigh(self, lengths: NDArray[np.int64], seed: int) -> NDArray[np.float32] | None:
        """Gate weights [token, layer, rank] of what ``choose`` gives for the same arguments."""
        if self.gate is None:
            return None
        borders = np.concatenate([[0], np.cumsum(lengths)])
        out = np.empty((borders[-1], *self._shape), np.float32)
        for sequence in range(len(lengths)):
            rows = out[borders[sequence] : borders[sequence + 1]]
            key = np.uint64(sequence_key(seed, sequence))
            fill_gate_weights(
                self.gate.log_mean, self.gate.log_spread, self.gate.correlation, key, rows
            )
        return out

    def draw_lengths(self, lengths: NDArray[np.int64], seed: int) -> Draw:
        """Ids and weights [1, token, layer, rank] of sequences of these lengths, one after another."""
        weights = self.weigh(lengths, seed)
        return Draw(
            ids=self.choose(lengths, seed)[None], weights=None if weights is None else weights[None]
        )

    @property
    def _class_process(self) -> tuple[Array, NDArray[np.int64], Array, Array]:
        return (
            np.cumsum(self.class_share),
            self.class_lags,
            np.cumsum(self.class_kept),
            np.cumsum(self.class_chain, axis=1),
        )

    @property
    def _shape(self) -> tuple[int, int]:
        return self.inclusion.shape[1], self.top_k

    def _check(self, model: Model) -> None:
        stated = (*self._shape, self.inclusion.shape[2])
        wanted = (len(model.moe_layers), model.top_k, model.num_experts)
        if stated != wanted:
            raise InputError(
                f"{self.label}: fitted to {stated[0]} MoE layers, top-{stated[1]} of {stated[2]}, "
                f"does not fit {model.name} ({wanted[0]} MoE layers, top-{wanted[1]} of {wanted[2]})"
            )
