"""Putting a decoder together from the attention and the feed-forward part of each layer."""

from collections.abc import Sequence
from dataclasses import dataclass

from sim.model.importers.attention_weights import AttentionWeights
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.decoder import Decoder, DecoderLayer
from sim.model.importers.feed_forward import Experts, moe_weights
from sim.model.importers.weights import Weight, linear, loose
from sim.model.model import TensorClass

_NORM_NAMES = ("input_layernorm", "post_attention_layernorm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The parts of a decoder whose layers are attention and a feed-forward part, with a norm before
    each.

    ``attention`` has one entry a layer. The layers in ``routed`` hold ``experts``, the others the
    weights ``dense``. ``num_norms`` counts a layer's norms of hidden_size; with ``has_norm_bias``
    each has a bias too. ``is_head_tied`` says whether the head is the embedding. None: as the
    configuration says, else untied.
    """

    attention: Sequence[AttentionWeights]
    dense: Sequence[Weight] = ()
    routed: frozenset[int] = frozenset()
    experts: Experts | None = None
    num_norms: int = 2
    has_norm_bias: bool = False
    is_head_tied: bool | None = None


def decoder_of(keys: ConfigKeys, stack: Stack) -> Decoder:
    """The decoder of those parts; equal layers share one block."""
    made: dict[tuple[bool, int], DecoderLayer] = {}
    blocks = []
    for index, attention in enumerate(stack.attention):
        # By identity: families give equal layers the same object.
        kind = (index in stack.routed, id(attention))
        if kind not in made:
            made[kind] = _block(keys, stack, attention, is_moe=kind[0])
        blocks.append(made[kind])
    tied = is_tied(keys) if stack.is_head_tied is None else stack.is_head_tied
    return Decoder(
        blocks=tuple(blocks),
        top=top_weights(keys, stack.has_norm_bias, tied),
        expert_intermediate=stack.experts.intermediate if stack.experts else 0,
        is_head_tied=tied,
    )


def _block(
    keys: ConfigKeys, stack: Stack, attention: AttentionWeights, is_moe: bool
) -> DecoderLayer:
    hidden = keys.count("hidden_size")
    experts = stack.experts if is_moe else None
    feed_forward = moe_weights(hidden, experts) if experts else stack.dense
    norms = norm_weights(hidden, stack.num_norms, stack.has_norm_bias)
    return DecoderLayer(
        attention=attention.geometry,
        state=attention.state,
        weights=(*norms, *attention.weights, *feed_forward),
        num_experts=experts.num_experts if experts else 0,
        top_k=experts.top_k if experts else 0,
    )


def norm_weights(hidden: int, num_norms: int, has_bias: bool = False) -> list[Weight]:
    """The norms of a layer, each with its bias where it has one."""
    # One entry for all norms of a layer: none of them is ever packed or placed apart.
    count = num_norms * hidden * (2 if has_bias else 1)
    return loose(_NORM_NAMES[0], TensorClass.NORM, count)


def top_weights(
    keys: ConfigKeys, has_norm_bias: bool = False, is_head_tied: bool | None = None
) -> tuple[Weight, ...]:
    """Embedding, final norm, and the head where it is not the embedding (None: as ``is_tied``)."""
    hidden = keys.count("hidden_size")
    vocabulary = keys.count("vocab_size")
    embedding = Weight(
        name="model.embed_tokens",
        tensor_class=TensorClass.EMBEDDING,
        rows=vocabulary,
        columns=hidden,
    )
    final = loose("model.norm", TensorClass.NORM, hidden * (2 if has_norm_bias else 1))
    tied = is_tied(keys) if is_head_tied is None else is_head_tied
    head = [] if tied else linear("lm_head", TensorClass.HEAD, hidden, vocabulary)
    return (embedding, *final, *head)


def is_tied(keys: ConfigKeys) -> bool:
    """Whether the head is the embedding, by ``tie_word_embeddings``; False where that key is
    missing.
    """
    return keys.flag_or(False, "tie_word_embeddings")
