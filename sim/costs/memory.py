"""What GPU memory has to hold besides routed experts, and what is left for them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Machine
from hwprofiles.ranges import check_at_least, check_shares
from hwprofiles.units import MIB
from sim.costs.compute_buffers import MICRO_BATCH_TOKENS, compute_buffer_bytes
from sim.model.model import Model, TensorClass, layer_shapes
from sim.workload.batch import Batch, Feeding, forward_passes

TABLES_AT_LOAD = ("mixtral", 32_768)
"""The family of models whose rotary tables exist whole once the model is loaded, and the longest
context of such a model.

Fiddler's released code runs a model of that family on transformers 4.36.2 (its requirements.txt).
Other families, and longer contexts, run on later versions.
"""

CUDA_CONTEXT_BYTES = 555 * MIB
"""Bytes that a CUDA context takes of a GPU whose machine file states no ``context_bytes``: the most
that is published, for 188 processors.

A context grows with the card's processors: 107 MiB on an RTX 4060 Ti, 555 MiB on an RTX PRO 6000.
Source: github.com/ggml-org/llama.cpp pull request 23604, 2026-05-24, read before and after the
context was made. Also "120-550 MB depending on GPU" (pull request 20595, 2026-03-15).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasible:
    """The answer that no placement exists: the reason, and how many bytes are missing."""

    reason: str
    missing_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRule:
    """What a system sets aside before it fills the GPU with experts.

    The default budgets all that a run needs: a CUDA context, weights, the KV cache at full length,
    compute buffers and the buffers that copies go through. Compute buffers are those of passes of
    ``micro_batch_tokens``, as a runtime reserves them at its start. A larger pass goes through each
    layer that many tokens at a time. A feeding with a chunk size of its own overrides
    ``micro_batch_tokens``.

    The input embedding lies in host memory, as llama.cpp and ik_llama.cpp have it.

    Fiddler's released code fills a share of the card instead: ``usable_fraction`` of it, the
    context included where ``has_context_apart`` is false. ``is_eager``: operations run one by one,
    all tokens of a pass at once, and the embedding lies on the GPU, as in transformers.
    ``counts_rotary_tables``: tables of cosines and sines are set aside too, see
    ``rotary_table_bytes``.
    """

    usable_fraction: float = 1.0
    has_context_apart: bool = True
    budgets_kv: bool = True
    budgets_activations: bool = True
    counts_rotary_tables: bool = False
    micro_batch_tokens: int = MICRO_BATCH_TOKENS
    is_eager: bool = False

    def __post_init__(self) -> None:
        check_shares(self, "usable_fraction")
        check_at_least(self, micro_batch_tokens=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Residency:
    """What the GPU holds at time 0: routed ``experts`` [layer, expert], the rest of each layer
    (``dense`` [layer]), the head.

    ``kv`` [layer] marks the layers whose KV cache it holds; None: the layers in ``dense``.
    ``has_embedding``: with the head, it holds the input embedding too. A token reads one row of the
    embedding.
    """

    experts: NDArray[np.bool_]
    dense: NDArray[np.bool_]
    has_head: bool
    kv: NDArray[np.bool_] | None = None
    has_embedding: bool = True

    @property
    def num_experts(self) -> int:
        """How many routed experts the GPU holds."""
        return int(self.experts.sum())


def weight_bytes(model: Model, residency: Residency) -> int:
    """Bytes of the weights that the GPU holds."""
    experts = int(
        (residency.experts.sum(axis=1) * [layer.expert_bytes for layer in model.layers]).sum()
    )
    top = top_bytes(model, has_embedding=residency.has_embedding) if residency.has_head else 0
    return experts + _dense_bytes(model, residency.dense) + top


def top_bytes(model: Model, *, has_embedding: bool) -> int:
    """Return the bytes of the vocabulary's weights. Without ``has_embedding`` the input embedding
    is left out, unless it is the head's matrix too.
    """
    held = model.head_bytes
    return (
        held
        if has_embedding or model.is_head_tied
        else held - model.top_bytes.get(TensorClass.EMBEDDING, 0)
    )


def activation_bytes(model: Model, batch: Batch, feeding: Feeding) -> int:
    """Return the bytes that the largest pass of an eager system works in: six hidden-sized and two
    wide buffers a token, and logits in 32 bits.

    The wide buffers are those of the widest feed-forward that a token meets (its top-k experts or a
    dense layer's). Attention is taken to be fused, so no score matrix is kept. While one
    micro-batch of a pass is computed, the others keep only their hidden states.
    """
    # One decode step stands for all: each is as wide.
    passes = forward_passes(replace(batch, output_tokens=min(batch.output_tokens, 2)), feeding)
    tokens = int(passes.num_tokens.max())
    # Three matrices between hidden states and the wide ones: their parameters give the width.
    dense = max(layer.params.get(TensorClass.DENSE_FFN, 0) for layer in model.layers) // (
        3 * model.hidden
    )
    wide = max(model.top_k * model.expert_intermediate, dense)
    waiting = int(np.bincount(passes.group, passes.num_tokens).max()) - tokens
    return (
        waiting * model.hidden * model.activation_bytes
        + tokens * (6 * model.hidden + 2 * wide) * model.activation_bytes
        + 4 * batch.num_sequences * model.vocab
    )


