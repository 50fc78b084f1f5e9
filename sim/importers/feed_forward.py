"""Feed-forward part of each layer from a configuration: which layers route, and the weights of router, experts and dense blocks."""

from collections.abc import Mapping
from dataclasses import dataclass

from hwprofiles import InputError
from sim.importers.config_keys import ConfigKeys
from sim.importers.families import Family
from sim.model import TensorClass, without_zeros


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """The routed experts of an MoE layer."""

    num_experts: int
    top_k: int
    intermediate: int


def experts(keys: ConfigKeys, family: Family) -> Experts:
    """Number, selection and width of the experts, all 0 in a dense family. Raises InputError when more are selected than there are."""
    if family.is_dense:
        return Experts(num_experts=0, top_k=0, intermediate=0)
    num_experts = keys.count("num_local_experts", "num_experts", "n_routed_experts")
    top_k = keys.count("num_experts_per_tok", "experts_per_token", "moe_topk")
    if top_k > num_experts:
        raise InputError(f"{keys.where}: num_experts_per_tok ≤ number of experts must hold, got {top_k} > {num_experts}")
    return Experts(num_experts=num_experts, top_k=top_k, intermediate=keys.count(family.expert_width))


def moe_layers(keys: ConfigKeys, family: Family, num_layers: int) -> frozenset[int]:
    """Indices of the layers that route, by whichever convention the configuration uses; none in a dense family.

    Raises InputError when none does in another.
    """
    if family.is_dense:
        return frozenset()
    if keys.has("moe_layers"):
        routed = keys.layer_indices("moe_layers", num_layers)
    elif keys.has("interleave_moe_layer_step"):
        step = keys.count("interleave_moe_layer_step")
        routed = frozenset(range(step - 1, num_layers, step))
    elif keys.has("first_k_dense_replace"):
        step = max(keys.count_or(1, "moe_layer_freq"), 1)
        routed = frozenset(index for index in range(keys.count_or(0, "first_k_dense_replace"), num_layers) if index % step == 0)
    else:
        step = max(keys.count_or(1, "decoder_sparse_step"), 1)
        dense = keys.layer_indices("mlp_only_layers", num_layers) if keys.has("mlp_only_layers") else frozenset()
        routed = frozenset(range(step - 1, num_layers, step)) - dense
    if not routed:
        raise InputError(f"{keys.where}: no layer routes to experts, though the family is one of Mixture-of-Experts models")
    return routed


def dense_params(keys: ConfigKeys) -> Mapping[TensorClass, int]:
    """Weights of the feed-forward block of a dense layer."""
    hidden, intermediate = keys.count("hidden_size"), keys.count("intermediate_size_mlp", "intermediate_size")
    biases = 2 * intermediate + hidden if keys.flag_or(False, "mlp_bias") else 0
    return {TensorClass.DENSE_FFN: 3 * hidden * intermediate + biases}


def moe_params(keys: ConfigKeys, family: Family, routed: Experts) -> Mapping[TensorClass, int]:
    """Weights of the feed-forward block of an MoE layer; of EXPERT, those of one expert."""
    hidden = keys.count("hidden_size")
    router_biases = family.has_router_bias + family.has_correction_bias
    expert_biases = 2 * routed.intermediate + hidden if family.has_expert_bias else 0
    shared = _shared_intermediate(keys, family, routed)
    gate = hidden if shared and family.has_shared_gate else 0
    return without_zeros(
        {
            TensorClass.ROUTER: routed.num_experts * (hidden + router_biases),
            TensorClass.SHARED_EXPERT: 3 * hidden * shared + gate,
            TensorClass.EXPERT: 3 * hidden * routed.intermediate + expert_biases,
        }
    )


def _shared_intermediate(keys: ConfigKeys, family: Family, routed: Experts) -> int:
    if family.is_expert_width_shared:
        return routed.intermediate
    if keys.has("shared_expert_intermediate_size"):
        return keys.count_or(0, "shared_expert_intermediate_size")
    return keys.count_or(0, "n_shared_experts") * routed.intermediate
