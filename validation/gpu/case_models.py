"""The models that are planned and run on the machine at hand.

The shapes are those of published models, cut to what memory and time allow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch

from hwprofiles import InputError
from hwprofiles.units import GB, GIB, MIB
from sim.costs.compute_buffers import compute_buffer_bytes
from sim.model.importers import model_from_config
from sim.model.library import load_model, load_spec
from sim.model.model import Model
from validation.backend import Tier, stand_in
from validation.measuring.surroundings import memory_bytes

NAMES = ("mixtral-8x7b", "qwen3-30b-a3b", "deepseek-v2-lite")
BUDGETS_GB = (16, 8, 24)
"""Accelerator memory that a plan may fill. The first budgets run first, as time may run out."""

MOST_HOST_BYTES = 32 * GIB
HOST_SHARE = 0.3
"""The share of the computer's memory that the weights of one model may take."""

PACED_LAYERS = 4
MOST_TOKENS = 32
"""Tokens of a pass that compute buffers are sized for; no case has as many at once."""

SMALL_SHARES = (0.5, 0.25, 0.75)
"""The shares of a small model's experts that its budgets leave room for."""

SMALL: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "vocab_size": 1024,
        "max_position_embeddings": 512,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "intermediate_size": 256,
        "moe_intermediate_size": 128,
        "kv_lora_rank": 64,
        "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 16,
        "v_head_dim": 32,
    }
)
"""Dimensions that replace those of a published configuration if no GPU computes.

Layers of experts keep their number of experts and top-k.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseModel:
    """A model as it is priced and as it is executed, with its budgets of memory in bytes, by
    name.
    """

    priced: Model
    executed: Model
    budgets_bytes: Mapping[str, int]


def case_models(tier: Tier, names: Sequence[str] = NAMES) -> list[CaseModel]:
    """Return the models in the order in which they are to be run.

    Raises InputError for an unknown name, or where not even one layer fits the computer.
    """
    makers = {Tier.CUDA: _full, Tier.PACED: _paced}
    return [makers.get(tier, _small)(name) for name in names]


def _full(name: str) -> CaseModel:
    """Return a model of full dimensions, with as many layers as the computer has memory for.

    The budgets are those that the card's free memory allows.
    """
    model = load_model(name)
    room = min(MOST_HOST_BYTES, int(HOST_SHARE * memory_bytes()))
    count = _layers_within(model, room)
    # Other programs may hold memory of the card.
    free_bytes, _ = torch.cuda.mem_get_info()
    budgets = {words: size for words, size in _budgets().items() if size <= free_bytes}
    if not count or not budgets:
        raise InputError(
            f"{name}: {room / GB:.0f} GB of the computer's memory and {free_bytes / GB:.0f} GB of the card's are too little"
        )
    own = _cut(model, count)
    return CaseModel(priced=own, executed=own, budgets_bytes=budgets)


def _paced(name: str) -> CaseModel:
    model = load_model(name)
    own = _cut(model, min(PACED_LAYERS, model.num_layers))
    return CaseModel(priced=own, executed=stand_in(own), budgets_bytes=_budgets())


def _small(name: str) -> CaseModel:
    spec = load_spec(name)
    assert spec.config is not None, "models of the library are counted from their configuration"
    # Only keys that the family has: it would not know another's.
    config = spec.config | {key: value for key, value in SMALL.items() if key in spec.config}
    model = model_from_config(config, name=f"{name}, small", provenance=spec.provenance)
    routed = len(model.moe_layers) * model.num_experts * model.expert_bytes
    buffers = compute_buffer_bytes(model, MOST_TOKENS, MOST_TOKENS, has_head=True)
    # Beside its experts a plan needs staging buffers and room to compute.
    rest = model.non_expert_bytes + 4 * model.expert_bytes + buffers + MIB
    budgets = {f"{share:.0%} of the experts": int(rest + share * routed) for share in SMALL_SHARES}
    return CaseModel(priced=model, executed=model, budgets_bytes=budgets)


def _budgets() -> dict[str, int]:
    return {f"{size} GB": size * GB for size in BUDGETS_GB}


def _cut(model: Model, count: int) -> Model:
    if count == model.num_layers:
        return model
    return replace(model, name=f"{model.name}, first {count} layers", layers=model.layers[:count])


def _layers_within(model: Model, room_bytes: int) -> int:
    """Return how many of the first layers fit, beside the weights outside the layers."""
    left = room_bytes - model.head_bytes
    count = 0
    for layer in model.layers:
        left -= layer.dense_bytes + layer.num_experts * layer.expert_bytes
        count += left >= 0
    return count
