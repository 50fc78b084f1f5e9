"""The operations of an MoE decoder, on whatever device their tensors are: measured, executed and compared are these very functions."""

# TensorLegend: T tokens of a pass, S sequences, L tokens of each sequence, C context so far, D hidden, N heads, K key-value heads,
# H head dimension, E experts, P experts selected by a token, F intermediate, V vocabulary.

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from validation.backend.architecture import LayerShape

Tensors = Mapping[str, Tensor]


def normalized(x_TD: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
    """Root-mean-square norm, taken in 32 bit."""
    wide_TD = x_TD.float()
    scaled_TD = wide_TD * torch.rsqrt(wide_TD.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight_D * scaled_TD.to(x_TD.dtype)


def rotation(num_tokens: int, head_dim: int, theta: float, dtype: torch.dtype) -> Tensor:
    """Cosines and sines [2, C, H] of the first positions; the first half of the sines has its sign turned, for ``rotated``."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    angles_CH = torch.outer(torch.arange(num_tokens, dtype=torch.float32), theta**-exponents).repeat(1, 2)
    signs_H = torch.ones(head_dim)
    signs_H[: head_dim // 2] = -1.0
    return torch.stack([angles_CH.cos(), angles_CH.sin() * signs_H]).to(dtype)


def rotated(x_SNLH: Tensor, turn_2LH: Tensor) -> Tensor:
    """Rotary position embedding, the halves of a head dimension paired."""
    return x_SNLH * turn_2LH[0] + x_SNLH.roll(x_SNLH.shape[-1] // 2, -1) * turn_2LH[1]


def attention(
    x_TD: Tensor, weights: Tensors, shape: LayerShape, epsilon: float, turn_2CH: Tensor, cache_2SKCH: Tensor, first: int, end: int
) -> Tensor:
    """Causal grouped-query attention of a pass, norm and residual included; writes the keys and values of its positions to the cache."""
    sequences = cache_2SKCH.shape[1]
    y_TD = normalized(x_TD, weights["input_norm"], epsilon)
    q_SNLH, k_SKLH, v_SKLH = (
        linear(y_TD, weights[name], weights.get(f"{name}_bias")).view(sequences, end - first, -1, shape.head_dim).transpose(1, 2)
        for name in ("q", "k", "v")
    )
    turn_2LH = turn_2CH[:, first:end]
    cache_2SKCH[0, :, :, first:end] = rotated(k_SKLH, turn_2LH)
    cache_2SKCH[1, :, :, first:end] = v_SKLH
    mask_LC = _mask(first, end, shape.window_tokens, x_TD.device)
    keys_SKCH, values_SKCH = cache_2SKCH[0, :, :, :end], cache_2SKCH[1, :, :, :end]
    z_SNLH = scaled_dot_product_attention(rotated(q_SNLH, turn_2LH), keys_SKCH, values_SKCH, attn_mask=mask_LC, enable_gqa=True)
    return x_TD + linear(z_SNLH.transpose(1, 2).reshape(x_TD.shape[0], -1), weights["o"])


def gate(x_TD: Tensor, router_ED: Tensor, top_k: int, *, normalizes: bool) -> tuple[Tensor, Tensor]:
    """Which experts every token selects, and with what share: [T, P] each, the largest share first."""
    shares_TE = torch.softmax(linear(x_TD, router_ED), dim=-1, dtype=torch.float32)
    shares_TP, experts_TP = torch.topk(shares_TE, top_k, dim=-1)
    if normalizes:
        shares_TP = shares_TP / shares_TP.sum(dim=-1, keepdim=True)
    return experts_TP, shares_TP.to(x_TD.dtype)


def feed_forward(x_TD: Tensor, weights: Tensors, name: str) -> Tensor:
    """A gated feed-forward with SiLU: a routed expert, the shared experts or a dense layer's."""
    wide_TF = silu(linear(x_TD, weights[f"{name}_gate"])) * linear(x_TD, weights[f"{name}_up"])
    return linear(wide_TF, weights[f"{name}_down"])


def routed_expert(own_MD: Tensor, shares_M1: Tensor, weights: Tensors) -> Tensor:
    """One routed expert over the tokens that selected it, weighted by their shares."""
    return feed_forward(own_MD, weights, "expert") * shares_M1


def shared_experts(x_TD: Tensor, weights: Tensors) -> Tensor:
    """The experts that every token meets, scaled by their own gate where the model has one."""
    y_TD = feed_forward(x_TD, weights, "shared")
    return torch.sigmoid(linear(x_TD, weights["shared_share"])) * y_TD if "shared_share" in weights else y_TD


def head(x_SD: Tensor, top: Tensors, epsilon: float) -> Tensor:
    """Last norm and vocabulary projection: logits [S, V]."""
    return linear(normalized(x_SD, top["norm"], epsilon), top["head"])


def _mask(first: int, end: int, window_tokens: int | None, device: torch.device) -> Tensor | None:
    """Which positions each new token sees [L, C]; None where it sees all."""
    if end - first == 1 and (window_tokens is None or end <= window_tokens):
        return None
    distance_LC = torch.arange(first, end, device=device)[:, None] - torch.arange(end, device=device)
    return (distance_LC >= 0) & (distance_LC < (window_tokens or end))
