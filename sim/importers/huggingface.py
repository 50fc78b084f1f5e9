"""A model from a Hugging Face config.json."""

from collections.abc import Mapping
from typing import Any

from hwprofiles import InputError, Provenance
from sim.importers.attention import attention_by_layer
from sim.importers.attention_weights import AttentionWeights
from sim.importers.config_keys import ConfigKeys
from sim.importers.families import Family, family_of
from sim.importers.feed_forward import dense_params, experts, moe_layers, moe_params
from sim.model import Layer, Model, TensorClass, without_zeros
from sim.quantization import class_bytes, scheme

_NATIVE = {"fp8": "fp8", "mxfp4": "mxfp4"}


def model_from_config(
    config: Mapping[str, Any], *, name: str, provenance: Provenance, quantization: str = "16bit", where: str | None = None
) -> Model:
    """The model that a configuration describes, stored in the named quantisation scheme.

    Weights are counted as the family's modelling class builds them, multi-token-prediction layers and vision parts left out.
    Raises InputError, one line that names ``where`` (the source, unless given) and the key, for an unknown family, or for a key
    that is missing or wrong.
    """
    keys = ConfigKeys(config, where or provenance.source)
    family_name, family = family_of(keys)
    dtypes = scheme(quantization)
    top_params = _top_params(keys, family)
    routed = experts(keys, family)
    return Model(
        name=name,
        family=family_name,
        hidden=keys.count("hidden_size"),
        vocab=keys.count("vocab_size"),
        expert_intermediate=routed.intermediate,
        layers=_layers(keys, family, dtypes),
        top_params=top_params,
        top_bytes=class_bytes(top_params, dtypes),
        dtypes=dict(dtypes),
        quantization=quantization,
        max_context_tokens=keys.count("max_position_embeddings"),
        provenance=provenance,
        is_head_tied=_is_tied(keys),
    )


def native_quantization(config: Mapping[str, Any], where: str) -> str:
    """The scheme that the checkpoint is stored in: 16bit without ``quantization_config``, else what its ``quant_method`` says.

    Raises InputError for a method that no scheme of Rosin equals.
    """
    nested = config.get("text_config")
    stated = config.get("quantization_config") or (nested.get("quantization_config") if isinstance(nested, Mapping) else None)
    if not stated:
        return "16bit"
    method = stated.get("quant_method") if isinstance(stated, Mapping) else stated
    if not isinstance(method, str) or method not in _NATIVE:
        known = ", ".join(_NATIVE)
        raise InputError(
            f"{where}: quantization_config.quant_method {method!r} has no scheme (known: {known}); choose a quantisation scheme yourself"
        )
    return _NATIVE[method]


def _layers(keys: ConfigKeys, family: Family, dtypes: Mapping[TensorClass, str]) -> tuple[Layer, ...]:
    num_layers = keys.count("num_hidden_layers")
    routing = moe_layers(keys, family, num_layers)
    made: dict[tuple[bool, AttentionWeights], Layer] = {}
    layers = []
    for index, attention in enumerate(attention_by_layer(keys, family, num_layers)):
        kind = (index in routing, attention)
        if kind not in made:
            made[kind] = _layer(keys, family, dtypes, *kind)
        layers.append(made[kind])
    return tuple(layers)


def _layer(keys: ConfigKeys, family: Family, dtypes: Mapping[TensorClass, str], is_moe: bool, weights: AttentionWeights) -> Layer:
    routed = experts(keys, family)
    params = {
        TensorClass.NORM: _norm_params(keys, family, num_norms=2) + weights.norm_params,
        TensorClass.ATTENTION: weights.params,
        **(moe_params(keys, family, routed) if is_moe else dense_params(keys)),
    }
    return Layer(
        attention=weights.geometry,
        state=weights.state,
        num_experts=routed.num_experts if is_moe else 0,
        top_k=routed.top_k if is_moe else 0,
        params=params,
        bytes=class_bytes(params, dtypes),
    )


def _top_params(keys: ConfigKeys, family: Family) -> Mapping[TensorClass, int]:
    table = keys.count("vocab_size") * keys.count("hidden_size")
    bias = keys.count("vocab_size") if keys.flag_or(False, "lm_head_bias") else 0
    return without_zeros(
        {
            TensorClass.EMBEDDING: table,
            TensorClass.HEAD: (0 if _is_tied(keys) else table) + bias,
            TensorClass.NORM: _norm_params(keys, family, num_norms=1),
        }
    )


def _norm_params(keys: ConfigKeys, family: Family, num_norms: int) -> int:
    return num_norms * keys.count("hidden_size") * (2 if family.has_norm_bias else 1)


def _is_tied(keys: ConfigKeys) -> bool:
    """Whether the head is the embedding; every family that does not require the key is untied without it."""
    return keys.flag_or(False, "tie_word_embeddings")
