"""What a run computes, apart from where and when: the state of its sequences and the steps of one forward pass."""

# TensorLegend: T tokens of a pass, S sequences, L tokens of each, C context, D hidden, E experts, P experts selected by a token, M tokens
# of one expert, R rows sent to the CPU, V vocabulary, K key-value heads, H head dimension.

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sim.workload import Batch
from validation.backend.functions import Tensors, attention, feed_forward, gate, head, normalized, rotation, shared_experts
from validation.backend.weights import Block, Weights, num_bytes_of


class Sequences:
    """The tokens, KV caches and outcomes of a batch; ``expert_ids`` is [sequence, token, MoE layer, rank], as routings give it."""

    def __init__(self, weights: Weights, batch: Batch, prompts_SL: Tensor) -> None:
        architecture, count = weights.architecture, batch.num_sequences
        self.tokens_SC = torch.zeros((count, batch.context_tokens), dtype=torch.long)
        self.tokens_SC[:, : batch.prompt_tokens] = prompts_SL
        self.caches_2SKCH = [
            torch.zeros((2, count, shape.num_kv_heads, batch.context_tokens, shape.head_dim), dtype=weights.dtype)
            for shape in architecture.layers
        ]
        self.turns_2CH = {
            head_dim: rotation(batch.context_tokens, head_dim, architecture.rope_theta, weights.dtype)
            for head_dim in {shape.head_dim for shape in architecture.layers}
        }
        self.logits_SV: list[Tensor] = []
        moe_layers = [layer for layer, shape in enumerate(architecture.layers) if shape.is_moe]
        self.place_of = {layer: place for place, layer in enumerate(moe_layers)}
        top_k = max(shape.top_k for shape in architecture.layers)
        self.expert_ids = np.zeros((count, batch.context_tokens - 1, len(moe_layers), top_k), np.int16)


