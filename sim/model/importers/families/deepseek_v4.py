"""DeepSeek-V4: one key-value head in a window, compressed entries beside it, several residual
streams.

Layers attend within the window alone (ratio 0), to entries of four tokens that an indexer chooses
(4), or to entries of 128 (128). The first layers route by a table from tokens to experts, which
holds no weights.
"""

from dataclasses import replace

from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder, DecoderLayer
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, moe_weights, selection
from sim.model.importers.stack import is_tied, norm_weights, top_weights
from sim.model.importers.weights import Weight, linear, loose
from sim.model.model import Attention, Indexer, TensorClass

_ATTENTION = TensorClass.ATTENTION
_RATIOS = {
    0: 0,
    4: 4,
    128: 128,
    "sliding_attention": 0,
    "compressed_sparse_attention": 4,
    "heavily_compressed_attention": 128,
}
_SPARSE_RATIO = 4


def _decode(keys: ConfigKeys) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    ratios = _ratios(keys, num_layers)
    is_hashed = _hashed(keys, num_layers)
    made: dict[tuple[int, bool], DecoderLayer] = {}
    blocks = []
    # These two decide what a layer is, so there are few kinds.
    for kind in zip(ratios, is_hashed, strict=True):
        if kind not in made:
            made[kind] = _block(keys, *kind)
        blocks.append(made[kind])
    streams = keys.count("hc_mult")
    # The head reads one mix of all streams: a matrix makes a weight for each out of all of them,
    # with a base each and a scale.
    mixed = streams * streams * keys.count("hidden_size") + streams + 1
    return Decoder(
        blocks=tuple(blocks),
        top=(*top_weights(keys), *loose("hc_head", TensorClass.NORM, mixed)),
        expert_intermediate=keys.count("moe_intermediate_size"),
        is_head_tied=is_tied(keys),
    )


def _ratios(keys: ConfigKeys, num_layers: int) -> list[int]:
    """Return the tokens of a compressed entry in each layer, 0 where a layer has none.

    ``compress_ratios`` has a number for each layer, or ``layer_types`` a word.
    """
    name = "compress_ratios" if keys.has("compress_ratios") else "layer_types"
    return keys.meant(name, keys.first_layers(name, num_layers), _RATIOS)


def _hashed(keys: ConfigKeys, num_layers: int) -> list[bool]:
    if not keys.has("mlp_layer_types"):
        count = keys.count_or(0, "num_hash_layers")
        return [index < count for index in range(num_layers)]
    keys.has("num_hash_layers")
    kinds = keys.first_layers("mlp_layer_types", num_layers)
    return keys.meant("mlp_layer_types", kinds, {"hash_moe": True, "moe": False})


def _block(keys: ConfigKeys, ratio: int, is_hashed: bool) -> DecoderLayer:
    hidden = keys.count("hidden_size")
    selected = selection(keys)
    width = keys.count("moe_intermediate_size")
    experts = Experts(
        **selected,
        intermediate=width,
        shared=keys.count_or(0, "n_shared_experts") * width,
        router_vectors=0 if is_hashed else 1,
    )
    attention = _attention(keys, ratio)
    return DecoderLayer(
        attention=attention.geometry,
        weights=(
            *norm_weights(hidden, 2),
            *_streams(keys),
            *attention.weights,
            *moe_weights(hidden, experts),
        ),
        **selected,
    )


def _streams(keys: ConfigKeys) -> list[Weight]:
    """The weights of hyper-connections, which mix the residual streams before attention and before
    the experts.
    """
    streams = keys.count("hc_mult")
    # A mix of all streams into one, one out to all, and from each stream to each.
    outputs = (2 + streams) * streams
    return loose(
        "hc", TensorClass.NORM, 2 * (outputs * (streams * keys.count("hidden_size") + 1) + 3)
    )


