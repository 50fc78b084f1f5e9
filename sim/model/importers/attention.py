"""Attention from a configuration: its geometry and weights, for grouped queries and for latents."""

from dataclasses import dataclass

from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.weights import Weight, linear, loose
from sim.model.model import Attention, TensorClass

_CLASS = TensorClass.ATTENTION


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedTraits:
    """The traits in which families differ in grouped-query attention.

    ``has_bias`` is for queries, keys and values; ``has_output_bias`` is for the output projection.
    ``norm`` is the norm of queries and keys: ``"head"`` (one vector of head_dim each), ``"full"``
    (over all heads) or None. With ``has_query_gate``, the query projection is twice as wide, and
    its second half is a gate on the output. With ``has_sinks``, each head has one learned logit.
    """

    has_bias: bool = False
    has_output_bias: bool = False
    norm: str | None = None
    has_query_gate: bool = False
    has_sinks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """Numbers and dimensions of the heads of grouped-query attention."""

    num_queries: int
    num_keys: int
    key_dim: int
    value_dim: int


def heads_of(keys: ConfigKeys) -> Heads:
    """Return the heads that the usual keys state.

    Raises InputError where head_dim is absent and does not follow from hidden_size.
    """
    num_queries = keys.count("num_attention_heads")
    dim = head_dim(keys)
    return Heads(
        num_queries=num_queries,
        num_keys=keys.count("num_key_value_heads"),
        key_dim=dim,
        value_dim=dim,
    )


def head_dim(keys: ConfigKeys) -> int:
    """Return the key ``head_dim``, else hidden_size over num_attention_heads. Raises InputError
    where that is no whole number.
    """
    # It goes first: some models have heads wider or narrower than hidden_size over their number.
    if keys.has("head_dim"):
        return keys.count("head_dim")
    hidden = keys.count("hidden_size")
    heads = keys.count("num_attention_heads")
    if hidden % heads:
        raise keys.error(
            "hidden_size",
            f"must be a multiple of num_attention_heads where head_dim is absent, got {hidden} and {heads}",
        )
    return hidden // heads


def grouped(
    keys: ConfigKeys, traits: GroupedTraits, heads: Heads | None = None, name: str = "self_attn"
) -> AttentionWeights:
    """Return grouped-query attention (arXiv 2305.13245), with weights of the module ``name``."""
    heads = heads or heads_of(keys)
    if heads.num_queries % heads.num_keys:
        raise keys.error(
            "num_key_value_heads",
            f"must divide num_attention_heads, got {heads.num_keys} and {heads.num_queries}",
        )
    query = heads.num_queries * heads.key_dim
    key = heads.num_keys * heads.key_dim
    value = heads.num_keys * heads.value_dim
    geometry = Attention(
        num_heads=heads.num_queries,
        kv_elements_per_token=key + value,
        score_elements=query,
        value_elements=heads.num_queries * heads.value_dim,
    )
    hidden = keys.count("hidden_size")
    # The gate comes out of the same projection, but no score is taken over it.
    queries = 2 * query if traits.has_query_gate else query
    output = heads.num_queries * heads.value_dim
    weights = [
        *linear(f"{name}.q_proj", _CLASS, hidden, queries, traits.has_bias),
        *linear(f"{name}.k_proj", _CLASS, hidden, key, traits.has_bias),
        *linear(f"{name}.v_proj", _CLASS, hidden, value, traits.has_bias),
        *linear(f"{name}.o_proj", _CLASS, output, hidden, traits.has_output_bias),
        *loose(f"{name}.sinks", _CLASS, heads.num_queries if traits.has_sinks else 0),
        *_query_and_key_norms(name, traits, heads),
    ]
    return AttentionWeights(geometry=geometry, weights=tuple(weights))


def _query_and_key_norms(name: str, traits: GroupedTraits, heads: Heads) -> list[Weight]:
    if traits.norm is None:
        return []
    is_full = traits.norm == "full"
    # One vector of head_dim serves all heads; a norm over all heads has a weight for each element.
    of_queries = heads.key_dim * (heads.num_queries if is_full else 1)
    of_keys = heads.key_dim * (heads.num_keys if is_full else 1)
    return [
        *loose(f"{name}.q_norm", TensorClass.NORM, of_queries),
        *loose(f"{name}.k_norm", TensorClass.NORM, of_keys),
    ]


def latent(keys: ConfigKeys, name: str = "self_attn") -> AttentionWeights:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1), in its absorbed
    form.

    The cache holds the latent and one rotary key; scores are taken over both, and values are summed
    over the latent.
    """
    hidden = keys.count("hidden_size")
    heads = keys.count("num_attention_heads")
    rank = keys.count("kv_lora_rank")
    rotary = keys.count("qk_rope_head_dim")
    plain = keys.count("qk_nope_head_dim")
    value_dim = keys.count("v_head_dim")
    has_bias = keys.flag_or(False, "attention_bias")
    # Absorbed: decoding multiplies queries with the keys' matrix, so that the cache is used as it
    # lies. A prompt expands the latent instead, which takes fewer operations where tokens are many.
    geometry = Attention(
        num_heads=heads,
        kv_elements_per_token=rank + rotary,
        score_elements=heads * (rank + rotary),
        value_elements=heads * rank,
        expanded_elements=heads * (plain + rotary + value_dim),
    )
    weights = [
        *_latent_queries(keys, name, heads * (plain + rotary)),
        *linear(f"{name}.kv_a_proj_with_mqa", _CLASS, hidden, rank + rotary, has_bias),
        *loose(f"{name}.kv_a_layernorm", TensorClass.NORM, rank),
        *linear(f"{name}.kv_b_proj", _CLASS, rank, heads * (plain + value_dim)),
        *linear(f"{name}.o_proj", _CLASS, heads * value_dim, hidden, has_bias),
    ]
    return AttentionWeights(geometry=geometry, weights=tuple(weights))


def _latent_queries(keys: ConfigKeys, name: str, width: int) -> list[Weight]:
    """The weights that project queries: one matrix without ``q_lora_rank``, else two through a
    latent of that rank, with its norm.
    """
    hidden = keys.count("hidden_size")
    # The small models of the family state null or 0.
    rank = keys.count_or(0, "q_lora_rank")
    if not rank:
        return linear(f"{name}.q_proj", _CLASS, hidden, width)
    return [
        *linear(f"{name}.q_a_proj", _CLASS, hidden, rank, keys.flag_or(False, "attention_bias")),
        *loose(f"{name}.q_a_layernorm", TensorClass.NORM, rank),
        *linear(f"{name}.q_b_proj", _CLASS, rank, width),
    ]
