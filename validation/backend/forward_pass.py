"""What a run computes, apart from where and when: its sequences, and the steps of a forward
pass.
"""

# TensorLegend: T tokens of a pass, S sequences, L tokens of each, C context, D hidden, E experts, P
# experts selected by a token, M tokens
# of one expert, R rows sent to the CPU, V vocabulary, K key-value heads, H head dimension.

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sim.workload.batch import Batch
from validation.backend.architecture import LayerShape
from validation.backend.beams import Beams
from validation.backend.crossing import ON_HOST, brought, kept
from validation.backend.functions import (
    CacheSpan,
    attention,
    feed_forward,
    gate,
    head,
    normalized,
    rotation,
    routed_expert,
    shared_experts,
)
from validation.backend.routes import Routes
from validation.backend.weights import Block, Weights, num_bytes_of


def cache_shape(shape: LayerShape, num_sequences: int, num_tokens: int) -> tuple[int, ...]:
    """Return the shape of a layer's KV cache: keys and values by head, or latent and rotary key."""
    if shape.latent is not None:
        return 1, num_sequences, 1, num_tokens, shape.latent.key_rank + shape.latent.rotary_dim
    return 2, num_sequences, shape.num_kv_heads, num_tokens, shape.head_dim


class Sequences:
    """The tokens, KV caches and results of a batch.

    ``expert_ids`` is [sequence, token, MoE layer, rank], as in routings. Tokens and results are on
    the host. A KV cache is where its layer runs, and moves if the layer does.
    """

    def __init__(
        self, weights: Weights, batch: Batch, prompts_SL: Tensor, device: torch.device = ON_HOST
    ) -> None:
        architecture = weights.architecture
        count = batch.num_sequences
        self.device = device
        self.tokens_SC = torch.zeros((count, batch.context_tokens), dtype=torch.long)
        # Sequences are ordered by hypothesis, then by prompt, so all prompts repeat as a whole.
        self.tokens_SC[:, : batch.prompt_tokens] = prompts_SL.repeat(batch.beams, 1)
        self._batch = batch
        self._beams = Beams(batch)
        self.caches_2SKCH = [
            torch.zeros(
                cache_shape(shape, count, batch.context_tokens), dtype=weights.dtype, device=device
            )
            for shape in architecture.layers
        ]
        self.turns_2CH = {
            (head_dim, place): rotation(
                batch.context_tokens, head_dim, architecture.rope_theta, weights.dtype
            ).to(place)
            for head_dim in {shape.head_dim for shape in architecture.layers}
            # A layer may run on either, and copying the table each time would be work of its own.
            for place in {ON_HOST, device}
        }
        self.logits_SV: list[Tensor] = []
        moe_layers = [layer for layer, shape in enumerate(architecture.layers) if shape.is_moe]
        self.place_of = {layer: place for place, layer in enumerate(moe_layers)}
        top_k = max(shape.top_k for shape in architecture.layers)
        # The last chosen token is never fed, so it selects no experts.
        self.expert_ids = np.zeros(
            (count, batch.context_tokens - 1, len(moe_layers), top_k), np.int16
        )

    def cache(self, layer: int, place: torch.device) -> Tensor:
        """Return the KV cache of a layer, moved to ``place``, where the layer runs."""
        if self.caches_2SKCH[layer].device != place:
            self.caches_2SKCH[layer] = self.caches_2SKCH[layer].to(place)
        return self.caches_2SKCH[layer]

    def take(self, logits_SV: Tensor, end: int) -> None:
        """Take logits for position ``end`` of the next sequences.

        Once all sequences have theirs, tokens are chosen, and hypotheses live on or die.
        """
        self.logits_SV.append(logits_SV)
        chosen = self._beams.take(logits_SV, is_first=end == self._batch.prompt_tokens)
        if chosen is None:
            return
        parents, tokens = chosen
        if self._batch.beams > 1:
            self._inherit(parents, is_first=end == self._batch.prompt_tokens)
        self.tokens_SC[:, end] = tokens

    def _inherit(self, parents: Tensor, *, is_first: bool) -> None:
        """Give every hypothesis the tokens and caches of its parent.

        Experts of the prompt are those of the sequence that read the prompt.
        """
        self.tokens_SC = self.tokens_SC[parents]
        for cache_2SKCH in self.caches_2SKCH:
            # Indexing makes a copy first, so no row is overwritten before it is read.
            cache_2SKCH.copy_(cache_2SKCH[:, parents.to(cache_2SKCH.device)])
        if is_first:
            prompts = np.arange(self._batch.num_sequences) % self._batch.batch_size
            self.expert_ids[:, : self._batch.prompt_tokens] = self.expert_ids[
                prompts, : self._batch.prompt_tokens
            ]


