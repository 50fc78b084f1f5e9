"""Fitted routing, with the numbers of one task.

It consists of token classes, copies from earlier tokens, and preferences of each request.
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
from sim.routing.fitted_numbers import Array, FittedNumbers
from sim.routing.preferences import base_weights
from sim.routing.stated import StatedRouting


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedRouting(StatedRouting):
    """The generator of docs/reference/routing.md, with fitted numbers.

    Each token has a class. Each of its choices is copied from an earlier token, or drawn.
    ``embedded_fraction`` is the share of tokens whose embedding tells their class. The embeddings
    of the other tokens are those of a random class.
    """

    numbers: FittedNumbers
    embedded_fraction: float = 1.0

    def popularity(self, model: Model) -> Array:
        """Share of selections [MoE layer, expert], over all classes."""
        self._check(model)
        return np.asarray(
            np.tensordot(self.numbers.class_share, self.numbers.inclusion, 1) / self.numbers.top_k
        )

    def experts(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.int16]:
        """Return expert ids [sequence, token, MoE layer, rank].

        A longer sequence, or a larger batch, begins with the same choices.
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
        """Return embeddings [sequence, token, class], which are unit vectors by class.

        Those of one class are equal, and at right angles to those of other classes.
        """
        self._check(model)
        keys = [np.uint64(sequence_key(seed, sequence)) for sequence in range(num_sequences)]
        classes = np.array([draw_classes(*self._class_process, key, num_tokens) for key in keys])
        generator = np.random.default_rng(seed)
        is_other = generator.random(classes.shape) >= self.embedded_fraction
        others = generator.choice(
            len(self.numbers.class_share), classes.shape, p=self.numbers.class_share
        )
        return np.eye(len(self.numbers.class_share), dtype=np.float32)[
            np.where(is_other, others, classes)
        ]

    def choose(self, lengths: NDArray[np.int64], seed: int) -> NDArray[np.int16]:
        """Choices [token, layer, rank] of sequences of these lengths, one after another."""
        borders = np.concatenate([[0], np.cumsum(lengths)])
        out = np.empty((borders[-1], *self._shape), np.int16)
        # Preferences of both kinds add up in the logarithm, so their variances do.
        weights = base_weights(
            self.numbers.inclusion, np.hypot(self.numbers.request_spread, self.numbers.drift_spread)
        )
        law = ChoiceLaw(
            weights=weights,
            request_spread=self.numbers.request_spread,
            drift_spread=self.numbers.drift_spread,
            drift_tokens=self.numbers.drift_tokens,
            lags=_lags(self.numbers.copy_kernel),
            kernel=np.cumsum(self.numbers.copy_kernel),
            copied=self.numbers.copied,
            linked=self.numbers.linked_fraction,
        )
        for sequence, length in enumerate(lengths):
            # A key for each sequence: how many others are drawn changes none of its choices.
            key = np.uint64(sequence_key(seed, sequence))
            classes = draw_classes(*self._class_process, key, int(length))
            rows = out[borders[sequence] : borders[sequence + 1]]
            choose_sequence(law, classes, key, rows)
        return out

    def weigh(self, lengths: NDArray[np.int64], seed: int) -> NDArray[np.float32] | None:
        """Return the gate weights [token, layer, rank] of what ``choose`` gives for the arguments.

        None where no gate was fitted.
        """
        if self.numbers.gate is None:
            return None
        borders = np.concatenate([[0], np.cumsum(lengths)])
        out = np.empty((borders[-1], *self._shape), np.float32)
        for sequence in range(len(lengths)):
            rows = out[borders[sequence] : borders[sequence + 1]]
            key = np.uint64(sequence_key(seed, sequence))
            fill_gate_weights(
                self.numbers.gate.log_mean,
                self.numbers.gate.log_spread,
                self.numbers.gate.correlation,
                key,
                rows,
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
            np.cumsum(self.numbers.class_share),
            _lags(self.numbers.class_kept),
            np.cumsum(self.numbers.class_kept),
            np.cumsum(self.numbers.class_chain, axis=1),
        )

    @property
    def _shape(self) -> tuple[int, int]:
        return self.numbers.inclusion.shape[1], self.numbers.top_k

    def _check(self, model: Model) -> None:
        stated = (*self._shape, self.numbers.inclusion.shape[2])
        wanted = (len(model.moe_layers), model.top_k, model.num_experts)
        if stated != wanted:
            raise InputError(
                f"{self.label}: fitted to {stated[0]} MoE layers, top-{stated[1]} of {stated[2]}, "
                f"does not fit {model.name} ({wanted[0]} MoE layers, top-{wanted[1]} of {wanted[2]})"
            )


def _lags(by_lag: Array) -> NDArray[np.int64]:
    """Return the lag in tokens of each entry of ``by_lag``: 1, 2, and so on."""
    return np.arange(1, len(by_lag) + 1)