def _attention(keys: ConfigKeys, ratio: int) -> AttentionWeights:
    """Attention with queries of low rank, one head whose keys are its values too, and an output
    projection in groups.
    """
    hidden = keys.count("hidden_size")
    heads = keys.count("num_attention_heads")
    dim = keys.count("head_dim")
    rank = keys.count("q_lora_rank")
    groups = keys.count("o_groups")
    output = groups * keys.count("o_lora_rank")
    if heads * dim % groups:
        raise keys.error(
            "o_groups", f"must divide heads · head_dim, got {groups} and {heads * dim}"
        )
    name = "self_attn"
    weights = [
        *linear(f"{name}.q_a_proj", _ATTENTION, hidden, rank),
        *linear(f"{name}.q_b_proj", _ATTENTION, rank, heads * dim),
        *linear(f"{name}.kv_proj", _ATTENTION, hidden, dim),
        # Each group of heads is projected by itself: the inputs of one, the outputs of all.
        *linear(f"{name}.o_a_proj", _ATTENTION, heads * dim // groups, output),
        *linear(f"{name}.o_b_proj", _ATTENTION, output, hidden),
        *loose(f"{name}.sinks", _ATTENTION, heads),
        *loose(f"{name}.norms", TensorClass.NORM, rank + dim),
    ]
    geometry = Attention(
        num_heads=heads,
        kv_elements_per_token=dim,
        score_elements=heads * dim,
        value_elements=heads * dim,
        window_tokens=keys.count("sliding_window"),
        tokens_per_entry=ratio or None,
    )
    if not ratio:
        return AttentionWeights(geometry=geometry, weights=tuple(weights))
    weights += _compressor(keys, f"{name}.compressor", ratio, dim)
    if ratio == _SPARSE_RATIO:
        geometry = replace(geometry, indexer=_indexer(keys))
        weights += _indexer_weights(keys, f"{name}.compressor.indexer", ratio)
    return AttentionWeights(geometry=geometry, weights=tuple(weights))


def _compressor(keys: ConfigKeys, name: str, ratio: int, dim: int) -> list[Weight]:
    """The weights that make compressed entries and their gates. Entries of four tokens overlap, so
    both are twice as wide.
    """
    hidden = keys.count("hidden_size")
    width = 2 * dim if ratio == _SPARSE_RATIO else dim
    return [
        *linear(f"{name}.kv_proj", _ATTENTION, hidden, width),
        *linear(f"{name}.gate_proj", _ATTENTION, hidden, width),
        *loose(f"{name}.position_bias", _ATTENTION, ratio * width),
        *loose(f"{name}.kv_norm", TensorClass.NORM, dim),
    ]


def _indexer(keys: ConfigKeys) -> Indexer:
    dim = keys.count("index_head_dim")
    return Indexer(
        top_k=keys.count("index_topk"),
        key_elements=dim,
        score_elements=keys.count("index_n_heads") * dim,
    )


def _indexer_weights(keys: ConfigKeys, name: str, ratio: int) -> list[Weight]:
    heads = keys.count("index_n_heads")
    dim = keys.count("index_head_dim")
    return [
        *_compressor(keys, name, ratio, dim),
        *linear(f"{name}.q_b_proj", _ATTENTION, keys.count("q_lora_rank"), heads * dim),
        *linear(f"{name}.weights_proj", _ATTENTION, keys.count("hidden_size"), heads),
    ]


DEEPSEEK_V4 = Family(
    name="deepseek_v4",
    decode=_decode,
    required=("head_dim", "sliding_window", "hc_mult"),
    architectures=("DeepseekV4ForCausalLM",),
    idle=(
        "num_key_value_heads",
        "qk_rope_head_dim",
        "intermediate_size",
        "compress_rates",
        "layer_types",
        "hc_eps",
        "hc_sinkhorn_iters",
        "compress_rope_theta",
        # layers of ratio 0 and 128 have no indexer
        "index_head_dim",
        "index_n_heads",
        "index_topk",
    ),
)
