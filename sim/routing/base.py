"""Routing: which experts each token selects in each layer."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Provenance
from sim.engine.compilation import kernel
from sim.model.model import Model
from sim.workload.batch import Passes

OTHER_SEED = 1_000_003
"""Offset from a run's seed to the seed of the requests that came before the run."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draw:
    """Expert choices, and what is known of their gates and embeddings.

    ``ids`` is [sequence, token, MoE layer, rank]. ``full`` [sequence, token, MoE layer, expert] is
    the softmax of the gate over all experts. ``weights``, of the shape of ``ids``, is each choice's
    share of that softmax. It descends by rank and is not renormalised over the selected experts.
    ``embeddings`` [sequence, token, dimension] stand for the output of the model's embedding layer.
    None stands for each array that is not known; ``weights`` may be known without ``full``.
    """

    ids: NDArray[np.int16]
    weights: NDArray[np.float32] | None
    full: NDArray[np.float32] | None = None
    embeddings: NDArray[np.float32] | None = None

    def distribution(self, popularity: NDArray[np.float64]) -> NDArray[np.float32] | None:
        """Return the gate's distribution [sequence, token, MoE layer, expert].

        It is None where no weights are known. Where only the weights of selected experts are known,
        the rest of 1 is spread over the other experts. Their shares are then in proportion to
        ``popularity`` [MoE layer, expert], which is an assumption. Weights that sum to more than 1
        leave nothing to spread.
        """
        if self.full is not None:
            return self.full
        if self.weights is None:
            return None
        chosen = self.ids.astype(np.int64)
        full = np.broadcast_to(
            popularity.astype(np.float32), (*chosen.shape[:3], popularity.shape[1])
        ).copy()
        np.put_along_axis(full, chosen, 0.0, axis=3)
        left = np.maximum(1.0 - self.weights.sum(axis=3, keepdims=True), 0.0)
        # Where nothing is left to share out, the quotient must still be a number.
        full *= left / np.maximum(full.sum(axis=3, keepdims=True), np.finfo(np.float32).tiny)
        np.put_along_axis(full, chosen, self.weights, axis=3)
        return full


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertMaps:
    """The gate's mean distribution over the tokens of each iteration: of one sequence in one pass.

    ``shares`` [iteration, MoE layer, expert] sum to 1 over experts. Where no gate weights are
    known, they are shares of the choices. Iterations are in order of passes; ``of_pass`` and
    ``of_sequence`` [iteration] give the pass and the sequence of each. ``embeddings`` [iteration,
    dimension] are means over the iteration's tokens, None where unknown.
    """

    shares: NDArray[np.float32]
    of_pass: NDArray[np.int64]
    of_sequence: NDArray[np.int64]
    embeddings: NDArray[np.float32] | None = None


def expert_maps(
    draw: Draw, passes: Passes, popularity: NDArray[np.float64], *, by_token: bool = False
) -> ExpertMaps:
    """Return the expert maps of a draw.

    ``popularity`` [MoE layer, expert] is used as in ``Draw.distribution``. With ``by_token``, each
    token is an iteration of its own.
    """
    spans = _spans(passes, by_token)
    shares = np.zeros((len(spans), *popularity.shape), np.float32)
    if draw.weights is None:
        _share_choices(np.ascontiguousarray(draw.ids), spans, shares)
    else:
        for number, (_, sequence, first, end) in enumerate(spans.tolist()):
            # One iteration at a time: the softmax of all tokens at once takes memory for every
            # expert.
            full = None if draw.full is None else draw.full[None, sequence, first:end]
            part = Draw(
                ids=draw.ids[None, sequence, first:end],
                weights=draw.weights[None, sequence, first:end],
                full=full,
            )
            known = part.distribution(popularity)
            assert known is not None
            shares[number] = known[0].mean(axis=0)
    embeddings = None
    if draw.embeddings is not None:
        embeddings = np.stack(
            [
                draw.embeddings[sequence, first:end].mean(axis=0)
                for _, sequence, first, end in spans.tolist()
            ]
        )
    return ExpertMaps(
        shares=shares, of_pass=spans[:, 0], of_sequence=spans[:, 1], embeddings=embeddings
    )


