"""Feed-forward part of each layer: which layers route, and the weights of router, experts and dense
blocks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TypedDict

from hwprofiles import InputError
from sim.model.importers.config_keys import ConfigKeys
from sim.model.importers.weights import Weight, gated_mlp, linear, loose
from sim.model.model import TensorClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """The routed experts of an MoE layer, with its router and its shared expert.

    ``shared`` is the width of the shared expert (0: none). ``router_vectors`` counts vectors of one
    element an expert besides the router's matrix: its bias, its score correction. ``name`` is the
    module's name in the checkpoint ("": the layer itself). ``shared_name`` and ``router_name`` are
    the names of the shared expert and the router within the module.
    """

    num_experts: int
    top_k: int
    intermediate: int
    shared: int = 0
    has_shared_gate: bool = False
    has_shared_bias: bool = False
    has_bias: bool = False
    router_vectors: int = 0
    name: str = "mlp"
    shared_name: str = "shared_experts"
    router_name: str = "gate"

    def module(self, part: str) -> str:
        """Return the full name of a part of the module."""
        return f"{self.name}.{part}" if self.name else part


class Selection(TypedDict):
    """The numbers of experts and of those that a token selects: the first fields of Experts."""

    num_experts: int
    top_k: int


def selection(
    keys: ConfigKeys,
    expert_keys: Sequence[str] = ("num_local_experts", "num_experts", "n_routed_experts"),
    top_k_keys: Sequence[str] = (
        "num_experts_per_tok",
        "experts_per_token",
        "moe_topk",
        "moe_k",
        "num_experts_per_token",
    ),
) -> Selection:
    """Return the numbers of experts and of selected experts, each under the first of its keys that
    is stated.

    Raises InputError when more are selected than there are, and where two keys disagree.
    """
    num_experts = _agreed(keys, expert_keys)
    top_k = _agreed(keys, top_k_keys)
    check_selection(keys, top_k_keys[0], num_experts, top_k)
    return Selection(num_experts=num_experts, top_k=top_k)


def _agreed(keys: ConfigKeys, names: Sequence[str]) -> int:
    """Return the count under those names. Raises InputError where two of them differ."""
    counts = {name: keys.count(name) for name in names if keys.has(name)}
    # Which of two numbers the weights follow cannot be told, and either may be the wrong one.
    for name, count in counts.items():
        if count != keys.count(*names):
            first = next(iter(counts))
            raise keys.error(
                name, f"is {count} where {first} is {counts[first]}: state one of them"
            )
    return keys.count(*names)


def check_selection(keys: ConfigKeys, name: str, num_experts: int, top_k: int) -> None:
    """Raise InputError, with the key of that name, when ``top_k`` is above ``num_experts``."""
    # Else the model would be priced with experts that it does not have.
    if top_k > num_experts:
        raise keys.error(name, f"≤ number of experts must hold, got {top_k} > {num_experts}")


def leading_dense(keys: ConfigKeys, num_layers: int) -> frozenset[int]:
    """The layers that route: those from ``first_k_dense_replace`` on whose index is a multiple of
    ``moe_layer_freq`` (by default all).
    """
    first = keys.count_or(0, "first_k_dense_replace")
    step = max(keys.count_or(1, "moe_layer_freq"), 1)
    return routing(keys, (index for index in range(first, num_layers) if index % step == 0))


def sparse_steps(keys: ConfigKeys, num_layers: int) -> frozenset[int]:
    """The layers that route: every ``decoder_sparse_step``-th but those of ``mlp_only_layers``."""
    step = max(keys.count_or(1, "decoder_sparse_step"), 1)
    is_listed = keys.has("mlp_only_layers")
    dense = keys.layer_indices("mlp_only_layers", num_layers) if is_listed else frozenset()
    return routing(keys, set(range(step - 1, num_layers, step)) - dense)


def listed_kinds(keys: ConfigKeys, num_layers: int) -> frozenset[int]:
    """The layers that route: those that ``mlp_layer_types`` calls sparse, else as in
    ``leading_dense``.
    """
    if not keys.has("mlp_layer_types"):
        keys.value("first_k_dense_replace", "mlp_layer_types")
        return leading_dense(keys, num_layers)
    # Asked for and not used: files state both, and what the list says goes first.
    keys.has("first_k_dense_replace", "moe_layer_freq")
    is_routed = keys.layer_kinds("mlp_layer_types", num_layers, {"dense": False, "sparse": True})
    return routing(keys, compress(range(num_layers), is_routed))


def flagged_kinds(keys: ConfigKeys, num_layers: int) -> frozenset[int]:
    """The layers that route: those with a 1 under ``moe_layer_freq``, else as in ``listed_kinds``."""
    if not keys.has("moe_layer_freq"):
        return listed_kinds(keys, num_layers)
    is_routed = keys.layer_kinds("moe_layer_freq", num_layers, {0: False, 1: True})
    return routing(keys, compress(range(num_layers), is_routed))


def routing(keys: ConfigKeys, layers: Iterable[int]) -> frozenset[int]:
    """Return the layers as a set. Raises InputError when there are none."""
    routed = frozenset(layers)
    # Its layers would all be dense, and wrong: a key that says where experts are was misread.
    if not routed:
        raise InputError(
            f"{keys.where}: no layer routes to experts, though the family is one of Mixture-of-Experts models"
        )
    return routed


def dense_weights(
    keys: ConfigKeys, *names: str, has_bias: bool = False, name: str = "mlp"
) -> list[Weight]:
    """Return the weights of a dense layer's feed-forward block. The first of ``names`` that is
    stated gives its width (by default ``intermediate_size``).
    """
    hidden = keys.count("hidden_size")
    width = keys.count(*(names or ("intermediate_size",)))
    return gated_mlp(name, TensorClass.DENSE_FFN, hidden, width, has_bias)


def moe_weights(hidden: int, experts: Experts) -> list[Weight]:
    """Return the weights of an MoE layer's feed-forward part; of the class EXPERT, those of one
    expert.
    """
    router = experts.module(experts.router_name)
    shared = experts.module(experts.shared_name)
    weights = [
        *linear(router, TensorClass.ROUTER, hidden, experts.num_experts),
        *loose(router, TensorClass.ROUTER, experts.router_vectors * experts.num_experts),
        *gated_mlp(
            # One expert stands for all: they are of one size, and packed alike.
            experts.module("experts.0"),
            TensorClass.EXPERT,
            hidden,
            experts.intermediate,
            experts.has_bias,
        ),
    ]
    if experts.shared:
        weights += gated_mlp(
            shared, TensorClass.SHARED_EXPERT, hidden, experts.shared, experts.has_shared_bias
        )
        gate = hidden if experts.has_shared_gate else 0
        weights += loose(experts.module("shared_expert_gate"), TensorClass.SHARED_EXPERT, gate)
    return weights
