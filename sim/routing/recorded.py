"""Recorded routing: a trace of expert ids replayed token by token, in order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import InputError, Kind, Provenance
from sim.model.model import Model
from sim.routing.base import Draw, Routing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedRouting(Routing):
    """A trace that is replayed in order and wraps around at its end.

    ``expert_ids`` is [token, MoE layer, rank]; sequences stand one after another. ``weights`` are
    gate weights of the same shape, descending along rank (None: unknown). ``sequence_num_tokens``
    [sequence] are the lengths (None: all tokens are one sequence). ``token_ids`` [token] are the
    tokenizer's ids (None: unknown). ``notes`` say what the import left out.
    """

    name: str
    expert_ids: NDArray[np.int16]
    num_experts: int
    weights: NDArray[np.float32] | None = None
    sequence_num_tokens: NDArray[np.int64] | None = None
    token_ids: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()

    @property
    def borders(self) -> NDArray[np.int64]:
        """The index of each sequence's first token, and at the end the number of tokens."""
        lengths = (
            [len(self.expert_ids)] if self.sequence_num_tokens is None else self.sequence_num_tokens
        )
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    def experts(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.int16]:
        """Return expert ids [sequence, token, MoE layer, rank], which do not depend on the seed.

        Sequence i of a batch of n starts where recorded sequence ⌊i · recorded / n⌋ starts, and
        runs on into those that follow. A batch of more sequences than were recorded starts evenly
        spread over the tokens.
        """
        self.check(model)
        return np.asarray(self.expert_ids[self._rows(num_sequences, num_tokens)])

    def gate_weights(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32] | None:
        """The recorded gate weights; None where the trace has none."""
        self.check(model)
        return (
            None
            if self.weights is None
            else np.asarray(self.weights[self._rows(num_sequences, num_tokens)])
        )

    def popularity(self, model: Model) -> NDArray[np.float64]:
        """Return the share of selections [MoE layer, expert], counted over the whole trace.

        A placement made from it therefore knows the trace that it is tested on.
        """
        self.check(model)
        layers = self.expert_ids.shape[1]
        counts = np.stack(
            [
                np.bincount(self.expert_ids[:, layer].ravel(), minlength=model.num_experts)
                for layer in range(layers)
            ]
        )
        shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
        return shares

    def other_requests(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int, *, used: tuple[int, int]
    ) -> Draw:
        """Return evenly spread pieces of the recording that a batch of ``used`` does not replay."""
        self.check(model)
        # What is replayed must not also be what the system learned from.
        left = np.setdiff1d(np.arange(len(self.expert_ids)), self._rows(*used))
        count = min(num_sequences, len(left) // num_tokens)
        starts = np.arange(count) * (len(left) - num_tokens + 1) // max(1, count)
        rows = left[starts[:, None] + np.arange(num_tokens)]
        return Draw(
            ids=self.expert_ids[rows], weights=None if self.weights is None else self.weights[rows]
        )

    def _rows(self, num_sequences: int, num_tokens: int) -> NDArray[np.int64]:
        """Return the index of the recorded token for each [sequence, token] of a batch."""
        total = len(self.expert_ids)
        borders = self.borders
        if num_sequences < len(borders):
            # At borders of recorded sequences, so that each of the batch starts as a request did.
            starts = borders[np.arange(num_sequences) * (len(borders) - 1) // num_sequences]
        else:
            starts = np.arange(num_sequences) * total // num_sequences
        return (starts[:, None] + np.arange(num_tokens)) % total

    def check(self, model: Model) -> None:
        """Refuse a model of another shape. Raises InputError that states both shapes."""
        stated = (self.expert_ids.shape[1], self.expert_ids.shape[2])
        wanted = (len(model.moe_layers), model.top_k)
        if stated != wanted or self.num_experts > model.num_experts:
            raise InputError(
                f"{self.name}: trace of {stated[0]} MoE layers, top-{stated[1]}, expert ids below {self.num_experts} "
                f"does not fit {model.name} ({wanted[0]} MoE layers, top-{wanted[1]}, {model.num_experts} experts)"
            )

    @property
    def provenance(self) -> Provenance:
        """The trace, as measured."""
        return Provenance(kind=Kind.MEASURED, source=f"recorded trace {self.name}", date="2026")

    @property
    def description(self) -> str:
        """The name of the trace and its number of tokens."""
        return f"trace {self.name}, {len(self.expert_ids):,} tokens, replayed in order"