@kernel
def _share_choices(
    ids: NDArray[np.int16], spans: NDArray[np.int64], shares: NDArray[np.float32]
) -> None:
    """Fill ``shares`` [span, layer, expert] with each expert's share of a span's choices.

    ``ids`` is [sequence, token, layer, rank], ``spans`` as ``_spans`` returns it. ``shares`` must
    hold zeros before the call.
    """
    num_layers = ids.shape[2]
    top_k = ids.shape[3]
    for number in range(len(spans)):
        sequence = spans[number, 1]
        first = spans[number, 2]
        end = spans[number, 3]
        num_choices = (end - first) * top_k
        for token in range(first, end):
            for layer in range(num_layers):
                for rank in range(top_k):
                    shares[number, layer, ids[sequence, token, layer, rank]] += 1
        for layer in range(num_layers if num_choices > top_k else 0):
            for expert in range(shares.shape[2]):
                # Divided in 64 bits, so that whole shares such as a third round once.
                shares[number, layer, expert] = (
                    np.float64(shares[number, layer, expert]) / num_choices
                )
        for layer in range(num_layers if num_choices == top_k else 0):  # a token has few experts
            for rank in range(top_k):
                shares[number, layer, ids[sequence, first, layer, rank]] = 1.0 / top_k


def _spans(passes: Passes, by_token: bool) -> NDArray[np.int64]:
    """Return a row (pass, sequence, first position, end) for each iteration, in order of passes.

    With ``by_token``, each token of a pass is an iteration.
    """
    of_pass = np.repeat(np.arange(len(passes)), passes.num_sequences)
    # The number of a sequence within its pass: its row less the pass's first row.
    within = np.arange(len(of_pass)) - np.searchsorted(of_pass, of_pass)
    first = passes.first_position[of_pass]
    end = passes.context_tokens[of_pass]
    spans = np.stack([of_pass, passes.first_sequence[of_pass] + within, first, end], axis=1).astype(
        np.int64
    )
    if not by_token:
        return spans
    lengths = end - first
    tokens = np.repeat(spans, lengths, axis=0)
    tokens[:, 2] += np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    tokens[:, 3] = tokens[:, 2] + 1
    return tokens


