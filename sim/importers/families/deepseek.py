"""DeepSeek-V2, and DeepSeek-V3 with Kimi-K2: latent attention, leading dense layers, shared experts."""

from functools import partial

from sim.importers.attention import latent
from sim.importers.config_keys import ConfigKeys
from sim.importers.decoder import Decoder
from sim.importers.family import Family
from sim.importers.feed_forward import Experts, dense_weights, leading_dense, selection
from sim.importers.stack import Stack, decoder_of


def _decode(keys: ConfigKeys, *, has_correction: bool) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    num_experts, top_k = selection(keys)
    width = keys.count("moe_intermediate_size")
    routed = leading_dense(keys, num_layers)
    experts = Experts(
        num_experts=num_experts,
        top_k=top_k,
        intermediate=width,
        shared=keys.count_or(0, "n_shared_experts") * width,
        router_vectors=1 if has_correction else 0,
    )
    stack = Stack(
        attention=[latent(keys)] * num_layers,
        dense=dense_weights(keys) if len(routed) < num_layers else (),
        routed=routed,
        experts=experts,
    )
    return decoder_of(keys, stack)


_REQUIRED = ("first_k_dense_replace", "n_shared_experts")
# latent attention has keys and values for every head, whatever these say
_IDLE = ("num_key_value_heads", "head_dim", "intermediate_size", "qk_head_dim")

DEEPSEEK_V2 = Family(
    name="deepseek_v2",
    decode=partial(_decode, has_correction=False),
    required=_REQUIRED,
    idle=_IDLE,
)
DEEPSEEK_V3 = Family(
    name="deepseek_v3",
    decode=partial(_decode, has_correction=True),
    required=_REQUIRED,
    idle=_IDLE,
)
KIMI_K2 = Family(
    name="kimi_k2",
    decode=partial(_decode, has_correction=True),
    required=_REQUIRED,
    idle=_IDLE,
)
