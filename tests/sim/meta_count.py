"""The weights of a configuration as its modelling class in transformers builds them, on the meta
device.
"""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch, from the extra `validate`")
transformers = pytest.importorskip("transformers", reason="needs transformers, from the extra `hf`")

_MODEL_TYPES = {
    "kimi_k2": "deepseek_v3",
    "llama4": "llama4_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "minimax_m3": "minimax_m3_vl_text",
}
_ARE_WEIGHTS = ("e_score_correction_bias", "expert_bias", "layer_scalar")
"""Buffers that checkpoints hold: scores of experts, and Gemma 4's factor of a layer."""


def meta_total(config: dict[str, Any]) -> int:
    """All weights of the decoder, those that score experts included; tied ones once."""
    # null means no rank there, and elsewhere that the family has no such key
    stated = {
        name: value for name, value in config.items() if value is not None or name == "q_lora_rank"
    }
    stated.pop("quantization_config", None)
    model_type = _MODEL_TYPES.get(stated["model_type"], stated["model_type"])
    made = transformers.AutoConfig.for_model(**{**stated, "model_type": model_type})
    made.pad_token_id = None
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(made)
    buffers = (value for name, value in model.named_buffers() if name.endswith(_ARE_WEIGHTS))
    weights = [*model.parameters(), *buffers]
    return sum(weight.numel() for weight in weights)
