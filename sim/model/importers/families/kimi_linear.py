"""Kimi-Linear: delta attention in most layers, latents in the others, experts as in Kimi-K2."""

from sim.model.importers.attention import latent
from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.delta_attention import DeltaShape, delta_weights
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, listed_kinds, selection
from sim.model.importers.linear_attention import linear_layers
from sim.model.importers.stack import Stack, decoder_of

_SECTION = "linear_attn_config"


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    width = keys.count("moe_intermediate_size")
    routed = listed_kinds(keys, num_layers)
    # A file without the key says nothing of shared experts: it does not say that there are none.
    keys.value("num_shared_experts", "n_shared_experts")
    full = latent(keys)
    delta = _delta(keys)
    stack = Stack(
        attention=[delta if is_linear else full for is_linear in _linear(keys, num_layers)],
        dense=dense_weights(keys) if len(routed) < num_layers else (),
        routed=routed,
        experts=Experts(
            **selection(keys),
            intermediate=width,
            shared=keys.count_or(0, "num_shared_experts", "n_shared_experts") * width,
            router_vectors=1,
        ),
    )
    return decoder_of(keys, stack)


def _linear(keys: ConfigKeys, num_layers: int) -> list[bool]:
    """Return, for each layer, whether it has delta attention.

    The original files list the layers of either kind, counted from 1.
    """
    if not keys.has(_SECTION):
        return linear_layers(keys, num_layers)
    keys.has("layer_types")
    section = keys.section(_SECTION)
    # Counted from 1, so the last layer's number is that of how many there are.
    full = section.layer_indices("full_attn_layers", num_layers + 1)
    linear = section.layer_indices("kda_layers", num_layers + 1)
    if full & linear or full | linear != set(range(1, num_layers + 1)):
        raise section.error(
            "kda_layers",
            f"and full_attn_layers must name each layer from 1 to {num_layers} once",
        )
    return [index + 1 in linear for index in range(num_layers)]


def _delta(keys: ConfigKeys) -> AttentionWeights:
    own = keys.section(_SECTION) if keys.has(_SECTION) else keys
    shape = DeltaShape(
        hidden=keys.count("hidden_size"),
        num_heads=own.count("num_heads", "linear_num_heads"),
        head_dim=own.count("head_dim") if own is not keys else keys.count("linear_head_dim"),
        kernel=own.count("short_conv_kernel_size", "linear_conv_kernel_dim"),
        has_low_rank_gates=True,
    )
    return delta_weights(shape)


KIMI_LINEAR = Family(
    name="kimi_linear",
    decode=_decode,
    required=("kv_lora_rank",),
    idle=(
        "num_key_value_heads",
        "head_dim",
        "qk_head_dim",
        "intermediate_size",
        "moe_layer_freq",
        "mla_use_nope",
        "use_grouped_topk",
        "num_expert_group",
        "linear_num_heads",
        "linear_head_dim",
        "linear_conv_kernel_dim",
    ),
)
