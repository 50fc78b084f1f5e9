"""What distinguishes one family of decoders from another, where its configuration does not say it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hwprofiles import unknown_name
from sim.importers.config_keys import ConfigKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Traits of one ``model_type``, as its modelling class builds it (transformers 5.23.0).

    ``attention_bias`` is a fixed fact where the class hard-codes it and None where the key of that name decides;
    ``has_output_bias`` says whether that bias reaches the output projection. ``required`` lists the keys that real
    configurations state and without which weights would be guessed. A family ``is_dense`` where no layer routes. ``qk_norm`` is
    ``"head"`` (one vector of head_dim each for queries and keys), ``"full"`` (over all heads), ``"flag"`` (``use_qk_norm`` decides, per
    head) or None. ``expert_width`` is the key of the experts' inner dimension; ``is_expert_width_shared`` says that one shared expert
    of the same width stands beside them. ``full_attention_period`` n leaves every n-th layer without the window where the configuration
    names no layers.
    ``has_query_gate``: the query projection is twice as wide, its second half a gate on the output. ``has_linear_attention``: layers that
    ``layer_types`` names so, or all but every ``full_attention_interval``-th, are gated delta nets (arXiv 2412.06464).
    """

    is_dense: bool = False
    is_mla: bool = False
    attention_bias: bool | None = None
    has_output_bias: bool = True
    qk_norm: str | None = None
    has_sinks: bool = False
    has_norm_bias: bool = False
    has_expert_bias: bool = False
    has_router_bias: bool = False
    has_correction_bias: bool = False
    has_shared_gate: bool = False
    is_expert_width_shared: bool = False
    expert_width: str = "intermediate_size"
    full_attention_period: int | None = None
    has_query_gate: bool = False
    has_linear_attention: bool = False
    required: tuple[str, ...] = ()


_MOE_WIDTH = "moe_intermediate_size"
_LINEAR_HEADS = (
    "linear_num_key_heads",
    "linear_num_value_heads",
    "linear_key_head_dim",
    "linear_value_head_dim",
    "linear_conv_kernel_dim",
)
_LEADING_DENSE = ("first_k_dense_replace", "n_shared_experts")
_V3 = Family(is_mla=True, has_correction_bias=True, expert_width=_MOE_WIDTH, required=_LEADING_DENSE)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "llama": Family(is_dense=True),
        "qwen2": Family(is_dense=True, attention_bias=True, has_output_bias=False),
        "mixtral": Family(attention_bias=False),
        "phimoe": Family(has_norm_bias=True, required=("attention_bias", "lm_head_bias")),
        "qwen2_moe": Family(
            attention_bias=True,
            has_output_bias=False,
            has_shared_gate=True,
            expert_width=_MOE_WIDTH,
            required=("shared_expert_intermediate_size",),
        ),
        "qwen3_moe": Family(qk_norm="head", expert_width=_MOE_WIDTH, required=("head_dim",)),
        "qwen3_next": Family(
            qk_norm="head",
            has_shared_gate=True,
            expert_width=_MOE_WIDTH,
            has_query_gate=True,
            has_linear_attention=True,
            required=("head_dim", "shared_expert_intermediate_size", *_LINEAR_HEADS),
        ),
        "deepseek_v2": Family(is_mla=True, expert_width=_MOE_WIDTH, required=_LEADING_DENSE),
        "deepseek_v3": _V3,
        "kimi_k2": _V3,
        "olmoe": Family(qk_norm="full"),
        "gpt_oss": Family(
            has_sinks=True,
            has_expert_bias=True,
            has_router_bias=True,
            full_attention_period=2,
            required=("attention_bias", "head_dim", "sliding_window"),
        ),
        "glm4_moe": Family(
            has_output_bias=False,
            qk_norm="flag",
            has_correction_bias=True,
            expert_width=_MOE_WIDTH,
            required=("attention_bias", "head_dim", *_LEADING_DENSE),
        ),
        "llama4": Family(
            is_expert_width_shared=True,
            full_attention_period=4,
            required=("head_dim", "attention_chunk_size", "interleave_moe_layer_step", "intermediate_size_mlp"),
        ),
        "granitemoe": Family(required=("tie_word_embeddings",)),
    }
)
"""Families by ``model_type``."""


def family_of(keys: ConfigKeys) -> tuple[str, Family]:
    """Name and traits of the configuration's family. Raises InputError for an unknown one, or for one of its required keys missing."""
    model_type = str(keys.value("model_type")).removesuffix("_text")
    if model_type not in FAMILIES:
        raise unknown_name(f"model family ({keys.where}: model_type)", model_type, FAMILIES)
    family = FAMILIES[model_type]
    for name in family.required:
        keys.value(name)
    return model_type, family
