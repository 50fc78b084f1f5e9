"""Weights of a Hugging Face checkpoint, copied tensor by tensor from memory-mapped safetensors."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hwprofiles import InputError, Kind, Provenance, read_json
from sim.model.importers import model_from_config
from sim.model.model import Model
from validation.backend.architecture import Architecture, LatentShape, Scoring, architecture_of
from validation.backend.weights import Block, Weights

_NORMS = MappingProxyType(
    {"input_norm": "input_layernorm.weight", "post_norm": "post_attention_layernorm.weight"}
)
_ATTENTION = MappingProxyType(
    dict(_NORMS)
    | {name: f"self_attn.{name}_proj.weight" for name in "qkvo"}
    | {f"{name}_bias": f"self_attn.{name}_proj.bias" for name in "qkv"}
    | {f"{name}_norm": f"self_attn.{name}_norm.weight" for name in "qk"}
)
_LATENT = MappingProxyType(
    dict(_NORMS)
    | {
        "q_down": "self_attn.q_a_proj.weight",
        "q_down_norm": "self_attn.q_a_layernorm.weight",
        "kv_down": "self_attn.kv_a_proj_with_mqa.weight",
        "kv_down_norm": "self_attn.kv_a_layernorm.weight",
        "kv": "self_attn.kv_b_proj.weight",
        "o": "self_attn.o_proj.weight",
        "router": "mlp.gate.weight",
        "router_bias": "mlp.gate.e_score_correction_bias",
    }
)


def _projections(name: str, where: str) -> dict[str, str]:
    return {f"{name}_{part}": f"{where}.{part}_proj.weight" for part in ("gate", "up", "down")}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorNames:
    """A family's names of a layer's tensors: outside routed experts, and of expert ``{expert}``.

    Names are relative to the layer.
    """

    dense: Mapping[str, str]
    expert: Mapping[str, str]


LAYOUTS: Mapping[str, TensorNames] = MappingProxyType(
    {
        "mixtral": TensorNames(
            dense=dict(_ATTENTION) | {"router": "block_sparse_moe.gate.weight"},
            expert={
                "expert_gate": "block_sparse_moe.experts.{expert}.w1.weight",
                "expert_up": "block_sparse_moe.experts.{expert}.w3.weight",
                "expert_down": "block_sparse_moe.experts.{expert}.w2.weight",
            },
        ),
        "qwen2_moe": TensorNames(
            dense=dict(_ATTENTION)
            | {"router": "mlp.gate.weight", "shared_share": "mlp.shared_expert_gate.weight"}
            | _projections("shared", "mlp.shared_expert")
            | _projections("dense", "mlp"),
            expert=_projections("expert", "mlp.experts.{expert}"),
        ),
        "qwen3_moe": TensorNames(
            dense=dict(_ATTENTION) | {"router": "mlp.gate.weight"} | _projections("dense", "mlp"),
            expert=_projections("expert", "mlp.experts.{expert}"),
        ),
    }
    | {
        family: TensorNames(
            dense=dict(_LATENT)
            | _projections("shared", "mlp.shared_experts")
            | _projections("dense", "mlp"),
            expert=_projections("expert", "mlp.experts.{expert}"),
        )
        for family in ("deepseek_v2", "deepseek_v3")
    }
)
"""Names of tensors by ``model_type`` of config.json.

Queries of latent attention are named ``q_b_proj`` if they have a latent, else ``q_proj``.
"""

_TOP = MappingProxyType(
    {
        "embedding": "model.embed_tokens.weight",
        "norm": "model.norm.weight",
        "head": "lm_head.weight",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A checkpoint's model as the simulator counts it, and its weights as torch runs them."""

    model: Model
    weights: Weights


def load_checkpoint(folder: Path, dtype: torch.dtype = torch.float32) -> Checkpoint:
    """Read ``config.json`` and every ``*.safetensors`` of a folder.

    Raises InputError, one line, for a part that is missing or not supported.
    """
    config = _config(folder)
    kind = str(config.get("model_type"))
    if kind not in LAYOUTS:
        raise InputError(
            f"{folder / 'config.json'}: model_type {kind!r} is not executed; known are {', '.join(LAYOUTS)}"
        )
    provenance = Provenance(kind=Kind.PUBLISHED, source=str(folder / "config.json"), date="undated")
    model = model_from_config(config, name=folder.resolve().name, provenance=provenance)
    weights = Weights(_architecture(model, config, folder), dtype)
    # The files are mapped into memory, so they stay open until the last tensor is copied.
    with ExitStack() as stack:
        files = _tensor_files(folder, stack)
        for name, place in _places(weights, LAYOUTS[kind], is_tied=model.is_head_tied):
            _fill(place, name, files, folder)
    return Checkpoint(model=model, weights=weights)


