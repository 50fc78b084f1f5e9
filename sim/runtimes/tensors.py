"""The tensors of a model under the names that GGUF files give them, with their bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from sim.model.model import Attention, Layer, Model, TensorClass


class TensorPart(StrEnum):
    """The part that a tensor has in a layer; parts are in the order in which a layer runs."""

    ATTENTION = "attention"
    ROUTER = "router"
    EXPERT_GATE = "expert_gate"
    EXPERT_UP = "expert_up"
    EXPERT_DOWN = "expert_down"
    FEED_FORWARD = "feed_forward"


EXPERT_PARTS = (TensorPart.EXPERT_GATE, TensorPart.EXPERT_UP, TensorPart.EXPERT_DOWN)


@dataclass(frozen=True, slots=True)
class LayerTensor:
    """A tensor of a layer: its name, its part, and its bytes.

    A tensor of routed experts has the bytes of all of the layer's experts.
    """

    name: str
    part: TensorPart
    num_bytes: int


TensorTable = tuple[tuple[LayerTensor, ...], ...]
"""The tensors of every layer, in the order in which they run."""


def tensors_of(model: Model) -> TensorTable:
    """Return the tensors of all layers, each layer's as ``layer_tensors`` returns them."""
    return tuple(layer_tensors(model, index) for index in range(model.num_layers))


def layer_tensors(model: Model, index: int) -> tuple[LayerTensor, ...]:
    """Return the tensors of a layer in the order in which they run.

    A model states bytes by tensor class. Matrices of one class share its bytes in proportion to
    their shapes where these are known, otherwise equally.
    """
    layer = model.layers[index]
    made = [*_attention(layer, model.hidden), *_feed_forward(layer)]
    return tuple(LayerTensor(f"blk.{index}.{name}", part, round(size)) for name, part, size in made)


def _attention(layer: Layer, hidden: int) -> Iterator[tuple[str, TensorPart, float]]:
    """Yield name, part and bytes of the first norm and of the matrices of attention."""
    # A layer's norms are counted together; half stands before attention, half behind it.
    yield "attn_norm.weight", TensorPart.ATTENTION, layer.bytes.get(TensorClass.NORM, 0) / 2
    total = layer.bytes.get(TensorClass.ATTENTION, 0)
    for name, share in _attention_shares(layer, hidden):
        yield f"{name}.weight", TensorPart.ATTENTION, total * share


def _attention_shares(layer: Layer, hidden: int) -> list[tuple[str, float]]:
    """Return the names of the matrices of attention, each with its share of attention's bytes."""
    attention = layer.attention
    names: tuple[str, ...]
    if attention is None:
        names = ("attn_qkv", "attn_gate", "ssm_out")
    elif is_compressed(attention):
        names = ("attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_k_b", "attn_v_b", "attn_output")
    else:
        return _grouped_shares(attention, layer.params.get(TensorClass.ATTENTION, 0), hidden)
    return [(name, 1 / len(names)) for name in names]


def _grouped_shares(attention: Attention, params: int, hidden: int) -> list[tuple[str, float]]:
    """Return the shares of q, k, v and output in grouped-query attention.

    The output matrix gets what the other three leave.
    """
    if not params:
        return []
    query = hidden * attention.score_elements / params
    key = hidden * attention.kv_elements_per_token / 2 / params
    shares = {"attn_q": query, "attn_k": key, "attn_v": key}
    # Not from the shape: some families have gates and biases, which then count to the output.
    shares["attn_output"] = max(0.0, 1 - sum(shares.values()))
    total = sum(shares.values())
    return [(name, share / total) for name, share in shares.items()]


def _feed_forward(layer: Layer) -> Iterator[tuple[str, TensorPart, float]]:
    """Yield name, part and bytes of all tensors after attention.

    They are the second norm, the router, the routed experts, and the dense or shared feed-forward.
    """
    yield "ffn_norm.weight", TensorPart.ROUTER, layer.bytes.get(TensorClass.NORM, 0) / 2
    if layer.is_moe:
        yield "ffn_gate_inp.weight", TensorPart.ROUTER, layer.bytes.get(TensorClass.ROUTER, 0)
        # Gate, up and down have equally many weights; a class states no type for each.
        third = layer.num_experts * layer.expert_bytes / 3
        for name, part in zip(("gate", "up", "down"), EXPERT_PARTS, strict=True):
            yield f"ffn_{name}_exps.weight", part, third
    for tensor_class, suffix in (
        (TensorClass.SHARED_EXPERT, "_shexp"),
        (TensorClass.DENSE_FFN, ""),
    ):
        third = layer.bytes.get(tensor_class, 0) / 3
        if third:
            for name in ("gate", "up", "down"):
                yield f"ffn_{name}{suffix}.weight", TensorPart.FEED_FORWARD, third


def is_compressed(attention: Attention) -> bool:
    """Whether keys and values are cached compressed (MLA): scores are taken over more elements than
    values are summed.
    """
    return attention.score_elements > attention.value_elements > 0
