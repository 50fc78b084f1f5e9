"""MiniMax-M3: attention to blocks of tokens that an indexer chooses, leading dense layers, a shared
expert.
"""

from dataclasses import replace

from sim.model.importers.attention import GroupedTraits, grouped
from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, flagged_kinds, selection
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.weights import linear, loose
from sim.model.model import Indexer, TensorClass

_SECTION = "sparse_attention_config"
_IS_SPARSE = {0: False, 1: True, "full_attention": False, "minimax_m3_sparse": True}


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    full = grouped(keys, GroupedTraits(norm="head"))
    is_sparse = _sparse(keys, num_layers)
    sparse = _indexed(keys, full) if any(is_sparse) else full
    routed = flagged_kinds(keys, num_layers)
    stack = Stack(
        attention=[sparse if chooses else full for chooses in is_sparse],
        dense=dense_weights(keys, "dense_intermediate_size") if len(routed) < num_layers else (),
        routed=routed,
        experts=Experts(
            **selection(keys),
            intermediate=keys.count("intermediate_size"),
            # Its class builds one shared expert of this width, however many a file counts.
            shared=keys.count("shared_intermediate_size"),
            router_vectors=1,
        ),
    )
    return decoder_of(keys, stack)


def _sparse(keys: ConfigKeys, num_layers: int) -> list[bool]:
    """Return, for each layer, whether it attends to chosen blocks.

    transformers' own files name kinds; the original ones hold a 0 or a 1.
    """
    owner, name = keys, "layer_types"
    if not keys.has(name):
        owner, name = keys.section(_SECTION), "sparse_attention_freq"
    return owner.layer_kinds(name, num_layers, _IS_SPARSE)


def _indexed(keys: ConfigKeys, full: AttentionWeights) -> AttentionWeights:
    """Return full attention with an indexer.

    The indexer keeps one key a token, scores it with several heads, and chooses whole blocks, those
    beside the query among them.
    """
    assert full.geometry is not None
    has_section = keys.has(_SECTION)
    own = keys.section(_SECTION) if has_section else keys
    heads = own.count("sparse_num_index_heads" if has_section else "index_n_heads")
    dim = own.count("sparse_index_dim" if has_section else "index_head_dim")
    block_tokens = own.count("sparse_block_size" if has_section else "index_block_size")
    blocks = own.count("sparse_topk_blocks" if has_section else "index_topk_blocks")
    chosen = Indexer(top_k=blocks * block_tokens, key_elements=dim, score_elements=heads * dim)
    hidden = keys.count("hidden_size")
    weights = [
        *linear("self_attn.index_q_proj", TensorClass.ATTENTION, hidden, heads * dim),
        *linear("self_attn.index_k_proj", TensorClass.ATTENTION, hidden, dim),
        *loose("self_attn.index_q_norm", TensorClass.NORM, dim),
        *loose("self_attn.index_k_norm", TensorClass.NORM, dim),
    ]
    geometry = replace(full.geometry, indexer=chosen)
    return AttentionWeights(geometry=geometry, weights=(*full.weights, *weights))


MINIMAX_M3 = Family(
    name="minimax_m3",
    decode=_decode,
    required=("head_dim", "shared_intermediate_size"),
    aliases=("minimax_m3_vl",),
    idle=(
        "moe_intermediate_size",
        "n_shared_experts",
        "first_k_dense_replace",
        "use_qk_norm",
        "use_routing_bias",
        # read only where a layer is dense, or chooses
        "dense_intermediate_size",
        "index_n_heads",
        "index_head_dim",
        "index_block_size",
        "index_topk_blocks",
        "index_local_blocks",
        "multimodal_projector_bias",
        "num_reward_heads",
        "projector_hidden_size",
    ),
)