def _config(folder: Path) -> Mapping[str, Any]:
    return read_json(folder / "config.json", "model configuration", takes_infinity=True)


def _architecture(model: Model, config: Mapping[str, Any], folder: Path) -> Architecture:
    """Return the architecture that the model's counts give, completed from its configuration."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    # Scaled rotations would give other tokens than the model's own code.
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise InputError(
            f"{folder / 'config.json'}: rope type {rope.get('rope_type', rope.get('type'))!r} is not executed; default is"
        )
    latent = _latent(config) if config.get("kv_lora_rank") else None
    if config.get("attention_bias") and latent is not None:
        raise InputError(
            f"{folder / 'config.json'}: attention_bias of latent attention is not executed"
        )
    known = architecture_of(model, latent)
    return replace(
        known,
        scoring=_scoring(config, known.scoring),
        rope_theta=float(rope.get("rope_theta", config.get("rope_theta", 10_000.0))),
        norm_epsilon=float(config.get("rms_norm_eps", 1e-6)),
        # Mixtral always normalizes, and its configuration has no key for it.
        normalizes_top_k=config["model_type"] == "mixtral" or _normalizes(config),
    )


def _normalizes(config: Mapping[str, Any]) -> bool:
    """Whether shares are made to sum to 1.

    DeepSeek-V2's code never does so, whatever its configuration says.
    """
    return config["model_type"] != "deepseek_v2" and bool(
        config.get("norm_topk_prob", config["model_type"] == "deepseek_v3")
    )


def _latent(config: Mapping[str, Any]) -> LatentShape:
    return LatentShape(
        query_rank=int(config.get("q_lora_rank") or 0),
        key_rank=int(config["kv_lora_rank"]),
        plain_dim=int(config["qk_nope_head_dim"]),
        rotary_dim=int(config["qk_rope_head_dim"]),
        value_dim=int(config["v_head_dim"]),
    )


def _scoring(config: Mapping[str, Any], known: Scoring) -> Scoring:
    scale = float(config.get("routed_scaling_factor", 1.0))
    # The greedy method selects among all experts, whatever groups the configuration states.
    if config.get("topk_method", "noaux_tc") == "greedy" or not config.get("n_group"):
        return replace(known, scale=scale)
    return replace(
        known, num_groups=int(config["n_group"]), top_groups=int(config["topk_group"]), scale=scale
    )


def _tensor_files(folder: Path, stack: ExitStack) -> dict[str, Any]:
    """The open file of every tensor, by the tensor's name."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            file = stack.enter_context(safe_open(path, framework="pt"))
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{path}: not a readable safetensors file: {' '.join(str(error).split())}"
            ) from None
        found |= dict.fromkeys(file.keys(), file)
    if not found:
        raise InputError(f"{folder}: no *.safetensors with tensors in it")
    return found


def _places(
    weights: Weights, layout: TensorNames, *, is_tied: bool
) -> Iterator[tuple[str, Tensor]]:
    """Yield the checkpoint's name and the place of every tensor of the decoder."""
    for number, layer in enumerate(weights.layers):
        blocks: list[tuple[Block, Mapping[str, str], int | None]] = [
            (layer.dense, layout.dense, None)
        ]
        blocks += [(block, layout.expert, expert) for expert, block in enumerate(layer.experts)]
        for block, names, expert in blocks:
            for name, place in block.tensors.items():
                yield (
                    f"model.layers.{number}.{_own_name(name, names, block).format(expert=expert)}",
                    place,
                )
    for name, place in weights.top.tensors.items():
        # A tied head is stored once, as the embedding.
        yield _TOP["embedding" if name == "head" and is_tied else name], place


def _own_name(name: str, names: Mapping[str, str], block: Block) -> str:
    # Queries with a latent have two matrices; this is the second.
    if name == "q" and "kv_down" in block.tensors:
        return f"self_attn.{'q_b_proj' if 'q_down' in block.tensors else 'q_proj'}.weight"
    return names[name]


def _fill(place: Tensor, name: str, files: Mapping[str, Any], folder: Path) -> None:
    if name not in files:
        raise InputError(f"{folder}: no tensor {name} in its safetensors")
    shape = tuple(files[name].get_slice(name).get_shape())
    # Copying would broadcast a tensor of another shape without a word.
    if shape != tuple(place.shape):
        raise InputError(
            f"{folder}: tensor {name} is {list(shape)}, its configuration says {list(place.shape)}"
        )
    place.copy_(files[name].get_tensor(name))
