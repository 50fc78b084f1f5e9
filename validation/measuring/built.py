"""A model as the backend builds it, for the measuring of its parts."""

from hwprofiles import InputError
from sim.model.model import Attention, Model
from validation.backend.architecture import Architecture, LayerShape, architecture_of, is_latent

_NO_ATTENTION = Attention(num_heads=1, kv_elements_per_token=2, score_elements=1, value_elements=1)
"""Placeholder for the attention of a decoder that has none; it is never measured."""


def built(model: Model) -> Architecture:
    """Return the decoder that the backend runs.

    If the backend refuses the model, return a decoder of the same dimensions with plain
    grouped-query attention.
    """
    try:
        return architecture_of(model)
    except InputError:
        # Nothing is measured of this attention, so any plain one may stand there.
        plain = next(
            (layer.attention for layer in model.layers if layer.attention is not None),
            _NO_ATTENTION,
        )
        shapes = tuple(_plain_shape(layer.attention or plain) for layer in model.layers)
        return Architecture(name=model.name, hidden=model.hidden, vocab=model.vocab, layers=shapes)


def has_attention(model: Model, layer: int) -> bool:
    """Whether ``built`` has attention of that layer's dimensions.

    A layer with a state, or with attention that the backend refuses, has none there.
    """
    spec = model.layers[layer]
    if spec.attention is None or spec.state is not None or not spec.attention.is_plain:
        return False
    # A plain stand-in must not be measured in place of latent attention.
    return not is_latent(spec.attention) or built(model).layers[layer].latent is not None


def _plain_shape(geometry: Attention) -> LayerShape:
    head_dim = max(1, geometry.value_elements // geometry.num_heads)
    return LayerShape(
        num_heads=geometry.num_heads,
        num_kv_heads=max(1, geometry.kv_elements_per_token // (2 * head_dim)),
        head_dim=head_dim,
        window_tokens=geometry.window_tokens,
        num_experts=0,
        top_k=0,
        shared_intermediate=0,
        dense_intermediate=0,
        expert_intermediate=0,
    )