class Routing(ABC):
    """A source of expert choices.

    An instance holds configuration only: the same arguments give the same choices.
    """

    @abstractmethod
    def experts(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.int16]:
        """Return expert ids [sequence, token, MoE layer, rank], which differ along rank.

        Every sequence has ``num_tokens`` tokens.
        """

    @abstractmethod
    def popularity(self, model: Model) -> NDArray[np.float64]:
        """Return the share of selections [MoE layer, expert], as profiling offline would show it.

        Rows sum to 1.
        """

    def gate_weights(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32] | None:
        """Return the gate weights of the choices that ``experts`` returns for the same arguments.

        Their shape and meaning are those of ``Draw.weights``; None where they are unknown.
        """
        return None

    def gate_distribution(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32] | None:
        """Return the gate's softmax for the tokens that ``experts`` draws with the same arguments.

        Its shape is that of ``Draw.full``; None where it is unknown.
        """
        return None

    def token_embeddings(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int
    ) -> NDArray[np.float32] | None:
        """Return the embeddings of the tokens of ``experts`` with the same arguments.

        Their shape is that of ``Draw.embeddings``; None where they are unknown.
        """
        return None

    def draw(
        self,
        model: Model,
        num_sequences: int,
        num_tokens: int,
        seed: int,
        ids: NDArray[np.int16] | None = None,
    ) -> Draw:
        """Return expert ids together with what is known of their gates and embeddings.

        ``ids`` are what ``experts`` returned for the same arguments, if they were drawn already.
        """
        arguments = (model, num_sequences, num_tokens, seed)
        return Draw(
            ids=self.experts(*arguments) if ids is None else ids,
            weights=self.gate_weights(*arguments),
            full=self.gate_distribution(*arguments),
            embeddings=self.token_embeddings(*arguments),
        )

    def other_requests(
        self, model: Model, num_sequences: int, num_tokens: int, seed: int, *, used: tuple[int, int]
    ) -> Draw:
        """Return choices of earlier requests, which a system saw before the run.

        No sequence is one that ``draw`` gives for ``used`` (sequences, tokens) and the seed. A
        recording that has no more gives fewer sequences than asked for, or none.
        """
        # Another seed, not later sequences of the same: those belong to a longer run of this seed.
        return self.draw(model, num_sequences, num_tokens, seed + OTHER_SEED)

    def prediction_accuracy(self, layer: int, distance: int) -> float | None:
        """Return the share of an MoE layer's selected experts that a predictor names beforehand.

        ``layer`` counts MoE layers; the predictor names the experts ``distance`` layers earlier.
        None: unknown.
        """
        return None

    @property
    def treats_experts_alike(self) -> bool:
        """Whether renaming experts within layers keeps the distribution of all choices."""
        return False

    @property
    @abstractmethod
    def provenance(self) -> Provenance:
        """The provenance of the statistics."""

    @property
    @abstractmethod
    def description(self) -> str:
        """A few words that name the routing in a report."""


def tokens_per_expert(
    model: Model, expert_ids: NDArray[np.int16], passes: Passes
) -> NDArray[np.int32]:
    """Tokens that each expert gets [pass, layer, expert]; dense layers are all zero.

    ``expert_ids`` is [sequence, token, MoE layer, rank] as ``Routing.experts`` gives it.
    """
    counts = np.zeros((len(passes), model.num_layers, model.num_experts), np.int32)
    spans = np.stack(
        [
            passes.first_sequence,
            passes.num_sequences,
            passes.first_position,
            passes.context_tokens,
        ],
        axis=1,
    )
    _count_tokens(
        np.ascontiguousarray(expert_ids), np.array(model.moe_layers, np.int64), spans, counts
    )
    return counts


def choices_of_sequences(expert_ids: NDArray[np.int16], num_experts: int) -> NDArray[np.int32]:
    """How often each whole sequence chose each expert [sequence, MoE layer, expert]."""
    num_sequences, num_tokens, num_layers, _ = expert_ids.shape
    counts = np.zeros((num_sequences, num_layers, num_experts), np.int32)
    # A whole sequence is a span like a pass's: it alone, from its first token to its last.
    spans = np.zeros((num_sequences, 4), np.int32)
    spans[:, 0] = np.arange(num_sequences)
    spans[:, 1] = 1
    spans[:, 3] = num_tokens
    _count_tokens(np.ascontiguousarray(expert_ids), np.arange(num_layers), spans, counts)
    return counts


@kernel
def _count_tokens(
    expert_ids: NDArray[np.int16],
    moe_layers: NDArray[np.int64],
    spans: NDArray[np.int32],
    counts: NDArray[np.int32],
) -> None:
    """Add to ``counts`` [span, layer, expert] how many tokens of each span select each expert.

    A row of ``spans`` is (first sequence, number of sequences, first position, end).
    """
    for index in range(len(spans)):
        first_sequence = spans[index, 0]
        for sequence in range(first_sequence, first_sequence + spans[index, 1]):
            for token in range(spans[index, 2], spans[index, 3]):
                for place in range(len(moe_layers)):
                    for rank in range(expert_ids.shape[3]):
                        counts[
                            index, moe_layers[place], expert_ids[sequence, token, place, rank]
                        ] += 1
