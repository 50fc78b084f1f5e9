"""DeepSeek-V2, V3 and V3.2, Kimi-K2, GLM-4.7-Flash and GLM-5: latent attention, leading dense
layers, shared experts.

V3.2 and GLM-5 attend to the tokens that an indexer chooses (DeepSeek-V3.2-Exp report, section 2).
"""

from dataclasses import replace
from functools import partial

from sim.model.importers.attention import latent
from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder
from sim.model.importers.family import Family
from sim.model.importers.feed_forward import Experts, dense_weights, listed_kinds, selection
from sim.model.importers.stack import Stack, decoder_of
from sim.model.importers.weights import linear, loose
from sim.model.model import Indexer, TensorClass


def _decode(keys: ConfigKeys, *, has_correction: bool, is_sparse: bool = False) -> Decoder:
    num_layers = keys.count("num_hidden_layers")
    plain = latent(keys)
    indexed = _indexed(keys, plain) if is_sparse else plain
    # V3.2 has an indexer in every layer; later ones let layers share the choice of one below.
    has_indexer = _indexers(keys, num_layers) if is_sparse else [False] * num_layers
    shared = _sharing(plain, indexed)
    width = keys.count("moe_intermediate_size")
    routed = listed_kinds(keys, num_layers)
    experts = Experts(
        **selection(keys),
        intermediate=width,
        shared=keys.count_or(0, "n_shared_experts") * width,
        router_vectors=1 if has_correction else 0,
    )
    stack = Stack(
        attention=[indexed if has_own else shared for has_own in has_indexer],
        # The width of dense layers is asked for only where there are some: files without may leave
        # it out.
        dense=dense_weights(keys) if len(routed) < num_layers else (),
        routed=routed,
        experts=experts,
    )
    return decoder_of(keys, stack)


def _indexers(keys: ConfigKeys, num_layers: int) -> list[bool]:
    """Return, for each layer, whether it has an indexer of its own (GLM-5.2).

    A list of kinds or a pattern of letters decides where it is stated. Without them, the first
    ``index_skip_topk_offset`` layers have one, and every ``index_topk_freq``-th layer after them
    (by default all).
    """
    frequency = keys.count_or(1, "index_topk_freq")
    offset = keys.count_or(_FIRST_SHARED, "index_skip_topk_offset")
    # Files state several of the three: the list goes first, as in the modelling class.
    name = "indexer_types" if keys.has("indexer_types") else "index_topk_pattern"
    keys.has("index_topk_pattern")
    if not keys.has(name):
        steps = [max(index - offset + 1, 0) for index in range(num_layers)]
        return [step % max(frequency, 1) == 0 for step in steps]
    if isinstance(keys.value(name), str):
        kinds = [_LETTERS.get(letter, letter) for letter in keys.text(name)]
        if len(kinds) != num_layers:
            raise keys.error(name, f"must have {num_layers} letters, got {len(kinds)}")
    else:
        kinds = keys.per_layer(name, num_layers)
    return keys.meant(name, kinds, {"full": True, "shared": False})


def _sharing(plain: AttentionWeights, indexed: AttentionWeights) -> AttentionWeights:
    """Return attention to the tokens that a layer below chose, without an indexer's weights, keys
    or scores.
    """
    assert plain.geometry is not None
    if indexed.geometry is None or indexed.geometry.indexer is None:
        return plain
    chosen = replace(indexed.geometry.indexer, key_elements=0, score_elements=0)
    return replace(plain, geometry=replace(plain.geometry, indexer=chosen))


def _indexed(keys: ConfigKeys, plain: AttentionWeights) -> AttentionWeights:
    """Latent attention with an indexer, which keeps one key a token and scores it with several
    heads.
    """
    assert plain.geometry is not None
    hidden = keys.count("hidden_size")
    heads = keys.count("index_n_heads")
    dim = keys.count("index_head_dim")
    chosen = Indexer(top_k=keys.count("index_topk"), key_elements=dim, score_elements=heads * dim)
    attention = TensorClass.ATTENTION
    weights = [
        *linear("self_attn.indexer.wq_b", attention, keys.count("q_lora_rank"), heads * dim),
        *linear("self_attn.indexer.wk", attention, hidden, dim),
        # A layer norm with weight and bias, where all other norms of the family have a weight
        # alone.
        *loose("self_attn.indexer.k_norm", TensorClass.NORM, 2 * dim),
        *linear("self_attn.indexer.weights_proj", attention, hidden, heads),
    ]
    return replace(
        plain,
        geometry=replace(plain.geometry, indexer=chosen),
        weights=(*plain.weights, *weights),
    )


_LETTERS = {"F": "full", "S": "shared"}
_FIRST_SHARED = 2
"""The number of first layers that have an indexer whatever ``index_topk_freq`` says, where the file
states no ``index_skip_topk_offset``.
"""

_REQUIRED = ("first_k_dense_replace", "n_shared_experts")
# latent attention has keys and values for every head, whatever these say
_IDLE = ("num_key_value_heads", "head_dim", "intermediate_size", "qk_head_dim")

DEEPSEEK_V2 = Family(
    name="deepseek_v2",
    decode=partial(_decode, has_correction=False),
    required=_REQUIRED,
    # Mistral Small 4, whose router has no correction either
    aliases=("mistral4",),
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
GLM4_MOE_LITE = Family(
    name="glm4_moe_lite",
    decode=partial(_decode, has_correction=True),
    required=("n_shared_experts",),
    idle=_IDLE,
)
DEEPSEEK_V32 = Family(
    name="deepseek_v32",
    decode=partial(_decode, has_correction=True, is_sparse=True),
    required=_REQUIRED,
    idle=(*_IDLE, "layer_types"),
)
GLM_MOE_DSA = Family(
    name="glm_moe_dsa",
    decode=partial(_decode, has_correction=True, is_sparse=True),
    required=("n_shared_experts",),
    idle=(*_IDLE, "layer_types", "indexer_rope_interleave", "index_share_for_mtp_iteration"),
)
