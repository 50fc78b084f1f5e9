"""Granite 4: Mamba-2 in most layers, attention in the others, a shared block in all, experts in the
MoE models.
"""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, selection
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.state_space import Mamba2, mamba2_weights

_ATTENDS = {
    "attention": True,
    "full_attention": True,
    "mamba": False,
    "linear_attention": False,
}


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    has_bias = keys.flag_or(False, "attention_bias")
    full = grouped(keys, GroupedTraits(has_bias=has_bias, has_output_bias=has_bias))
    attends = keys.layer_kinds("layer_types", num_layers, _ATTENDS)
    mamba = full if all(attends) else mamba2_weights(keys, _mamba2(keys), "mamba")
    has_experts = keys.count_or(0, "num_local_experts") > 0
    stack = Stack(
        attention=[full if is_full else mamba for is_full in attends],
        dense=dense_weights(keys, "shared_intermediate_size", name="shared_mlp"),
        routed=frozenset(range(num_layers)) if has_experts else frozenset(),
        experts=_experts(keys) if has_experts else None,
    )
    return decoder_of(keys, stack)


def _experts(keys: ConfigKeys) -> Experts:
    return Experts(
        **selection(keys),
        intermediate=keys.count("intermediate_size"),
        shared=keys.count("shared_intermediate_size"),
        name="block_sparse_moe",
        shared_name="shared_mlp",
    )


def _mamba2(keys: ConfigKeys) -> Mamba2:
    num_heads = keys.count("mamba_n_heads")
    inner = keys.count("mamba_expand") * keys.count("hidden_size")
    if inner % num_heads:
        raise keys.error(
            "mamba_n_heads", f"must divide mamba_expand · hidden_size, got {num_heads} and {inner}"
        )
    is_stated = keys.has("mamba_d_head") and keys.value("mamba_d_head") != "auto"
    head_dim = keys.count("mamba_d_head") if is_stated else inner // num_heads
    if head_dim * num_heads != inner:
        raise keys.error("mamba_d_head", f"must be {inner // num_heads}, got {head_dim}")
    return Mamba2(
        num_heads=num_heads,
        head_dim=head_dim,
        num_groups=keys.count("mamba_n_groups"),
        state=keys.count("mamba_d_state"),
        kernel=keys.count("mamba_d_conv"),
        has_bias=keys.flag_or(False, "mamba_proj_bias"),
        has_kernel_bias=keys.flag_or(True, "mamba_conv_bias"),
    )


GRANITEMOEHYBRID = Family(
    name="granitemoehybrid",
    decode=_decode,
    required=("tie_word_embeddings", "layer_types"),
    # without experts in a layer these size nothing; mamba_chunk_size is a kernel's tile
    idle=("intermediate_size", "num_experts_per_tok", "mamba_chunk_size", "normalization_function"),
)