class ForwardPass:
    """One pass over positions ``first`` up to ``end`` of some sequences.

    What experts give is kept apart and added up in the order of their numbers when the next layer begins: the same bits, whoever computed.
    """

    def __init__(self, weights: Weights, sequences: Sequences, rows: slice, first: int, end: int) -> None:
        self.architecture = weights.architecture
        self._embedding_VD = weights.top.tensors["embedding"]
        self._has_begun = False
        self._sequences, self._rows, self._first, self._end = sequences, rows, first, end
        self._x_TD = self._y_TD = torch.empty(0)
        self._shares_TP = self._experts_TP = torch.empty(0)
        self._given: dict[int, tuple[Tensor | None, Tensor]] = {}
        self._sent_RD = self._back_RD = torch.empty(0)
        self._places: dict[int, slice | None] = {}

    def attend(self, layer: int, dense: Block) -> None:
        """Take in what the layer before gave (or the tokens, which are looked up where the table lies), and attend."""
        self.settle()
        shape, cache_2SKCH = self.architecture.layers[layer], self._sequences.caches_2SKCH[layer][:, self._rows]
        attended = attention(
            self._x_TD,
            dense.tensors,
            shape,
            self.architecture.norm_epsilon,
            self._sequences.turns_2CH[shape.head_dim],
            cache_2SKCH,
            self._first,
            self._end,
        )
        self._x_TD = attended
        self._y_TD = normalized(attended, dense.tensors["post_norm"], self.architecture.norm_epsilon)

    def select(self, layer: int, dense: Block) -> NDArray[np.int32]:
        """The gate: tokens of every expert of the layer [E]."""
        shape = self.architecture.layers[layer]
        normalizes = self.architecture.normalizes_top_k
        self._experts_TP, self._shares_TP = gate(self._y_TD, dense.tensors["router"], shape.top_k, normalizes=normalizes)
        chosen: NDArray[Any] = self._experts_TP.numpy()
        ids = self._sequences.expert_ids
        ids[self._rows, self._first : self._end, self._sequences.place_of[layer]] = chosen.reshape(-1, self._end - self._first, shape.top_k)
        return np.bincount(chosen.ravel(), minlength=shape.num_experts).astype(np.int32)

    def feed_shared(self, dense: Block) -> None:
        """The shared experts, ahead of all routed ones in the sum."""
        self._given[-1] = None, shared_experts(self._y_TD, dense.tensors)

    def feed_dense(self, dense: Block) -> None:
        """A dense layer's feed-forward."""
        self._given[-1] = None, feed_forward(self._y_TD, dense.tensors, "dense")

    def run_expert(self, expert: int, weights: Block) -> None:
        """One routed expert over its tokens, where the hidden state is."""
        rows_M, ranks_M = self._tokens_of(expert)
        self._given[expert] = rows_M, self._weighted(self._y_TD[rows_M], rows_M, ranks_M, weights.tensors)

    def send(self, experts: list[int]) -> int:
        """Copy what those experts work on to the CPU: their rows, or all rows where that is less; returns bytes."""
        rows = [self._tokens_of(expert)[0] for expert in experts]
        ends = np.cumsum([len(rows_M) for rows_M in rows]).tolist()
        if ends[-1] < len(self._y_TD):
            self._sent_RD = self._y_TD[torch.cat(rows)]
            self._places = {expert: slice(end - len(rows_M), end) for expert, rows_M, end in zip(experts, rows, ends, strict=True)}
        else:
            self._sent_RD = self._y_TD.clone()
            self._places = dict.fromkeys(experts)
        self._back_RD = torch.zeros_like(self._sent_RD)
        return num_bytes_of(self._sent_RD)

    def run_sent_expert(self, expert: int, weights: Block) -> None:
        """One routed expert over the rows that were sent, its result kept on the CPU."""
        rows_M, ranks_M = self._tokens_of(expert)
        place = self._places[expert]
        own_MD = self._sent_RD[rows_M] if place is None else self._sent_RD[place]
        result_MD = self._weighted(own_MD, rows_M, ranks_M, weights.tensors)
        if place is None:
            self._back_RD.index_add_(0, rows_M, result_MD)
        else:
            self._back_RD[place] = result_MD

    def bring_back(self) -> int:
        """Copy what the CPU's experts gave to the accelerator: as many rows as were sent; returns bytes."""
        received_RD = self._back_RD.clone()
        for expert, place in self._places.items():
            if place is None:
                self._given[expert] = None, received_RD
                break
            self._given[expert] = self._tokens_of(expert)[0], received_RD[place]
        return num_bytes_of(received_RD)

    def settle(self) -> None:
        """Add up what the experts of the last layer gave; at the start of the pass, look the tokens up."""
        if not self._has_begun:
            self._x_TD = self._embedding_VD[self._sequences.tokens_SC[self._rows, self._first : self._end].reshape(-1)]
            self._has_begun = True
        if not self._given:
            return
        total_TD = torch.zeros_like(self._x_TD)
        for expert in sorted(self._given):
            rows_M, given_MD = self._given[expert]
            if rows_M is None:
                total_TD += given_MD
            else:
                total_TD.index_add_(0, rows_M, given_MD)
        self._x_TD = self._x_TD + total_TD
        self._given = {}

    def move(self, *, only_last: bool) -> int:
        """Copy the hidden state between CPU and accelerator, of the last position alone if that is all that is needed; returns bytes."""
        self.settle()
        self._x_TD = self._last_SD() if only_last else self._x_TD.clone()
        return num_bytes_of(self._x_TD)

    def finish(self, top: Block) -> None:
        """Logits of each sequence's last position, and the token they choose."""
        self.settle()
        logits_SV = head(self._last_SD(), top.tensors, self.architecture.norm_epsilon)
        self._sequences.logits_SV.append(logits_SV)
        self._sequences.tokens_SC[self._rows, self._end] = logits_SV.argmax(dim=-1)

    def _last_SD(self) -> Tensor:
        """The hidden state of each sequence's last position; all of it where only that was moved."""
        count = len(self._sequences.tokens_SC[self._rows])
        return self._x_TD.view(count, -1, self._x_TD.shape[-1])[:, -1].clone()

    def _tokens_of(self, expert: int) -> tuple[Tensor, Tensor]:
        rows_M, ranks_M = torch.where(self._experts_TP == expert)
        return rows_M, ranks_M

    def _weighted(self, own_MD: Tensor, rows_M: Tensor, ranks_M: Tensor, weights: Tensors) -> Tensor:
        return feed_forward(own_MD, weights, "expert") * self._shares_TP[rows_M, ranks_M, None]