class ForwardPass:
    """One pass over positions ``first`` up to ``end`` of some sequences.

    Results of experts are kept apart, and added up in the order of their numbers when the next
    layer begins. So the sum has the same bits wherever each expert ran.
    """

    def __init__(
        self, weights: Weights, sequences: Sequences, rows: slice, first: int, end: int
    ) -> None:
        self.architecture = weights.architecture
        self._embedding_VD = weights.top.tensors["embedding"]
        self._has_begun = False
        self._sequences = sequences
        self._rows = rows
        self._first = first
        self._end = end
        self._x_TD = self._y_TD = torch.empty(0)
        self._shares_TP = torch.empty(0)
        self._routes = Routes()
        self._given: dict[int, tuple[Tensor | None, Tensor]] = {}
        self._sent_RD = self._back_RD = torch.empty(0)
        self._places: dict[int, slice | None] = {}

    def attend(self, layer: int, dense: Block) -> None:
        """Add up the results of the layer before, or look up the tokens, and run attention.

        Tokens are looked up where the embedding table lies.
        """
        place = dense.flat.device
        self.settle(place)
        shape = self.architecture.layers[layer]
        cache_2SKCH = self._sequences.cache(layer, place)[:, self._rows]
        attended = attention(
            self._x_TD,
            dense.tensors,
            shape,
            self.architecture.norm_epsilon,
            self._sequences.turns_2CH[shape.head_dim, place],
            CacheSpan(cache_2SKCH, self._first, self._end),
        )
        self._x_TD = attended
        self._y_TD = normalized(
            attended, dense.tensors["post_norm"], self.architecture.norm_epsilon
        )

    def select(self, layer: int, dense: Block) -> NDArray[np.int32]:
        """Run the gate, and return the number of tokens of every expert of the layer [E]."""
        shape = self.architecture.layers[layer]
        normalizes = self.architecture.normalizes_top_k
        router_ED = dense.tensors["router"]
        bias_E = dense.tensors.get("router_bias")
        scoring = self.architecture.scoring
        experts_TP, self._shares_TP = gate(
            self._y_TD,
            router_ED,
            shape.top_k,
            normalizes=normalizes,
            scoring=scoring,
            bias_E=bias_E,
        )
        chosen: NDArray[Any] = experts_TP.cpu().numpy()
        ids = self._sequences.expert_ids
        ids[self._rows, self._first : self._end, self._sequences.place_of[layer]] = chosen.reshape(
            -1, self._end - self._first, shape.top_k
        )
        tokens_E = np.bincount(chosen.ravel(), minlength=shape.num_experts).astype(np.int32)
        self._routes = Routes.of(chosen, tokens_E, self._shares_TP)
        return tokens_E

    def feed_shared(self, dense: Block) -> None:
        """Run the shared experts; their result comes before all routed ones in the sum."""
        self._given[-1] = None, shared_experts(self._y_TD, dense.tensors)

    def feed_dense(self, dense: Block) -> None:
        """Run a dense layer's feed-forward."""
        self._given[-1] = None, feed_forward(self._y_TD, dense.tensors, "dense")

    def run_expert(self, expert: int, weights: Block) -> None:
        """Run one routed expert over its tokens, where the hidden state is."""
        rows_M, shares_M1 = self._routes.here(expert)
        self._given[expert] = rows_M, routed_expert(self._y_TD[rows_M], shares_M1, weights.tensors)

    def send(self, experts: list[int]) -> int:
        """Copy the rows of those experts to the CPU, or all rows if these are fewer; return the
        bytes.
        """
        rows = [self._routes.here(expert)[0] for expert in experts]
        ends = np.cumsum([len(rows_M) for rows_M in rows]).tolist()
        if ends[-1] < len(self._y_TD):
            self._sent_RD = brought(kept(self._y_TD)[torch.cat(rows)], ON_HOST)
            self._places = {
                expert: slice(end - len(rows_M), end)
                for expert, rows_M, end in zip(experts, rows, ends, strict=True)
            }
        else:
            self._sent_RD = brought(kept(self._y_TD), ON_HOST)
            self._places = dict.fromkeys(experts)
        # Page-locked where that was, so that it returns at the link's full rate.
        self._back_RD = torch.zeros_like(self._sent_RD, pin_memory=self._sent_RD.is_pinned())
        return num_bytes_of(self._sent_RD)

    def run_sent_expert(self, expert: int, weights: Block) -> None:
        """Run one routed expert over the rows that were sent, and keep its result on the CPU."""
        rows_M, shares_M1 = self._routes.on_host(expert)
        place = self._places[expert]
        own_MD = self._sent_RD[rows_M] if place is None else self._sent_RD[place]
        result_MD = routed_expert(own_MD, shares_M1, weights.tensors)
        if place is None:
            self._back_RD.index_add_(0, rows_M, result_MD)
        else:
            self._back_RD[place] = result_MD

    def bring_back(self) -> int:
        """Copy the results of the CPU's experts to the accelerator, and return the bytes.

        As many rows return as were sent.
        """
        received_RD = brought(self._back_RD, self._y_TD.device)
        for expert, place in self._places.items():
            # All rows went down as one, so the results of all experts come back as one sum.
            if place is None:
                self._given[expert] = None, received_RD
                break
            self._given[expert] = self._routes.here(expert)[0], received_RD[place]
        return num_bytes_of(received_RD)

    def settle(self, place: torch.device) -> None:
        """Add up the results of the last layer's experts, in the place given.

        At the start of the pass, look the tokens up for that place.
        """
        if not self._has_begun:
            looked_up_TD = self._embedding_VD[
                self._sequences.tokens_SC[self._rows, self._first : self._end].reshape(-1)
            ]
            self._x_TD = looked_up_TD.to(place)
            self._has_begun = True
        if not self._given:
            return
        total_TD = torch.zeros_like(self._x_TD)
        # Sums of floats depend on their order, which must not depend on who was first.
        for expert in sorted(self._given):
            rows_M, given_MD = self._given[expert]
            kept(given_MD)
            if rows_M is None:
                total_TD += given_MD
            else:
                total_TD.index_add_(0, rows_M, given_MD)
        self._x_TD = self._x_TD + total_TD
        self._given = {}

    def move(self, place: torch.device, *, only_last: bool) -> int:
        """Copy the hidden state between CPU and accelerator, and return the bytes.

        With ``only_last``, copy the last position of each sequence alone.
        """
        self.settle(place)
        kept(self._x_TD)
        self._x_TD = brought(self._last_SD() if only_last else self._x_TD, place)
        return num_bytes_of(self._x_TD)

    def finish(self, top: Block) -> None:
        """Compute the logits of each sequence's last position, and choose the next tokens."""
        self.settle(top.flat.device)
        # Tokens are chosen on the host, which keeps beams and their scores.
        logits_SV = head(kept(self._last_SD()), top.tensors, self.architecture.norm_epsilon).cpu()
        self._sequences.take(logits_SV, self._end)

    def _last_SD(self) -> Tensor:
        """Return the hidden state of each sequence's last position.

        If only the last positions were moved, this is the whole state.
        """
        count = len(self._sequences.tokens_SC[self._rows])
        # A view would keep the whole hidden state in memory.
        return self._x_TD.view(count, -1, self._x_TD.shape[-1])[:, -1].clone()
