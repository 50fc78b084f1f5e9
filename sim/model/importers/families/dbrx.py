"""DBRX: its keys have names of their own, and stand in two sections."""

from sim.model.importers.attention import GroupedTraits, Heads, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, routing, selection
from sim.model.importers.stack import Stack, decoder_of


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("n_layers")
    attention = keys.section("attn_config")
    feed_forward = keys.section("ffn_config")
    num_heads = keys.count("n_heads")
    hidden = keys.count("d_model")
    if hidden % num_heads:
        raise keys.error("d_model", f"must be a multiple of n_heads, got {hidden} and {num_heads}")
    heads = Heads(
        num_queries=num_heads,
        num_keys=attention.count("kv_n_heads"),
        key_dim=hidden // num_heads,
        value_dim=hidden // num_heads,
    )
    experts = Experts(
        **selection(feed_forward, ("moe_num_experts",), ("moe_top_k",)),
        intermediate=feed_forward.count("ffn_hidden_size"),
        name="ffn",
    )
    stack = Stack(
        attention=[grouped(keys, GroupedTraits(), heads)] * num_layers,
        routed=routing(keys, range(num_layers)),
        experts=experts,
    )
    return decoder_of(keys, stack)


DBRX = Family(
    name="dbrx", decode=_decode, idle=("num_key_value_heads",), layers="transformer.blocks"
)
