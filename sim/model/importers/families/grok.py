"""Grok-1 and Grok-2: four norms a layer; in Grok-2 a dense block stands beside the experts.

Read off the code that xAI released (github.com/xai-org/grok-1, model.py) and SGLang's
python/sglang/srt/models/grok.py, as transformers 5.23.0 has no class.
"""

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, routing, selection
from sim.model.importers.stack import Stack, decoder_of

_NORMS = 4
"""Norms of a layer: before and after attention, before and after the experts."""


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    has_dense = keys.flag_or(False, "residual_moe")
    stack = Stack(
        attention=[grouped(keys, GroupedTraits())] * num_layers,
        routed=routing(keys, range(num_layers)),
        experts=Experts(
            **selection(keys),
            intermediate=keys.count("moe_intermediate_size", "intermediate_size"),
            # the dense block runs for every token, as a shared expert does
            shared=keys.count("intermediate_size") if has_dense else 0,
            name="block_sparse_moe",
            shared_name="dense",
        ),
        num_norms=_NORMS,
        # Grok-1's embedding is its head, and its files may leave that out; Grok-2 stores both
        is_head_tied=keys.flag_or(not has_dense, "tie_word_embeddings"),
    )
    return decoder_of(keys, stack)


GROK = Family(
    name="grok",
    decode=_decode,
    aliases=("grok-1", "grok-2"),
    architectures=("Grok1ForCausalLM", "Grok1ModelForCausalLM", "GrokForCausalLM"),
    idle=("global_attn_every_n",),
)
"""Grok-1's files may have no model_type, and Grok-2's says "git"."""
