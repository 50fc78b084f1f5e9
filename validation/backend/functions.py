"""The operations of an MoE decoder, on whatever device their tensors are.

Measuring, executing and comparing use these same functions.
"""

# TensorLegend: T tokens of a pass, S sequences, L tokens of each sequence, C context so far, D
# hidden, N heads, K key-value heads,
# H head dimension, R latent rank (and rotary dimension), E experts, G groups of experts, P experts
# selected by a token, F intermediate,
# V vocabulary.

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from validation.backend.architecture import SOFTMAX, LayerShape, Scoring

Tensors = Mapping[str, Tensor]

NORM_EPSILON = 1e-6
"""Epsilon of the norms inside latent attention, whatever epsilon the other norms have.

Source: modeling_deepseek of transformers.
"""


def normalized(x_TD: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
    """Return the tensor after a root-mean-square norm, computed in 32 bits."""
    # Squares of 16-bit numbers overflow, or lose what is small.
    wide_TD = x_TD.float()
    scaled_TD = wide_TD * torch.rsqrt(wide_TD.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight_D * scaled_TD.to(x_TD.dtype)


def rotation(num_tokens: int, head_dim: int, theta: float, dtype: torch.dtype) -> Tensor:
    """Return cosines and sines [2, C, H] of the first positions.

    The first half of the sines has its sign turned, for ``rotated``.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    angles_CH = torch.outer(
        torch.arange(num_tokens, dtype=torch.float32), theta**-exponents
    ).repeat(1, 2)
    signs_H = torch.ones(head_dim)
    signs_H[: head_dim // 2] = -1.0
    return torch.stack([angles_CH.cos(), angles_CH.sin() * signs_H]).to(dtype)


def rotated(x_SNLH: Tensor, turn_2LH: Tensor) -> Tensor:
    """Apply rotary position embedding, which pairs the two halves of a head dimension."""
    return x_SNLH * turn_2LH[0] + x_SNLH.roll(x_SNLH.shape[-1] // 2, -1) * turn_2LH[1]


class CacheSpan(NamedTuple):
    """A KV cache, and the positions ``first`` up to ``end`` that a pass adds to it."""

    cache_2SKCH: Tensor
    first: int
    end: int


def attention(
    x_TD: Tensor,
    weights: Tensors,
    shape: LayerShape,
    epsilon: float,
    turn_2CH: Tensor,
    span: CacheSpan,
) -> Tensor:
    """Run causal attention of a pass, norm and residual included.

    Keys and values of the pass's positions are written to the cache. Attention is grouped-query, or
    latent if the shape says so; then the cache is [1, S, 1, C, rank + rotary].
    """
    if shape.latent is not None:
        return _latent_attention(x_TD, weights, shape, epsilon, turn_2CH, span)
    cache_2SKCH, first, end = span
    sequences = cache_2SKCH.shape[1]
    y_TD = normalized(x_TD, weights["input_norm"], epsilon)
    q_SNLH, k_SKLH, v_SKLH = (
        linear(y_TD, weights[name], weights.get(f"{name}_bias"))
        .view(sequences, end - first, -1, shape.head_dim)
        .transpose(1, 2)
        for name in ("q", "k", "v")
    )
    if shape.has_head_norms:
        q_SNLH = normalized(q_SNLH, weights["q_norm"], epsilon)
        k_SKLH = normalized(k_SKLH, weights["k_norm"], epsilon)
    turn_2LH = turn_2CH[:, first:end]
    cache_2SKCH[0, :, :, first:end] = rotated(k_SKLH, turn_2LH)
    cache_2SKCH[1, :, :, first:end] = v_SKLH
    mask_LC = _mask(first, end, shape.window_tokens, x_TD.device)
    keys_SKCH = cache_2SKCH[0, :, :, :end]
    values_SKCH = cache_2SKCH[1, :, :, :end]
    z_SNLH = scaled_dot_product_attention(
        rotated(q_SNLH, turn_2LH), keys_SKCH, values_SKCH, attn_mask=mask_LC, enable_gqa=True
    )
    return x_TD + linear(z_SNLH.transpose(1, 2).reshape(x_TD.shape[0], -1), weights["o"])


def _latent_attention(
    x_TD: Tensor,
    weights: Tensors,
    shape: LayerShape,
    epsilon: float,
    turn_2CH: Tensor,
    span: CacheSpan,
) -> Tensor:
    """Run latent attention in its absorbed form (arXiv 2405.04434, 2.1).

    Scores are over the cached latent and one rotary key; values are summed over the latent.
    """
    latent = shape.latent
    assert latent is not None
    cache_2SKCH, first, end = span
    cache_SCR = cache_2SKCH[0, :, 0]
    sequences = len(cache_SCR)
    rank = latent.key_rank
    y_TD = normalized(x_TD, weights["input_norm"], epsilon)
    turn_2LH = turn_2CH[:, first:end]
    down_SLR = linear(y_TD, weights["kv_down"]).view(sequences, end - first, -1)
    cache_SCR[:, first:end, :rank] = normalized(
        down_SLR[..., :rank], weights["kv_down_norm"], NORM_EPSILON
    )
    cache_SCR[:, first:end, rank:] = rotated(_pairs_apart(down_SLR[..., rank:]), turn_2LH)
    asked_TR = (
        normalized(linear(y_TD, weights["q_down"]), weights["q_down_norm"], NORM_EPSILON)
        if latent.query_rank
        else y_TD
    )
    q_SNLH = (
        linear(asked_TR, weights["q"])
        .view(sequences, end - first, shape.num_heads, -1)
        .transpose(1, 2)
    )
    plain_SNLH, rotary_SNLH = q_SNLH.split((latent.plain_dim, latent.rotary_dim), dim=-1)
    # One matrix holds what leads into the latent and what leads out of it, head by head.
    into_NHR, out_NHR = (
        weights["kv"]
        .view(shape.num_heads, -1, rank)
        .split((latent.plain_dim, latent.value_dim), dim=1)
    )
    q_SNLR = torch.cat(
        (plain_SNLH @ into_NHR, rotated(_pairs_apart(rotary_SNLH), turn_2LH)), dim=-1
    )
    keys_SNCR = cache_SCR[:, None, :end].expand(-1, shape.num_heads, -1, -1)
    # Scores keep the scale of a head's own dimensions, not of the latent that replaces them.
    scale = (latent.plain_dim + latent.rotary_dim) ** -0.5
    mask_LC = _mask(first, end, shape.window_tokens, x_TD.device)
    z_SNLR = scaled_dot_product_attention(
        q_SNLR, keys_SNCR, keys_SNCR[..., :rank], attn_mask=mask_LC, scale=scale
    )
    z_SNLH = z_SNLR @ out_NHR.transpose(1, 2)
    return x_TD + linear(z_SNLH.transpose(1, 2).reshape(x_TD.shape[0], -1), weights["o"])


def _pairs_apart(x: Tensor) -> Tensor:
    """Move neighbours that rotate together half the dimension apart, as ``rotated`` pairs them."""
    return torch.cat((x[..., 0::2], x[..., 1::2]), dim=-1)


def gate(
    x_TD: Tensor,
    router_ED: Tensor,
    top_k: int,
    *,
    normalizes: bool,
    scoring: Scoring = SOFTMAX,
    bias_E: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the experts that every token selects, and their shares: [T, P] each.

    The largest (biased) share comes first.
    """
    logits_TE = linear(x_TD, router_ED)
    shares_TE = (
        logits_TE.float().sigmoid()
        if scoring.is_sigmoid
        else torch.softmax(logits_TE, dim=-1, dtype=torch.float32)
    )
    worth_TE = shares_TE if bias_E is None else shares_TE + bias_E.float()
    if scoring.num_groups > 1:
        worth_TE = _of_best_groups(worth_TE, scoring)
    _, experts_TP = torch.topk(worth_TE, top_k, dim=-1)
    # A bias decides who is selected, never the share (DeepSeek-V3, arXiv 2412.19437, 2.1.2).
    shares_TP = shares_TE.gather(-1, experts_TP)
    if normalizes:
        shares_TP = shares_TP / shares_TP.sum(dim=-1, keepdim=True)
    return experts_TP, (shares_TP * scoring.scale).to(x_TD.dtype)


def _of_best_groups(worth_TE: Tensor, scoring: Scoring) -> Tensor:
    """Return the worth of experts in each token's best groups; all other experts get -inf."""
    grouped_TGE = worth_TE.view(len(worth_TE), scoring.num_groups, -1)
    best_TG = (
        grouped_TGE.topk(2, dim=-1)[0].sum(dim=-1)
        if scoring.is_sigmoid
        else grouped_TGE.amax(dim=-1)
    )
    chosen_TG = torch.zeros_like(best_TG, dtype=torch.bool).scatter_(
        1, best_TG.topk(scoring.top_groups, dim=-1)[1], True
    )
    # Not 0: a bias can make an expert's worth negative.
    return grouped_TGE.masked_fill(~chosen_TG[..., None], float("-inf")).flatten(1)


def feed_forward(x_TD: Tensor, weights: Tensors, name: str) -> Tensor:
    """Run a gated feed-forward with SiLU: a routed expert, the shared experts or a dense
    layer's.
    """
    wide_TF = silu(linear(x_TD, weights[f"{name}_gate"])) * linear(x_TD, weights[f"{name}_up"])
    return linear(wide_TF, weights[f"{name}_down"])


def routed_expert(own_MD: Tensor, shares_M1: Tensor, weights: Tensors) -> Tensor:
    """Run one routed expert over the tokens that selected it, weighted by their shares."""
    return feed_forward(own_MD, weights, "expert") * shares_M1


def shared_experts(x_TD: Tensor, weights: Tensors) -> Tensor:
    """Run the experts that serve every token, scaled by their own gate if the model has one."""
    y_TD = feed_forward(x_TD, weights, "shared")
    return (
        torch.sigmoid(linear(x_TD, weights["shared_share"])) * y_TD
        if "shared_share" in weights
        else y_TD
    )


def head(x_SD: Tensor, top: Tensors, epsilon: float) -> Tensor:
    """Apply the last norm and the vocabulary projection; return logits [S, V]."""
    return linear(normalized(x_SD, top["norm"], epsilon), top["head"])


def _mask(first: int, end: int, window_tokens: int | None, device: torch.device) -> Tensor | None:
    """Which positions each new token sees [L, C]; None where it sees all."""
    if end - first == 1 and (window_tokens is None or end <= window_tokens):
        return None
    distance_LC = torch.arange(first, end, device=device)[:, None] - torch.arange(
        end, device=device
    )
    return (distance_LC >= 0) & (distance_LC < (window_tokens or end))
