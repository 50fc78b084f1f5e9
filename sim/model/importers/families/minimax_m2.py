"""MiniMax-M2: norms of queries and keys run over all heads, a score correction for each expert."""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, routing, selection
from sim.model.importers.stack import Stack, decoder_of


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    _attends_fully(keys, num_layers)
    has_norm = keys.flag_or(True, "use_qk_norm")
    experts = Experts(
        **selection(keys),
        intermediate=keys.count("intermediate_size"),
        router_vectors=1 if keys.flag_or(True, "use_routing_bias") else 0,
        name="block_sparse_moe",
    )
    attention = grouped(keys, GroupedTraits(norm="full" if has_norm else None))
    stack = Stack(
        attention=[attention] * num_layers,
        routed=routing(keys, range(num_layers)),
        experts=experts,
    )
    return decoder_of(keys, stack)


def _attends_fully(keys: ConfigKeys, num_layers: int) -> None:
    """Raise InputError for a layer without full attention, which this family's first generation
    had.
    """
    if keys.has("attn_type_list"):
        keys.layer_kinds("attn_type_list", num_layers, {1: "full attention"})


MINIMAX_M2 = Family(
    name="minimax_m2",
    decode=_decode,
    required=("head_dim",),
    # its files name a width for dense layers, of which it has none
    idle=("mlp_intermediate_size", "shared_intermediate_size"),
)
