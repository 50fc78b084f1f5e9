"""What GPU memory has to hold besides routed experts, and what is left for them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwprofiles import Machine
from sim.model import Model, TensorClass
from sim.workload import Batch, Feeding, forward_passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasible:
    """No placement exists: why, and by how many bytes."""

    reason: str
    missing_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRule:
    """What a system sets aside before it fills the GPU with experts.

    Of the GPU's memory ``usable_fraction`` is used. The default budgets all a run needs: 5 % for the
    CUDA context and fragmentation (the released Fiddler's figure), weights, KV cache at full length, activations, and
    the buffers that copies go through. ``counts_rotary_tables``: cosine and sine tables for the longest context in every
    layer, as older transformers keep.
    """

    usable_fraction: float = 0.95
    budgets_kv: bool = True
    budgets_activations: bool = True
    counts_rotary_tables: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Residency:
    """What the GPU holds at time 0: routed experts [layer, expert], the rest of each layer [layer], the head.

    ``kv`` [layer]: whose KV cache it holds; None stands for that of the layers in ``dense``.
    """

    experts: NDArray[np.bool_]
    dense: NDArray[np.bool_]
    has_head: bool
    kv: NDArray[np.bool_] | None = None

    @property
    def num_experts(self) -> int:
        """Routed experts held."""
        return int(self.experts.sum())


def weight_bytes(model: Model, residency: Residency) -> int:
    """Bytes of the weights that the GPU holds."""
    experts = int((residency.experts.sum(axis=1) * [layer.expert_bytes for layer in model.layers]).sum())
    return experts + _dense_bytes(model, residency.dense, residency.has_head)


def activation_bytes(model: Model, batch: Batch, feeding: Feeding) -> int:
    """Working memory of the largest pass: six hidden-sized and two wide buffers a token, and logits in 32 bit.

    The wide buffers are those of the widest feed-forward a token meets (its top-k experts or a dense layer's). Attention is taken to be
    fused, so no score matrix is kept. Of a pass in micro-batches only the hidden states of the others wait.
    """
    passes = forward_passes(replace(batch, output_tokens=min(batch.output_tokens, 2)), feeding)  # every decode step is as wide
    tokens = int(passes.num_tokens.max())
    dense = max(layer.params.get(TensorClass.DENSE_FFN, 0) for layer in model.layers) // (3 * model.hidden)
    wide = max(model.top_k * model.expert_intermediate, dense)
    waiting = int(np.bincount(passes.group, passes.num_tokens).max()) - tokens
    return (
        waiting * model.hidden * model.activation_bytes
        + tokens * (6 * model.hidden + 2 * wide) * model.activation_bytes
        + 4 * batch.num_sequences * model.vocab
    )


def fixed_items(
    machine: Machine,
    model: Model,
    batch: Batch,
    feeding: Feeding,
    rule: MemoryRule,
    dense: NDArray[np.bool_],
    *,
    has_head: bool,
    staging_bytes: int,
    kv: NDArray[np.bool_] | None = None,
) -> Mapping[str, int]:
    """Bytes that stand before any routed expert, by item, in reading order; ``dense`` and ``kv`` as in Residency."""
    items = {"context and fragmentation": machine_bytes(machine) - usable_bytes(machine, rule)}
    items["weights outside experts"] = _dense_bytes(model, dense, has_head)
    if rule.budgets_kv:
        per_layer = [model.layer_kv_bytes(layer, batch.context_tokens) for layer in np.flatnonzero(dense if kv is None else kv).tolist()]
        items["KV cache"] = batch.num_sequences * sum(per_layer)
    if rule.budgets_activations:
        items["activations"] = activation_bytes(model, batch, feeding)
    if rule.counts_rotary_tables:
        attentions = [layer.attention for layer in model.layers if layer.attention is not None]
        head_dim = max((attention.value_elements // attention.num_heads for attention in attentions), default=0)
        items["rotary tables"] = len(attentions) * model.max_context_tokens * head_dim * 2 * model.activation_bytes
    items["staging buffers"] = staging_bytes
    return items


def machine_bytes(machine: Machine) -> int:
    """Memory of one GPU."""
    return int(machine.gpu.memory_bytes.effective)


def usable_bytes(machine: Machine, rule: MemoryRule) -> int:
    """What of it the rule lets a process fill."""
    return int(machine.gpu.memory_bytes.effective * rule.usable_fraction)


def _dense_bytes(model: Model, dense: NDArray[np.bool_], has_head: bool) -> int:
    layers = sum(model.layers[layer].dense_bytes for layer in np.flatnonzero(dense).tolist())
    return layers + (sum(model.top_bytes.values()) if has_head else 0)