def working_bytes(
    model: Model, batch: Batch, feeding: Feeding, rule: MemoryRule, *, has_head: bool = True
) -> int:
    """Return the bytes that the passes of a run work in: compute buffers, or the activations of an
    eager system.

    While a micro-batch is computed, the hidden states of the other tokens, of the same pass or of
    its group, wait in the GPU's memory.
    """
    if rule.is_eager:
        return activation_bytes(model, batch, feeding)
    passes = forward_passes(replace(batch, output_tokens=min(batch.output_tokens, 2)), feeding)
    most_tokens = int(np.bincount(passes.group, passes.num_tokens).max())
    reserved = feeding.prefill_chunk_tokens or rule.micro_batch_tokens
    # An engine reserves for its largest pass, but no run feeds more tokens than it has.
    tokens = min(reserved, batch.num_sequences * batch.context_tokens)
    waiting = max(0, most_tokens - tokens) * model.hidden * model.activation_bytes
    return waiting + compute_buffer_bytes(model, tokens, batch.context_tokens, has_head=has_head)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseShare:
    """What the GPU holds of a model besides routed experts: ``dense`` and ``kv`` as in Residency.

    ``staging_bytes`` are the bytes of the buffers that copies go through.
    """

    dense: NDArray[np.bool_]
    has_head: bool = True
    staging_bytes: int = 0
    kv: NDArray[np.bool_] | None = None


def fixed_items(
    machine: Machine,
    model: Model,
    batch: Batch,
    feeding: Feeding,
    rule: MemoryRule,
    held: DenseShare,
) -> Mapping[str, int]:
    """Return the bytes that a GPU holds besides routed experts, by item, in the order in which they
    are shown.
    """
    dense = held.dense
    has_head = held.has_head
    items = {}
    if rule.usable_fraction < 1:
        items["context and fragmentation"] = machine_bytes(machine) - int(
            machine.gpu.memory_bytes.effective * rule.usable_fraction
        )
    if rule.has_context_apart:
        items["CUDA context"] = context_bytes(machine)
    top = top_bytes(model, has_embedding=rule.is_eager) if has_head else 0
    items["weights outside experts"] = _dense_bytes(model, dense) + top
    if rule.budgets_kv:
        own = dense if held.kv is None else held.kv
        items["KV cache"] = batch.num_sequences * _kv_bytes(model, batch.context_tokens, own)
    if rule.budgets_activations:
        items["activations" if rule.is_eager else "compute buffers"] = working_bytes(
            model, batch, feeding, rule, has_head=has_head
        )
    if rule.counts_rotary_tables:
        items["rotary tables"] = rotary_table_bytes(model, batch)
    items["staging buffers"] = held.staging_bytes
    return items


def _kv_bytes(model: Model, context_tokens: int, held: NDArray[np.bool_]) -> int:
    """Return the bytes of one sequence's keys and values in the layers marked in ``held``
    [layer].
    """
    # A search asks this of hundreds of placements, and layers of one shape keep as much.
    shapes, shape_of = layer_shapes(model)
    counts = np.bincount(shape_of[held], minlength=len(shapes)).tolist()
    return sum(
        count * model.layer_kv_bytes(layer, context_tokens)
        for count, layer in zip(counts, shapes, strict=True)
    )


def rotary_table_bytes(model: Model, batch: Batch) -> int:
    """Return the bytes of the cosines and sines that rotate queries and keys: one pair a position
    and dimension.

    Transformers computes them in each pass, and all layers share them (since July 2024), so the
    run's tokens are charged. The version that the released Fiddler pins builds them for the longest
    context, in every layer: see TABLES_AT_LOAD.
    """
    attentions = [layer.attention for layer in model.layers if layer.attention is not None]
    head_dims = [attention.value_elements // attention.num_heads for attention in attentions]
    # Cosines and sines: two numbers.
    bytes_per_token = 2 * max(head_dims, default=0) * model.activation_bytes

    family, longest = TABLES_AT_LOAD
    if model.family == family and model.max_context_tokens <= longest:
        return len(attentions) * model.max_context_tokens * bytes_per_token
    return batch.context_tokens * bytes_per_token


def machine_bytes(machine: Machine) -> int:
    """Return the bytes of one GPU's memory."""
    return int(machine.gpu.memory_bytes.effective)


def context_bytes(machine: Machine) -> int:
    """Return the bytes that the driver takes of a GPU for one process, before it allocates
    anything.
    """
    stated = machine.gpu.context_bytes
    return CUDA_CONTEXT_BYTES if stated is None else int(stated.effective)


def usable_bytes(machine: Machine, rule: MemoryRule) -> int:
    """Return the bytes of a GPU that the rule lets a process allocate; negative where its context
    alone does not fit.
    """
    aside = context_bytes(machine) if rule.has_context_apart else 0
    return int(machine.gpu.memory_bytes.effective * rule.usable_fraction) - aside


def _dense_bytes(model: Model, dense: NDArray[np.bool_]) -> int:
    return sum(model.layers[layer].dense_bytes for layer in np.flatnonzero(dense).tolist())
