"""Routing of beam search: the hypotheses of one prompt share tokens, and with them experts."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, Provenance
from sim.model.model import Model
from sim.routing.base import Routing

T = TypeVar("T", bound=np.generic)

HYPOTHESIS_STEP, TOKEN_STEP = 0.7548776662466927, 0.5698402909980532
"""Powers of the inverse plastic number, whose multiples fill a square evenly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamRouting(Routing):
    """A routing in which sequences are hypotheses of ``num_prompts`` prompts.

    The hypotheses are made from the sequences of ``base``. Sequence n is of prompt n modulo
    ``num_prompts``, as in a batch with beams. ``divergence`` is the share of a hypothesis's tokens
    that are its own. The other tokens are those of the prompt's first hypothesis, and go to the
    same experts. 1: no token is shared, 0: all are.
    """

    base: Routing
    divergence: float
    num_prompts: int = 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.divergence <= 1.0:
            raise InputError(f"divergence must be between 0 and 1, got {self.divergence:g}")

    def experts(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.int16]:
        """Return the base routing's ids, with shared tokens taken from the first hypothesis."""
        return self._shared(self.base.experts(model, num_sequences, num_tokens, seed))

    def popularity(self, model: Model) -> NDArray[np.float64]:
        """Return the base routing's popularity: sharing tokens changes no expert's share."""
        return self.base.popularity(model)

    def gate_weights(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32] | None:
        """Return the gate weights of what ``experts`` returns; None where the base has none."""
        found = self.base.gate_weights(model, num_sequences, num_tokens, seed)
        return None if found is None else self._shared(found)

    def gate_distribution(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32] | None:
        """Return the gate's softmax for what ``experts`` returns; None where the base has none."""
        found = self.base.gate_distribution(model, num_sequences, num_tokens, seed)
        return None if found is None else self._shared(found)

    def token_embeddings(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32] | None:
        """Return the embeddings of what ``experts`` returns; None where the base has none."""
        found = self.base.token_embeddings(model, num_sequences, num_tokens, seed)
        return None if found is None else self._shared(found)

    def prediction_accuracy(self, layer: int, distance: int) -> float | None:
        """Return the base routing's accuracy."""
        return self.base.prediction_accuracy(layer, distance)

    @property
    def treats_experts_alike(self) -> bool:
        """Whether the base routing treats experts alike."""
        return self.base.treats_experts_alike

    @property
    def provenance(self) -> Provenance:
        """The provenance of the base routing's statistics."""
        return self.base.provenance

    @property
    def description(self) -> str:
        """The base routing's description, and the share of tokens that hypotheses do not share."""
        return f"{self.base.description}, {self.divergence:.0%} of a hypothesis's tokens its own"

    def _shared(self, rows: NDArray[T]) -> NDArray[T]:
        """Return ``rows`` [sequence, token, …] with shared tokens as in the first hypothesis."""
        numbers = np.arange(len(rows))
        hypothesis = numbers[:, None] // self.num_prompts
        # Spread evenly, not drawn: so the share holds for short answers too, and no seed is needed.
        place = hypothesis * HYPOTHESIS_STEP + np.arange(rows.shape[1])[None, :] * TOKEN_STEP
        is_own = (place % 1.0 < self.divergence).reshape(rows.shape[:2] + (1,) * (rows.ndim - 2))
        shared: NDArray[T] = np.where(is_own, rows, rows[numbers % self.num_prompts])
        return shared
